"""huey, by its Django app."""

from tests.benchmarks.peers import Peer


class Huey(Peer):
    family = "huey"
    n = 10_000
    module = "huey"
    stores = "nothing: results only where a task returns a value, until it is read"
    config = "huey_consumer -w 2 -k process"

    def settings(self):
        huey = {"name": "bench", "immediate": False, "results": True, "store_none": False}
        if self.redis:
            huey |= {"huey_class": "huey.RedisHuey", "connection": self.redis.address}
        else:
            huey |= {"huey_class": "huey.SqliteHuey", "filename": str(self.store.path), "fsync": False}
        return {"INSTALLED_APPS": ["huey.contrib.djhuey"], "HUEY": huey, "DATABASES": {}}

    def worker(self):
        return ["{bin}/huey_consumer", "tests.benchmarks.tasks.huey.HUEY", "-w", "2", "-k", "process", "-q"]

    def setup(self):
        """It makes its tables when it is imported."""

    def enqueue(self, i):
        self.task(i)


PEERS = [
    Huey("huey_redis", uses_redis=True),
    Huey("huey_sqlite", database="sqlite", config=Huey.config + ", fsync=False (its default)"),
]
