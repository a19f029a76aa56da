"""Edits of a job's timing, however they are made: a host notices them, and what is due meanwhile is neither lost nor doubled."""

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from django.urls import reverse

from background import catalog, schedule
from background.engine.scheduler import schedule_due
from background.jobs import tasks as declarations
from background.models import Job, Run, Skip
from background.testing import FakeClock, run_host
from background.timing import parse
from tests.app.background import plain

pytestmark = pytest.mark.django_db
TASK = "tests.app.background.plain"
NOON = datetime(2026, 5, 1, 12, tzinfo=UTC)
OLD, NEW = "*/5 * * * *", "0 9 * * *"


@pytest.fixture
def clock(code):
    return FakeClock(NOON + timedelta(minutes=1))


@pytest.fixture
def rows(clock):
    """The row of a declared job that comes every five minutes, as a queryset; it is followed since 12:01."""
    schedule(plain, OLD, name="edited", timezone="UTC", overlap="allow")
    catalog.sync()
    schedule_due(clock(), Job.objects.filter(name="edited"))
    return Job.objects.filter(name="edited")


def by_save(rows, client, **fields):
    job = rows.get()
    for name, value in fields.items():
        setattr(job, name, value)
    job.save()


def by_update(rows, client, **fields):
    rows.update(**fields)


def by_admin(rows, client, **fields):
    page = reverse("admin:background_job_change", args=[rows.get().pk])
    form = client.get(page).context["adminform"].form
    shown = {one.html_name: one.value() for one in form}
    data = {name: value for name, value in shown.items() if value is not None} | {"task": TASK, **fields}
    data |= {name: json.dumps(form.initial[name]) for name in ("args", "kwargs", "backoff")}
    response = client.post(page, {name: value for name, value in data.items() if value is not False})
    assert response.status_code == 302, response.context["adminform"].form.errors


def by_deploy(rows, client, **fields):
    place = next(n for n, one in enumerate(declarations.DECLARED) if one.name == "edited")
    if "schedule" in fields:
        fields["schedule"] = parse(fields["schedule"])
    declarations.DECLARED[place] = replace(declarations.DECLARED[place], **fields)
    catalog.sync()


WAYS = [by_save, by_update, by_admin, by_deploy]
each_way = pytest.mark.parametrize("change", WAYS, ids=lambda way: way.__name__)


def times(rows):
    """What was made so far, in minutes after noon."""
    found = Run.objects.filter(job__in=rows).order_by("scheduled_for").values_list("scheduled_for", flat=True)
    return [(instant - NOON).total_seconds() / 60 for instant in found]


@each_way
def test_an_edit_takes_effect_at_the_next_look_and_fires_nothing(rows, clock, admin_client, change):
    change(rows, admin_client, schedule=NEW)
    assert schedule_due(clock.advance(seconds=1), rows) == []
    assert rows.get().next_run_at == datetime(2026, 5, 2, 9, tzinfo=UTC)


@each_way
def test_an_edit_after_the_due_time_loses_no_run(rows, clock, admin_client, change):
    clock.advance(minutes=4, seconds=1)
    change(rows, admin_client, schedule=NEW)
    schedule_due(clock.advance(seconds=1), rows)
    schedule_due(clock.advance(minutes=9), rows)
    assert times(rows) == [5]


@each_way
def test_an_edit_to_a_schedule_that_is_due_at_the_same_time_doubles_no_run(rows, clock, admin_client, change):
    clock.advance(minutes=4, seconds=1)
    change(rows, admin_client, schedule="* * * * *")
    schedule_due(clock.advance(seconds=1), rows)
    schedule_due(clock.advance(minutes=1), rows)
    assert times(rows) == [5, 6]


