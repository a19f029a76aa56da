"""Own the process that runs services: start in order, stop in reverse, and say so."""

from background.host.host import Host, Options

__all__ = ["Host", "Options"]
