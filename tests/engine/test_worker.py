"""The worker keeps the executors busy and hands back what it does not begin."""

import threading
import uuid
from datetime import timedelta
from types import SimpleNamespace

import pytest
from django.db import OperationalError, connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

import background
from background.engine import worker as module
from background.engine.worker import Worker
from background.execution.runner import run
from background.host.host import Options
from background.models import Run
from background.queue.claim import claim_next
from background.queue.enqueue import enqueue
from background.queue.finish import release
from background.queue.holding import Filter, Holder
from background.queue.outcome import Kind, Outcome
from background.stopping import Deadline, StopToken
from background.testing import run_host
from tests.app import background as tasks
from tests.queue.helpers import status

pytestmark = pytest.mark.django_db


class Hands:
    """An executor that only holds what it is given."""

    def __init__(self, name="thread", capacity=2):
        self.name, self.capacity, self.given, self.cancelled = name, capacity, [], []

    @property
    def free(self):
        return self.capacity - len(self.given)

    def submit(self, execution):
        self.given.append(execution)

    def cancel(self, execution):
        self.cancelled.append(execution)

    cut = cancel

    def enforce(self):
        return None

    def drain(self):
        taken, self.given = self.given, []
        return taken

    def stack_of(self, execution):
        return "File x, line 1"


class Harness:
    def __init__(self, **options):
        id = uuid.uuid4()
        self.stops = []
        host = SimpleNamespace(
            id=id, name="one", holder=Holder(id, "one"), filter=Filter(), database_away=False, trusted=True,
            request_stop=lambda reason, code=None: self.stops.append((reason, code)),
        )  # fmt: skip
        self.recorder = SimpleNamespace(pending={}, is_behind=False, put=lambda *what: self.done.append(what))
        self.done = []
        self.worker = Worker(host, lambda: self.recorder, 2, 2, **options)
        self.hands = Hands()
        self.worker.executors = (self.hands,)
        self.stop = StopToken()

    def step(self):
        return self.worker.step(self.stop)

    def end(self, execution):
        return self.worker._done(execution, Outcome(execution.claim, Kind.SUCCEEDED))

    @property
    def given(self):
        return [one.claim.args for one in self.hands.given]


@pytest.fixture
def harness():
    return Harness()


def put(count):
    return [enqueue(tasks.note, [str(n)]) for n in range(count)]


def test_it_claims_as_many_as_its_free_slots_can_use_in_order(harness):
    put(5)
    assert harness.step() == 0
    assert harness.given == [["0"], ["1"]]
    assert Run.objects.running().count() == 2


def test_a_look_in_vain_for_another_executor_makes_the_next_claim_no_dearer(harness):
    """It is expected that the next run is for the executor of the last one: else a claim is a look and a second way."""
    harness.worker.executors = (harness.hands, Hands("loop"))
    put(5)
    claims = []
    for _ in range(3):
        with CaptureQueriesContext(connection) as captured:
            harness.step()
        claims.append(len(captured))
        if len(claims) == 2:  # while the threads are busy only the loop has room, and there is nothing for it
            harness.hands.given.clear()
    assert Run.objects.running().count() == 4
    assert claims[2] <= claims[0]


def test_with_all_slots_taken_it_claims_nothing(harness):
    put(5)
    harness.step()
    harness.step()
    assert Run.objects.running().count() == 2


def test_each_executor_gets_the_runs_that_are_its_own(harness):
    loop = Hands("loop")
    harness.worker.executors = (harness.hands, loop)
    put(1)
    enqueue(tasks.anote, ["a"])
    harness.step()
    harness.step()
    assert (harness.given, [one.claim.args for one in loop.given]) == ([["0"]], [["a"]])


def test_pauses_grow_while_there_is_nothing_and_shrink_with_work(harness):
    pauses = [harness.step() for _ in range(12)]
    assert pauses[0] < 0.1 and pauses[-1] == 4.0
    put(1)
    assert harness.step() == 0
    harness.hands.given.clear()
    assert harness.step() < 0.1


