"""Own where things are: folders, interpreters and servers, all from the environment."""

import os
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
HOME = Path(os.environ.get("BENCH_HOME") or Path(tempfile.gettempdir(), "background-benchmarks"))
PYTHON = f"python{sys.version_info[0]}.{sys.version_info[1]}"

# Database servers without a database's name: each peer gets one of its own. Redis with one, which is emptied.
POSTGRESQL = os.environ.get("BENCH_POSTGRESQL", "postgresql://root@127.0.0.1:5432")
MARIADB = os.environ.get("BENCH_MARIADB", "mysql://root@127.0.0.1:3306")
REDIS = os.environ.get("BENCH_REDIS", "redis://127.0.0.1:6379/9")


def folder(name):
    path = HOME / name
    path.mkdir(parents=True, exist_ok=True)
    return path


def venv(family):
    """Where the packages of a family of peers are: each round belongs to one Python."""
    return HOME / "venvs" / PYTHON / family


def python_of(family):
    return os.environ.get("BENCH_PYTHON") or str(venv(family) / "bin" / "python")


def environ(**more):
    """Return the environment of an agent or a worker: this checkout is importable there, whatever is installed."""
    return {**os.environ, "PYTHONPATH": str(ROOT), "DJANGO_SETTINGS_MODULE": "tests.benchmarks.settings", **more}
