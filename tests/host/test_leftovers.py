"""A host leaves nothing behind: no thread, no connection, and its row says that it has ended."""

import threading
from contextlib import suppress

import pytest
from django.db import DatabaseError, connection

import background
from background.host import Options
from background.models import Host
from background.testing import run_host
from tests.app.models import Effect
from tests.processes import wait_until

pytestmark = pytest.mark.django_db(transaction=True)

BARE = Options(works=False, schedules=False)
server = pytest.mark.skipif("connection.vendor == 'sqlite'", reason="SQLite has no server")
# The connections to this database besides the one that asks.
OTHERS = {
    "postgresql": "SELECT pid FROM pg_stat_activity WHERE datname = current_database()"
    " AND pid <> pg_backend_pid() AND backend_type = 'client backend'",
    "mysql": "SELECT id FROM information_schema.processlist WHERE db = database() AND id <> connection_id()",
}
KILL = {"postgresql": "SELECT pg_terminate_backend(%s)", "mysql": "KILL %s"}


def others(cursor):
    cursor.execute(OTHERS[connection.vendor])
    return {number for (number,) in cursor.fetchall()}


def connections():
    with connection.cursor() as cursor:
        return others(cursor)


class Asks(background.BackgroundService):
    """Asks the database wherever it is called."""

    name = "asks"

    def ask(self):
        Effect.objects.count()

    on_starting = on_start = on_started = on_stopping = on_stop = on_stopped = ask

    def execute(self, stop):
        self.ask()
        stop.wait()


class AAsks(background.BackgroundService):
    name = "aasks"

    async def ask(self):
        await Effect.objects.acount()

    on_starting = on_start = on_started = on_stopping = on_stop = on_stopped = ask

    async def execute(self, stop):
        await self.ask()
        await stop.sleep()


class Mixed(AAsks):
    """Has hooks on a loop and an execute beside them."""

    name = "mixed"

    def execute(self, stop):
        Effect.objects.count()
        stop.wait()


class ATicks(background.PeriodicService):
    name = "aticks"
    schedule = background.every(seconds=0.05)
    run_at_start = True

    async def tick(self, scope):
        await Effect.objects.acount()


def test_five_hosts_leave_no_thread():
    before = set(threading.enumerate())
    for _ in range(5):
        with run_host(Asks, AAsks, Mixed, ATicks) as host:
            host.wait_for(lambda: host.service("aticks").standing.iterations)
        assert host.exit_code == 0
    left = set(threading.enumerate()) - before
    for one in left:
        one.join(5)  # those of executors end a moment later
    assert not [one.name for one in left if one.is_alive()]


@server
def test_no_connection_is_left_open():
    before = connections()
    with run_host(Asks, AAsks, Mixed, ATicks) as host:
        host.wait_for(lambda: host.service("aticks").standing.iterations)
        assert connections() - before
    # the server takes a moment to take note of a connection that was closed
    host.wait_for(lambda: not connections() - before, 5)


@server
def test_a_host_whose_connections_are_cut_at_the_end_still_writes_its_end():
    cut = set()

    class Cuts(background.BackgroundService):
        name = "cuts"

        def execute(self, stop):
            stop.wait()

        def on_stopped(self):
            with connection.cursor() as cursor:
                for number in wait_until(lambda: others(cursor)):  # the engine's
                    with suppress(DatabaseError):  # it has gone by itself
                        cursor.execute(KILL[connection.vendor], [number])
                        cut.add(number)

    with run_host(Cuts, options=BARE) as host:
        pass
    assert cut
    assert host.exit_code == 0
    connection.close()  # the test's own was cut, too
    row = Host.objects.get()
    assert (row.state, row.exit_code) == ("stopped", 0)
