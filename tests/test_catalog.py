"""How the jobs of the code and their rows keep in step."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from django.db.models import Q

from background import catalog, registry
from background.dialects import dialect
from background.jobs import tasks as declared
from background.models import Job
from background.timing import every
from tests.queue.helpers import at_once, host

pytestmark = pytest.mark.django_db
NAME = "app.hourly"


@pytest.fixture
def code(monkeypatch):
    """Change what the code declares: code(name, schedule=..., queue=...) or code(name, None) to remove it."""
    monkeypatch.setattr(registry, "DECLARED", list(declared.DECLARED))

    def change(name, *gone, **fields):
        index = next(n for n, one in enumerate(registry.DECLARED) if one.name == name)
        if gone:
            return registry.DECLARED.pop(index)
        old = registry.DECLARED[index]
        of_task = {one: fields.pop(one) for one in list(fields) if not hasattr(old, one)}
        if "queue" in of_task:
            of_task["queue_name"] = of_task.pop("queue")
        registry.DECLARED[index] = replace(old, task=replace(old.task, **of_task), **fields)
        return registry.DECLARED[index]

    return change


def row(name=NAME):
    return Job.objects.get(name=name)


def test_sync_makes_a_row_for_each_declared_job():
    Job.objects.all().delete()

    made = catalog.sync()

    assert {job.name for job in made} == set(registry.jobs()) == set(Job.objects.values_list("name", flat=True))
    job = row()
    assert (job.task, job.schedule, job.queue, job.overlap, job.enabled) == (
        "tests.app.background.hourly", str(every(hours=1)), "reports", "skip", True,
    )  # fmt: skip
    assert row("app.plain").description == "Return what it was given."
    assert job.is_declared and job.overrides == {} and not job.orphaned


def test_a_second_sync_changes_nothing_and_writes_nothing():
    catalog.sync()
    before = list(Job.objects.values())
    from django.db import connection
    from django.test.utils import CaptureQueriesContext

    with CaptureQueriesContext(connection) as context:
        catalog.sync()

    assert not [one for one in context.captured_queries if one["sql"].startswith(("UPDATE", "INSERT"))]
    assert list(Job.objects.values()) == before


def test_a_row_follows_the_code_where_nobody_changed_it(code):
    catalog.sync()
    code(NAME, schedule=every(hours=2), queue="slow", max_attempts=5, misfire="all")

    catalog.sync()

    job = row()
    assert (job.schedule, job.queue, job.max_attempts, job.misfire) == (str(every(hours=2)), "slow", 5, "all")
    assert job.overrides == {} and job.defaults["queue"] == "slow"


def override_by_save():
    job = row()
    job.queue = "mine"
    job.save()


def override_by_update():
    Job.objects.filter(name=NAME).update(queue="mine")


@pytest.mark.parametrize("change", [override_by_save, override_by_update])
def test_what_an_operator_changed_is_kept_when_the_code_changes(change, code):
    catalog.sync()
    change()
    assert row().overrides == {"queue": "mine"}
    code(NAME, queue="slow", priority=5)

    catalog.sync()

    job = row()
    assert (job.queue, job.priority, job.overrides, job.defaults["queue"]) == ("mine", 5, {"queue": "mine"}, "slow")


def test_an_override_that_the_code_catches_up_with_is_none_any_more(code):
    catalog.sync()
    override_by_update()
    code(NAME, queue="mine")
    catalog.sync()
    assert row().overrides == {}
    code(NAME, queue="later")
    catalog.sync()
    assert row().queue == "later"


def test_instants_and_json_are_overridden_like_all_else(code):
    start = datetime(2026, 5, 1, 12, 0, 0, 123456, tzinfo=UTC)
    code(NAME, starts_at=start.astimezone(), kwargs={"region": "EU"})
    catalog.sync()
    assert (row().starts_at, row().overrides) == (start, {})

    Job.objects.filter(name=NAME).update(ends_at=start + timedelta(days=1), kwargs={"region": "US"})
    code(NAME, starts_at=start + timedelta(hours=1))
    catalog.sync()

    job = row()
    assert job.starts_at == start + timedelta(hours=1)
    assert job.overrides == {"ends_at": "2026-05-02T12:00:00.123456+00:00", "kwargs": {"region": "US"}}


def test_reset_gives_all_overrides_back_to_the_code():
    catalog.sync()
    Job.objects.filter(name=NAME).update(queue="mine", enabled=False, starts_at=datetime(2026, 1, 1, tzinfo=UTC))
    row().reset()
    assert (row().overrides, row().queue, row().enabled, row().starts_at) == ({}, "reports", True, None)


def test_reset_of_one_field_leaves_the_others():
    catalog.sync()
    Job.objects.filter(name=NAME).update(queue="mine", priority=5)
    row().reset("queue")
    assert row().overrides == {"priority": 5}


def test_reset_of_an_instant_brings_the_codes_instant_back(code):
    start = datetime(2026, 5, 1, 12, tzinfo=UTC)
    code(NAME, starts_at=start)
    catalog.sync()
    Job.objects.filter(name=NAME).update(starts_at=None)
    row().reset("starts_at")
    assert (row().starts_at, row().overrides) == (start, {})


def test_after_a_reset_the_row_follows_the_code_again(code):
    catalog.sync()
    override_by_update()
    row().reset()
    code(NAME, queue="slow")
    catalog.sync()
    assert row().queue == "slow"


def test_a_job_made_by_hand_has_no_defaults_and_no_overrides_and_sync_leaves_it_alone():
    job = Job.objects.create(name="by hand", task="tests.app.background.note", schedule="every 5m", queue="mine")
    before = Job.objects.filter(pk=job.pk).values().get()
    host(jobs=list(registry.jobs()))

    catalog.sync(), catalog.mark_orphans()

    assert Job.objects.filter(pk=job.pk).values().get() == before
    assert not job.is_declared and job.overrides == {}


def test_a_job_made_by_hand_whose_name_the_code_takes_up_keeps_its_values_as_overrides():
    Job.objects.filter(name=NAME).delete()
    Job.objects.create(name=NAME, task="tests.app.background.hourly", schedule="0 3 * * *", queue="mine")
    catalog.sync()
    job = row()
    assert (job.schedule, job.queue) == ("0 3 * * *", "mine")
    assert set(job.overrides) == {"schedule", "queue"}


@pytest.mark.django_db(transaction=True)
def test_two_hosts_that_sync_at_once_make_each_row_once():
    for _ in range(3):
        Job.objects.all().delete()
        at_once(catalog.sync, catalog.sync, catalog.sync)
        assert set(Job.objects.values_list("name", flat=True)) == set(registry.jobs())
        assert all(job.defaults and not job.overrides for job in Job.objects.all())


# ----------------------------------------------------------------------------------------------------------- orphans


def test_a_job_that_no_live_host_declares_is_orphaned_and_kept():
    catalog.sync()
    host(jobs=[name for name in registry.jobs() if name != NAME])
    host(state="lost", jobs=[NAME])

    assert catalog.mark_orphans() == 1

    assert row().orphaned and row().enabled
    assert NAME not in Job.objects.active().values_list("name", flat=True)
    assert catalog.mark_orphans() == 0


def test_a_job_that_one_live_host_declares_is_none():
    catalog.sync()
    host(jobs=[name for name in registry.jobs() if name != NAME])
    host(jobs=[NAME])
    assert catalog.mark_orphans() == 0


def test_without_live_hosts_nothing_is_orphaned():
    catalog.sync()
    assert catalog.mark_orphans() == 0


@pytest.mark.parametrize("by", ["sync", "another host"])
def test_when_the_code_returns_so_does_the_job_and_what_passed_meanwhile_was_not_missed(by):
    catalog.sync()
    Job.objects.filter(name=NAME).update(
        orphaned=True, planned_enabled=True, queue="mine", cursor=dialect().now() - timedelta(days=1)
    )

    if by == "sync":
        catalog.sync()
    else:
        host(jobs=list(registry.jobs()))
        assert catalog.mark_orphans() == 1

    job = row()
    assert (job.orphaned, job.planned_enabled, job.overrides) == (False, False, {"queue": "mine"})
    assert job in Job.objects.edited()
    from background.engine.scheduler import schedule_due

    assert [run for run in schedule_due(dialect().now()) if run.job_name == NAME] == []


def test_a_host_schedules_the_jobs_it_declares_and_handmade_ones_of_tasks_it_knows(code):
    catalog.sync()
    known = Job.objects.create(name="known", task="tests.app.background.note")
    unknown = Job.objects.create(name="unknown", task="old.code")
    code(NAME, None)

    found = catalog.known(Job.objects.annotate(handmade=Q(defaults__isnull=True)))

    assert known in found and unknown not in found and row() not in found and row("app.plain") in found


# ------------------------------------------------------------------------------------------------------------ pauses


def test_pausing_a_job_tells_who_when_and_why_until_it_is_resumed(django_user_model):
    catalog.sync()
    job = row()

    job.pause(django_user_model.objects.create_user("ann"), "too loud")

    assert (job.enabled, job.paused_by, job.paused_reason) == (False, "ann", "too loud")
    assert abs(dialect().now() - job.paused_at) < timedelta(seconds=10)
    assert job.overrides == {"enabled": False}
    job.resume()
    assert (job.enabled, job.paused_at, job.paused_by, job.paused_reason, job.overrides) == (True, None, "", "", {})


def test_a_pause_is_kept_at_the_next_deploy(code):
    catalog.sync()
    row().pause()
    code(NAME, schedule=every(hours=2))
    catalog.sync()
    assert not row().enabled and row().schedule == str(every(hours=2))


@pytest.mark.django_db
def test_queues_that_jobs_name_get_a_row_and_those_that_have_one_keep_it():
    from background.models import Queue

    Job.objects.create(name="in a new queue", task="x", queue="brand new")
    Queue.objects.create(name="kept", paused=True)
    Job.objects.create(name="in a kept one", task="x", queue="kept")
    for _ in range(2):
        catalog.name_queues()
    assert Queue.objects.get(name="kept").paused and not Queue.objects.get(name="brand new").paused
