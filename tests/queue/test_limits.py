"""How many runs of a key or of a queue are running at once: never more, and never for ever less."""

import threading

import pytest

from background import catalog
from background.models import Job, Lease, Queue, Run
from background.queue.cancel import cancel
from background.queue.claim import claim, promote_due
from background.queue.enqueue import enqueue, enqueue_many
from background.queue.finish import finish, release
from background.queue.limits import blocked_keys, lock_key
from background.queue.outcome import Kind, Outcome
from background.queue.rescue import rescue, sweep_blocked
from tests.app import background as tasks
from tests.queue.helpers import at_once, end, held_by, holder, host, served, status, take

pytestmark = pytest.mark.django_db


def put(count, task=served, *args):
    return [enqueue(task, [*(args or ("acme",)), n]) for n in range(count)]


def states():
    return sorted(Run.objects.values_list("status", flat=True))


def test_a_key_has_no_more_running_than_its_limit_and_the_rest_is_blocked():
    put(5)
    assert len(take(9)) == 2
    assert states() == ["blocked"] * 3 + ["running"] * 2
    assert take(9) == []


def test_keys_do_not_share_their_slots():
    put(3)
    put(3, served, "bcme")
    assert len(take(9)) == 4


def test_a_task_without_a_key_of_its_own_is_limited_as_a_whole():
    enqueue(tasks.lonely, [1])
    enqueue(tasks.lonely, [2])
    assert len(take(9)) == 1


def test_a_claim_passes_over_runs_without_a_slot_and_takes_what_follows():
    put(5)
    enqueue(tasks.note, ["x"])
    assert [claimed.task.rpartition(".")[2] for claimed in take(3)] == ["per_customer", "per_customer", "note"]


@pytest.mark.parametrize("kind", list(Kind))
def test_a_blocked_run_is_ready_when_a_slot_is_free_again(kind):
    runs = put(4)
    claims = take(9)

    end(claims[0], kind, delay=60)

    assert [status(run) for run in runs[1:]] == ["running", "ready", "blocked"]


def test_blocked_runs_become_ready_in_the_order_of_their_arrival():
    runs = put(5)
    claims = take(9)
    finish([Outcome(one, Kind.SUCCEEDED) for one in claims])
    assert [claimed.id for claimed in take(9)] == [runs[2].id, runs[3].id]


def test_cancelling_a_blocked_run_ends_it():
    runs = put(3)
    take(9)
    assert cancel(runs[2])
    assert status(runs[2]) == "cancelled"


def test_cancelling_a_ready_run_lets_a_blocked_one_in():
    runs = put(4)
    claims = take(9)
    end(claims[0])
    cancel(runs[2])
    assert status(runs[3]) == "ready"


def test_rescue_frees_the_slots_of_a_lost_host():
    runs = put(3)
    gone = host("gone")
    take(9, held_by(gone))
    gone.state = "lost"
    gone.save()

    assert rescue() == 2

    assert [status(run) for run in runs] == ["ready"] * 2 + ["ready"]
    assert len(take(9)) >= 1
    assert Run.objects.running().count() <= 2


def test_a_blocked_run_that_waited_for_its_time_keeps_that_place():
    from django.utils import timezone

    now = timezone.now()
    late = enqueue(served, ["acme"], run_after=now + timezone.timedelta(hours=1))
    claims = [put(1), put(1)] and take(9)
    promote_due(now + timezone.timedelta(hours=2))
    place = Run.objects.get(id=late.id).position
    assert take(9) == [] and status(late) == "blocked"

    end(claims[0])

    assert Run.objects.get(id=late.id).position == place


def test_nothing_is_swept_while_slots_are_taken():
    put(4)
    take(9)
    assert sweep_blocked() == 0
    assert blocked_keys() == ["tests.queue.helpers.per_customer:acme"]


def test_the_sweep_finds_blocked_runs_whose_slot_is_free():
    put(4)
    take(9)
    Run.objects.running().update(status="succeeded", token=None)  # behind the queue's back
    assert sweep_blocked() == 2
    assert states() == ["ready"] * 2 + ["succeeded"] * 2
    assert Run.objects.ready().filter(position=None).count() == 0


def test_without_blocked_runs_the_sweep_is_one_query(django_assert_num_queries):
    with django_assert_num_queries(1):
        assert sweep_blocked() == 0


def test_raising_the_limit_of_a_job_lets_waiting_runs_in():
    catalog.sync()
    for n in range(5):
        enqueue(tasks.lonely, [n])
    assert len(take(9)) == 1

    Job.objects.filter(name="app.lonely").update(concurrency=3)

    assert sweep_blocked() == 2
    assert len(take(9)) == 2
    assert states() == ["blocked"] * 2 + ["running"] * 3


def test_lowering_the_limit_of_a_job_holds_for_runs_that_wait_already():
    catalog.sync()
    Job.objects.filter(name="app.lonely").update(concurrency=5)
    for n in range(5):
        enqueue(tasks.lonely, [n])

    Job.objects.filter(name="app.lonely").update(concurrency=2)

    assert len(take(9)) == 2