@each_way
def test_disabling_after_the_due_time_loses_no_run_and_enabling_makes_none_up(rows, clock, admin_client, change):
    clock.advance(minutes=4, seconds=1)
    change(rows, admin_client, enabled=False)
    schedule_due(clock.advance(seconds=1), rows)
    schedule_due(clock.advance(minutes=15), rows)
    assert (times(rows), rows.get().next_run_at) == ([5], None)
    change(rows, admin_client, enabled=True)

    assert schedule_due(clock.advance(seconds=1), rows) == []

    assert not Skip.objects.exists()
    schedule_due(clock.advance(minutes=5), rows)
    assert times(rows) == [5, 25]


@each_way
def test_an_edit_of_the_zone_takes_effect(rows, clock, admin_client, change):
    change(rows, admin_client, schedule=NEW)
    schedule_due(clock(), rows)
    change(rows, admin_client, timezone="Europe/Paris")
    schedule_due(clock.advance(seconds=1), rows)
    assert rows.get().next_run_at == datetime(2026, 5, 2, 7, tzinfo=UTC)


@pytest.mark.parametrize(
    ("field", "value"),
    [("schedule", NEW), ("timezone", ""), ("enabled", False), ("starts_at", NOON), ("ends_at", NOON)],
)
def test_each_part_of_the_timing_counts_as_edited_until_it_is_planned(rows, clock, field, value):
    assert not rows.edited().exists()
    rows.update(**{field: value})
    assert rows.edited().exists()
    schedule_due(clock(), rows)
    assert not rows.edited().exists()
    if field.endswith("_at"):
        rows.update(**{field: value + timedelta(hours=1)})
        assert rows.edited().exists()
        rows.update(**{field: None})
        assert rows.edited().exists()


def test_other_edits_leave_the_next_time_alone(rows, clock):
    before = rows.get().next_run_at
    rows.update(queue="mail", jitter=3, overlap="queue", misfire="all", args=[5])
    assert not rows.edited().exists()
    assert rows.get().next_run_at == before


def test_saving_an_instance_that_was_read_long_ago_decides_nothing_anew(rows, clock):
    rows.update(overlap="skip", misfire="all")
    old = rows.get()
    first = schedule_due(clock.advance(minutes=4), rows)
    schedule_due(clock.advance(minutes=5), rows)  # passed over: the first is open
    Run.objects.filter(id=first[0].id).update(status="succeeded", position=None)
    before = rows.get()

    old.queue = "mail"
    old.save()

    now = rows.get()
    assert (now.queue, now.cursor, now.next_run_at) == ("mail", before.cursor, before.next_run_at)
    assert schedule_due(clock.advance(minutes=1), rows) == []
    assert (times(rows), now.outcomes, Skip.objects.count()) == ([5], "o", 1)


def test_what_update_fields_names_is_saved_whatever_it_is(rows):
    job = rows.get()
    job.cursor = NOON
    job.save(update_fields=["cursor"])
    assert rows.get().cursor == NOON


def test_the_error_of_a_schedule_goes_when_it_is_mended():
    job = Job.objects.create(name="broken", task=TASK, schedule="99 * * * *", timezone="UTC")
    rows = Job.objects.filter(pk=job.pk)
    schedule_due(NOON, rows)
    assert "99" in rows.get().schedule_error

    rows.update(schedule="*/5 * * * *")
    schedule_due(NOON + timedelta(minutes=1), rows)

    assert (rows.get().schedule_error, rows.get().next_run_at) == ("", NOON + timedelta(minutes=5))


@pytest.mark.django_db(transaction=True)
def test_two_hosts_follow_each_kind_of_edit_within_two_seconds(rows, admin_client):
    with run_host() as one, run_host() as two:
        for host in (one, two):
            host.wait_for(lambda: Job.objects.edited().count() == 0)
        for number, change in enumerate(reversed(WAYS)):  # what an operator changed would stay at a deploy
            change(rows, admin_client, schedule=f"{number} 5 1 1 *")
            one.wait_for(lambda: not rows.edited().exists(), timeout=2)
            assert (rows.get().next_run_at.minute, rows.get().next_run_at.hour) == (number, 5)
        by_update(rows, admin_client, schedule="every 1s")
        two.wait_for(lambda: Run.objects.filter(job__in=rows).succeeded().exists(), timeout=4)
