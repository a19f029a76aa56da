"""Duplicates of a waiting run: it takes their arguments, and with `debounce` waits until they come no more."""

import threading
from datetime import datetime, timedelta

import pytest
from asgiref.sync import async_to_sync
from django.db import connection, transaction
from django.utils import timezone

import background
from background import catalog, registry
from background.exceptions import InvalidPolicy
from background.jobs.tasks import BackgroundTask
from background.models import Job, Run
from background.queue.cancel import cancel
from background.queue.claim import promote_due
from background.queue.enqueue import enqueue, enqueue_many
from background.queue.finish import release
from background.queue.limits import REPLACEABLE
from background.queue.making import occurrence
from background.queue.outcome import Kind
from tests.app import background as tasks
from tests.queue.helpers import at_once, end, status, take, take_one

pytestmark = pytest.mark.django_db
threaded = pytest.mark.django_db(transaction=True)


def task(function, **policies):
    fields = {"priority": 0, "backend": "default", "queue_name": "default", "unique": "{customer}", **policies}
    return BackgroundTask(func=function, **fields)


def index(customer, n=0):
    return n


def reindex(customer, n=0):
    return n


def export(customer, n=0, region=""):
    return n


plain = task(export)
replacing = task(index, on_duplicate="replace")
debounced = task(reindex, debounce=60)
in_regions = task(export, on_duplicate="replace", concurrency=1, concurrency_key="{region}")


@pytest.fixture
def clock(monkeypatch):
    """A clock for whoever enqueues, which the test turns."""

    class Clock:
        at = timezone.now().replace(microsecond=0)

        def turn(self, seconds):
            self.at += timedelta(seconds=seconds)

    one = Clock()
    monkeypatch.setattr(timezone, "now", lambda: one.at)
    return one


def rows():
    return [(run.args, run.kwargs, run.status) for run in Run.objects.order_by("enqueued_at", "id")]


# ----------------------------------------------------------------------------------------------------------- replacing


def test_the_default_is_to_return_the_open_run_as_it_is():
    first = enqueue(plain, ["a"], {"n": 1})

    again = enqueue(plain, ["a"], {"n": 2})

    assert (again, again.kwargs, rows()) == (first, {"n": 1}, [(["a"], {"n": 1}, "ready")])


def test_a_waiting_run_takes_the_arguments_of_its_duplicate():
    first = enqueue(replacing, ["a"], {"n": 1})
    other = enqueue(replacing, ["b"], {"n": 1})

    again = enqueue(replacing, [], {"customer": "a", "n": 2})

    assert (again, again.args, again.kwargs, again.status) == (first, [], {"customer": "a", "n": 2}, "ready")
    assert [one.kwargs for one in take(2)] == [{"customer": "a", "n": 2}, {"n": 1}]
    assert Run.objects.count() == 2 and other != first


def test_queue_priority_and_time_are_those_that_were_asked_for_last():
    later = timezone.now() + timedelta(hours=1)
    first = enqueue(replacing.using(queue_name="mail", priority=5, run_after=later), ["a"])
    assert first.status == "scheduled"

    again = enqueue(replacing, ["a"])

    assert (again, again.status, again.queue, again.priority, again.run_after) == (first, "ready", "default", 0, None)
    stored = Run.objects.get()
    assert (stored.status, stored.queue, stored.priority, stored.run_after) == ("ready", "default", 0, None)
    assert [one.id for one in take()] == [first.id]


def test_a_ready_run_may_be_put_off():
    first = enqueue(replacing, ["a"])
    later = timezone.now() + timedelta(hours=1)

    assert enqueue(replacing.using(run_after=later), ["a"]) == first

    stored = Run.objects.get()
    assert (stored.status, stored.position, stored.run_after) == ("scheduled", None, later)
    assert take() == []
    assert promote_due(later) == 1 and [one.id for one in take()] == [first.id]


def test_a_replaced_run_keeps_its_place_in_the_queue(clock):
    first = enqueue(replacing, ["a"])
    clock.turn(1)
    second = enqueue(tasks.note, ["x"])
    clock.turn(1)
    enqueue(replacing, ["a"], {"n": 2})

    assert [one.id for one in take(2)] == [first.id, second.id]


def test_another_priority_moves_it_in_the_queue():
    first, second = enqueue(tasks.note, ["x"]), enqueue(replacing, ["a"])
    enqueue(replacing.using(priority=10), ["a"])
    assert [one.id for one in take(2)] == [second.id, first.id]


