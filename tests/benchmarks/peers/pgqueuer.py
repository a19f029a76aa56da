"""pgqueuer: PostgreSQL without Django, asyncpg in the worker, psycopg in the producer."""

import os
import subprocess

from tests.benchmarks import environment
from tests.benchmarks.peers import Peer


class PgQueuer(Peer):
    family = "pgqueuer"
    database = "postgresql"
    django = False
    n = 20_000
    functions = ("noop", "coroutine")  # all are coroutines
    keeps_history = True
    stores = "3 log rows per job, without args; the row in the queue is deleted"
    config = "pgq run --batch-size 100, asyncpg"

    def environ(self):
        return {"PGDSN": self.store.dsn()}

    def worker(self):
        return [
            "{bin}/pgq",
            "run",
            "tests.benchmarks.tasks.pgqueuer:main",
            "--batch-size",
            "100",
            "--log-level",
            "WARNING",
        ]

    def setup(self):
        pgq = os.path.join(os.path.dirname(environment.python_of(self.family)), "pgq")
        subprocess.run(
            [pgq, "install"], check=True, env=environment.environ(**self.environ()), stdout=subprocess.DEVNULL
        )

    def prepare(self):
        from pgqueuer.db import SyncPsycopgDriver
        from pgqueuer.queries import SyncQueries

        self.queries = SyncQueries(SyncPsycopgDriver(self.store.connection))

    def enqueue(self, i):
        self.queries.enqueue("noop", b"%d" % i)

    def enqueue_many(self, numbers):
        count = len(numbers)
        self.queries.enqueue(["noop"] * count, [b"%d" % i for i in numbers], [0] * count)

    def unfinished(self):
        return self.count("pgqueuer")

    def seed(self, count):
        self.store.sql(f"""
            INSERT INTO pgqueuer_log (job_id, status, priority, entrypoint, aggregated)
            SELECT -g, state::pgqueuer_status, 0, 'noop', true
            FROM {self.store.numbers(count)}, unnest(ARRAY['queued', 'picked', 'successful']) AS state""")


PEERS = [PgQueuer("pgqueuer")]
