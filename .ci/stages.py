"""Run the stages of CI, some at a time, and say at the end what failed.

CI_JOBS: stages at once (3: much of a suite is waiting for processes). CI_VENVS: where virtual environments are kept between
runs (.venv-ci, ignored by git).
"""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
VENVS = Path(os.environ.get("CI_VENVS", ROOT / ".venv-ci"))
WORK = Path(tempfile.mkdtemp(prefix="background-ci-"))
# Failures of one suite up to which those tests alone are run once more.
SECOND_CHANCES = 5
BROWSER = "tests/browser"  # stages of its own
UNFOLD = (BROWSER, "-m", "themes", "--ds=tests.browser.unfold_settings")
PAGES = tuple(f"{BROWSER}/test_{name}.py" for name in ("pages", "running", "access"))
REST = (f"--ignore={BROWSER}",)
FAST = ("-m", "not slow")
# Whatever the Django; and the queue and its engine, which the newest one meets on the servers.
SAME = tuple(f"--ignore=tests/{room}" for room in ("timing", "host", "queue", "engine", "services"))
# With a server: the rooms whose SQL Django writes, and those that live by the database. The others are tested on SQLite.
ROOMS = (
    "tests/queue",
    "tests/engine",
    "tests/dialects",
    "tests/services",
    "tests/test_backend.py",
    "tests/test_catalog.py",
)
SECOND = (
    *ROOMS,
    *(f"tests/contrib/test_{name}.py" for name in ("mail", "sync", "tables", "maintenance")),
    "tests/execution",
    "tests/chaos",
    "tests/test_scope.py",
)
SERVERS = (
    *SECOND,
    *(f"tests/host/test_{name}.py" for name in ("database_away", "leftovers", "pauses", "restarts", "wishes")),
    *(f"tests/admin/test_{name}.py" for name in ("dashboard", "run_list", "run_bulk")),
    "tests/management/test_attention.py",
)
JOBS = int(os.environ.get("CI_JOBS", "3"))
TIME_LIMIT = 25 * 60  # seconds that one stage may take

POSTGRESQL = "postgres://root@127.0.0.1:5432"
MARIADB = "mysql://root@127.0.0.1:3306"
CLOSING = re.compile(r"^=* ?((?:\d+ [a-z]+(?:, )?)+ in [\d.]+s.*?) ?=*$", re.MULTILINE)

# Nothing of the caller's own setting may decide.
FOREIGN = [
    "DATABASE_URL",
    "DJANGO_SETTINGS_MODULE",
    "PYTHONPATH",
    "PYTEST_ADDOPTS",
    "DEBUG",
    "SECRET_KEY",
    "PREPARED_STATEMENTS",
]
ENVIRONMENT = {name: value for name, value in os.environ.items() if name not in FOREIGN}
ENVIRONMENT |= {"CI": "true", "PYTHONUNBUFFERED": "1", "PIP_DISABLE_PIP_VERSION_CHECK": "1"}


class Failed(Exception):
    """A command of a stage ended with another exit code than 0, or took too long."""


