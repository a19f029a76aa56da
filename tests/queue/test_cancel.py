"""How runs are ended by people and by code, and waited for."""

import asyncio
import threading
from datetime import timedelta

import pytest
from django.db import connections
from django.utils import timezone

from background.models import Run
from background.queue.cancel import cancel, cancel_requests
from background.queue.enqueue import enqueue
from background.queue.finish import finish
from background.queue.outcome import Kind, Outcome
from background.queue.transitions import move
from background.signals import run_finished
from tests.app import background as tasks
from tests.queue.helpers import at_once, end, served, status, take, take_one

pytestmark = pytest.mark.django_db


@pytest.fixture
def ann(django_user_model):
    return django_user_model.objects.create_user("ann")


def waiting(kind):
    if kind == "scheduled":
        return enqueue(tasks.note, run_after=timezone.now() + timedelta(hours=1))
    if kind == "ready":
        return enqueue(tasks.note)
    runs = [enqueue(served, ["acme", n]) for n in range(3)]
    take(3)
    return runs[2]


@pytest.mark.parametrize("kind", ["scheduled", "ready", "blocked"])
def test_a_waiting_run_ends_at_once(kind, ann):
    run = waiting(kind)
    assert status(run) == kind
    heard = []

    def receive(sender, **news):
        heard.append((news["run_id"], news["status"]))

    run_finished.connect(receive)
    try:
        assert run.cancel(user=ann, reason="too late") is True
    finally:
        run_finished.disconnect(receive)

    assert (run.status, run.end_reason, run.cancel_requested_by) == ("cancelled", "too late", "ann")
    assert run.finished_at is not None
    assert heard == [(run.id, "cancelled")]
    assert take(9) == []


def test_without_a_reason_it_says_who_did_it(ann):
    run, other = enqueue(tasks.note), enqueue(tasks.note)
    cancel(run, ann)
    cancel(other)
    assert (run.end_reason, other.end_reason) == ("cancelled by ann", "cancelled")


def test_a_running_run_is_asked_to_end(ann):
    run, claimed = take_one(tasks.note)
    bystander, _ = take_one(tasks.note)

    assert cancel(run, ann, "too late")

    assert (run.status, run.cancel_requested_by) == ("running", "ann")
    assert cancel_requests([run.id, bystander.id]) == {run.id: "too late"}
    end(claimed, Kind.CANCELLED)
    assert cancel_requests([run.id]) == {}


@pytest.mark.parametrize("kind", [Kind.SUCCEEDED, Kind.FAILED, Kind.CANCELLED])
def test_a_finished_run_is_not_changed_by_cancel(kind):
    run, claimed = take_one(tasks.note)
    end(claimed, kind)
    before = Run.objects.filter(id=run.id).values().get()
    assert cancel(run) is False
    assert Run.objects.filter(id=run.id).values().get() == before


def test_a_run_that_moves_on_while_it_is_cancelled_is_cancelled_all_the_same(monkeypatch):
    run, claimed = take_one(tasks.note)
    from background.queue import cancel as module

    calls = []

    def move_on(*args, **kwargs):
        moved = move(*args, **kwargs)
        if not calls:  # after the look at the waiting states, before the look at the running one
            finish([Outcome(claimed, Kind.RETRY, delay=60)])
        calls.append(moved)
        return moved

    monkeypatch.setattr(module, "move", move_on)

    assert cancel(run) is True
    assert (status(run), calls) == ("cancelled", [0, 1])


@pytest.mark.django_db(transaction=True)
def test_a_cancel_and_a_claim_that_meet_end_or_ask_the_run():
    for _ in range(10):
        run = enqueue(tasks.note)
        said, claims = at_once(lambda run=run: cancel(run), lambda: take(1))
        assert said is True
        row = Run.objects.get(id=run.id)
        if claims:
            assert row.status == "running" and row.cancel_requested_at is not None
            end(claims[0], Kind.CANCELLED)
        else:
            assert row.status == "cancelled"


# -------------------------------------------------------------------------------------------------------- waiting for


def test_wait_returns_a_finished_run_at_once():
    run, claimed = take_one(tasks.note)
    end(claimed, result="x")
    assert run.wait(0).result == "x"


def test_wait_says_how_long_it_waited_and_where_the_run_stands():
    run = enqueue(tasks.note)
    with pytest.raises(TimeoutError, match=rf"{run.id} is still ready after 0.02 seconds"):
        run.wait(0.02)


@pytest.mark.django_db(transaction=True)
def test_wait_returns_when_another_thread_finishes_the_run():
    run, claimed = take_one(tasks.note)

    def work():
        end(claimed, result="done")
        connections.close_all()

    thread = threading.Thread(target=work)
    thread.start()
    assert run.wait(20).result == "done"
    thread.join()


@pytest.mark.django_db(transaction=True)
def test_await_returns_the_finished_run_or_gives_up():
    run, claimed = take_one(tasks.note)

    async def main():
        with pytest.raises(TimeoutError, match="still running"):
            await run.await_(0.02)
        from asgiref.sync import sync_to_async

        await sync_to_async(end)(claimed, result="done")
        done = await run.await_(20)
        await sync_to_async(connections.close_all)()  # of the thread that asyncio made
        return done

    assert asyncio.run(main()).result == "done"
