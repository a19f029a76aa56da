"""dj-queue: a database backend of Django's own tasks after Rails' Solid Queue (Python 3.12 or newer)."""

from tests.benchmarks.peers import MANAGE, ORM, Peer

T = "dj_queue_jobs"
WAITING = [f"dj_queue_{state}_executions" for state in ("ready", "claimed", "scheduled", "blocked", "failed")]


class DjQueue(Peer):
    family = "dj-queue"
    n = 3000
    module = "django_tasks"
    functions = ("noop", "orm")
    keeps_history = True
    stores = "one job row: args, 3 timestamps, return value; its rows of the queue are deleted"
    config = "dj_queue: 2 processes, 2 threads, prefetch_multiplier 50, LISTEN/NOTIFY"

    def settings(self):
        workers = {"queues": "*", "threads": 2, "processes": 2, "prefetch_multiplier": 50}
        backend = {"BACKEND": "dj_queue.backend.DjQueueBackend", "QUEUES": [], "OPTIONS": {"workers": [workers]}}
        return {
            "INSTALLED_APPS": ["dj_queue", ORM],
            "DATABASE_ROUTERS": ["dj_queue.routers.DjQueueRouter"],
            "TASKS": {"default": backend},
        }

    def worker(self):
        return [*MANAGE, "dj_queue", "-v", "0"]

    def enqueue(self, i):
        self.task.enqueue(i)

    def enqueue_many(self, numbers):
        self.task.get_backend().enqueue_all([(self.task, [i], {}) for i in numbers])

    def unfinished(self):
        return self.count(WAITING[0]) + self.count(WAITING[1])

    def seed(self, count):
        self.store.sql(f"""
            INSERT INTO {T} (id, task_path, queue_name, priority, payload, backend_alias, finished_at, return_value, created_at, updated_at)
            SELECT gen_random_uuid(), '{self.task.module_path}', 'default', 0,
                jsonb_build_object('args', jsonb_build_array(g), 'kwargs', '{{}}'::jsonb), 'default', at, 'null', at, at
            FROM (SELECT g, now() - g * interval '0.1 second' AS at FROM {self.store.numbers(count)}) AS old""")


PEERS = [DjQueue("dj_queue", database="postgresql")]
