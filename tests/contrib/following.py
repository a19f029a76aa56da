"""A process that follows a file and stores its lines; `python -m tests.contrib.following PATH`."""

import sys

import django

if __name__ == "__main__":
    django.setup()

    from background.contrib.logs import LogFollower, pattern
    from background.host import Host, Options
    from background.host.signals import handling
    from tests.app.models import Effect

    class Follower(LogFollower):
        name = "following"
        singleton = False  # the one that was killed still has the lease
        paths = [sys.argv[1]]
        parse = pattern(r"(?P<note>.*)")
        poll_seconds = 0.02
        batch_size = 7

        def store(self, entries, scope):
            Effect.objects.bulk_create(Effect(name="line", note=entry["note"]) for entry in entries)

    host = Host([Follower], Options(works=False, schedules=False))
    with handling(host.request_stop):
        sys.exit(host.run())
