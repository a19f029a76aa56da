"""One look a second tells a host all that its services would have to ask for."""

import time
import uuid
from datetime import datetime, timedelta
from types import SimpleNamespace

import pytest

from background.dialects import dialect
from background.engine.lookout import Facts, look
from background.engine.pauses import pause_service
from background.engine.rescuer import Rescuer
from background.engine.scheduler import Scheduler
from background.engine.worker import Worker
from background.models import Host, Job, Run, Service
from background.queue.claim import claim
from background.queue.enqueue import enqueue
from background.queue.holding import Filter
from background.queue.pause import pause_queue
from background.stopping import StopToken
from tests.app import background as tasks
from tests.queue.helpers import held_by, host

pytestmark = pytest.mark.django_db

QUIET = Facts(datetime.min, None, False, False, None, None, False, None, False, None, None, False, False, None)


@pytest.fixture
def one():
    Job.objects.all().delete()
    return host("one")


def seen(one, which=None):
    """Return what is there to do: the names of the facts that say so."""
    facts = look(one.id, which or Filter())
    told = {name for name, value in facts._asdict().items() if value not in (None, False)} - {
        "now",
        "heard",
        "heard_last",
    }
    return told | {name for name in ("runs_soon", "jobs_soon", "host_gone") if getattr(facts, name)}


def test_it_is_one_statement_and_where_there_is_nothing_to_do_it_tells_of_nothing(one, django_assert_num_queries):
    with django_assert_num_queries(1):
        assert seen(one) == set()


def test_without_a_row_of_the_host_there_are_no_facts(one):
    assert look(uuid.uuid4(), None) is None


def test_the_time_is_the_databases(one):
    assert abs(look(one.id, None).now - dialect().now()) < timedelta(seconds=5)


def test_it_tells_of_a_ready_run(one):
    enqueue(tasks.note, ["a"])
    assert seen(one) == {"ready", "waiting"}


def test_a_run_that_this_host_does_not_take_only_waits(one):
    enqueue(tasks.note, ["a"])
    assert seen(one, Filter(queues=("mail",))) == seen(one, Filter(excluded=("default",))) == {"waiting"}
    pause_queue("default")
    assert seen(one) == {"waiting"}


def test_a_host_that_executes_nothing_is_told_of_no_ready_run(one):
    enqueue(tasks.note, ["a"])
    assert look(one.id, None).ready is None


def test_it_tells_of_a_run_that_waits_for_a_slot(one):
    run = enqueue(tasks.lonely)
    Run.objects.filter(id=run.id).update(status="blocked", position=None)
    assert seen(one) == {"blocked"}


@pytest.mark.parametrize(("seconds", "soon"), [(-60, True), (1, True), (60, False)])
def test_it_tells_when_the_next_scheduled_run_is_due(one, seconds, soon):
    later = dialect().now() + timedelta(hours=2)
    first, _second = (enqueue(tasks.note.using(run_after=later)) for _ in range(2))
    Run.objects.filter(id=first.id).update(run_after=dialect().now() + timedelta(seconds=seconds))
    assert seen(one) == {"run_due"} | ({"runs_soon"} if soon else set())


@pytest.mark.parametrize(("seconds", "soon"), [(-60, True), (1, True), (60, False)])
def test_it_tells_when_the_next_job_is_due(one, seconds, soon):
    job = Job.objects.create(name="mine", task=tasks.note.module_path, schedule="every 1h")
    as_planned(job, next_run_at=dialect().now() + timedelta(seconds=seconds))
    assert seen(one) == {"job_due"} | ({"jobs_soon"} if soon else set())


def as_planned(job, **changes):
    """Write what was decided of a job, so that it does not count as edited."""
    planned = {f"planned_{name}": getattr(job, name) for name in Job.TIMING}
    Job.objects.filter(pk=job.pk).update(**planned, **changes)


def test_it_tells_of_an_edited_job_and_of_one_that_is_ahead_of_the_clock(one):
    job = Job.objects.create(name="mine", task=tasks.note.module_path, schedule="every 1h")
    assert seen(one) == {"edited", "jobs_soon"}
    as_planned(job, cursor=dialect().now() + timedelta(hours=1))
    assert seen(one) == {"ahead", "jobs_soon"}


