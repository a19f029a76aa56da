"""Own the packages of each family of peers, in a virtual environment of its own."""

import re
import subprocess
import sys

from tests.benchmarks import environment

PSYCOPG = "psycopg[binary,pool]"
SERIES = "5.2" if sys.version_info < (3, 12) else "6.1"
DJANGO = f"Django=={SERIES}.*"
BACKPORT = ["django-tasks"] if SERIES == "5.2" else []

FAMILIES = {
    "ours": [DJANGO, *BACKPORT, "croniter>=7,<8", PSYCOPG, "PyMySQL", "psutil"],
    "raw": [PSYCOPG],
    "django-tasks-db": [DJANGO, *BACKPORT, "django-tasks-db", PSYCOPG],
    "procrastinate": [DJANGO, "procrastinate[django]", PSYCOPG],
    "django-q2": [DJANGO, "django-q2", "setproctitle", "redis", PSYCOPG],
    "huey": [DJANGO, "huey", "redis"],
    "celery": [DJANGO, "celery[redis]", "django-celery-results", PSYCOPG],
    "dramatiq": [DJANGO, "dramatiq[redis]", "django-dramatiq"],
    "pgqueuer": ["pgqueuer[asyncpg]", "typer<0.21", "uvloop", PSYCOPG],
    "django-ox": [DJANGO, "django-ox==1.9.1", PSYCOPG],
    "dj-queue": [DJANGO, "dj-queue==0.14.2", PSYCOPG],
}
# What is better had, and needs a compiler and the headers of MariaDB; Django falls back to PyMySQL.
WELCOME = {"ours": ["mysqlclient"]}
BELOW = {"asgiref", "asyncpg", "django-tasks", "kombu", "psycopg-binary", "redis"}
NEWER = {"django-ox": (3, 12), "dj-queue": (3, 12)}


def available():
    """Return the families that this Python can have."""
    return [family for family in FAMILIES if sys.version_info >= NEWER.get(family, (3, 11))]


def setup(families):
    """Make the environments of these families with the Python that runs this; return those that failed."""
    failed = []
    for family in families or available():
        place = environment.venv(family)
        if not (place / "bin" / "python").exists():
            subprocess.run([sys.executable, "-m", "venv", place], check=True)
        done = _install(family, FAMILIES[family])
        for package in WELCOME.get(family, ()):
            if _install(family, [package]).returncode:
                print(f"{family}: without {package}")
        print(f"{family}: {'ready' if done.returncode == 0 else done.stderr.strip()[-500:]}", flush=True)
        if done.returncode:
            failed.append(family)
    return failed


def _install(family, packages):
    command = [
        environment.venv(family) / "bin" / "python",
        "-m",
        "pip",
        "install",
        "-q",
        "--disable-pip-version-check",
        *packages,
    ]
    return subprocess.run(command, capture_output=True, text=True)


def versions(family):
    """Return what is installed of that family and of what it stands on, as {name: version}."""
    command = [environment.python_of(family), "-m", "pip", "freeze", "--disable-pip-version-check"]
    lines = subprocess.run(command, capture_output=True, text=True).stdout.split()
    wanted = {
        re.split(r"[\[=<>]", package)[0].lower() for package in [*FAMILIES[family], *WELCOME.get(family, ())]
    } | BELOW
    pairs = (line.split("==") for line in lines if "==" in line)
    return {name: version for name, version in pairs if name.lower().replace("_", "-") in wanted}