def test_it_comes_back_when_the_next_scheduled_run_is_due(harness):
    run = enqueue(tasks.note.using(run_after=timezone.now() + timedelta(milliseconds=300)))
    for _ in range(20):
        pause = harness.step()
    assert pause <= 0.3
    Run.objects.filter(id=run.id).update(run_after=timezone.now() - timedelta(seconds=1))
    harness.worker._promote_at = 0
    harness.step()
    assert status(run) == "running"


def test_nothing_more_is_begun_while_the_recorder_is_behind(harness):
    put(1)
    harness.recorder.is_behind = True
    harness.step()
    assert harness.given == []
    harness.recorder.is_behind = False
    harness.step()
    assert harness.given == [["0"]]


def test_no_more_than_max_runs_are_begun_and_then_the_host_is_asked_to_stop():
    harness = Harness(max_runs=1)
    put(3)
    harness.step()
    assert len(harness.given) == 1 and harness.stops == []
    harness.end(harness.hands.given.pop())
    harness.recorder.pending = {1: None}
    harness.step()
    assert harness.stops == []  # not before its outcome is written
    harness.recorder.pending = {}
    harness.step()
    assert harness.stops == [("1 runs done", 0)]
    assert Run.objects.ready().count() == 2


def test_a_drain_asks_the_host_to_stop_when_nothing_is_ready():
    harness = Harness(drain=True)
    put(1)
    harness.step()
    assert harness.stops == []
    harness.end(harness.hands.given.pop())
    harness.step()
    assert harness.stops == [("nothing left to run", 0)]


def test_what_was_claimed_when_the_stop_came_goes_back_unburnt(harness, monkeypatch):
    (run,) = put(1)

    def late(*args, **kwargs):
        claims = claim_next(*args, **kwargs)
        harness.stop.request("shutdown")
        return claims

    monkeypatch.setattr(module, "claim_next", late)
    harness.step()

    run.refresh_from_db()
    assert (run.status, run.attempt, harness.given) == ("ready", 0, [])


@pytest.mark.parametrize("then", ["step", "last step"])
def test_a_claim_whose_answer_was_lost_goes_back_unburnt(harness, monkeypatch, then):
    runs = put(2)

    def lost(*args, **kwargs):
        claim_next(*args, **kwargs)
        raise OperationalError("closed after the commit")

    with monkeypatch.context() as patch, pytest.raises(OperationalError):
        patch.setattr(module, "claim_next", lost)
        harness.step()
    assert [status(run) for run in runs] == ["running", "running"]

    if then == "step":
        harness.step()
        assert sorted(harness.given) == [["0"], ["1"]]
        assert list(Run.objects.values_list("attempt", flat=True)) == [1, 1]
    else:
        harness.worker.last_step(harness.stop)
        assert list(Run.objects.values_list("status", "attempt")) == [("ready", 0), ("ready", 0)]


def test_runs_that_are_being_executed_are_not_handed_back_for_a_lost_answer(harness, monkeypatch):
    harness.hands.capacity = 1
    put(2)
    harness.step()
    harness.hands.capacity = 2
    monkeypatch.setattr(module, "claim_next", lambda *args, **kwargs: (_ for _ in ()).throw(OperationalError("gone")))
    with pytest.raises(OperationalError):
        harness.step()
    monkeypatch.undo()
    harness.step()
    assert harness.given == [["0"], ["1"]]
    assert list(Run.objects.values_list("status", "attempt")) == [("running", 1), ("running", 1)]


@pytest.mark.parametrize(("why", "reason"), [("enough", "cancelled"), ("replaced", "replaced")])
def test_a_wish_to_end_reaches_the_token_and_the_executor_once(harness, why, reason):
    put(1)
    harness.step()
    (execution,) = harness.hands.given
    harness.worker.asked(execution, why)
    harness.worker.asked(execution, why)
    assert (execution.reason, harness.hands.cancelled) == (reason, [execution])


