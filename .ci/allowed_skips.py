"""A pytest plugin: a test skipped for a reason that .ci/allowed-skips.txt does not know fails the session."""

from fnmatch import fnmatchcase
from pathlib import Path

import pytest

LINES = (Path(__file__).parent / "allowed-skips.txt").read_text().splitlines()
ALLOWED = [line.strip() for line in LINES if line.strip() and not line.startswith("#")]
unknown: dict[str, str] = {}


def note(report: pytest.TestReport | pytest.CollectReport) -> None:
    """Keep a skipped report whose reason is unknown."""
    if not report.skipped:
        return
    reason = getattr(report, "wasxfail", None)
    if reason is None:
        reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
    reason = reason.removeprefix("Skipped: ").removeprefix("reason: ").strip()
    if not any(fnmatchcase(reason, allowed) for allowed in ALLOWED):
        unknown[report.nodeid] = reason or "no reason given"


pytest_runtest_logreport = pytest_collectreport = note


def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    """Fail a session that would have passed."""
    if unknown and exitstatus == pytest.ExitCode.OK:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Name the tests and their reasons."""
    if unknown:
        terminalreporter.section("skipped for a reason that .ci/allowed-skips.txt does not list")
        for test, reason in unknown.items():
            terminalreporter.line(f"{test}: {reason}")
