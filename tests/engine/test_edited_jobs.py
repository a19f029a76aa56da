"""Edits of a job's timing that a host must notice, and errors that must go once they are mended."""

from datetime import UTC, datetime, timedelta

import pytest

from background.engine.scheduler import schedule_due
from background.models import Job, Run
from background.testing import run_host

pytestmark = pytest.mark.django_db
TASK = "tests.app.background.plain"
NOON = datetime(2026, 5, 1, 12, tzinfo=UTC)


def test_the_error_of_a_schedule_goes_when_it_is_mended():
    job = Job.objects.create(name="edited", task=TASK, schedule="99 * * * *", timezone="UTC")
    rows = Job.objects.filter(pk=job.pk)
    schedule_due(NOON, rows)
    assert "99" in rows.get().schedule_error

    rows.update(schedule="*/5 * * * *")
    schedule_due(NOON + timedelta(minutes=1), rows)

    assert (rows.get().schedule_error, rows.get().next_run_at) == ("", NOON + timedelta(minutes=5))


@pytest.mark.django_db(transaction=True)
def test_a_host_follows_an_edit_within_two_seconds():
    job = Job.objects.create(name="edited", task=TASK, schedule="0 0 1 1 *")
    with run_host() as host:
        host.wait_for(lambda: Job.objects.get(pk=job.pk).next_run_at)
        Job.objects.filter(pk=job.pk).update(schedule="every 1s")
        host.wait_for(lambda: Job.objects.get(pk=job.pk).planned_schedule == "every 1s", timeout=2)
        host.wait_for(lambda: Run.objects.filter(job=job).succeeded().exists(), timeout=4)
