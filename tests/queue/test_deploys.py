"""Old and new code side by side: what a worker does with runs of tasks it does not know."""

import uuid
from types import SimpleNamespace

import pytest

from background.engine.worker import Worker
from background.models import Run
from background.queue.enqueue import enqueue
from background.queue.holding import Filter, Holder
from background.stopping import StopToken
from tests.app import background as tasks
from tests.queue.helpers import take

pytestmark = pytest.mark.django_db


class Recording:
    """An executor that only keeps what it is given."""

    name, capacity, free = "thread", 9, 9

    def __init__(self):
        self.given = []

    def submit(self, execution):
        self.given.append(execution.claim.args[0])


@pytest.fixture
def worker():
    id = uuid.uuid4()
    asked = []
    host = SimpleNamespace(
        id=id,
        name="one",
        holder=Holder(id, "one"),
        filter=Filter(),
        trusted=True,
        request_stop=lambda *why: asked.append(why),
        asked=asked,
    )
    made = Worker(host, lambda: SimpleNamespace(pending={}, is_behind=False), 9, 9, drain=True)
    for one in made.executors:
        one.close()
    made.executors = (Recording(),)
    return made


def put(text, task=None):
    run = enqueue(tasks.note, [text])
    if task:
        Run.objects.filter(id=run.id).update(task=task)
    return run


def test_a_run_of_an_unknown_task_goes_back_unburnt_and_the_others_begin(worker, caplog):
    old = put("old", "old.code")
    put("known")
    place = Run.objects.get(id=old.id).position

    assert worker._fill(StopToken()) == 1

    assert worker.executors[0].given == ["known"]
    old.refresh_from_db()
    assert (old.status, old.attempt, old.position, old.token) == ("ready", 0, place, None)
    assert "runs of old.code" in caplog.text


def test_a_worker_does_not_claim_runs_of_a_task_twice_that_it_does_not_know(worker):
    put("old", "old.code")
    worker._fill(StopToken())
    put("older", "old.code")
    before = list(Run.objects.values())

    assert worker._fill(StopToken()) == 0

    assert list(Run.objects.values()) == before
    assert len(take(9)) == 2  # another host does


def test_a_drain_is_over_although_runs_are_left_for_hosts_that_know_them(worker):
    put("old", "old.code")
    worker._fill(StopToken())

    assert worker._is_over()
    assert worker.host.asked == [("nothing left to run", 0)]