def test_a_host_that_is_lost_tells_its_runs(harness):
    put(1)
    harness.step()
    harness.worker.host_lost()
    assert harness.hands.given[0].reason == "host-lost"


def test_at_the_end_what_is_not_begun_goes_back_unburnt(harness):
    put(2)
    harness.step()
    harness.worker.last_step(harness.stop)
    assert list(Run.objects.values_list("status", "attempt")) == [("ready", 0), ("ready", 0)]
    assert harness.worker.active() == []


def test_at_the_end_what_is_deaf_goes_back_with_its_stack_in_the_log(harness, monkeypatch, caplog):
    put(1)
    harness.step()
    monkeypatch.setattr(harness.hands, "drain", list)  # it has begun
    harness.stop.request("shutdown", Deadline(0))

    harness.worker.last_step(harness.stop)

    assert Run.objects.values_list("status", "attempt").get() == ("ready", 0)
    assert "does not stop and is handed back" in caplog.text and "File x, line 1" in caplog.text
    harness.end(harness.hands.given[0])
    assert harness.done == []  # what it says now is nobody's


# --------------------------------------------------------------------------------------------------- with a real host


@pytest.mark.django_db(transaction=True)
def test_a_new_run_starts_at_once_and_not_at_the_next_poll():
    tasks.GATES.clear()
    with run_host(POLL_INTERVAL=30):
        tasks.wait_at.enqueue("now")
        assert tasks.gate("now.arrived").wait(5)
        tasks.gate("now").set()


@pytest.mark.django_db(transaction=True)
def test_runs_are_executed_side_by_side_up_to_the_concurrency():
    tasks.GATES.clear()
    names = [f"side {n}" for n in range(3)]
    with run_host(options=Options(schedules=False), CONCURRENCY=2) as host:
        for name in names:
            tasks.wait_at.enqueue(name)
        assert all(tasks.gate(f"{name}.arrived").wait(5) for name in names[:2])
        assert not tasks.gate("side 2.arrived").is_set()
        tasks.gate("side 0").set()
        assert tasks.gate("side 2.arrived").wait(5)
        for name in names:
            tasks.gate(name).set()
        host.wait_for(lambda: Run.objects.succeeded().filter(task=tasks.wait_at.module_path).count() == 3)


@pytest.mark.django_db(transaction=True)
def test_two_hosts_share_the_work_and_execute_each_run_once():
    with run_host(), run_host() as host:
        background.enqueue_many([(tasks.note, [str(n)], {}) for n in range(60)])
        host.wait_for(lambda: Run.objects.succeeded().filter(task=tasks.note.module_path).count() == 60)
    assert sorted(tasks.Effect.objects.filter(name="note").values_list("note", flat=True)) == sorted(
        str(n) for n in range(60)
    )
    assert threading.active_count() < 50


@pytest.mark.django_db(transaction=True)
def test_a_run_is_awaited_while_a_host_executes_it():
    with run_host():
        run = Run.objects.get(id=tasks.plain.enqueue(5, word="w").id)
        assert run.wait(10).result == [5, "w"]


@pytest.mark.django_db(transaction=True)
def test_a_job_is_scheduled_and_executed_by_a_host():
    job = background.models.Job.objects.create(name="each second", task=tasks.note.module_path, schedule="every 1s")
    with run_host() as host:
        host.wait_for(lambda: Run.objects.filter(job=job, status="succeeded", trigger="schedule").exists())


# ------------------------------------------------------------------------------------------------------ reading ahead


@pytest.fixture
def lanes(harness):
    """A worker that has claimed a lane of three runs of a key with one slot."""
    harness.hands.capacity = 5
    harness.worker._lookahead["thread"].note(tasks.lonely.module_path, 0.001)
    for n in range(3):
        enqueue(tasks.lonely, [n])
    harness.step()
    return harness


def test_the_runs_of_a_lane_are_given_to_their_executor_one_after_another(lanes):
    assert lanes.given == [[0]] and Run.objects.running().count() == 3
    following = lanes.end(lanes.hands.given[0])
    assert following.claim.args == [1]
    assert [outcome.frees for _, outcome in lanes.done] == [False]
    last = lanes.end(following)
    assert lanes.end(last) is None
    assert [outcome.frees for _, outcome in lanes.done] == [False, False, True]