def test_a_blocked_run_waits_for_the_slot_of_its_new_key():
    (busy,) = [enqueue(in_regions, ["x"], {"region": "EU"})] and take()
    waiting = enqueue(in_regions, ["a"], {"region": "EU"})
    assert take() == [] and status(waiting) == "blocked"

    again = enqueue(in_regions, ["a"], {"region": "US"})

    assert (again, again.status) == (waiting, "ready")
    assert [(one.id, one.concurrency_key) for one in take()] == [(waiting.id, again.concurrency_key)]
    end(busy)


def test_a_blocked_run_may_be_put_off():
    assert enqueue(in_regions, ["x"], {"region": "EU"}) and take()
    waiting = enqueue(in_regions, ["a"], {"region": "EU"})
    assert take() == [] and status(waiting) == "blocked"
    later = timezone.now() + timedelta(hours=1)

    enqueue(in_regions.using(run_after=later), ["a"], {"region": "EU"})

    stored = Run.objects.get(id=waiting.id)
    assert (stored.status, stored.position, stored.run_after) == ("scheduled", None, later)


def test_while_the_run_is_running_a_new_one_is_made_because_it_has_the_old_arguments():
    first, claimed = take_one(replacing, "a", n=1)

    second = enqueue(replacing, ["a"], {"n": 2})
    third = enqueue(replacing, ["a"], {"n": 3})

    assert second != first and third == second
    assert (claimed.kwargs, Run.objects.get(id=first.id).kwargs) == ({"n": 1}, {"n": 1})
    assert [one.kwargs for one in take(2)] == [{"n": 3}]


def test_a_run_that_was_handed_back_has_no_key_any_more_and_keeps_its_arguments():
    first, claimed = take_one(replacing, "a", n=1)
    release([claimed])

    second = enqueue(replacing, ["a"], {"n": 2})

    assert second != first
    assert sorted(one.kwargs["n"] for one in take(2)) == [1, 2]


@pytest.mark.parametrize("kind", [Kind.SUCCEEDED, Kind.FAILED, Kind.CANCELLED, Kind.RETRY])
def test_however_the_run_ends_another_can_follow_it(kind):
    _, claimed = take_one(replacing, "a", n=1)
    second = enqueue(replacing, ["a"], {"n": 2})
    end(claimed, kind, **({"delay": 60} if kind is Kind.RETRY else {}))

    assert enqueue(replacing, ["a"], {"n": 3}) == second


def test_cancelling_a_waiting_run_frees_the_key():
    first = enqueue(replacing, ["a"])
    cancel(first)
    assert enqueue(replacing, ["a"]) != first


def test_a_long_key_is_shortened_and_still_replaceable():
    first = enqueue(replacing, ["x" * 500], {"n": 1})
    assert len(first.unique_key) <= 255 and first.unique_key.startswith(REPLACEABLE)
    assert enqueue(replacing, ["x" * 500], {"n": 2}) == first
    assert enqueue(replacing, ["x" * 501]) != first


def test_a_request_that_is_sent_twice_is_one_request():
    first = enqueue(replacing, ["a"], {"n": 1}, request_key="form-1")
    take()

    assert enqueue(replacing, ["a"], {"n": 1}, request_key="form-1") == first


def test_what_did_not_fit_leaves_the_waiting_run_as_it_is():
    enqueue(replacing, ["a"], {"n": 1})
    with pytest.raises(background.exceptions.InvalidArguments):
        enqueue(replacing, ["a"], {"m": 2})
    assert rows() == [(["a"], {"n": 1}, "ready")]


def test_enqueue_many_replaces_too_and_the_last_of_one_key_counts():
    first = enqueue(replacing, ["a"], {"n": 1})

    runs = enqueue_many(
        [(replacing, ["b"], {"n": 2}), (tasks.note, ["x"], {}), (replacing, ["a"], {"n": 3}), (replacing, ["b"], {"n": 4})]
    )  # fmt: skip

    assert [run.args for run in runs] == [["b"], ["x"], ["a"], ["b"]]
    assert runs[2] == first and runs[0] == runs[3]
    assert sorted((one.args[0], one.kwargs.get("n")) for one in take(9)) == [("a", 3), ("b", 4), ("x", None)]


@threaded
def test_aenqueue_goes_the_same_way():
    async def both():
        one = await replacing.aenqueue("a", n=1)
        other = await replacing.aenqueue("a", n=2)
        return one.id, other.id

    first, second = async_to_sync(both)()
    assert first == second
    assert rows() == [(["a"], {"n": 2}, "ready")]