class Stage:
    """One thing to check: commands that write to one log, stopped at the first that fails."""

    def __init__(self, name: str, commands: Callable[["Stage"], None]) -> None:
        self.name, self.commands = name, commands
        self.log = WORK / f"{name.replace(' ', '-')}.log"
        self.seconds, self.error = 0.0, ""

    def run(self, *command: str | Path, cwd: Path = ROOT, **environment: str) -> None:
        with self.log.open("a") as log:
            process = subprocess.Popen(
                list(map(str, command)),
                cwd=cwd,
                env=ENVIRONMENT | environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
            try:
                code = process.wait(TIME_LIMIT)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
                raise Failed(f"ended after {TIME_LIMIT} s: {command[0]}") from None
        if code:
            raise Failed(f"exit code {code}")

    def python(self, venv: str, *arguments: str | Path, **environment: str) -> None:
        self.run(VENVS / venv / "bin/python", *arguments, **environment)

    def __call__(self) -> "Stage":
        started = time.monotonic()
        self.log.touch()
        try:
            self.commands(self)
        except (Failed, OSError) as error:
            self.error = str(error)
        self.seconds = time.monotonic() - started
        show(self)
        return self

    @property
    def closing_line(self) -> str:
        """What pytest, or a run that ends like it, says at its end."""
        found = CLOSING.findall(self.log.read_text())
        return found[-1] if found else ""


def show(stage: Stage) -> None:
    """Print how a stage ended, in one piece: all of its output if it failed, else the end of it."""
    lines = stage.log.read_text(errors="replace").splitlines()
    if stage.error:
        text = [f"== {stage.name}: FAILED, {stage.error} ({stage.seconds:.0f} s); its output:", *lines[-400:]]
        text.append(f"== end of {stage.name}")
    else:
        ending = [stage.closing_line] if stage.closing_line else [line for line in lines if line.strip()][-2:]
        text = [f"== {stage.name}: ok ({stage.seconds:.0f} s)", *(f"   {line}" for line in ending)]
    print("\n".join(text), flush=True)


# ------------------------------------------------------------------------------------------- Pythons and environments


def pythons() -> dict[tuple[int, int], str]:
    """Return every Python from 3.11 on that can make virtual environments, by version."""
    versions = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv")) / "versions"
    places = [*sorted(map(str, versions.glob("3.*/bin/python"))), *(f"python3.{minor}" for minor in range(11, 20))]
    found: dict[tuple[int, int], str] = {}
    for place in [*places, "python3", sys.executable]:
        code = "import sys, venv, ensurepip; print(sys.executable, *sys.version_info[:2])"
        try:
            asked = subprocess.run([place, "-c", code], capture_output=True, text=True, timeout=60)
        except (OSError, subprocess.TimeoutExpired):
            continue
        if asked.returncode == 0:
            path, major, minor = asked.stdout.rsplit(maxsplit=2)
            found.setdefault((int(major), int(minor)), path)
    return {version: found[version] for version in sorted(found) if version >= (3, 11)}


@dataclass(frozen=True)
class Environment:
    """A virtual environment, made anew when what it is made of changes."""

    name: str
    python: str
    install: tuple[str, ...]

    def __call__(self, stage: Stage) -> None:
        folder, note = VENVS / self.name, VENVS / f"{self.name}.made-of"
        files = [(ROOT / name).read_text() for name in ("requirements.txt", "pyproject.toml")]
        made_of = "\n".join([self.python, *self.install, *files])
        if not note.exists() or note.read_text() != made_of or not folder.exists():
            note.unlink(missing_ok=True)
            shutil.rmtree(folder, ignore_errors=True)
            stage.run(self.python, "-m", "venv", folder)
            if "--group" in self.install:
                stage.python(self.name, "-m", "pip", "install", "-q", "--upgrade", "pip>=25.1")  # knows --group
            stage.python(self.name, "-m", "pip", "install", "-q", *self.install)
            note.write_text(made_of)
        stage.python(self.name, "-m", "pip", "check")
        versions = "import sys, django; print('Python', sys.version.split()[0], 'with Django', django.__version__)"
        stage.python(self.name, "-c", versions)


# ------------------------------------------------------------------------------------------------------------ stages


def databases(stage: Stage) -> None:
    stage.run("bash", ".ci/databases")


def chromium(stage: Stage) -> None:
    stage.run("bash", ".ci/chromium")


def ruff_check(stage: Stage) -> None:
    stage.python("tools", "-m", "ruff", "check", ".")


def ruff_format(stage: Stage) -> None:
    stage.python("tools", "-m", "ruff", "format", "--check", ".")


def types(stage: Stage) -> None:
    stage.python("tools", "-m", "mypy")


def floors(stage: Stage) -> None:
    stage.run(VENVS / "tools/bin/lint-imports", "--no-logo")


def file_lengths(stage: Stage) -> None:
    stage.python("tools", ".ci/lengths.py")


def docs_links(stage: Stage) -> None:
    stage.python("tools", ".ci/links.py")


def migrations(stage: Stage) -> None:
    stage.python("oldest", "manage.py", "makemigrations", "--check", "--dry-run")


def deploy_check(stage: Stage) -> None:
    production = {"DEBUG": "False", "SECRET_KEY": os.urandom(40).hex(), "ALLOWED_HOSTS": "example.org"}
    stage.python("oldest", "manage.py", "check", "--deploy", "--fail-level", "WARNING", **production)


def suite(venv: str, database_url: str = "", *more: str, **chosen: str) -> Callable[[Stage], None]:
    """Return a stage's commands: all tests, where a skipped one needs a reason that allowed-skips.txt lists."""
    chosen |= {"DATABASE_URL": database_url} if database_url else {}

    def commands(stage: Stage) -> None:
        cache = WORK / stage.log.stem  # suites run beside each other
        pytest = VENVS / venv / "bin/pytest"  # as the README says
        arguments = ("-p", "allowed_skips", "-o", f"cache_dir={cache}", *(more or REST))
        try:
            stage.run(pytest, *arguments, PYTHONPATH=".ci", **chosen)
        except Failed:
            # Tests with processes and deadlines may starve on a busy machine: a few get a second chance, by themselves.
            failed = cache / "v/cache/lastfailed"
            if not failed.exists() or not 0 < len(json.loads(failed.read_text())) <= SECOND_CHANCES:
                raise
            stage.run(pytest, *arguments, "--last-failed", PYTHONPATH=".ci", **chosen)

    return commands


def conformance(venv: str) -> Callable[[Stage], None]:
    return lambda stage: stage.python(venv, "tests/conformance/run.py")


def wheel(*ways: tuple[str, str]) -> Callable[[Stage], None]:
    """Return a stage's commands: build the wheel, install it alone by each Python, and start Django with it elsewhere."""

    def commands(stage: Stage) -> None:
        stage.python("tools", "-m", "build", "--outdir", WORK / "dist", ".")
        (built,) = (WORK / "dist").glob("*.whl")
        for number, (python, extras) in enumerate(ways):
            folder = WORK / f"wheel-{number}"
            stage.run(python, "-m", "venv", folder)
            stage.run(folder / "bin/python", "-m", "pip", "install", "-q", f"{built}{extras}")
            stage.run(folder / "bin/python", "-m", "pip", "check")
            shutil.copy(ROOT / ".ci/smoke.py", folder)
            stage.run(folder / "bin/python", "smoke.py", cwd=folder)

    return commands


# ----------------------------------------------------------------------------------------------------------- the run


def main(words: list[str]) -> int:
    started = time.monotonic()
    found = pythons()
    (oldest, oldest_path), (newest, newest_path) = list(found.items())[0], list(found.items())[-1]
    print("Pythons:", ", ".join(f"{major}.{minor}" for major, minor in found), flush=True)
    requirements = ("-r", "requirements.txt")
    # On 3.11 the requirements lead to Django 5.2 by themselves; on a later Python they are told to.
    django52 = () if oldest == (3, 11) else ("Django~=5.2.0", "django-tasks>=0.8")

    ground = [
        Stage("environment oldest", Environment("oldest", oldest_path, (*requirements, *django52))),
        Stage("environment tools", Environment("tools", oldest_path, (*requirements, *django52, "--group", "dev"))),
        Stage("databases", databases),
        Stage("chromium", chromium),
    ]
    stages = [
        Stage("ruff check", ruff_check),
        Stage("ruff format", ruff_format),
        Stage("types", types),
        Stage("floors", floors),
        Stage("file lengths", file_lengths),
        Stage("docs links", docs_links),
        Stage("migrations", migrations),
        Stage("deploy check", deploy_check),
        Stage("tests oldest SQLite", suite("oldest", "", "-m", "not chaos and not slow", *REST)),
        Stage("tests oldest SQLite slow", suite("oldest", "", "-m", "chaos or slow", *REST)),
        Stage("tests oldest browser", suite("oldest", "", *PAGES)),
        Stage("tests oldest PostgreSQL", suite("oldest", f"{POSTGRESQL}/background_oldest", *FAST, *SERVERS)),
        Stage("tests oldest MariaDB", suite("oldest", f"{MARIADB}/background_oldest", *FAST, *SECOND)),
        Stage("conformance oldest", conformance("oldest")),
    ]
    if newest >= (3, 12):
        ground.insert(1, Stage("environment newest", Environment("newest", newest_path, requirements)))
        stages += [
            Stage("tests newest browser", suite("newest", "", BROWSER, *FAST)),
            Stage("tests newest Unfold", suite("newest", "", *UNFOLD)),
            # Hosts are started, stopped and killed, and clocks read, with one of the two; the rest of the tests runs with both.
            Stage("tests newest SQLite", suite("newest", "", "-m", "not chaos and not slow", *REST, *SAME)),
            Stage(
                "tests newest PostgreSQL",
                suite("newest", f"{POSTGRESQL}/background_newest", *FAST, *ROOMS, PREPARED_STATEMENTS="True"),
            ),
            Stage("tests newest MariaDB", suite("newest", f"{MARIADB}/background_newest", *FAST, *ROOMS)),
            Stage("conformance newest", conformance("newest")),
            Stage("wheel", wheel((oldest_path, "[django52]"), (newest_path, ""))),
        ]
    else:
        print("No Python 3.12 or newer was found: the newest Django is not tested.", flush=True)
        stages += [Stage("wheel", wheel((oldest_path, "[django52]")))]
    if words:
        stages = [stage for stage in stages if any(word in stage.name for word in words)]

    VENVS.mkdir(parents=True, exist_ok=True)
    done: list[Stage] = []
    for group in (ground, stages):
        with ThreadPoolExecutor(JOBS) as pool:
            done += pool.map(Stage.__call__, group)
    return report(done, time.monotonic() - started)


def report(stages: list[Stage], seconds: float) -> int:
    """Print each suite's closing line, the stages that failed, and a closing line over all; return the exit code."""
    print("\nSuites:")
    counts: dict[str, int] = {}
    for stage in stages:
        if stage.name.startswith(("tests", "conformance")):
            print(f"   {stage.name:<26} {stage.closing_line or 'did not end'}")
            for number, word in re.findall(r"(\d+) (passed|failed|skipped|xfailed|errors?)\b", stage.closing_line):
                counts[word] = counts.get(word, 0) + int(number)
    failed = [stage.name for stage in stages if stage.error]
    print(f"{len(stages) - len(failed)} of {len(stages)} stages passed.")
    if failed:
        print("Failed:", ", ".join(failed))
        counts.setdefault("errors", len(failed))
    words = ["failed", "passed", "skipped", "xfailed", "error", "errors"]
    tally = ", ".join(f"{counts[word]} {word}" for word in words if word in counts)
    print(f"===== {tally or 'no tests'} in {seconds:.2f}s =====", flush=True)
    shutil.rmtree(WORK, ignore_errors=True)
    return bool(failed)


if __name__ == "__main__":
    os.chdir(ROOT)
    sys.exit(main(sys.argv[1:]))
