"""SQLite has one lock for all writers: whoever waits for it waits, and nobody hears of it."""

import sqlite3
import time
from contextlib import ExitStack

import pytest
from django.db import connection

from background.models import Host, Run
from background.queue.enqueue import enqueue_many
from tests.chaos import background as tasks
from tests.chaos.findings import assert_all_succeeded, assert_exactly_once, assert_unburnt, wait_for_end
from tests.chaos.hosts import STARTED, ChaosHost, Fleet
from tests.processes import Process, wait_until

pytestmark = [
    pytest.mark.django_db(transaction=True),
    pytest.mark.skipif("connection.vendor != 'sqlite'", reason="only SQLite locks the whole database"),
]

CALM = {"HOST_TIMEOUT": 15, "HEARTBEAT_INTERVAL": 2}
LOCKED = "database is locked"
ENQUEUE = """
from tests.chaos import background as tasks
for number in range({first}, {last}):
    (tasks.write if number % 2 else tasks.book).enqueue(number)
"""


def test_a_host_waits_for_a_long_writer_and_goes_on(scale):
    numbers = range(scale(100, 1000))
    with ChaosHost("waits", **CALM) as host:
        host.wait_for_line(STARTED, timeout=60)
        enqueue_many((tasks.write, [n, 0.02], {}) for n in numbers)
        wait_until(lambda: Run.objects.succeeded().exists())
        writer = sqlite3.connect(connection.settings_dict["NAME"], timeout=20, isolation_level=None)
        writer.execute("BEGIN IMMEDIATE")
        time.sleep(scale(4, 8))
        writer.execute("COMMIT")
        writer.close()
        wait_for_end(60, host)
        assert host.stop() == 0, host.output
        assert LOCKED not in host.output
    assert_all_succeeded(len(numbers), host.output)
    assert_exactly_once("written", numbers)
    assert_unburnt()
    assert Host.objects.count() == 1, "the host was taken for lost"


def sender(first, last):
    """Return a process that enqueues these numbers one by one."""
    command = ("shell", "--verbosity", "0", "--command", ENQUEUE.format(first=first, last=last))
    return Process(*command, DJANGO_SETTINGS_MODULE="tests.chaos.settings")


@pytest.mark.parametrize("hosts", [1, 4], ids=["four worker processes", "four hosts"])
def test_four_processes_execute_what_four_others_enqueue(scale, hosts):
    share = scale(25, 500)
    flags = ("--concurrency", "4") if hosts == 4 else ("--concurrency", "4", "--processes", "4")
    with Fleet(hosts, *flags, **CALM) as fleet, ExitStack() as stack:
        if hosts == 1:
            fleet[0].wait_for_line(STARTED, count=5, timeout=60)
        senders = [stack.enter_context(sender(share * n, share * (n + 1))) for n in range(4)]
        codes = [one.wait(scale(60, 600)) for one in senders]
        said = "\n".join(one.output for one in senders)
        assert not any(codes) and LOCKED not in said, said
        wait_for_end(scale(60, 600), fleet)
        fleet.stop()
        assert LOCKED not in fleet.output, fleet.output
    numbers = range(share * 4)
    assert_all_succeeded(len(numbers), fleet.output)
    assert_exactly_once("written", numbers[1::2])
    assert_exactly_once("booked", numbers[::2])
