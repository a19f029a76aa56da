"""Celery on Redis, without results and with results in Django's database."""

from tests.benchmarks.peers import Peer

T = "django_celery_results_taskresult"
CONFIG = "celery worker -P prefork -c 2, prefetch x32, no gossip, mingle, heartbeat"
ROW = "one row per finished task in django-celery-results; the queue in Redis"


class Celery(Peer):
    family = "celery"
    uses_redis = True
    n = 6000
    module = "celery"
    stores = "nothing"
    config = CONFIG
    total = 0
    reuse = ""  # uses of a database connection; Celery's default is one

    def settings(self):
        return {"INSTALLED_APPS": ["django_celery_results"] if self.database else []}

    def environ(self):
        results = {"BENCH_CELERY_RESULTS": self.reuse} if self.database else {}
        return {"BENCH_CELERY_BROKER": self.redis.url, **results}

    def worker(self):
        quiet = [
            "--without-gossip",
            "--without-mingle",
            "--without-heartbeat",
            "-l",
            "WARNING",
            "--prefetch-multiplier",
            "32",
        ]
        return ["{bin}/celery", "-A", "tests.benchmarks.tasks.celery", "worker", "-P", "prefork", "-c", "2", *quiet]

    def enqueue(self, i):
        self.total += 1
        self.task.delay(i)

    def unfinished(self):
        return self.total - self.count(f"{T} WHERE status = 'SUCCESS'") if self.database else 0


RESULTS = {"database": "postgresql", "stores": ROW}
PEERS = [
    Celery("celery_redis"),
    Celery("celery_results", n=1000, **RESULTS),
    Celery("celery_results_reuse", n=2000, reuse="1000000", config=f"{CONFIG}; CELERY_DB_REUSE_MAX=1000000", **RESULTS),
]
