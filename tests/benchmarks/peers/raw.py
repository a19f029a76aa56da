"""The limit to compare with: a loop of psycopg alone, which claims a batch and completes it. No framework, no Django."""

from tests.benchmarks.peers import Peer

TABLE = """
    CREATE TABLE job (
        id bigserial PRIMARY KEY, state smallint NOT NULL DEFAULT 0, priority int NOT NULL DEFAULT 0,
        run_at timestamptz NOT NULL DEFAULT now(), func text NOT NULL, args jsonb NOT NULL,
        created timestamptz NOT NULL DEFAULT now(), started timestamptz, finished timestamptz, worker text)
"""
INSERT_ONE = (
    "WITH one AS (INSERT INTO job (func, args) VALUES ('noop', %s) RETURNING id) SELECT pg_notify('job', '') FROM one"
)


class Raw(Peer):
    family = "raw"
    database = "postgresql"
    django = False
    n = 60_000
    singles = 300
    keeps_history = True
    stores = "one row per job: args, state, 3 timestamps, worker"
    batch = 100
    last = 0  # id of the history

    @property
    def config(self):
        return f"one process, batches of {self.batch}, LISTEN/NOTIFY"

    def environ(self):
        return {"PGDSN": self.store.dsn()}

    def worker(self):
        return ["{python}", "-m", "tests.benchmarks.tasks.raw", str(self.batch)]

    def setup(self):
        self.store.sql(TABLE)
        self.store.sql("CREATE INDEX job_ready ON job (priority DESC, run_at, id) WHERE state = 0")

    def prepare(self):
        self.last = self.store.sql("SELECT coalesce(max(id), 0) FROM job")[0][0]

    def enqueue(self, i):
        self.store.sql(INSERT_ONE, (f'{{"i": {i}}}',))

    def enqueue_many(self, numbers):
        rows = [f'{{"i": {i}}}' for i in numbers]
        self.store.sql(
            "INSERT INTO job (func, args) SELECT 'noop', args::jsonb FROM unnest(%s::text[]) AS args", (rows,)
        )
        self.store.sql("NOTIFY job")

    def unfinished(self):
        return self.count(f"job WHERE id > {self.last} AND state < 2")

    def seed(self, count):
        self.store.sql(f"""
            INSERT INTO job (state, func, args, started, finished, worker)
            SELECT 2, 'noop', jsonb_build_object('i', g), now(), now(), 'w' FROM {self.store.numbers(count)}""")
        self.prepare()


PEERS = [Raw("raw"), Raw("raw_singly", batch=1, n=5000, singles=2000)]
