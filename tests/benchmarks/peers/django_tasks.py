"""The other database backends of Django's own tasks: django-tasks-db, django-ox and dj-queue."""

from tests.benchmarks.peers import MANAGE, ORM, Peer

WAITING = [f"dj_queue_{state}_executions" for state in ("ready", "claimed")]
ARGS = "jsonb_build_array(g)"
PAYLOAD = f"jsonb_build_object('args', {ARGS}, 'kwargs', '{{}}'::jsonb)"


class Backend(Peer):
    """One that keeps a row per task."""

    database = "postgresql"
    n = 3000
    module = "django_tasks"
    functions = ("noop", "orm")
    keeps_history = True
    app = ""
    table = ""
    columns, values = "", ""  # of a finished task, in SQL

    def settings(self, **options):
        from django import VERSION

        backport = ["django_tasks"] if VERSION < (6, 0) else []
        tasks = {"BACKEND": f"{self.app}.{self.backend}", "QUEUES": [], "OPTIONS": options}
        return {"INSTALLED_APPS": [*backport, self.app, ORM], "TASKS": {"default": tasks}}

    def enqueue(self, i):
        self.task.enqueue(i)

    def unfinished(self):
        return self.count(f"{self.table} WHERE finished_at IS NULL")

    def seed(self, count):
        self.store.sql(
            f"INSERT INTO {self.table} (id, task_path, {self.columns}) SELECT gen_random_uuid(), %s, {self.values}"
            f" FROM (SELECT g, now() - g * interval '1 second' AS at FROM {self.store.numbers(count)}) AS old",
            (self.task.module_path,),
        )


class DjangoTasksDB(Backend):
    family = "django-tasks-db"
    n = 2500
    app, backend = "django_tasks_db", "DatabaseBackend"
    table = "django_tasks_database_dbtaskresult"
    columns = "status, enqueued_at, started_at, finished_at, args_kwargs, priority, worker_ids, queue_name, backend_name, run_after"
    columns += ", return_value, exception_class_path, traceback"
    values = f"""'SUCCESSFUL', at, at, at, {PAYLOAD}, 0, '["abcdefghijabcdefghijabcdefghijab"]', 'default', 'default', '9999-01-01'"""
    values += ", 'null', '', ''"
    stores = "one row per task: args, status, 3 timestamps, worker ids, return value, traceback"
    config = "db_worker --no-startup-delay: one process, one thread, its only mode"

    def worker(self):
        return [*MANAGE, "db_worker", "-v", "0", "--no-startup-delay"]


class DjangoOx(Backend):
    family = "django-ox"
    app, backend = "django_ox", "backend.OxBackend"
    table = "django_ox_oxtask"
    columns = "args, kwargs, queue_name, priority, takes_context, return_value, backend_name, status, attempts, max_attempts, errors"
    columns += ", worker_ids, lease_epoch, enqueued_at, started_at, last_attempted_at, finished_at"
    values = f"{ARGS}, '{{}}', 'default', 0, false, 'null', 'default', 'SUCCESSFUL', 1, 3, '[]'"
    values += """, '["abcdefghijabcdefghij"]', 1, at, at, at, at"""
    stores = "one row per task: args, status, attempts, 4 timestamps, worker ids, return value, errors with traceback"
    config = "ox_worker --processes 2 --concurrency 2"

    def worker(self):
        return [*MANAGE, "ox_worker", "-v", "0", "--processes", "2", "--concurrency", "2"]

    def enqueue_many(self, numbers):
        from django_ox.bulk import enqueue_many

        enqueue_many(self.task, [((i,), {}) for i in numbers])


class DjQueue(Backend):
    family = "dj-queue"
    app, backend = "dj_queue", "backend.DjQueueBackend"
    table = "dj_queue_jobs"
    columns = "queue_name, priority, payload, backend_alias, return_value, created_at, updated_at, finished_at"
    values = f"'default', 0, {PAYLOAD}, 'default', 'null', at, at, at"
    stores = "one job row: args, 3 timestamps, return value; its rows of the queue are deleted"
    config = "dj_queue: 2 processes, 2 threads, prefetch_multiplier 50, LISTEN/NOTIFY"

    def settings(self):
        workers = {"queues": "*", "threads": 2, "processes": 2, "prefetch_multiplier": 50}
        return {**super().settings(workers=[workers]), "DATABASE_ROUTERS": ["dj_queue.routers.DjQueueRouter"]}

    def worker(self):
        return [*MANAGE, "dj_queue", "-v", "0"]

    def enqueue_many(self, numbers):
        self.task.get_backend().enqueue_all([(self.task, [i], {}) for i in numbers])

    def unfinished(self):
        return sum(map(self.count, WAITING))


PEERS = [DjangoTasksDB("django_tasks_db"), DjangoOx("django_ox"), DjQueue("dj_queue")]