@pytest.fixture
def job(monkeypatch):
    """A job whose task debounces."""
    made = task(reindex, debounce=60, job_name="reindex")
    monkeypatch.setattr(registry, "task", lambda path, name="": made)
    catalog.sync()
    return Job.objects.create(name="reindex", task=made.module_path, args=["a"], schedule="every 1h")


def test_trigger_goes_the_same_way(job):
    first = job.trigger(n=1)

    again = job.trigger(n=2)

    assert (again, again.kwargs, again.status) == (first, {"n": 2}, "scheduled")


def test_an_occurrence_of_a_schedule_replaces_but_comes_at_its_time(job):
    from background.queue.enqueue import insert_unique

    first = job.trigger(n=1)
    now = timezone.now()
    run = insert_unique(occurrence(job, registry.task(job.task), now, now, now))

    assert (run, run.kwargs, run.status) == (first, {}, "ready")


# ---------------------------------------------------------------------------------------------------------- debouncing


def test_each_duplicate_puts_the_waiting_run_off(clock):
    first = enqueue(debounced, ["a"], {"n": 1})
    assert (first.status, first.run_after) == ("scheduled", clock.at + timedelta(seconds=60))
    clock.turn(59)

    again = enqueue(debounced, ["a"], {"n": 2})

    assert (again, again.kwargs, again.run_after) == (first, {"n": 2}, clock.at + timedelta(seconds=60))
    assert Run.objects.get().run_after == again.run_after
    assert promote_due(clock.at + timedelta(seconds=59)) == 0
    assert promote_due(clock.at + timedelta(seconds=60)) == 1
    assert [one.kwargs for one in take()] == [{"n": 2}]


def test_it_is_not_put_off_for_ever(clock):
    began = clock.at
    run = enqueue(debounced, ["a"], {"n": 0})
    for n in range(1, 20):
        clock.turn(50)
        again = enqueue(debounced, ["a"], {"n": n})
        assert again == run
        assert again.run_after <= began + timedelta(seconds=600)
        if again.status == "ready":
            break
    assert clock.at == began + timedelta(seconds=600)
    assert (again.kwargs, [one.kwargs for one in take()]) == ({"n": 12}, [{"n": 12}])


def test_after_it_was_claimed_the_next_one_begins_to_wait_anew(clock):
    enqueue(debounced, ["a"], {"n": 1})
    clock.turn(600)
    promote_due(clock.at)
    (claimed,) = take()

    second = enqueue(debounced, ["a"], {"n": 2})

    assert second.id != claimed.id
    assert (second.status, second.run_after) == ("scheduled", clock.at + timedelta(seconds=60))


def test_a_duplicate_of_a_run_that_is_due_but_not_begun_puts_it_off(clock):
    enqueue(debounced, ["a"], {"n": 1})
    clock.turn(61)
    promote_due(clock.at)
    assert Run.objects.get().status == "ready"

    again = enqueue(debounced, ["a"], {"n": 2})

    assert (again.status, Run.objects.get().position) == ("scheduled", None)
    assert take() == []


def test_who_asks_for_a_time_gets_it():
    later = timezone.now() + timedelta(days=3)
    enqueue(debounced, ["a"])

    run = enqueue(debounced.using(run_after=later), ["a"], {"n": 2})

    assert (run.run_after, Run.objects.count()) == (later, 1)


def test_enqueue_many_debounces(clock):
    (first,) = enqueue_many([(debounced, ["a"], {"n": 1})])
    clock.turn(30)
    (again,) = enqueue_many([(debounced, ["a"], {"n": 2})])
    assert (again, again.run_after) == (first, clock.at + timedelta(seconds=60))


# ------------------------------------------------------------------------------------------------------ many at once


@threaded
def test_eight_threads_that_enqueue_one_key_leave_one_run_with_the_arguments_of_one_of_them():
    for customer in "abc":
        found = at_once(*[lambda n=n, customer=customer: enqueue(replacing, [customer], {"n": n}) for n in range(8)])
        assert len({run.id for run in found}) == 1
        assert Run.objects.get(id=found[0].id).kwargs["n"] in range(8)
    assert Run.objects.count() == 3


@threaded
def test_arguments_are_never_lost_while_others_claim():
    """Whoever enqueues does so before it asks: the last arguments of each thread are executed, or replaced by later ones."""
    claimed, over = [], threading.Event()

    def work(who):
        for n in range(25):
            enqueue(replacing, ["a"], {"n": 100 * who + n})

    def claim():
        while not over.is_set() or Run.objects.open().exclude(status="running").exists():
            claimed.extend(take(5))

    def all_work():
        try:
            at_once(*[lambda who=who: work(who) for who in range(3)])
        finally:
            over.set()

    at_once(all_work, claim, claim)

    assert not Run.objects.exclude(status="running").exists()
    taken = {one.id: one.kwargs["n"] for one in claimed}
    assert taken == {run.id: run.kwargs["n"] for run in Run.objects.all()}  # none was changed under its host
    last = max(Run.objects.all(), key=lambda run: run.started_at)
    assert last.kwargs["n"] % 100 == 24


