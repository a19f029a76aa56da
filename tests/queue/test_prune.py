"""How history is thrown away."""

import uuid
from datetime import timedelta

import pytest
from django.core.files.base import ContentFile
from django.core.files.storage import default_storage

from background.models import Artifact, Host, Job, Lease, Run, RunLog, Service, Skip
from background.queue import prune as module
from background.queue.limits import lock_key
from background.queue.prune import prune
from tests.queue.helpers import START as NOW
from tests.queue.helpers import host, served, take_one

pytestmark = pytest.mark.django_db


def finished(days, status="succeeded", **fields):
    at = NOW - timedelta(days=days)
    values = {"task": "a.b", "enqueued_at": at, "finished_at": at, "status": status, **fields}
    return Run.objects.create(**values)


def left():
    return set(Run.objects.all())


@pytest.mark.parametrize(("status", "days"), [("succeeded", 7), ("failed", 30), ("cancelled", 7)])
def test_finished_runs_are_kept_for_the_days_of_their_status(status, days):
    kept = finished(days - 0.1, status)
    finished(days + 0.1, status)

    assert prune(NOW) == 1
    assert left() == {kept}


def test_retention_of_none_keeps_for_ever(settings):
    settings.BACKGROUND = {"RETENTION": {"failed": None, "succeeded": 1}}
    kept = finished(4000, "failed")
    finished(2)
    assert prune(NOW) == 1
    assert left() == {kept}


@pytest.mark.parametrize("status", Run.OPEN)
def test_open_runs_are_never_deleted(status):
    kept = finished(4000, status)
    assert prune(NOW) == 0
    assert left() == {kept}


def test_a_jobs_own_days_go_before_the_sites():
    job = Job.objects.create(name="a", task="a.b", retain="40")
    plain = Job.objects.create(name="b", task="a.b")
    kept = finished(39, job=job)
    finished(41, job=job), finished(8, job=plain)
    assert prune(NOW) == 2
    assert left() == {kept}


def test_a_job_may_keep_half_a_day():
    job = Job.objects.create(name="a", task="a.b", retain="0.5")
    kept = finished(0.4, job=job)
    finished(0.6, job=job)
    assert prune(NOW) == 1
    assert left() == {kept}


def test_a_job_may_keep_its_last_runs():
    job = Job.objects.create(name="a", task="a.b", retain="2 runs")
    runs = [
        finished(days, job=job, status=status)
        for days, status in [(400, "failed"), (300, "failed"), (200, "succeeded")]
    ]
    waiting = finished(500, job=job, status="ready")

    assert prune(NOW) == 1
    assert left() == {*runs[1:], waiting}


def test_a_job_with_fewer_runs_than_it_keeps_loses_none():
    job = Job.objects.create(name="a", task="a.b", retain="2 runs")
    finished(400, job=job)
    assert prune(NOW) == 0


def test_a_job_that_keeps_no_runs_loses_all_finished_ones():
    job = Job.objects.create(name="a", task="a.b", retain="0 runs")
    finished(0.1, job=job)
    assert prune(NOW) == 1


def test_what_hangs_on_a_run_goes_with_it_files_too(settings, tmp_path):
    settings.MEDIA_ROOT = str(tmp_path)
    run, kept = finished(8), finished(1)
    for one in (run, kept):
        RunLog.objects.create(run=one, sequence=1, created_at=NOW, level="INFO", message="x")
        Artifact.objects.create(
            run=one, name="a", file=ContentFile(b"abc", name="a.txt"), content_type="text/plain", size=3
        )
    gone, stays = (Artifact.objects.get(run=one).file.name for one in (run, kept))
    assert default_storage.exists(gone)

    assert prune(NOW) == 1

    assert not default_storage.exists(gone) and default_storage.exists(stays)
    assert Artifact.objects.count() == RunLog.objects.count() == 1


def test_a_file_that_is_gone_already_does_not_keep_its_run(settings, tmp_path):
    settings.MEDIA_ROOT = str(tmp_path)
    run = finished(8)
    Artifact.objects.create(run=run, name="a", file="background/none.txt", content_type="text/plain", size=3)
    assert prune(NOW) == 1


def test_a_rerun_forgets_the_run_it_repeats():
    old = finished(8)
    new = finished(1, rerun_of=old)
    prune(NOW)
    new.refresh_from_db()
    assert new.rerun_of_id is None


def test_many_runs_are_deleted_in_batches(monkeypatch, django_assert_max_num_queries):
    monkeypatch.setattr(module, "BATCH", 10)
    for _ in range(25):
        finished(8)
    assert prune(NOW) == 25
    assert left() == set()


def test_no_more_are_deleted_than_asked_for():
    for _ in range(5):
        finished(8)
    assert prune(NOW, most=3) == 3
    assert prune(NOW, most=0) == 0
    assert prune(NOW, most=3) == 2


def test_rows_of_hosts_that_ended_go_after_a_day_and_live_ones_never():
    day = timedelta(days=1)
    for name, state, ended in [
        ("old", "stopped", 2),
        ("new", "stopped", 0.5),
        ("lost", "lost", 2),
        ("live", "running", 9),
    ]:
        row = host(name, state=state, stopped_at=NOW - ended * day)
        Service.objects.create(host=row, name="a")
    run = finished(1, host=Host.objects.get(name="old"), host_name="old")

    prune(NOW)

    assert set(Host.objects.values_list("name", flat=True)) == {"new", "live"}
    assert Service.objects.count() == 2
    run.refresh_from_db()
    assert (run.host_id, run.host_name) == (None, "old")


def test_the_row_of_a_host_stays_while_runs_of_it_wait_for_rescue():
    row = host(state="lost", stopped_at=NOW - timedelta(days=2))
    Run.objects.create(task="a.b", status="running", host=row, enqueued_at=NOW)
    prune(NOW)
    assert Host.objects.filter(id=row.id).exists()


def test_skips_go_after_ninety_days():
    job = Job.objects.create(name="a", task="a.b")
    for days in (89, 91):
        at = NOW - timedelta(days=days)
        Skip.objects.create(job=job, first=at, last=at, count=1, reason="missed")
    prune(NOW)
    assert Skip.objects.count() == 1


def test_locks_of_keys_that_nobody_uses_are_forgotten():
    run, _ = take_one(served, "acme")
    lock_key("gone")
    Lease.objects.create(name="single", holder=uuid.uuid4())
    prune(NOW)
    assert set(Lease.objects.values_list("name", flat=True)) == {f"slots:{run.concurrency_key}", "single"}


def test_the_databases_clock_decides_without_another():
    Run.objects.create(task="a.b", status="succeeded", enqueued_at=NOW, finished_at=NOW - timedelta(days=4000))
    assert prune() == 1