def test_it_tells_of_a_host_that_is_silent(one):
    host("two", silent=10)
    assert seen(one) == set()
    three = host("three", silent=20)
    assert seen(one) == {"host_gone"}
    Host.objects.filter(id=three.id).update(heartbeat_at=dialect().now() + timedelta(hours=1))  # the clock was set back
    assert seen(one) == {"host_gone"}


def test_it_tells_of_a_run_whose_host_is_gone(one):
    two = host("two")
    enqueue(tasks.note, ["a"])
    claim(held_by(two), 1)
    assert seen(one) == set()
    Host.objects.filter(id=two.id).update(state="lost")
    assert seen(one) == {"held", "host_gone"}


def test_it_tells_of_the_wishes_of_people_for_this_host_and_of_pauses(one):
    Service.objects.create(host=host("two"), name="other", request_verb="stop")
    assert seen(one) == set()
    Service.objects.create(host=one, name="mine", request_verb="stop")
    pause_service("mine")
    Host.objects.filter(id=one.id).update(stop_requested_at=dialect().now())
    assert seen(one) == {"wish", "paused", "stop_requested_at"}


# ------------------------------------------------------------------------------------------- what the parts make of it


def part(kind, *args):
    """A part of the engine that waits for its next step; whether it is woken."""
    made = kind(SimpleNamespace(filter=Filter(), database_away=False), *args)
    made.stop = StopToken()
    return made


def is_woken(made):
    return made.stop._take_pokes()


def facts(**changes):
    return QUIET._replace(now=dialect().now(), **changes)


def test_a_worker_comes_for_ready_runs_and_for_those_that_are_due_soon(settings):
    worker = part(Worker, lambda: None, 1, 1)
    worker.hear(facts(waiting=1, blocked=True))
    assert not is_woken(worker)
    worker.hear(facts(ready=1))
    assert is_woken(worker)
    worker.hear(facts(run_due=dialect().now()))
    assert is_woken(worker) and worker._promote_at == 0


def test_a_worker_does_not_poll_more_often_than_the_poll_interval(settings):
    settings.BACKGROUND = {"POLL_INTERVAL": 3600}
    worker = part(Worker, lambda: None, 1, 1)
    worker._asked_at = time.monotonic()
    worker.hear(facts(ready=1))
    assert not is_woken(worker)


def test_a_scheduler_comes_for_jobs_that_are_due_soon_or_were_edited():
    scheduler = part(Scheduler)
    scheduler.hear(facts(job_due=dialect().now() + timedelta(minutes=1)))
    assert not is_woken(scheduler)
    for change in ({"job_due": dialect().now()}, {"edited": True}, {"ahead": True}):
        scheduler.hear(facts(**change))
        assert is_woken(scheduler)


def test_a_rescuer_comes_at_once_for_hosts_and_now_and_then_for_what_waits():
    rescuer = part(Rescuer)
    rescuer.hear(facts(ready=1))
    assert not is_woken(rescuer)
    rescuer.hear(facts(waiting=1))
    assert is_woken(rescuer)
    rescuer.step(rescuer.stop)
    rescuer.hear(facts(waiting=1, blocked=True))
    assert not is_woken(rescuer)
    rescuer.hear(facts(held=True))
    assert is_woken(rescuer)


def test_a_rescuer_judges_nobody_right_after_it_has_heard_nothing_for_long(monkeypatch):
    judged = []
    monkeypatch.setattr("background.engine.rescuer.declare_lost", judged.append)
    rescuer = part(Rescuer)
    rescuer.hear(facts(held=True))
    rescuer.step(rescuer.stop)
    assert len(judged) == 1
    rescuer.hear(facts(held=True)._replace(now=dialect().now() + timedelta(minutes=1)))
    rescuer.step(rescuer.stop)
    assert len(judged) == 1


def test_a_rescuer_that_has_heard_of_nothing_asks_nothing(django_assert_num_queries):
    rescuer = part(Rescuer)
    rescuer.step(rescuer.stop)
    rescuer.hear(facts())
    with django_assert_num_queries(0):
        rescuer.step(rescuer.stop)
