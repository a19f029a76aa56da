"""What is measured: each module has a few peers, which are one product on one store with one worker command."""

import copy
import importlib
import os
import pkgutil
import re
from functools import cache, cached_property

from tests.benchmarks.stores import STORES, Redis


class Peer:
    """One thing to measure; subclasses say how it is set up, filled and run."""

    family = ""  # packages that it needs, in a virtual environment of their own
    database = None  # "postgresql", "sqlite" or "mariadb"
    uses_redis = False
    django = True
    n = 10_000  # runs of a drain
    singles = 2000  # runs enqueued one by one, for that rate
    functions = ("noop",)  # which of noop, orm, coroutine, hot and job it has
    function = "noop"
    module = ""  # of tests.benchmarks.tasks, if the function is to be imported from there
    keeps_history = False
    prepared = 0  # whether PostgreSQL remembers statements of each connection
    stores = ""  # what is durable once a run is over, in words
    config = ""  # how the worker runs, in words

    def __init__(self, name, **options):
        self.name = name
        self.__dict__.update(options)

    @property
    def slug(self):
        """Its name for files and databases; a measure that keeps its database has one of its own."""
        return re.sub(r"\W+", "_", self.name) + os.environ.get("BENCH_SUFFIX", "")

    @cached_property
    def store(self):
        store = STORES[self.database]("bench_" + self.slug) if self.database else None
        if self.prepared:
            store.prepared = True
        return store

    @cached_property
    def redis(self):
        return Redis() if self.uses_redis else None

    # -- what producer and worker are started with
    def settings(self):
        """Further settings for Django."""
        return {}

    def environ(self):
        """Further environment variables."""
        return {}

    def worker(self):
        """Return the words of the worker command; {python} and {bin} are its environment's. It ends on SIGTERM."""
        raise NotImplementedError

    # -- in the producer
    def setup(self):
        """Make the tables in an empty database."""
        if self.django and self.database:
            from django.core.management import call_command

            call_command("migrate", run_syncdb=True, verbosity=0, interactive=False)
            if "orm" in self.functions:
                from tests.benchmarks.tasks import ITEMS, models

                models.Item.objects.bulk_create(models.Item() for _ in range(ITEMS))

    def prepare(self):
        """Import what enqueue() needs."""
        if self.module:
            tasks = importlib.import_module(f"tests.benchmarks.tasks.{self.module}")
            self.task = getattr(tasks, self.function)

    def enqueue(self, i):
        """Enqueue one run with the argument i; it is durable when this returns."""
        raise NotImplementedError

    enqueue_many = None  # def enqueue_many(self, numbers): the bulk call, if there is one
    chunk = 1000  # how many it is given at a time

    def unfinished(self):
        """Return how many runs the store does not call finished yet; 0 where it keeps nothing."""
        return 0

    def seed(self, count):
        """Insert finished runs, as the peer itself would have stored them."""
        raise NotImplementedError

    def count(self, rest):
        return self.store.sql(f"SELECT count(*) FROM {rest}")[0][0]

    def let_go(self):
        """Close the producer's connections: PostgreSQL would tell late what they did."""
        if self.database == "postgresql":
            self.store.connection.close()
            del self.store.connection
        if self.django and self.database:
            from django.db import connections

            connections.close_all()

    def servers(self):
        """Return the processes of its servers that are on this machine."""
        return [pid for one in (self.store, self.redis) if one for pid in one.processes()]


MANAGE = ["{python}", "-m", "django"]
ORM = "tests.benchmarks.tasks"  # the app with the table for runs that use the ORM


@cache
def registry():
    found = {}
    for module in pkgutil.iter_modules(__path__):
        for peer in importlib.import_module(f"{__name__}.{module.name}").PEERS:
            found[peer.name] = peer
    return found


def find(name):
    """Return the peer of a name such as "ours_postgresql" or, with other attributes, "ours_postgresql:processes=2"."""
    plain, *options = name.split(":")
    if plain not in registry():
        raise SystemExit(f"There is no peer {plain!r}. Known are {', '.join(registry())}.")
    peer = copy.copy(registry()[plain])
    peer.name = name
    for option in options:
        key, _, value = option.partition("=")
        if not hasattr(peer, key):
            raise SystemExit(f"{plain} has no option {key!r}.")
        setattr(peer, key, int(value) if value.isdigit() else value)
    return peer