class Undo(Exception):
    pass


@threaded
def test_what_a_transaction_replaced_is_undone_with_it():
    first = enqueue(replacing, ["a"], {"n": 1})
    with pytest.raises(Undo), transaction.atomic():
        assert enqueue(replacing, ["a"], {"n": 2}) == first
        enqueue(replacing, ["b"])
        raise Undo
    assert rows() == [(["a"], {"n": 1}, "ready")]


@threaded
@pytest.mark.skipif(connection.vendor == "sqlite", reason="SQLite has one writer: nobody gets in between")
def test_inside_a_transaction_the_key_that_another_just_took_is_replaced():
    taken, go_on = threading.Event(), threading.Event()

    def other():
        with transaction.atomic():
            run = enqueue(replacing, ["a"], {"n": 1})
            taken.set()
            go_on.wait(20)
        return run.id

    def own():
        taken.wait(20)
        with transaction.atomic():
            enqueue(tasks.note, ["before"])
            threading.Timer(0.3, go_on.set).start()
            run = enqueue(replacing, ["a"], {"n": 2})
            enqueue(tasks.note, ["after"])
        return run.id

    first, second = at_once(other, own)
    assert first == second
    assert Run.objects.get(id=first).kwargs == {"n": 2}
    assert Run.objects.filter(task=tasks.note.module_path).count() == 2


@threaded
@pytest.mark.skipif(connection.vendor == "sqlite", reason="SQLite has one writer: the others wait for it")
def test_a_transaction_that_puts_a_run_off_keeps_no_host_from_making_others_ready():
    enqueue(debounced, ["a"])
    other = enqueue(tasks.note, ["x"], run_after=timezone.now() + timedelta(seconds=60))
    Run.objects.update(run_after=timezone.now() - timedelta(seconds=1))
    with transaction.atomic():
        enqueue(debounced, ["a"], {"n": 2})
        assert at_once(promote_due) == [1]
        assert at_once(lambda: take(5)[0].id) == [other.id]
    assert promote_due() == 0
    assert Run.objects.get(task=debounced.module_path).status == "scheduled"


@threaded
@pytest.mark.skipif(connection.vendor == "sqlite", reason="SQLite has one writer: the others wait for it")
def test_a_run_that_is_being_replaced_is_not_claimed_meanwhile():
    first = enqueue(replacing, ["a"], {"n": 1})
    with transaction.atomic():
        enqueue(replacing, ["a"], {"n": 2})
        assert at_once(lambda: take(5)) == [[]]
    (claimed,) = take(5)
    assert (claimed.id, claimed.kwargs) == (first.id, {"n": 2})


# ------------------------------------------------------------------------------------------------------ the declaration


@pytest.mark.parametrize(
    ("policies", "sentence"),
    [
        ({"on_duplicate": "replace", "unique": None}, r"reindex: on_duplicate needs unique, which says what a duplicate is"),
        ({"debounce": 5, "unique": None}, r"reindex: debounce needs unique, which says what a duplicate is"),
        ({"on_duplicate": "drop"}, r"on_duplicate='drop' is none of 'return', 'replace'"),
        ({"on_duplicate": None}, r"on_duplicate=None is none of 'return', 'replace'"),
        *(
            ({"debounce": wrong}, r"debounce=.* must be a number of seconds from 0\.001")
            for wrong in (0, -1, "5", True, float("nan"), float("inf"), timedelta(5), datetime.max)
        ),
    ],
)  # fmt: skip
def test_a_declaration_that_makes_no_sense_is_refused_in_one_sentence(policies, sentence):
    with pytest.raises(InvalidPolicy, match=sentence):
        task(reindex, **policies)


def test_both_are_policies_of_jobs_too():
    with pytest.raises(InvalidPolicy, match="debounce needs unique"):
        background.job(debounce=5)(reindex)
    before = len(background.jobs.tasks.DECLARED)
    made = background.job(debounce=5, unique="{customer}", name="reindexed")(reindex)
    try:
        assert (made.debounce, made.replaces, plain.replaces) == (5, True, False)
    finally:
        del background.jobs.tasks.DECLARED[before:]
