"""A schedule that could not be read is read again later, and one whose zone has got other rules is planned by those."""

import importlib.resources
import uuid
import zoneinfo
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from background.engine import again, occurrences, scheduler
from background.engine.again import Rules, Unread
from background.engine.deciding import decide_jobs
from background.engine.scheduler import Scheduler, schedule_due
from background.models import Job, Run, Skip
from background.queue.claim import Filter, Holder
from background.stopping import StopToken
from background.testing import FakeClock
from background.timing import zones
from tests.app import background as tasks

pytestmark = pytest.mark.django_db
NOON = datetime(2026, 5, 1, 12, tzinfo=UTC)
HERE = "Test/City"


class Zones:
    """A zone database of files before the machine's, as an update of it or a smaller machine would have."""

    def __init__(self, folder):
        self._folder = folder
        self._path = (str(folder), *zoneinfo.TZPATH)
        self._old = zoneinfo.TZPATH

    def put(self, name, like):
        """Give the zone the rules of another."""
        file = self._folder / name
        file.parent.mkdir(exist_ok=True)
        file.write_bytes(rules_of(like))
        self._forget(self._path)

    def remove(self, name):
        (self._folder / name).unlink()
        self._forget(self._path)

    def restore(self):
        self._forget(self._old)

    def _forget(self, path):
        """What a restart of the process does."""
        zoneinfo.reset_tzpath(path)
        zoneinfo.ZoneInfo.clear_cache()
        zones.zone_names.cache_clear()
        occurrences._parsed.cache_clear()


def rules_of(name):
    for folder in zoneinfo.TZPATH:
        if (file := Path(folder) / name).is_file():
            return file.read_bytes()
    return importlib.resources.files("tzdata").joinpath("zoneinfo", name).read_bytes()


@pytest.fixture
def world(tmp_path):
    found = Zones(tmp_path)
    found.put(HERE, "Europe/Paris")
    yield found
    found.restore()


@pytest.fixture
def clock(db):
    Job.objects.all().delete()  # of the declared jobs, which are written with the tables
    return FakeClock(NOON)


def followed(clock, schedule="0 * * * *", name="mine", **fields):
    """Write a job by hand whose schedule is followed from now on."""
    fields = {"task": tasks.note.module_path, "timezone": HERE, "overlap": "allow", **fields}
    job = Job.objects.create(name=name, schedule=schedule, **fields)
    schedule_due(clock())
    return job


def hours(job):
    """Return what was made so far, in hours after noon."""
    found = Run.objects.filter(job=job).order_by("scheduled_for").values_list("scheduled_for", flat=True)
    return [(instant - NOON) / timedelta(hours=1) for instant in found]


# ----------------------------------------------------------------------------------------------------- not to be read


@pytest.mark.parametrize(("misfire", "made", "passed"), [("once", [4], [(3, "superseded")]), ("all", [1, 2, 3, 4], [])])
def test_what_passed_while_the_zone_was_unknown_is_missed_and_not_lost(clock, world, misfire, made, passed):
    job, other = followed(clock, misfire=misfire), followed(clock, name="other", timezone="UTC")
    world.remove(HERE)
    for _ in range(3):
        schedule_due(clock.advance(hours=1, seconds=1))
    job.refresh_from_db()
    assert (hours(job), job.next_run_at) == ([], None) and HERE in job.schedule_error
    assert hours(other) == [1, 2, 3]  # others are not affected
    assert Unread().readable() == []
    world.put(HERE, "Europe/Paris")

    decide_jobs(Unread().readable(), clock.advance(hours=1))

    assert hours(job) == made
    assert [(skip.count, skip.reason) for skip in Skip.objects.filter(job=job)] == passed
    job.refresh_from_db()
    assert (job.schedule_error, job.next_run_at) == ("", NOON + timedelta(hours=5))
    assert Unread().readable() == []


def test_a_job_that_was_edited_while_it_could_not_be_read_makes_nothing_up(clock, world):
    job = followed(clock)
    world.remove(HERE)
    schedule_due(clock.advance(hours=1))
    Job.objects.filter(pk=job.pk).update(timezone="UTC")
    schedule_due(clock.advance(hours=3, seconds=1))
    job.refresh_from_db()
    assert (hours(job), job.schedule_error, job.next_run_at) == ([], "", NOON + timedelta(hours=5))


def test_a_text_that_never_was_a_schedule_is_asked_for_less_and_less_often(clock, world, monkeypatch, caplog):
    job = followed(clock, "nonsense")
    now = 1000.0
    monkeypatch.setattr(again, "time", SimpleNamespace(monotonic=lambda: now))
    unread, looks = Unread(), []
    for _ in range(3000):
        with CaptureQueriesContext(connection) as found:
            assert unread.readable() == []
        looks += [now] * len(found)
        now += 0.1
    pauses = [round(b - a) for a, b in zip(looks, looks[1:], strict=False)]
    assert pauses[:6] == [2, 4, 8, 16, 32, 60] and set(pauses[6:]) == {60}
    assert caplog.text.count("cannot be scheduled") == 1
    job.refresh_from_db()
    assert "five fields are expected" in job.schedule_error


def test_a_further_schedule_that_cannot_be_read_is_asked_for_soon(clock, world, monkeypatch):
    now = 1000.0
    monkeypatch.setattr(again, "time", SimpleNamespace(monotonic=lambda: now))
    followed(clock, "nonsense")
    unread = Unread()
    for pause in (0, 2, 4, 8):
        now += pause
        unread.readable()
    job = followed(clock, name="further")
    Job.objects.filter(pk=job.pk).update(next_run_at=None, schedule_error="no such zone")
    now += 16
    assert unread.readable() == [job.pk]
    now += 2
    assert unread.readable() == [job.pk]


