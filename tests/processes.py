"""Real `manage.py` processes for tests: on the test's own database, with their output read line by line."""

import os
import signal
import subprocess
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path

from django.db import connection

ROOT = Path(__file__).resolve().parent.parent

if (
    signal.getsignal(signal.SIGINT) is signal.SIG_IGN
):  # the suite runs behind a shell's `&`: its children would not hear it
    signal.signal(signal.SIGINT, signal.default_int_handler)


def environment(**more):
    """The environment of a child process that uses the test's database."""
    return {
        **os.environ,
        "DJANGO_SETTINGS_MODULE": "tests.settings",
        "DATABASE_URL": database_url(),
        "NO_COLOR": "1",
        **more,
    }


def database_url():
    conf = connection.settings_dict
    if connection.vendor == "sqlite":
        return f"sqlite:///{conf['NAME']}"
    scheme = {"postgresql": "postgres", "mysql": "mysql"}[connection.vendor]
    password = f":{conf['PASSWORD']}" if conf["PASSWORD"] else ""
    port = f":{conf['PORT']}" if conf["PORT"] else ""
    return f"{scheme}://{conf['USER']}{password}@{conf['HOST'] or '127.0.0.1'}{port}/{conf['NAME']}"


def manage(*arguments, timeout=60, **env):
    """Run a command to its end; returns the completed process with its output as text."""
    return subprocess.run(
        [sys.executable, "manage.py", *arguments],
        cwd=ROOT,
        env=environment(**env),
        capture_output=True,
        text=True,
        timeout=timeout,
    )


class Process:
    """A running `manage.py` command, or another `program`; for use as a context manager, which kills what is left of it."""

    def __init__(self, *arguments, cwd=ROOT, program=("manage.py",), **env):
        self.lines = []
        self._news = threading.Condition()
        self.popen = subprocess.Popen(
            [sys.executable, "-u", *program, *arguments],
            cwd=cwd,
            env=environment(**env),
            start_new_session=True,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self):
        for line in self.popen.stdout:
            with self._news:
                self.lines.append(line.rstrip("\n"))
                self._news.notify_all()
        with self._news:
            self._news.notify_all()

    @property
    def pid(self):
        return self.popen.pid

    @property
    def output(self):
        return "\n".join(self.lines)

    def wait_for_line(self, text, timeout=20, count=1):
        """Return the line in which `text` occurs for the count-th time; AssertionError with the output if it does not come."""

        def found():
            return [line for line in self.lines if text in line]

        with self._news:
            self._news.wait_for(lambda: len(found()) >= count or self._over(), timeout)
            if len(found()) < count:
                raise AssertionError(f"{text!r} did not come within {timeout} s:\n{self.output}")
            return found()[count - 1]

    def _over(self):
        return self.popen.poll() is not None and not self._reader.is_alive()

    def send(self, number=signal.SIGTERM):
        self.popen.send_signal(number)

    def press_ctrl_c(self):
        """As a terminal does: the whole group hears it."""
        os.killpg(self.popen.pid, signal.SIGINT)

    def wait(self, timeout=30):
        """Return the exit code."""
        code = self.popen.wait(timeout)
        self._reader.join(5)
        return code

    def stop(self, number=signal.SIGTERM, timeout=30):
        """Send a signal and return the exit code."""
        self.send(number)
        return self.wait(timeout)

    def __enter__(self):
        return self

    def __exit__(self, *error):
        with suppress(ProcessLookupError):
            os.killpg(self.popen.pid, signal.SIGKILL)
        self.popen.wait()
        self._reader.join(5)
        self.popen.stdout.close()


def wait_until(predicate, timeout=15):
    """Return the first true value of `predicate()`, asked again and again; AssertionError if none comes."""
    deadline = time.monotonic() + timeout
    while time.monotonic() < deadline:
        if value := predicate():
            return value
        time.sleep(0.02)
    raise AssertionError(f"{predicate} did not become true within {timeout} s")


def is_alive(pid):
    """Whether a process is there and not a zombie."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False
