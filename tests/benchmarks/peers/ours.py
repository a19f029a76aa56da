"""background, from this checkout."""

from tests.benchmarks.peers import MANAGE, ORM, Peer

T = "background_run"
# Ids that grow with time, as ours do (version 7): those of history lie before the new ones in the index.
IDS = {
    "postgresql": "('0190' || lpad(to_hex(g), 8, '0') || '7' || substr(md5(g::text), 1, 3) || '8' || substr(md5(g::text), 4, 15))::uuid",
    "mariadb": "concat('0190', lpad(hex(g), 8, '0'), '7', substr(md5(g), 1, 3), '8', substr(md5(g), 4, 15))",
    "sqlite": "'0190' || printf('%08x', g) || '7' || substr(lower(hex(randomblob(2))), 2) || '8' || substr(lower(hex(randomblob(8))), 2)",
}


class Ours(Peer):
    family = "ours"
    n = 20_000
    module = "background"
    functions = ("noop", "orm", "coroutine", "hot", "job")
    keeps_history = True
    stores = "one row per run: task, arguments, 3 timestamps, host, attempts, result, errors with traceback"
    processes = 0
    concurrency = 0

    @property
    def config(self):
        words = " ".join(["runbackground", *self.flags()]) + ("" if self.flags() else ", defaults")
        return f"{words}; PREPARED_STATEMENTS" if self.prepared else words

    def flags(self):
        return [f"--{name}={value}" for name in ("processes", "concurrency") if (value := getattr(self, name))]

    def settings(self):
        import django

        backport = ["django_tasks"] if django.VERSION < (6, 0) else []
        return {
            "INSTALLED_APPS": ["django.contrib.auth", "django.contrib.contenttypes", *backport, "background", ORM],
            "TASKS": {"default": {"BACKEND": "background.backend.DatabaseBackend", "QUEUES": []}},
        }

    def worker(self):
        return [*MANAGE, "runbackground", *self.flags()]

    def setup(self):
        super().setup()
        from background.catalog import sync

        sync()

    def prepare(self):
        super().prepare()
        import background

        self._enqueue_many = background.enqueue_many

    def enqueue(self, i):
        self.task.enqueue(i)

    def enqueue_many(self, numbers):
        self._enqueue_many([(self.task, (i,), {}) for i in numbers])

    def unfinished(self):
        """By three conditions that have an index each, so that history is not read."""
        wheres = ("position IS NOT NULL", "status = 'running'", "status IN ('scheduled', 'blocked')")
        return sum(self.count(f"{T} WHERE {where}") for where in wheres)

    def seed(self, count):
        """Multiply one finished run, made by the model."""
        from datetime import timedelta

        from django.db import connection
        from django.utils import timezone

        from background.models import Run

        at = timezone.now() - timedelta(hours=1)
        ended = {"status": "succeeded", "enqueued_at": at, "started_at": at, "finished_at": at, "attempt": 1}
        Run.objects.create(task=self.task.module_path, args=[1], **ended)
        quote = connection.ops.quote_name
        columns = [quote(field.column) for field in Run._meta.concrete_fields if not field.generated]
        values = [IDS[self.database] if name == quote("id") else name for name in columns]
        self.store.sql(
            f"INSERT INTO {T} ({', '.join(columns)}) SELECT {', '.join(values)} FROM {T}, {self.store.numbers(count)}"
            f" WHERE status = 'succeeded' AND enqueued_at = (SELECT max(enqueued_at) FROM {T} WHERE status = 'succeeded')"
        )


PEERS = [Ours(f"ours_{database}", database=database) for database in ("postgresql", "sqlite", "mariadb")]
