"""The database server crashes, cuts connections or has none left: hosts wait, go on, and lose nothing."""

import random
import time
import urllib.error
import urllib.request
from contextlib import contextmanager

import pytest
from django.db import connection

from background.models import Run, Service
from background.queue.enqueue import enqueue_many
from tests.chaos import background as tasks
from tests.chaos.findings import assert_all_succeeded, assert_at_least_once, assert_exactly_once, wait_for_end
from tests.chaos.hosts import Fleet
from tests.chaos.servers import Killer, free_port, no_place_left, server, server_process  # noqa: F401 - fixtures
from tests.processes import wait_until

pytestmark = pytest.mark.django_db(transaction=True)


@contextmanager
def two_hosts_under_load(total, **settings):
    """Have two hosts execute runs, and see in the end that all is done and the hosts are well."""
    health = [free_port(), free_port()]
    numbers = range(total // 2)
    with Fleet(2, "--concurrency", "4", health=health, **settings) as fleet:
        wait_until(lambda: [readiness(port) for port in health] == [200, 200])
        enqueue_many(
            order for n in numbers for order in ((tasks.write_again, [n, 0.05], {}), (tasks.book_again, [n, 0.05], {}))
        )
        wait_until(lambda: Run.objects.succeeded().count() >= total // 10, timeout=60)
        connection.close()
        yield fleet
        wait_until(lambda: [readiness(port) for port in health] == [200, 200], timeout=60)
        wait_for_end(120, fleet)
        failing = list(Service.objects.filter(restarts__gt=0).values_list("host__name", "name", "error"))
        fleet.stop(troubled=True)
        output = fleet.output
    assert_all_succeeded(len(numbers) * 2, output)
    assert_exactly_once("booked", numbers)
    assert_at_least_once("written", numbers)
    assert not failing, f"parts of the host failed: {failing}"


def readiness(port):
    """Return what /readyz says."""
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/readyz", timeout=5) as response:
            return response.status
    except urllib.error.HTTPError as error:
        return error.code


def restart(fleet, server, crash, seconds):  # noqa: F811
    server.stop(crash=crash)
    began = time.monotonic()
    wait_until(lambda: [readiness(port) for port in fleet.health] == [503, 503], timeout=30)
    time.sleep(max(0, seconds - (time.monotonic() - began)))
    server.start()
    wait_until(lambda: [readiness(port) for port in fleet.health] == [200, 200], timeout=60)
    connection.close()


def test_hosts_outlive_crashes_and_stops_of_their_database_server(server, scale):  # noqa: F811
    with two_hosts_under_load(scale(200, 3000)) as fleet:
        for _ in range(scale(1, 5)):
            restart(fleet, server, True, random.uniform(0, 1))
            restart(fleet, server, False, random.uniform(0, 1))
        assert all(host.popen.poll() is None for host in fleet.hosts), fleet.output


def test_hosts_outlive_an_outage_that_is_longer_than_their_own_timeout(server, scale):  # noqa: F811
    with two_hosts_under_load(scale(100, 500), HOST_TIMEOUT=1.5, HEARTBEAT_INTERVAL=0.3) as fleet:
        restart(fleet, server, True, scale(2.5, 10))


def test_connections_killed_at_random_lose_and_double_nothing(server, scale):  # noqa: F811
    killer = Killer(server)
    with two_hosts_under_load(scale(600, 3000)):
        killed = killer.kill_at_random(scale(4, 20))
        killer.close()
    assert killed > scale(20, 100)
    assert Run.objects.filter(attempt__gt=1).exists(), f"none of {killed} killed connections has hit a run"


def test_a_server_without_a_free_connection_is_waited_for(server, scale):  # noqa: F811
    killer = Killer(server)
    with two_hosts_under_load(scale(200, 500)) as fleet:
        with no_place_left(killer):
            wait_until(lambda: [readiness(port) for port in fleet.health] == [503, 503], timeout=30)
            time.sleep(scale(1, 5))
            assert all(host.popen.poll() is None for host in fleet.hosts), fleet.output
        killer.close()
