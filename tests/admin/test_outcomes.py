"""A job's last thirty outcomes, each with a way to what stands behind it."""

import re
from datetime import timedelta

import pytest
from django.utils import timezone

from background.models import Job, Run, Skip
from background.testing import drain
from tests.admin import tasks_for_admin as tasks
from tests.admin.conftest import VIEWS, url

SPOKEN = re.compile(r'<a class="bg-cell bg-(\w+)" href="([^"]+)" title="[^"]+" aria-label="([^"]+)">')


def cells(client):
    """Return (look, address, what is read out) of the cells in the list of jobs."""
    return SPOKEN.findall(client.get(url("job_changelist")).content.decode())


def behind(client, address):
    """Return where a cell leads."""
    answer = client.get(address)
    assert answer.status_code == 302
    return answer.url


def page_of(run):
    return url("run_change", run.pk)


@pytest.fixture
def ended(make_run):
    """Make a run of a job that ended so many seconds ago, with its letter in the strip."""

    def make(job, status, ago, **fields):
        at = timezone.now() - timedelta(seconds=ago)
        job.outcomes = (job.outcomes + status[0])[-30:]
        Job.objects.filter(pk=job.pk).update(outcomes=job.outcomes)
        return make_run(job=job, job_name=job.name, status=status, finished_at=at, started_at=at, **fields)

    return make


def passed_over(job, letter, ago, reason=Skip.Reason.MISSED):
    at = timezone.now() - timedelta(seconds=ago)
    job.outcomes += letter
    Job.objects.filter(pk=job.pk).update(outcomes=job.outcomes)
    Skip.objects.create(job=job, first=at, last=at, count=1, reason=reason, created_at=at)


def test_each_outcome_leads_to_its_run_and_each_slot_passed_over_to_why(operator, make_job, ended):
    job = make_job(name="nightly")
    first, second = ended(job, "succeeded", 60), ended(job, "failed", 50)
    passed_over(job, "m", 40), passed_over(job, "o", 30, Skip.Reason.OVERLAP)
    third, last = ended(job, "cancelled", 20), ended(job, "succeeded", 10)
    looks, addresses, said = zip(*cells(operator), strict=True)
    assert looks == ("succeeded", "failed", "missed", "overlap", "cancelled", "succeeded")
    assert said[0] == "succeeded, 5 before the latest" and said[-1] == "succeeded, the latest"
    assert [behind(operator, addresses[place]) for place in (0, 1, 4, 5)] == [
        page_of(one) for one in (first, second, third, last)
    ]
    assert addresses[2] == addresses[3] == url("job_change", job.pk) + "#bg-skips"


def test_the_order_is_that_of_the_ends_not_of_the_beginnings(operator, make_job, ended):
    job = make_job()
    slow = ended(job, "failed", 50)
    quick = ended(job, "succeeded", 40)
    Run.objects.filter(pk=slow.pk).update(finished_at=timezone.now())
    Job.objects.filter(pk=job.pk).update(outcomes="sf")
    assert [behind(operator, address) for _look, address, _said in cells(operator)] == [
        page_of(quick), page_of(slow),
    ]  # fmt: skip


def test_what_has_ended_since_the_page_was_made_does_not_shift_it(operator, make_job, ended):
    job = make_job()
    failed = ended(job, "failed", 60)
    ended(job, "succeeded", 50)
    [(_look, address, _said), _latest] = cells(operator)
    ended(job, "succeeded", 10), ended(job, "cancelled", 5)
    assert behind(operator, address) == page_of(failed)


def test_where_the_runs_are_deleted_it_leads_to_those_that_ended_alike(operator, make_job, ended):
    job = make_job(name="nightly")
    old, _rest = ended(job, "failed", 60), [ended(job, "succeeded", 50 - n) for n in range(3)]
    [(_look, address, _said), *_more] = cells(operator)
    old.delete()
    where = url("run_changelist") + "?job=nightly&window=all"
    assert behind(operator, address) == where + "&status__exact=failed"
    for nonsense in ("", "x", "m", "mss", "s" * 500, '"><script>'):
        answer = operator.get(url("job_outcome", job.pk), {"tail": nonsense})
        assert answer.url in (where, where + "&status__exact=succeeded"), nonsense


@pytest.mark.parametrize("permissions", [VIEWS[:2], [one for one in VIEWS if one != "view_run"], ["view_run"]])
def test_the_way_needs_the_sight_of_jobs_and_of_runs(signed_in, make_job, ended, permissions):
    job = make_job()
    ended(job, "failed", 10)
    client = signed_in(*permissions)
    assert client.get(url("job_outcome", job.pk), {"tail": "f"}).status_code == 403
    assert client.get(url("job_outcome", 10**9), {"tail": "f"}).status_code == 403


def test_the_letters_that_the_queue_writes_are_those_that_are_looked_for(operator, make_job):
    job = make_job(tasks.with_context)
    runs = [job.trigger(count=number) for number in range(3)]
    runs[1].cancel()
    drain()
    job.refresh_from_db()
    assert job.outcomes[0] == "c" and len(job.outcomes) == 3
    ways = [behind(operator, address) for _look, address, _said in cells(operator)]
    assert ways == [page_of(runs[1]), page_of(runs[0]), page_of(runs[2])]
