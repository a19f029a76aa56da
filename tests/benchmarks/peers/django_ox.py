"""django-ox: a database backend of Django's own tasks (Python 3.12 or newer)."""

from tests.benchmarks.peers import MANAGE, ORM, Peer

T = "django_ox_oxtask"


class DjangoOx(Peer):
    family = "django-ox"
    n = 3000
    module = "django_tasks"
    functions = ("noop", "orm")
    keeps_history = True
    stores = "one row per task: args, status, attempts, 4 timestamps, worker ids, return value, errors with traceback"
    config = "ox_worker --processes 2 --concurrency 2"

    def settings(self):
        return {"INSTALLED_APPS": ["django_ox", ORM], "TASKS": {"default": {"BACKEND": "django_ox.backend.OxBackend"}}}

    def worker(self):
        return [*MANAGE, "ox_worker", "-v", "0", "--processes", "2", "--concurrency", "2"]

    def prepare(self):
        super().prepare()
        from django_ox.bulk import enqueue_many

        self._enqueue_many = enqueue_many

    def enqueue(self, i):
        self.task.enqueue(i)

    def enqueue_many(self, numbers):
        self._enqueue_many(self.task, [((i,), {}) for i in numbers])

    def unfinished(self):
        return self.count(f"{T} WHERE finished_at IS NULL")

    def seed(self, count):
        self.store.sql(f"""
            INSERT INTO {T} (id, task_path, args, kwargs, queue_name, priority, takes_context, backend_name, status, attempts, max_attempts,
                return_value, errors, worker_ids, enqueued_at, started_at, last_attempted_at, finished_at, lease_epoch)
            SELECT gen_random_uuid(), '{self.task.module_path}', jsonb_build_array(g), '{{}}', 'default', 0, false, 'default', 'SUCCESSFUL',
                1, 3, 'null', '[]', '["abcdefghijabcdefghij"]', at, at, at, at, 1
            FROM (SELECT g, now() - g * interval '1 second' AS at FROM {self.store.numbers(count)}) AS old""")


PEERS = [DjangoOx("django_ox", database="postgresql")]
