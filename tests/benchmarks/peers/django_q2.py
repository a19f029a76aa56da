"""django-q2, with its ORM broker and with Redis."""

from tests.benchmarks.peers import MANAGE, Peer


class DjangoQ2(Peer):
    family = "django-q2"
    database = "postgresql"
    n = 2000
    stores = "one row per finished task: args, result, start and stop (in PostgreSQL with either broker)"
    bulk = 1
    total = 0

    @property
    def config(self):
        return f"qcluster, 2 workers, bulk {self.bulk}, queue_limit 200"

    def settings(self):
        cluster = {
            "name": "bench",
            "workers": 2,
            "bulk": self.bulk,
            "queue_limit": 200,
            "save_limit": 0,
            "recycle": 100_000,
        }
        cluster |= {"timeout": 60, "retry": 120, "log_level": "WARNING", "scheduler": False}
        cluster |= {"redis": self.redis.address} if self.redis else {"orm": "default"}
        return {"INSTALLED_APPS": ["django.contrib.contenttypes", "django_q"], "Q_CLUSTER": cluster}

    def worker(self):
        return [*MANAGE, "qcluster"]

    def prepare(self):
        from django_q.tasks import async_task

        self.async_task = async_task

    def enqueue(self, i):
        self.total += 1
        self.async_task("tests.benchmarks.tasks.mark", i)

    def unfinished(self):
        return self.total - self.count("django_q_task")


PEERS = [DjangoQ2("django_q2_orm", bulk=50), DjangoQ2("django_q2_redis", uses_redis=True)]
