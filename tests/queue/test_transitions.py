"""Each change of a run's state goes through one table and one guarded update."""

import uuid
from itertools import product

import pytest
from django.utils import timezone

from background.exceptions import InvalidTransition
from background.models import Host, Run
from background.queue.enqueue import enqueue
from background.queue.finish import finish, finish_within, release, write_progress
from background.queue.outcome import Kind, Outcome
from background.queue.rescue import rescue
from background.queue.transitions import NEXT, move, move_each
from tests.app import background as tasks
from tests.queue.helpers import START, held_by, host, status, take, take_one

pytestmark = pytest.mark.django_db
Status = Run.Status


def row(**fields):
    values = {"task": tasks.note.module_path, "enqueued_at": timezone.now(), **fields}
    return Run.objects.create(**values)


def test_the_table_speaks_of_every_state():
    assert set(NEXT) == set(Status)


@pytest.mark.parametrize(("old", "new"), list(product(Status, Status)), ids=lambda one: one.value)
def test_a_run_moves_where_the_table_allows_it_and_nowhere_else(old, new):
    run = row(status=old)
    before = Run.objects.filter(id=run.id).values().get()

    moved = move([run.id], new, end_reason="moved")

    after = Run.objects.filter(id=run.id).values().get()
    if new in NEXT[old]:
        assert (moved, after["status"], after["end_reason"]) == (1, new, "moved")
    else:
        assert (moved, after) == (0, before)


@pytest.mark.parametrize("old", Run.FINISHED)
def test_a_finished_run_goes_nowhere(old):
    assert NEXT[old] == frozenset()


def test_a_run_is_moved_only_from_the_states_that_were_named():
    run = row(status=Status.READY)

    assert move([run.id], Status.CANCELLED, of=[Status.RUNNING]) == 0
    assert status(run) == "ready"


def test_a_move_that_shows_another_token_changes_nothing():
    run = row(status=Status.RUNNING, token=uuid.uuid4())

    assert move([run.id], Status.SUCCEEDED, held_by=uuid.uuid4()) == 0
    assert status(run) == "running"


def test_leaving_ready_empties_the_position_and_ending_empties_token_and_unique_key():
    run = row(status=Status.READY, position=1, unique_key="a")
    move([run.id], Status.RUNNING, token=uuid.uuid4())
    run.refresh_from_db()
    assert run.position is None and run.token is not None and run.unique_key == "a"

    move([run.id], Status.FAILED)

    run.refresh_from_db()
    assert (run.position, run.token, run.unique_key) == (None, None, None)


def test_several_runs_become_ready_each_at_its_own_place():
    runs = [row(status=Status.SCHEDULED, place=10 + n) for n in range(3)]

    assert move([run.id for run in runs], Status.READY, of=[Status.SCHEDULED]) == 3
    assert list(Run.objects.order_by("position").values_list("id", "position")) == [
        (run.id, 10 + n) for n, run in enumerate(runs)
    ]


def test_a_group_moves_each_row_with_values_of_its_own_where_its_token_fits():
    good, other, done = (row(status=Status.RUNNING, token=uuid.uuid4(), unique_key=str(n)) for n in range(3))
    Run.objects.filter(id=done.id).update(status=Status.CANCELLED)
    results = [{"n": 1, "text": "'\"%s\\"}, [None], 3]
    tokens = [good.token, uuid.uuid4(), done.token]
    rows = [(run.id, token, result) for run, token, result in zip((good, other, done), tokens, results, strict=True)]

    move_each(rows, Status.SUCCEEDED, ("result",), end_reason="")

    good.refresh_from_db()
    assert (good.status, good.result, good.token, good.unique_key) == ("succeeded", results[0], None, None)
    assert (status(other), status(done)) == ("running", "cancelled")


def test_a_group_stores_times_and_nothing_as_they_are():
    runs = [row(status=Status.RUNNING, token=uuid.uuid4()) for _ in range(2)]

    move_each([(one.id, one.token, None, START) for one in runs], Status.SUCCEEDED, ("result", "finished_at"))

    assert list(Run.objects.filter(result__isnull=True).values_list("finished_at", flat=True)) == [START, START]


def test_a_group_only_ends_runs():
    with pytest.raises(InvalidTransition):
        move_each([(uuid.uuid4(), uuid.uuid4())], Status.READY, ())


def taken_over():
    """Return the claim of a zombie whose run another holder has by now."""
    run, zombie = take_one(tasks.note, "x")
    release([zombie])
    (current,) = take()
    assert current.id == zombie.id and current.token != zombie.token
    return run, zombie, current


@pytest.mark.parametrize("kind", list(Kind))
def test_finish_refuses_an_outcome_with_an_old_token(kind):
    run, zombie, current = taken_over()
    before = Run.objects.filter(id=run.id).values().get()
    outcome = Outcome(zombie, kind, result="zombie")

    assert finish([outcome]) == [outcome]
    assert Run.objects.filter(id=run.id).values().get() == before


def test_finish_within_refuses_an_old_token_and_takes_the_current_one():
    run, zombie, current = taken_over()

    assert not finish_within(Outcome(zombie, Kind.SUCCEEDED))
    assert status(run) == "running"
    assert finish_within(Outcome(current, Kind.SUCCEEDED))
    assert status(run) == "succeeded"


def test_release_refuses_an_old_token():
    run, zombie, _ = taken_over()

    release([zombie])

    assert status(run) == "running"


def test_write_progress_refuses_an_old_token():
    run, zombie, current = taken_over()

    assert not write_progress(zombie, (1, 2, "zombie"), ())
    assert not write_progress(zombie, None, ())
    assert write_progress(current, (1, 2, "mine"), ())
    run.refresh_from_db()
    assert run.progress_message == "mine"


def test_rescue_leaves_a_run_alone_that_was_claimed_anew_meanwhile(monkeypatch):
    old = host("old")
    run, _ = take_one(tasks.note, who=held_by(old))
    Host.objects.filter(id=old.id).update(state="lost")
    from background.queue import rescue as module

    def late(run, now, original=module._rescue):
        # between reading the run and the guarded update, the zombie hands it back and another host claims it
        move([run.id], Status.READY)
        take(1, held_by(host("new")))
        return original(run, now)

    monkeypatch.setattr(module, "_rescue", late)

    assert rescue() == 0
    run.refresh_from_db()
    assert (run.status, run.host_name, run.lost) == ("running", "new", 0)


def test_an_enqueued_run_can_be_read_by_its_id_in_the_same_transaction():
    run = enqueue(tasks.note, ["x"])
    assert Run.objects.get(id=run.id).args == ["x"]