def test_what_waits_for_a_busy_slot_is_handed_back(lanes, monkeypatch):
    monkeypatch.setattr(module, "LATE", 0)
    lanes.hands.given[0].begun_at = 1.0
    lanes.hands.given.clear()

    lanes.worker._hand_back_late()

    assert list(Run.objects.order_by("enqueued_at").values_list("status", "attempt")) == [
        ("running", 1),
        ("ready", 0),
        ("ready", 0),
    ]
    assert len(lanes.worker.active()) == 1


def test_at_the_end_what_waits_in_a_lane_goes_back_unburnt(lanes):
    first = lanes.hands.given[0]
    lanes.hands.given.clear()  # it has begun
    lanes.stop.request("shutdown", Deadline(0))

    lanes.worker.last_step(lanes.stop)

    assert set(Run.objects.values_list("status", "attempt")) == {("ready", 0)}
    assert lanes.worker.abandoned == [first]


def test_a_run_that_is_asked_to_end_while_it_waits_is_not_begun(lanes):
    following = lanes.end(lanes.hands.given[0])
    lanes.worker.asked(following, "enough")

    outcome = run(following)

    assert outcome.kind is Kind.CANCELLED


def test_a_host_that_is_not_sure_to_be_believed_alive_claims_nothing(harness):
    put(1)
    harness.worker.host.trusted = False
    harness.step()
    assert harness.given == []
    harness.worker.host.trusted = True
    harness.step()
    assert harness.given == [["0"]]


def gone(*args, **kwargs):
    raise OperationalError("gone")


def test_a_claim_whose_answer_was_lost_goes_back_although_a_zombie_of_its_run_is_still_busy(harness, monkeypatch):
    (run,) = put(1)
    harness.step()
    release([one.claim for one in harness.hands.given])  # as others do who have declared this host lost

    def lost(*args, **kwargs):
        claim_next(*args, **kwargs)
        raise OperationalError("closed after the commit")

    with monkeypatch.context() as patch, pytest.raises(OperationalError):
        patch.setattr(module, "claim_next", lost)
        harness.step()
    assert status(run) == "running"

    harness.step()
    assert len(harness.given) == 2  # the zombie, and the run claimed once more


def test_what_could_not_be_handed_back_is_handed_back_later(harness, monkeypatch):
    harness.hands.capacity = 1
    runs = put(2)
    harness.step()
    harness.hands.capacity = 2
    harness.step()
    harness.hands.capacity = 0
    for one in harness.hands.given:
        one.claimed_at -= 10
    harness.worker._looked_at = 0.0
    with monkeypatch.context() as patch, pytest.raises(OperationalError):
        patch.setattr(module, "release", gone)
        harness.step()

    harness.hands.capacity = 2
    harness.step()

    assert [status(run) for run in runs] == ["running", "running"]
    assert sorted(harness.given) == [["0"], ["1"]]  # claimed once more, and begun


def test_a_claim_that_is_committed_after_the_host_has_asked_for_it_goes_back_in_time(harness):
    (run,) = put(1)
    harness.step()
    (execution,) = harness.hands.drain()
    harness.worker._active.clear()  # it never heard of it
    harness.step()
    assert harness.given == []
    harness.worker._compare_at = 0.0
    harness.step()
    assert harness.given == [["0"]]


def test_a_stop_while_the_database_is_away_tells_the_runs_all_the_same(harness, monkeypatch):
    put(1)
    harness.step()
    (execution,) = harness.hands.drain()
    harness.worker._in_doubt = True
    monkeypatch.setattr(module, "held_rows", gone)
    execution.stop.add_callback(lambda: harness.end(execution))
    harness.stop.request("shutdown", Deadline.after(5))
    harness.worker.last_step(harness.stop)
    assert execution.reason == "shutdown"