def test_removing_the_limit_of_a_job_lets_all_waiting_runs_in():
    catalog.sync()
    for n in range(5):
        enqueue(tasks.lonely, [n])
    take(9)

    Job.objects.filter(name="app.lonely").update(concurrency=None)

    assert sweep_blocked() == 4
    assert len(take(9)) == 4


# ----------------------------------------------------------------------------------------------------------- queues


def test_a_queue_has_no_more_running_than_its_limit():
    Queue.objects.create(name="mail", concurrency=2)
    for n in range(5):
        enqueue(tasks.note.using(queue_name="mail"), [str(n)])

    first = take(9)

    assert len(first) == 2 and take(9) == []
    end(first[0])
    assert len(take(9)) == 1


def test_a_full_queue_does_not_keep_others_waiting():
    Queue.objects.create(name="mail", concurrency=1)
    for n in range(20):
        enqueue(tasks.note.using(queue_name="mail"), [str(n)])
    enqueue(tasks.note, ["other"])

    assert [claimed.args for claimed in take(3)] == [["0"], ["other"]]
    enqueue(tasks.note, ["another"])
    assert [claimed.args for claimed in take(3)] == [["another"]]


def test_a_queue_limit_of_nothing_lets_nothing_start():
    Queue.objects.create(name="default", concurrency=0)
    enqueue(tasks.note)
    assert take() == []


def test_raising_the_limit_of_a_queue_takes_effect_with_the_next_claim():
    Queue.objects.create(name="default", concurrency=1)
    for n in range(4):
        enqueue(tasks.note, [str(n)])
    take(9)
    Queue.objects.update(concurrency=3)
    assert len(take(9)) == 2


def test_a_run_needs_a_slot_of_its_queue_and_of_its_key():
    Queue.objects.create(name="default", concurrency=3)
    put(4)
    for n in range(4):
        enqueue(tasks.note, [str(n)])
    assert sorted(claimed.task.rpartition(".")[2] for claimed in take(9)) == ["note", "per_customer", "per_customer"]


# ---------------------------------------------------------------------------------------------------------- at once


class Watch:
    """Counts how many are inside at once."""

    def __init__(self):
        self.lock, self.inside, self.most = threading.Lock(), {}, {}

    def enter(self, key):
        with self.lock:
            self.inside[key] = self.inside.get(key, 0) + 1
            self.most[key] = max(self.most.get(key, 0), self.inside[key])

    def leave(self, key):
        with self.lock:
            self.inside[key] -= 1


def work_off(key_of, count, portion=3):
    """Claim and finish in four threads until `count` runs are done; returns what was seen."""
    watch, done = Watch(), []

    def work():
        who, idle = holder(), 0
        while len(done) < count and idle < 3000:
            claims = claim(who, portion)
            idle = 0 if claims else idle + 1
            for one in claims:
                watch.enter(key_of(one))
            for one in claims:
                watch.leave(key_of(one))  # before the write, after which others may enter
                finish([Outcome(one, Kind.SUCCEEDED)])
                done.append(one.id)

    at_once(*[work] * 4)
    assert sorted(done) == sorted(Run.objects.succeeded().values_list("id", flat=True))
    assert not Run.objects.open().exists(), states()
    return watch


@pytest.mark.django_db(transaction=True)
def test_four_claiming_threads_keep_the_limit_of_each_key_and_leave_nothing_blocked():
    enqueue_many([(served, ["ab"[n % 2], n], {}) for n in range(40)])

    watch = work_off(lambda one: one.concurrency_key, 40)

    assert max(watch.most.values()) <= 2


@pytest.mark.django_db(transaction=True)
def test_four_claiming_threads_keep_a_limit_of_one():
    enqueue_many([(tasks.lonely, [n], {}) for n in range(25)])

    watch = work_off(lambda one: one.concurrency_key, 25, portion=2)

    assert max(watch.most.values()) == 1


@pytest.mark.django_db(transaction=True)
def test_four_claiming_threads_keep_the_limit_of_a_queue():
    Queue.objects.create(name="mail", concurrency=3)
    enqueue_many([(tasks.note.using(queue_name="mail"), [str(n)], {}) for n in range(40)])

    watch = work_off(lambda one: one.queue, 40)

    assert watch.most["mail"] <= 3


@pytest.mark.django_db(transaction=True)
def test_a_finish_and_a_claim_that_meet_leave_nothing_blocked_beside_a_free_slot():
    for _ in range(12):
        Run.objects.all().delete()
        first = enqueue(tasks.lonely, [1])
        (claimed,) = take()
        second = enqueue(tasks.lonely, [2])

        _, claims = at_once(lambda claimed=claimed: end(claimed), lambda: take(9))

        assert status(first) == "succeeded"
        assert status(second) == ("running" if claims else "ready")


@pytest.mark.django_db(transaction=True)
def test_the_lock_of_a_new_key_can_be_taken_by_many_at_once():
    from background.dialects import dialect

    at_once(*[lambda: dialect().in_transaction(lambda: lock_key("new"))] * 6)

    assert Lease.objects.filter(name="slots:new").count() == 1


def test_a_very_long_key_has_a_lock_too():
    lock_key("k" * 255)
    lock_key("k" * 255)
    assert Lease.objects.count() == 1


def test_handing_back_frees_the_slot_for_the_run_itself():
    put(3)
    release(take(9))
    assert len(take(9)) == 2
