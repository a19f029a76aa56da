"""Owns how a database is copied and restored for a look: each of the three kinds writes a file and reads it back elsewhere.

`write` returns how many rows each table had at the very moment of the copy, `restore` how many came back.
"""

import json
import os
import shutil
import sqlite3
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

from django.apps import apps
from django.core.management import call_command
from django.db import connection, transaction

Counts = dict[str, int]

# Seconds that a program may take.
PATIENCE = 3600


class BackupFailed(Exception):
    """The backup was not made, or does not hold what it should."""


class Sqlite:
    """A copy by SQLite's own backup, opened again."""

    file_name = "database.sqlite3"
    how = "sqlite3 backup, opened again"

    def write(self, path: Path) -> Counts:
        source = sqlite3.connect(connection.settings_dict["NAME"], isolation_level=None, timeout=20)
        with closing(source), closing(sqlite3.connect(path)) as copy:
            source.execute("BEGIN")  # what is counted is what is copied, whoever writes meanwhile
            counts = self._count(source)
            source.backup(copy)
            copy.execute("PRAGMA journal_mode=DELETE")  # one file, without companions
        return counts

    def restore(self, path: Path) -> Counts:
        try:
            with closing(sqlite3.connect(path)) as copy:
                problems = [line for (line,) in copy.execute("PRAGMA integrity_check(5)")]
                if problems != ["ok"]:
                    raise BackupFailed(f"{path.name} is damaged: {'; '.join(problems)}")
                return self._count(copy)
        except sqlite3.DatabaseError as error:
            raise BackupFailed(f"{path.name} is damaged: {error}") from error

    @staticmethod
    def _count(database: sqlite3.Connection) -> Counts:
        tables = [name for (name,) in database.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        return {name: database.execute(f'SELECT count(*) FROM "{name}"').fetchone()[0] for name in tables}


class Postgres:
    """A dump by pg_dump, restored by pg_restore into a database of its own, which is dropped afterwards."""

    file_name = "database.pgdump"
    how = "pg_dump, restored into a scratch database"

    def write(self, path: Path) -> Counts:
        with snapshot(), connection.cursor() as cursor:
            cursor.execute("SELECT pg_export_snapshot()")
            (name,) = cursor.fetchone()
            counts = count(cursor, connection)
            plain = ("--format=custom", "--no-owner", "--no-privileges", f"--file={path}")
            self._run("pg_dump", connection.settings_dict["NAME"], f"--snapshot={name}", *plain)
        return counts

    def restore(self, path: Path) -> Counts:
        name = f"{connection.settings_dict['NAME'][:45]}_restore_check"
        quoted = connection.ops.quote_name(name)
        scratch = connection.copy()
        scratch.settings_dict["NAME"] = name
        with connection.cursor() as cursor:
            cursor.execute(f"DROP DATABASE IF EXISTS {quoted}")  # of a run that was killed
            cursor.execute(f"CREATE DATABASE {quoted} TEMPLATE template0")
            try:
                self._run("pg_restore", name, "--exit-on-error", "--no-owner", str(path))
                with scratch.cursor() as restored:
                    return count(restored, scratch)
            finally:
                scratch.close()
                cursor.execute(f"DROP DATABASE {quoted}")

    def _run(self, program: str, database: str, *arguments: str) -> None:
        conf = {**connection.settings_dict, "NAME": database}
        # Django knows how to say host, port and user, and hands the password on by the environment.
        (_, *where, _), env = connection.client.settings_to_cmd_args_env(conf, [])
        command = [program, *where, "--dbname", database, *arguments]
        output_of(command, f"{self.file_name}: {program} failed", {**os.environ, **(env or {})})


class Fixture:
    """Django's dumpdata, loaded into an empty SQLite database by a process of its own."""

    file_name = "database.json.gz"
    how = "dumpdata, loaded into a scratch database"

    def write(self, path: Path) -> Counts:
        # Named one by one: of a whole site dumpdata would want the models without tables, too.
        names = [model._meta.label for model in self._models()]
        with snapshot(), connection.cursor() as cursor:
            counts = count(cursor, connection, self._tables())
            call_command("dumpdata", *names, use_base_manager=True, output=str(path), verbosity=0)
        return counts

    def restore(self, path: Path) -> Counts:
        with tempfile.TemporaryDirectory() as folder:
            arguments = [str(path), f"{folder}/scratch.sqlite3", *self._tables()]
            command = [sys.executable, "-m", "project.examples.cms.restoring", *arguments]
            env = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
            return json.loads(output_of(command, f"{path.name} cannot be loaded", env))

    @staticmethod
    def _models() -> list[Any]:
        return [model for model in apps.get_models() if model._meta.managed and not model._meta.proxy]

    def _tables(self) -> list[str]:
        links = [field.remote_field.through for model in self._models() for field in model._meta.local_many_to_many]
        return sorted({model._meta.db_table for model in [*self._models(), *links]})


def output_of(command: list[str], failed: str, env: dict[str, str]) -> str:
    """Run a program and return what it printed; BackupFailed with its last words if it fails. Blocks up to an hour."""
    done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=PATIENCE)
    if done.returncode:
        raise BackupFailed(f"{failed}: {done.stderr.strip()[-500:]}")
    return done.stdout


def kind() -> Sqlite | Postgres | Fixture:
    """Return how the site's database is copied here, with what is installed."""
    if connection.vendor == "sqlite":
        return Sqlite()
    if connection.vendor == "postgresql" and shutil.which("pg_dump") and shutil.which("pg_restore"):
        return Postgres()
    return Fixture()


@contextmanager
def snapshot() -> Iterator[None]:
    """All reading in this block sees one moment."""
    with connection.cursor() as cursor:
        if connection.vendor == "mysql":  # there it is said before
            cursor.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
        with transaction.atomic():
            if connection.vendor == "postgresql":
                cursor.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
            yield


def count(cursor: Any, database: Any, tables: Iterable[str] | None = None) -> Counts:
    """Count the rows of these tables, or of all."""
    counts = {}
    for table in tables or database.introspection.table_names(cursor):
        cursor.execute(f"SELECT count(*) FROM {database.ops.quote_name(table)}")
        (counts[table],) = cursor.fetchone()
    return counts


def compare(expected: Counts, found: Counts) -> int:
    """Return the number of rows; BackupFailed names each table that does not have what it had."""
    wrong = [
        f"{table} has {found.get(table, 'no')} rows instead of {expected.get(table, 'none')}"
        for table in sorted(expected.keys() | found.keys())
        if expected.get(table) != found.get(table)
    ]
    if wrong:
        raise BackupFailed(f"The restored database differs: {', '.join(wrong)}.")
    return sum(found.values())
