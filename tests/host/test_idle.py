"""A host without work leaves the database in peace."""

import threading
import time
from collections import Counter

import pytest
from django.db import connection
from django.db.backends.signals import connection_created

from background.models import Host, Job
from background.testing import run_host
from tests.processes import wait_until

pytestmark = pytest.mark.django_db(transaction=True)

SECONDS = 8


@pytest.fixture
def asked():
    """Counts the statements of all connections that are opened from now on, by their first words."""
    counted: Counter[str] = Counter()
    lock = threading.Lock()

    def count(execute, sql, params, many, context):
        with lock:
            counted[" ".join(sql.split()[:3])] += 1
        return execute(sql, params, many, context)

    def watch(*, connection, **_):
        if count not in connection.execute_wrappers:
            connection.execute_wrappers.append(count)

    connection_created.connect(watch)
    yield counted
    connection_created.disconnect(watch)


def test_an_idle_host_asks_two_statements_a_second_at_most(asked):
    most = 2 if connection.vendor == "postgresql" else 3  # elsewhere the clock is asked for, or what wakes a host
    Job.objects.update(enabled=False)
    with run_host(HEARTBEAT_INTERVAL=2, POLL_INTERVAL=1.0) as host:
        host.wait_ready()
        first = Host.objects.get().heartbeat_at
        wait_until(lambda: Host.objects.get().heartbeat_at > first)  # what is done once after a start is done
        wait_until(lambda: Host.objects.get().heartbeat_at > first)
        before, began = asked.copy(), time.monotonic()
        threading.Event().wait(SECONDS)
        statements, seconds = asked - before, time.monotonic() - began
    assert 0 < statements.total() <= most * seconds, statements
