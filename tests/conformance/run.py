"""
Run Django's own tests of its task backends against ours.

    python tests/conformance/run.py [-v]

Fetches Django's source distribution, which carries the tests. docs/conformance.md tells the recipe, and its table names the
tests that must fail, with the reason: the run fails unless exactly those do.
"""

import argparse
import io
import os
import re
import subprocess
import sys
import tarfile
import tempfile
import time
import unittest
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
sys.path.insert(0, str(ROOT))
os.environ.setdefault("DJANGO_SETTINGS_MODULE", "tests.settings")

import django  # noqa: E402
from django.test.runner import DiscoverRunner  # noqa: E402

BACKPORT = django.VERSION < (6, 0)
VERSION = "6.1.*" if BACKPORT else django.__version__  # whose tests; Django 5.2 has none of its own
CLASS_TESTS = 74 if BACKPORT or django.VERSION[:2] == (6, 1) else None  # in the three classes of Django 6.1

# Test modules, their class, and what stands where in its TASKS settings.
CLASSES = {
    "test_tasks": "TaskTestCase",
    "test_dummy_backend": "DummyBackendTestCase",
    "test_immediate_backend": "ImmediateBackendTestCase",
}
BACKENDS = {
    '"django.tasks.backends.dummy.DummyBackend"': '"background.backend.DatabaseBackend"',
    '"django.tasks.backends.immediate.ImmediateBackend"': '"tests.conformance.backends.DrainedBackend"',
}
# The backport's names. Its logger is named after its package too.
BACKPORT_NAMES = {
    r"\bdjango\.tasks\b": "django_tasks",
    r"\bInvalidTask\b": "InvalidTaskError",
    r"\bInvalidTaskBackend\b": "InvalidTaskBackendError",
}
TABLE_ROW = re.compile(r"^\| `(\w+\.test_\w+)` \| (.+?) \| (.+?) \|$", re.MULTILINE)


def main() -> int:
    parser = argparse.ArgumentParser(description="Run Django's tests of task backends against background's.")
    parser.add_argument("-v", "--verbose", action="store_true", help="show the traceback of every test that fails")
    verbose = parser.parse_args().verbose
    started = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        fetched = fetch(Path(folder))
        print(f"Django {django.__version__}{' with the backport' if BACKPORT else ''}, the tests of {fetched}")
        sys.path.insert(0, folder)
        django.setup()
        outcomes = run()
    return report(outcomes, expected(), time.monotonic() - started, verbose)


def fetch(folder: Path) -> str:
    """Write the package `tasks`, Django's tests of its task backends, into the folder; return whose they are."""
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--no-binary", "Django"]
    # Read only, never built for this Python: Django 6 would refuse 3.11.
    command += ["--ignore-requires-python", "--dest", str(folder), f"Django=={VERSION}"]
    subprocess.run(command, check=True, stderr=subprocess.DEVNULL)
    (archive,) = folder.glob("*.tar.gz")
    (folder / "tasks").mkdir()
    with tarfile.open(archive) as tar:
        for member in tar.getmembers():
            where, _, name = member.name.partition("/tests/tasks/")
            if re.fullmatch(r"\w+\.py", name):
                text = io.TextIOWrapper(tar.extractfile(member), encoding="utf-8").read()
                (folder / "tasks" / name).write_text(rewrite(text), encoding="utf-8")
    return archive.name.removesuffix(".tar.gz")


def rewrite(text: str) -> str:
    """Return a test module that asks for our backend; nothing else about it changes, but the backport's names."""
    for theirs, ours in BACKENDS.items():
        text = text.replace(theirs, ours)
    for pattern, name in BACKPORT_NAMES.items() if BACKPORT else ():
        text = re.sub(pattern, name, text)
    return text


class Outcomes(unittest.TestResult):
    """Keeps why each test failed, or an empty string; a subtest that fails fails its test."""

    def __init__(self) -> None:
        super().__init__()
        self.why: dict[str, str] = {}

    def startTest(self, test: unittest.TestCase) -> None:
        super().startTest(test)
        self.why[name_of(test)] = ""

    def addError(self, test: unittest.TestCase, error: object) -> None:
        self.why[name_of(test)] += self._exc_info_to_string(error, test)

    addFailure = addError

    def addSubTest(self, test: unittest.TestCase, subtest: unittest.TestCase, error: object) -> None:
        if error:
            self.addError(test, error)

    def addSkip(self, test: unittest.TestCase, reason: str) -> None:
        self.why[name_of(test)] += f"Skipped: {reason}"


def name_of(test: unittest.TestCase) -> str:
    return f"{type(test).__name__}.{test._testMethodName}"


def run() -> dict[str, str]:
    """Return why each test of the three classes failed; an empty string where it passed."""
    from background.models import Run

    suite = unittest.TestSuite()
    for module, name in CLASSES.items():
        case = getattr(__import__(f"tasks.{module}", fromlist=[name]), name)
        # A SimpleTestCase may not query, and leaves nothing behind: ours may, and starts each time without a run.
        case.databases = {"default"}
        case.setUp = lambda self: Run.objects.all().delete()
        suite.addTests(unittest.defaultTestLoader.loadTestsFromTestCase(case))
    runner = DiscoverRunner(verbosity=0, interactive=False)
    runner.setup_test_environment()
    databases = runner.setup_databases()
    try:
        outcomes = Outcomes()
        suite.run(outcomes)
    finally:
        runner.teardown_databases(databases)
        runner.teardown_test_environment()
    return outcomes.why


def expected() -> set[str]:
    """Return the tests that docs/conformance.md says fail on this Django."""
    rows = TABLE_ROW.findall((ROOT / "docs/conformance.md").read_text(encoding="utf-8"))
    here = "5.2" if BACKPORT else "6"
    return {test for test, _, on in rows if on in ("both", here)}


def report(outcomes: dict[str, str], expected: set[str], seconds: float, verbose: bool) -> int:
    """Print what differs from the table, and a closing line; return the exit code."""
    failed = {test for test, why in outcomes.items() if why}
    wrong = [f"{test} fails, and the table does not say so" for test in sorted(failed - expected)]
    wrong += [f"{test} passes, and the table says that it fails" for test in sorted(expected & set(outcomes) - failed)]
    wrong += [f"{test} is in the table, and does not exist" for test in sorted(expected - set(outcomes))]
    if CLASS_TESTS and len(outcomes) != CLASS_TESTS:
        wrong.append(f"{len(outcomes)} tests were found, not {CLASS_TESTS}")
    for test in sorted(failed if verbose else failed - expected):
        print(f"\n--- {test}\n{outcomes[test]}")
    for line in wrong:
        print(line)
    print(f"{len(outcomes) - len(failed)} of {len(outcomes)} class tests pass")
    parts = [f"{len(wrong)} failed"] if wrong else []
    parts += [f"{len(outcomes) - len(failed)} passed", f"{len(failed & expected)} xfailed"]
    print(f"===== {', '.join(parts)} in {seconds:.2f}s =====")
    return bool(wrong)


if __name__ == "__main__":
    sys.exit(main())
