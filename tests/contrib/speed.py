"""Measure what the docs of the parts say: `python -m tests.contrib.speed logs [LINES]`, `… reports [ROWS]`, `… mail [MESSAGES]`."""

import os
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path

COMBINED_LINE = (
    '203.0.113.{} - ana [10/Oct/2027:13:{:02}:{:02} +0200] "GET /products/{}?page=2 HTTP/1.1" 200 {} '
    '"https://shop.example.org/" "Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0"'
)
JSON_LINE = (
    '{{"time": "2027-10-10T13:{:02}:{:02}+02:00", "level": "INFO", "logger": "shop.orders", "message": "order {} paid", '
    '"amount": {}, "customer": "ana", "host": "web-{}"}}'
)


def main():
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "tests.settings")
    import django

    django.setup()
    from django.db import connection

    what, *numbers = sys.argv[1:]
    if what == "export":  # one measurement of `reports`, in a process of its own
        return export(*numbers)
    connection.creation.create_test_db(verbosity=0, autoclobber=True)
    try:
        {"logs": logs, "reports": reports, "mail": mail}[what](*map(int, numbers))
    finally:
        connection.creation.destroy_test_db(connection.settings_dict["NAME"], verbosity=0)


# Log lines


def logs(count=400_000):
    from background.contrib.logs import COMBINED, COMMON, json_line, pattern

    combined = [COMBINED_LINE.format(n % 250, n // 6000 % 60, n // 100 % 60, n, n % 9999) for n in range(count)]
    common = [line.partition(' "https')[0] for line in combined]
    objects = [JSON_LINE.format(n // 6000 % 60, n // 100 % 60, n, n % 100, n % 8) for n in range(count)]
    print("lines of                 handed to   lines/s  per second of the thread's CPU")
    with tempfile.TemporaryDirectory() as folder:
        for name, lines, parse in (
            ("the common log format", common, COMMON),
            ("the combined log format", combined, COMBINED),
            ("JSON", objects, json_line),
        ):
            path = Path(folder, "app.log")
            path.write_text("\n".join(lines) + "\n")
            follow(name, "a callback", path, count, parse=parse)
        path.write_text("".join(f"line {n} of some\n" for n in range(count)))
        follow("a line of text", "a callback", path, count, parse=pattern("(?P<note>.*)"))
        follow("a line of text", "a model", path, count, into_model=True, parse=pattern("(?P<note>.*)"))


def follow(name, to, path, count, into_model=False, **values):
    from background.contrib.logs import LogFollower
    from background.host import Options
    from background.testing import run_host
    from tests.app.models import Effect

    class Follower(LogFollower):
        paths = [str(path)]
        singleton = False
        seen, begun, took, cpu = 0, 0.0, 0.0, 0.0

        def execute(self, stop):
            type(self).begun, type(self).cpu_begun = time.perf_counter(), time.thread_time()
            super().execute(stop)

        def _commit(self, found):
            super()._commit(found)
            cls = type(self)
            cls.seen += len(found.lines)
            cls.took, cls.cpu = time.perf_counter() - cls.begun, time.thread_time() - cls.cpu_begun

        def store(self, entries, scope):
            if into_model:
                super().store(entries, scope)

    made = type(
        "Follower", (Follower,), {"name": f"{name} {to}"[:60], "model": Effect if into_model else None, **values}
    )
    with run_host(made, options=Options(works=False, schedules=False)) as host:
        host.wait_for(lambda: made.seen >= count, timeout=600)
    print(f"{name:<24} {to:<11} {count / made.took:7,.0f}  {count / made.cpu:7,.0f}", flush=True)


# Reports


def reports(count=1_000_000):
    from django.db import connection

    from tests.app.models import Effect
    from tests.processes import environment

    before = time.perf_counter()
    for start in range(0, count, 5000):
        Effect.objects.bulk_create(
            [
                Effect(name=f"order {n}", note=f"paid by customer {n % 1000}")
                for n in range(start, min(start + 5000, count))
            ]
        )
    connection.close()
    print(f"{count:,} rows written in {time.perf_counter() - before:.0f} s")
    print("format      rows   seconds     CPU   MB of file  MB of memory at most")
    for kind in ("csv", "xlsx"):
        for rows in (20_000, count):
            command = [sys.executable, "-m", "tests.contrib.speed", "export", kind, str(rows)]
            subprocess.run(command, env=environment(), check=True)


def effects(rows):
    """As many rows as are asked for."""
    from tests.app.models import Effect

    return Effect.objects.filter(pk__lte=rows).values_list("id", "name", "note", "created_at")


def export(kind, rows):
    """Export so many rows by a run, and tell what it took."""
    from background.contrib.reports import report
    from background.testing import drain

    report(format=kind)(effects).enqueue(int(rows))
    begun, cpu = time.perf_counter(), time.process_time()
    (run,) = drain()
    took, cpu = time.perf_counter() - begun, time.process_time() - cpu
    assert run.status == "succeeded" and run.progress_done == int(rows), run.errors
    # Not ru_maxrss, which a process inherits from the one that started it.
    peak = int(re.search(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text())[1]) / 1024
    print(
        f"{kind:<6} {int(rows):>9,} {took:>9.1f} {cpu:>7.1f} {run.result['bytes'] / 1e6:>12.1f} {peak:>8.0f}",
        flush=True,
    )
    run.artifacts.get().file.delete()


# Mail


def mail(count=1000):
    """Deliver queued messages to a server of our own, in this process."""
    import django
    from django.core.mail import EmailMessage
    from django.test.utils import override_settings

    from background.contrib.mail.backend import QueuedEmailBackend
    from background.contrib.mail.models import Message
    from background.testing import run_host
    from tests.contrib.smtp import delivered_by, smtp_server

    with smtp_server() as server, override_settings(**delivered_by(server.port)):
        QueuedEmailBackend(using="smtp" if django.VERSION >= (6, 1) else "").send_messages(
            [EmailMessage(f"Hello {n}", "Dear Ana", "shop@example.org", ["ana@example.org"]) for n in range(count)]
        )
        begun = time.perf_counter()
        with run_host() as host:
            host.wait_for(lambda: not Message.objects.waiting().exists(), timeout=600)
        print(f"{count} messages, {count / (time.perf_counter() - begun):.0f} a second")


if __name__ == "__main__":
    main()