def test_an_error_of_a_last_occurrence_stays_to_be_seen(clock, world, code):
    task = code(lambda key: key, unique="{key}")
    job = followed(clock, "at 2026-05-01T12:30:00Z", task=task.module_path)
    schedule_due(clock.advance(hours=1))
    assert Unread().readable() == []
    job.refresh_from_db()
    assert "missing a required argument: 'key'" in job.schedule_error and job.next_run_at is None


# -------------------------------------------------------------------------------------------------------- other rules


@pytest.fixture
def at_once(monkeypatch):
    monkeypatch.setattr(again, "PACE", 0)


def test_a_next_time_is_computed_anew_by_the_rules_that_a_zone_has_now(clock, world, at_once, caplog):
    """The update of the zone database brings it forward by seven hours: without a look it would come seven hours late."""
    job, other = followed(clock, "0 18 * * *"), followed(clock, "0 18 * * *", name="other", timezone="UTC")
    job.refresh_from_db()
    assert job.next_run_at == NOON + timedelta(hours=4)
    world.put(HERE, "Asia/Kolkata")  # 18:00 is 12:30 in UTC, and not 16:00
    rules = Rules()

    for _ in range(3):
        rules.heed()

    job.refresh_from_db()
    assert (job.next_run_at, job.cursor) == (NOON + timedelta(minutes=30), NOON)
    assert f"job mine comes at {job.next_run_at} by the rules of its zone" in caplog.text
    schedule_due(clock.advance(minutes=31))
    assert (hours(job), hours(other)) == ([0.5], [])
    assert caplog.text.count("by the rules") == 1


def test_a_time_that_comes_later_by_new_rules_does_not_come_at_its_old_time(clock, world):
    job = followed(clock, "0 18 * * *")
    world.put(HERE, "America/New_York")  # 18:00 is 22:00 in UTC
    for _ in range(6):
        schedule_due(clock.advance(hours=1))
    assert hours(job) == []
    for _ in range(6):
        schedule_due(clock.advance(hours=1))
    assert hours(job) == [10]


def test_rules_are_compared_once_and_some_jobs_at_a_time(clock, world, at_once, monkeypatch):
    monkeypatch.setattr(again, "SLICE", 3)
    jobs = [followed(clock, "0 18 * * *", name=f"job {n}") for n in range(8)]
    Job.objects.filter(pk=jobs[0].pk).update(task="nobody.knows.it")
    Job.objects.filter(pk=jobs[1].pk).update(next_run_at=NOON - timedelta(days=9), cursor=NOON - timedelta(days=9))
    world.put(HERE, "Asia/Kolkata")
    rules = Rules()
    changed = []
    for _ in range(6):
        rules.heed()
        changed.append(Job.objects.filter(next_run_at=NOON + timedelta(minutes=30)).count())
    assert changed == [1, 4, 6, 6, 6, 6]
    with CaptureQueriesContext(connection) as found:
        rules.heed()
    assert not found.captured_queries


def test_rules_are_compared_in_a_second_of_their_own(clock, world, monkeypatch):
    now = 1000.0
    monkeypatch.setattr(again, "time", SimpleNamespace(monotonic=lambda: now))
    monkeypatch.setattr(again, "SLICE", 1)
    for n in range(3):
        followed(clock, "0 18 * * *", name=f"job {n}")
    rules, looks = Rules(), []
    for _ in range(50):
        with CaptureQueriesContext(connection) as found:
            rules.heed()
        looks.append(len(found))
        now += 0.25
    assert looks == [1, 0, 0, 0] * 4 + [0] * 34


def test_what_another_host_has_decided_meanwhile_is_not_set_back(clock, world, monkeypatch):
    job = followed(clock, "0 18 * * *")
    world.put(HERE, "Asia/Kolkata")
    compute = again._next

    def slow(row):
        found = compute(row)
        schedule_due(clock.advance(hours=5))
        return found

    monkeypatch.setattr(again, "_next", slow)
    Rules().heed()
    job.refresh_from_db()
    assert job.next_run_at == NOON + timedelta(days=1, minutes=30)


# -------------------------------------------------------------------------------------------------------- the service


@pytest.fixture
def service():
    id = uuid.uuid4()
    return Scheduler(SimpleNamespace(id=id, name="one", holder=Holder(id, "one"), filter=Filter(), database_away=False))


def test_a_scheduler_looks_again_by_itself(service, world, db):
    Job.objects.all().delete()
    job = followed(FakeClock(), "* * * * *")
    hour_ago = datetime.now(UTC) - timedelta(hours=1)
    rows = Job.objects.filter(pk=job.pk)
    rows.update(cursor=hour_ago, next_run_at=None, schedule_error="no such zone")
    service.step(StopToken())
    assert Run.objects.filter(job=job).count() == 1 and rows.get().schedule_error == ""

    rows.update(next_run_at=datetime.now(UTC) + timedelta(days=5))
    service = Scheduler(service.host)
    service.step(StopToken())
    assert rows.get().next_run_at <= datetime.now(UTC) + timedelta(minutes=1)


class Leaping:
    """A database whose clock is set."""

    def __init__(self):
        self.time = NOON

    def now(self):
        return self.time


@pytest.mark.parametrize(("leap", "said"), [(timedelta(hours=2), True), (timedelta(minutes=50), False)])
def test_a_clock_that_leaps_forward_is_told_with_both_spans(service, clock, monkeypatch, caplog, leap, said):
    leaping, stop = Leaping(), StopToken()
    monkeypatch.setattr(scheduler, "dialect", lambda: leaping)
    service.step(stop)
    leaping.time += leap
    service.step(stop)
    service.step(stop)
    assert caplog.text.count(f"the database's clock went on by {leap} within 0:00:0") == said
