"""A run that kills whoever executes it: it is found out, and what ran beside it is not blamed."""

import pytest

from background.models import Run
from background.queue.enqueue import enqueue_many
from tests.chaos import background as tasks
from tests.chaos.findings import assert_at_least_once, stories, wait_for_end
from tests.chaos.hosts import STARTED, Fleet

pytestmark = pytest.mark.django_db(transaction=True)


def test_a_run_that_kills_whoever_executes_it_fails_and_those_beside_it_succeed(scale):
    """MAX_LOST is 2, so that one more loss would be too many for a bystander."""
    beside = range(scale(20, 100))
    orders = [(tasks.write, [n, 0.7], {}) for n in beside]
    with Fleet(1, "--processes", "2", "--concurrency", "4", MAX_LOST=2, HOST_TIMEOUT=15) as fleet:
        fleet[0].wait_for_line(STARTED, count=3, timeout=60)
        enqueue_many([*orders[:2], (tasks.kill_its_process, [], {}), *orders[2:]])
        wait_for_end(scale(90, 180), fleet)
        fleet.stop()
    poison = Run.objects.get(task=tasks.kill_its_process.module_path)
    found = (poison.status, poison.lost, poison.attempt, poison.error_type)
    assert found == ("failed", 2, 1, "background.exceptions.HostLost"), stories([poison])
    others = Run.objects.exclude(id=poison.id)
    wrong = list(others.exclude(status="succeeded", lost__lte=1, attempt=1))
    assert not wrong, stories(wrong)
    assert others.filter(lost=1).exists(), "the poison was alone"
    assert_at_least_once("written", beside)
