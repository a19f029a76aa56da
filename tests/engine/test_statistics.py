"""A host writes what ended within some seconds, and the rest when it stops."""

import pytest

from background.engine import statistics
from background.models import Job, Statistic
from background.models.statistics import ALL_RUNS
from background.queue import tally
from background.testing import run_host
from tests.app import background as tasks

pytestmark = pytest.mark.django_db(transaction=True)


def succeeded(job_id=ALL_RUNS):
    return sum(Statistic.objects.hours().of_job(job_id).values_list("succeeded", flat=True))


def test_a_stop_writes_what_is_not_yet_written(monkeypatch):
    monkeypatch.setattr(statistics, "INTERVAL", 3600)
    with run_host() as hosted:
        runs = [tasks.note.enqueue(str(n)) for n in range(5)]
        hosted.wait_for(lambda: tally._noted and sum(one.total for one in tally._noted.values()) == len(runs))
        assert succeeded() == 0

    assert succeeded() == 5 and not tally._noted


def test_sums_and_the_usual_time_of_a_job_come_by_themselves(monkeypatch):
    monkeypatch.setattr(statistics, "INTERVAL", 0.05)
    job = Job.objects.create(name="digest", task=tasks.note.module_path, args=["x"])
    with run_host() as hosted:
        job.trigger()
        hosted.wait_for(lambda: Job.objects.get(pk=job.pk).duration_p50)
        assert succeeded(job.pk) == 1


def test_the_service_asks_nothing_when_nothing_ended(django_assert_num_queries):
    service = statistics.Statistics(None)
    with django_assert_num_queries(0):
        assert service.step(None) == statistics.INTERVAL
