"""Database servers of the tests' own, to be crashed, filled up and started again; the shared ones are left alone."""

import os
import random
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
from django.core.management import call_command
from django.db import Error, connection

from tests.processes import manage, wait_until

NAME = "background_chaos"
PLACES = 60  # max_connections


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Server:
    """One server in a folder of its own; as root it runs under the account that its package has made."""

    account: str
    crash_by: signal.Signals
    stop_by: signal.Signals

    def __init__(self):
        self.folder = Path(tempfile.mkdtemp(prefix="background-server-", dir="/tmp"))
        self.data = self.folder / "data"
        self.port = free_port()
        self.process = None
        self.identity = {}
        if os.getuid() == 0:
            shutil.chown(self.folder, self.account)
            self.identity = {"user": self.account, "group": self.account, "extra_groups": []}
        made = subprocess.run(self.making(), capture_output=True, text=True, **self.identity)
        assert made.returncode == 0, made.stdout + made.stderr

    @classmethod
    def missing(cls):
        """Return the programs that are not installed."""
        return [str(path) for path in cls.programs() if not Path(path).exists()]

    def start(self):
        """Start it, and return at once."""
        with (self.folder / "log").open("a") as log:
            self.process = subprocess.Popen(
                list(map(str, self.running())),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env={"PATH": "/usr/bin:/bin", "LC_ALL": "C.UTF-8"},  # not the mark of the test: it lives longer
                start_new_session=True,
                **self.identity,
            )

    def stop(self, crash=False):
        self.process.send_signal(self.crash_by if crash else self.stop_by)
        self.process.wait(60)

    def remove(self):
        if self.process is not None and self.process.poll() is None:
            with suppress(ProcessLookupError):
                os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()
        shutil.rmtree(self.folder, ignore_errors=True)

    @property
    def log(self):
        return (self.folder / "log").read_text(errors="replace")[-3000:]


class PostgreSQL(Server):
    account = "postgres"
    stop_by, crash_by = signal.SIGINT, signal.SIGQUIT  # "fast" and "immediate"
    template = "postgres"
    others = (
        "SELECT pid FROM pg_stat_activity WHERE datname = current_database()"
        " AND pid <> pg_backend_pid() AND backend_type = 'client backend'"
    )
    kill = "SELECT pg_terminate_backend(%s)"

    @staticmethod
    def programs():
        folder = max(
            Path("/usr/lib/postgresql").glob("*/bin"), key=lambda path: int(path.parent.name), default=Path("/")
        )
        return folder / "initdb", folder / "postgres"

    def making(self):
        return [self.programs()[0], "-D", self.data, "-U", "root", "--auth=trust", "--no-sync"]

    def running(self):
        options = {
            "listen_addresses": "127.0.0.1",
            "unix_socket_directories": self.folder,
            "fsync": "off",
            "max_connections": PLACES,
        }
        settings = [part for name, value in options.items() for part in ("-c", f"{name}={value}")]
        return [self.programs()[1], "-D", self.data, "-p", self.port, *settings]


class MariaDB(Server):
    account = "mysql"
    stop_by, crash_by = signal.SIGTERM, signal.SIGKILL
    template = "mysql"
    others = "SELECT id FROM information_schema.processlist WHERE db = database() AND id <> connection_id()"
    kill = "KILL %s"

    @staticmethod
    def programs():
        return Path("/usr/bin/mariadb-install-db"), Path("/usr/sbin/mariadbd")

    def making(self):
        return [
            self.programs()[0], "--no-defaults", f"--datadir={self.data}", "--auth-root-authentication-method=normal",
            "--skip-test-db",
        ]  # fmt: skip

    def running(self):
        return [
            self.programs()[1], "--no-defaults", f"--datadir={self.data}", f"--port={self.port}", "--bind-address=127.0.0.1",
            f"--socket={self.folder}/socket", f"--pid-file={self.folder}/pid", f"--max-connections={PLACES}",
            "--innodb-flush-log-at-trx-commit=2", "--character-set-server=utf8mb4",
        ]  # fmt: skip


@pytest.fixture(scope="module")
def server_process():
    """A server of the kind that DATABASE_URL names, for the tests of one module."""
    kind = {"postgresql": PostgreSQL, "mysql": MariaDB}.get(connection.vendor)
    if kind is None:
        pytest.skip("SQLite has no server")
    if kind.missing():
        pytest.skip("the programs to start a database server of our own are not installed")
    server = kind()
    try:
        server.start()
        yield server
    finally:
        server.remove()


@pytest.fixture
def server(server_process, transactional_db):
    """A running server with empty tables; until the end of the test this process and its children use it, too."""
    if server_process.process.poll() is not None:  # a test that failed has left it so
        server_process.start()
    with all_use(server_process):
        yield server_process


@contextmanager
def all_use(server):
    conf = connection.settings_dict
    before = {key: conf[key] for key in ("HOST", "PORT", "USER", "PASSWORD", "NAME")}
    connection.close()
    try:
        conf.update(HOST="127.0.0.1", PORT=server.port, USER="root", PASSWORD="", NAME=server.template)
        wait_until(lambda: answers(), timeout=60)
        make_database(conf)
        call_command("flush", interactive=False, verbosity=0)
        yield
    finally:
        connection.close()
        conf.update(before)


def answers():
    try:
        connection.ensure_connection()
    except Error:
        return False
    return True


def make_database(conf):
    """Make the database with its tables, where it is not there from the test before."""
    with connection.cursor() as cursor:
        list_all = "SELECT datname FROM pg_database" if connection.vendor == "postgresql" else "SHOW DATABASES"
        cursor.execute(list_all)
        is_new = NAME not in {name for (name,) in cursor.fetchall()}
        if is_new:
            cursor.execute(f"CREATE DATABASE {NAME}")
    connection.close()
    conf["NAME"] = NAME
    if is_new:
        done = manage("migrate", "--verbosity", "0")
        assert done.returncode == 0, done.stderr


class Killer:
    """A connection that ends the connections of others, beside the one of the ORM."""

    def __init__(self, server):
        self.server = server
        self.connection = connection.copy()

    def victims(self):
        with self.connection.cursor() as cursor:
            cursor.execute(self.server.others)
            return [number for (number,) in cursor.fetchall()]

    def kill(self, *victims):
        with self.connection.cursor() as cursor:
            for one in victims:
                with suppress(Error):  # it has gone by itself
                    cursor.execute(self.server.kill, [one])

    def kill_at_random(self, seconds, pause=0.03):
        """End one connection after another; returns how many."""
        deadline, killed = time.monotonic() + seconds, 0
        while time.monotonic() < deadline:
            if victims := self.victims():
                self.kill(random.choice(victims))
                killed += 1
            time.sleep(pause)
        return killed

    def close(self):
        self.connection.close()


@contextmanager
def no_place_left(killer):
    """Take every connection that the server has to give; whoever had one has lost it."""
    held = {}

    def take_all():
        killer.kill(*(number for number in killer.victims() if number not in held))
        with suppress(Error):
            while True:
                one = connection.copy()
                one.ensure_connection()
                held[number_of(one)] = one
        return not set(killer.victims()) - set(held)

    try:
        wait_until(lambda: all(take_all() for _ in range(5)), timeout=30)
        yield
        assert not set(killer.victims()) - set(held), "a host has found a connection"
    finally:
        for one in held.values():
            one.close()


def number_of(one):
    with one.cursor() as cursor:
        cursor.execute("SELECT pg_backend_pid()" if one.vendor == "postgresql" else "SELECT connection_id()")
        return cursor.fetchone()[0]
