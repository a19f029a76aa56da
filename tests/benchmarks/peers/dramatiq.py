"""dramatiq on Redis, by django_dramatiq."""

from tests.benchmarks.peers import Peer

PLAIN = [f"dramatiq.middleware.{name}" for name in ("AgeLimit", "TimeLimit", "Callbacks", "Retries")]


class Dramatiq(Peer):
    family = "dramatiq"
    uses_redis = True
    n = 8000
    module = "dramatiq"
    stores = "nothing"
    config = "dramatiq -p 2 -t 4"

    def settings(self):
        broker = {
            "BROKER": "dramatiq.brokers.redis.RedisBroker",
            "OPTIONS": {"url": self.redis.url},
            "MIDDLEWARE": [*PLAIN, "django_dramatiq.middleware.DbConnectionsMiddleware"],
        }
        apps = ["django_dramatiq"]
        return {"INSTALLED_APPS": apps, "DRAMATIQ_AUTODISCOVER_MODULES": [], "DRAMATIQ_BROKER": broker}

    def worker(self):
        return ["{bin}/dramatiq", "tests.benchmarks.tasks.dramatiq", "-p", "2", "-t", "4"]

    def enqueue(self, i):
        self.task.send(i)


PEERS = [Dramatiq("dramatiq_redis")]
