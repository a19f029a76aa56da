"""What the chaos tests share: short or long figures, the report, and that no process is left behind."""

import json
import os
import signal
import time
import uuid
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import pytest

# What one test may take in all, short and long (seconds).
LIMITS = {"short": 180, "long": 1800}
MARK = "BACKGROUND_CHAOS"
REPORT = pytest.StashKey[dict]()


def pytest_collection_modifyitems(config, items):
    here = Path(__file__).parent
    for item in items:
        if here in item.path.parents:
            item.add_marker(pytest.mark.chaos)
            item.add_marker(pytest.mark.timeout(LIMITS[config.getoption("--chaos")]))


@dataclass(frozen=True)
class Scale:
    """Whether the figures of a test are those for CI or the full ones."""

    is_long: bool

    def __call__(self, short, long):
        return long if self.is_long else short


@pytest.fixture
def scale(request):
    return Scale(request.config.getoption("--chaos") == "long")


@pytest.fixture
def report(request):
    """A dict of measured figures: shown at the end, and written to where --chaos-report says."""
    return request.config.stash.setdefault(REPORT, {})


def pytest_terminal_summary(terminalreporter, config):
    figures = config.stash.get(REPORT, {})
    if not figures:
        return
    terminalreporter.section("figures of the chaos tests")
    for name, facts in figures.items():
        terminalreporter.line(f"{name:<60} " + "  ".join(f"{key} {value}" for key, value in facts.items()))
    if path := config.getoption("--chaos-report"):
        Path(path).write_text(json.dumps(figures, indent=2) + "\n")


def marked(mark):
    """Return the processes that have inherited the mark of a test."""
    found = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and int(entry.name) != os.getpid():
            with suppress(OSError):
                if f"{MARK}={mark}".encode() in (entry / "environ").read_bytes():
                    found[int(entry.name)] = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode()
    return found


@pytest.fixture(autouse=True)
def no_process_is_left(monkeypatch):
    """Kill what a test has left behind, and let it fail for that."""
    mark = uuid.uuid4().hex
    monkeypatch.setenv(MARK, mark)
    yield
    deadline = time.monotonic() + 5
    while (left := marked(mark)) and time.monotonic() < deadline:
        time.sleep(0.05)
    for pid in left:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    assert not left, f"processes were left behind: {left}"
