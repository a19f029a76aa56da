"""The database server crashes, cuts connections or has none left: hosts wait, go on, and lose nothing."""

import itertools
import random
import threading
import time
import urllib.error
import urllib.request
from collections import Counter
from contextlib import contextmanager

import pytest
from django.db import InterfaceError, OperationalError, connection, connections

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


def test_who_enqueues_while_connections_are_killed_loses_and_doubles_nothing(server, scale, caplog):  # noqa: F811
    killer, over, sent, unsure = Killer(server), threading.Event(), [], []

    def send(thread):
        for number in itertools.count():
            if over.is_set():
                return connections.close_all()
            name = f"{thread}-{number}"
            try:
                tasks.write.enqueue(name)
            except (OperationalError, InterfaceError):  # the connection that asked whether it is there was killed, too
                unsure.append(name)
            else:
                sent.append(name)

    threads = [threading.Thread(target=send, args=[number]) for number in range(4)]
    for one in threads:
        one.start()
    killed = killer.kill_at_random(scale(4, 20))
    over.set()
    for one in threads:
        one.join()
    killer.close()
    connection.close()
    found = Counter(args[0] for args in Run.objects.values_list("args", flat=True))
    wrong = {name: found[name] for name in {*sent, *found} if found[name] != 1 or name not in {*sent, *unsure}}
    assert not wrong, f"of {len(sent)} these were lost or doubled: {wrong}"
    assert "the answer was lost" in caplog.text, f"none of {killed} killed connections has hit an INSERT"
    assert len(sent) > len(unsure)
