"""procrastinate, by its Django app."""

from tests.benchmarks.peers import MANAGE, ORM, Peer


class Procrastinate(Peer):
    family = "procrastinate"
    database = "postgresql"
    n = 2500
    module = "procrastinate"
    functions = ("noop", "orm", "coroutine", "hot")
    keeps_history = True
    stores = "one row per job: args, status; one row per change of state"
    concurrency = 8

    @property
    def config(self):
        return f"procrastinate worker -c {self.concurrency}"

    def settings(self):
        return {
            "INSTALLED_APPS": ["procrastinate.contrib.django", ORM],
            "PROCRASTINATE_IMPORT_PATHS": ["tests.benchmarks.tasks.procrastinate"],
        }

    def worker(self):
        return [*MANAGE, "procrastinate", "worker", "-c", str(self.concurrency)]

    def enqueue(self, i):
        self.task.defer(i=i)

    def enqueue_many(self, numbers):
        self.task.batch_defer(*({"i": i} for i in numbers))

    def unfinished(self):
        return self.count("procrastinate_jobs WHERE status IN ('todo', 'doing')")

    def seed(self, count):
        self.store.sql("SET session_replication_role = replica")  # without its triggers
        self.store.sql(f"""
            INSERT INTO procrastinate_jobs (queue_name, task_name, priority, args, status, attempts)
            SELECT 'default', '{self.task.name}', 0, jsonb_build_object('i', g), 'succeeded', 1 FROM {self.store.numbers(count)}""")
        self.store.sql("""
            INSERT INTO procrastinate_events (job_id, type, at) SELECT id, event::procrastinate_job_event_type, now()
            FROM procrastinate_jobs, unnest(ARRAY['deferred', 'started', 'succeeded']) AS event""")
        self.store.sql("SET session_replication_role = origin")


PEERS = [Procrastinate("procrastinate")]
