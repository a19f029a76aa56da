"""Following log files: the service, and what makes entries of lines."""

from background.contrib.logs.parsers import COMBINED, COMMON, json_line, pattern
from background.contrib.logs.service import LogFollower

__all__ = ["COMBINED", "COMMON", "LogFollower", "json_line", "pattern"]
