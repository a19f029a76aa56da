"""What `background health` finds worth a person's attention, and what it does not."""

from datetime import timedelta

import pytest
from django.utils import timezone

from background.management.attention import attention
from background.models import Host, Queue, Run, Service
from tests.app import background as tasks

pytestmark = pytest.mark.django_db


@pytest.fixture
def host():
    return made_host("web-1:7")


def made_host(name, seconds=0, **fields):
    now = timezone.now()
    fields = {"state": "running", **fields}
    return Host.objects.create(
        name=name, pid=7, started_at=now, heartbeat_at=now - timedelta(seconds=seconds), **fields
    )


def ready(**fields):
    tasks.note.enqueue()
    Run.objects.update(**fields)


def test_runs_of_a_host_that_is_gone_are_counted(host):
    lost = made_host("web-2:9", 300, state="lost")
    ready(status="running", host=lost, host_name=lost.name, position=None)

    assert attention() == ["1 run is held by host web-2:9, which is gone or silent."]


def test_runs_of_a_live_host_are_nothing_to_say(host):
    ready(status="running", host=host, host_name=host.name, position=None)

    assert attention() == []


def test_an_unhealthy_service_is_named(host):
    Service.objects.create(host=host, name="shop.Sync", state="running", healthy=False)

    assert attention() == ["Service shop.Sync is running: misses its watchdog"]


def test_a_run_that_waits_too_long_is_told(host):
    ready(enqueued_at=timezone.now() - timedelta(minutes=11))

    (sentence,) = attention()
    assert sentence.startswith("Queue default: the oldest run waits since")


@pytest.mark.parametrize("field", ["run_after", "started_at"])
def test_a_run_that_became_ready_only_now_has_not_waited(host, field):
    ready(enqueued_at=timezone.now() - timedelta(days=1), **{field: timezone.now()})

    assert attention() == []


def test_a_paused_queue_may_wait(host):
    ready(enqueued_at=timezone.now() - timedelta(days=1))
    Queue.objects.create(name="default", paused=True)

    assert attention() == []


def test_worker_processes_serve_for_their_parent():
    parent = made_host("web-1:7", works=False)
    made_host("web-1:8", parent=parent)
    ready()

    assert attention() == []


def test_a_host_that_does_not_work_serves_no_queue():
    made_host("web-1:7", works=False)
    ready()

    assert attention() == ["Queue default has runs waiting and no live host serves it."]
