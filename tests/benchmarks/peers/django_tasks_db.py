"""django-tasks-db: the database backend that came with Django's tasks."""

from tests.benchmarks.peers import MANAGE, ORM, Peer

T = "django_tasks_database_dbtaskresult"


class DjangoTasksDB(Peer):
    family = "django-tasks-db"
    n = 2500
    module = "django_tasks"
    functions = ("noop", "orm")
    keeps_history = True
    stores = "one row per task: args, status, 3 timestamps, worker ids, return value, traceback"
    config = "db_worker --no-startup-delay: one process, one thread, its only mode"

    def settings(self):
        import django

        backport = ["django_tasks"] if django.VERSION < (6, 0) else []
        return {
            "INSTALLED_APPS": [*backport, "django_tasks_db", ORM],
            "TASKS": {"default": {"BACKEND": "django_tasks_db.DatabaseBackend"}},
        }

    def worker(self):
        return [*MANAGE, "db_worker", "-v", "0", "--no-startup-delay"]

    def enqueue(self, i):
        self.task.enqueue(i)

    def unfinished(self):
        return self.count(f"{T} WHERE status IN ('READY', 'RUNNING')")

    def seed(self, count):
        self.store.sql(f"""
            INSERT INTO {T} (id, status, enqueued_at, started_at, finished_at, args_kwargs, priority, task_path, worker_ids,
                queue_name, backend_name, run_after, return_value, exception_class_path, traceback)
            SELECT gen_random_uuid(), 'SUCCESSFUL', at, at, at, jsonb_build_object('args', jsonb_build_array(g), 'kwargs', '{{}}'::jsonb),
                0, '{self.task.module_path}', '["abcdefghijabcdefghijabcdefghijab"]', 'default', 'default', '9999-01-01', 'null', '', ''
            FROM (SELECT g, now() - g * interval '1 second' AS at FROM {self.store.numbers(count)}) AS old""")


PEERS = [DjangoTasksDB("django_tasks_db", database="postgresql")]
