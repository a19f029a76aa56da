"""Own what a peer keeps its runs in: databases of its own on the given servers, and Redis."""

import os
from functools import cached_property
from pathlib import Path
from urllib.parse import urlsplit

from tests.benchmarks import environment
from tests.benchmarks.processes import children, named


class PostgreSQL:
    has_statements = False  # whether the server counts statements

    def __init__(self, name):
        self.name, self.url = name, urlsplit(environment.POSTGRESQL)

    def dsn(self, name=None):
        return f"postgresql://{self.url.netloc}/{name or self.name}"

    prepared = False  # whether the server remembers statements of each connection

    def settings(self):
        options = {"server_side_binding": True, "prepare_threshold": 5} if self.prepared else {}
        return {
            "ENGINE": "django.db.backends.postgresql", "NAME": self.name, "HOST": self.url.hostname, "PORT": self.url.port or 5432,
            "USER": self.url.username or "", "PASSWORD": self.url.password or "", "CONN_MAX_AGE": 600, "OPTIONS": options,
        }  # fmt: skip

    @cached_property
    def connection(self):
        import psycopg

        return psycopg.connect(self.dsn(), autocommit=True)

    def sql(self, query, params=None):
        """Execute one statement by itself and return its rows."""
        cursor = self.connection.execute(query, params)
        return cursor.fetchall() if cursor.description else []

    def server(self, query):
        import psycopg

        with psycopg.connect(self.dsn("postgres"), autocommit=True) as connection:
            cursor = connection.execute(query)
            return cursor.fetchall() if cursor.description else []

    def exists(self):
        return bool(self.server(f"SELECT 1 FROM pg_database WHERE datname = '{self.name}'"))

    def drop(self):
        self.server(f'DROP DATABASE IF EXISTS "{self.name}" WITH (FORCE)')

    def create(self):
        self.drop()
        self.server(f'CREATE DATABASE "{self.name}"')

    def settle(self):
        self.sql("VACUUM (ANALYZE)")
        self.sql("CHECKPOINT")

    def numbers(self, count):
        """SQL for a table expression with the column g, from 1 to count."""
        return f"generate_series(1, {count}) AS numbers(g)"

    def processes(self):
        """The server's, if it is on this machine."""
        return [self._postmaster, *children(self._postmaster)] if self._postmaster else []

    @cached_property
    def _postmaster(self):
        backend = self.sql("SELECT pg_backend_pid()")[0][0]
        return next((pid for pid in named("postgres") if backend in children(pid)), None)

    def count_statements(self, on):
        """Have statements counted, where the server has pg_stat_statements loaded."""
        self.has_statements = "pg_stat_statements" in self.sql("SHOW shared_preload_libraries")[0][0]
        if self.has_statements:
            self.sql("CREATE EXTENSION IF NOT EXISTS pg_stat_statements")
            verb = "SET pg_stat_statements.track = 'top'" if on else "RESET pg_stat_statements.track"
            self.sql(f'ALTER DATABASE "{self.name}" {verb}')

    def counters(self):
        """Statements and transactions so far: of this database, this question itself left out as far as possible."""
        found = {}
        which = f"datname = '{self.name}'"
        if self.has_statements:
            query = f"SELECT coalesce(sum(calls), 0) FROM pg_stat_statements JOIN pg_database d ON d.oid = dbid WHERE {which}"
            found["statements"] = int(self.sql(query)[0][0])
        query = f"SELECT xact_commit + xact_rollback FROM pg_stat_database WHERE {which}"
        return {**found, "transactions": int(self.server(query)[0][0])}


class MariaDB:
    def __init__(self, name):
        self.name, self.url = name, urlsplit(environment.MARIADB)

    @property
    def _server(self):
        user, password = self.url.username or "", self.url.password or ""
        return {"host": self.url.hostname, "port": self.url.port or 3306, "user": user, "password": password}

    def settings(self):
        server = {key.upper(): value for key, value in self._server.items()}
        options = {"charset": "utf8mb4", "isolation_level": "read committed"}
        return {
            "ENGINE": "django.db.backends.mysql",
            "NAME": self.name,
            "CONN_MAX_AGE": 600,
            "OPTIONS": options,
            **server,
        }

    def _execute(self, query, **where):
        import pymysql

        connection = pymysql.connect(**self._server, autocommit=True, **where)
        try:
            with connection.cursor() as cursor:
                cursor.execute(query)
                return list(cursor.fetchall())
        finally:
            connection.close()

    def sql(self, query):
        return self._execute(query, database=self.name)

    def exists(self):
        return bool(self._execute(f"SHOW DATABASES LIKE '{self.name}'"))

    def drop(self):
        self._execute(f"DROP DATABASE IF EXISTS `{self.name}`")

    def create(self):
        self.drop()
        self._execute(f"CREATE DATABASE `{self.name}` CHARACTER SET utf8mb4")

    def settle(self):
        names = ", ".join(f"`{name}`" for (name,) in self.sql("SHOW TABLES"))
        self.sql(f"ANALYZE TABLE {names}")

    def numbers(self, count):
        return f"(SELECT seq AS g FROM seq_1_to_{count}) AS numbers"

    def processes(self):
        return named("mariadbd", "mysqld")

    def count_statements(self, on):
        """The server always counts: of all its databases."""

    def counters(self):
        return {"statements": int(self._execute("SHOW GLOBAL STATUS LIKE 'Questions'")[0][1])}


class SQLite:
    def __init__(self, name):
        self.path = environment.folder("data") / f"{name}.sqlite3"

    def settings(self):
        pragmas = "PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL"
        options = {"transaction_mode": "IMMEDIATE", "timeout": 20, "init_command": pragmas}
        return {"ENGINE": "django.db.backends.sqlite3", "NAME": str(self.path), "CONN_MAX_AGE": 600, "OPTIONS": options}

    @cached_property
    def connection(self):
        import sqlite3

        return sqlite3.connect(self.path, timeout=30, isolation_level=None)

    def sql(self, query):
        return self.connection.execute(query).fetchall()

    def exists(self):
        return self.path.exists()

    def drop(self):
        for end in ("", "-wal", "-shm"):
            Path(f"{self.path}{end}").unlink(missing_ok=True)

    def create(self):
        self.drop()

    def settle(self):
        if self.exists():
            self.sql("ANALYZE")
            self.sql("PRAGMA wal_checkpoint(TRUNCATE)")

    def numbers(self, count):
        return f"(WITH RECURSIVE s(g) AS (SELECT 1 UNION ALL SELECT g + 1 FROM s WHERE g < {count}) SELECT g FROM s) AS numbers"

    def processes(self):
        return []

    def count_statements(self, on):
        """There is no server to count them."""

    def counters(self):
        return {}


class Redis:
    """One database of the Redis server, which is emptied."""

    def __init__(self):
        self.url = environment.REDIS
        parts = urlsplit(self.url)
        self.address = {"host": parts.hostname, "port": parts.port or 6379, "db": int(parts.path.strip("/") or 0)}

    @cached_property
    def client(self):
        import redis

        return redis.Redis(**self.address)

    def empty(self):
        self.client.flushdb()

    def processes(self):
        pid = self.client.info("server")["process_id"]
        return [pid] if os.path.exists(f"/proc/{pid}") else []

    def counters(self):
        return {"redis_commands": self.client.info("stats")["total_commands_processed"]}


STORES = {"postgresql": PostgreSQL, "mariadb": MariaDB, "sqlite": SQLite}
