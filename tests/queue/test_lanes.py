"""Runs of one key that take next to no time follow each other in one slot, so that a hot key is not bound to the database."""

import pytest

from background.models import Host, Run
from background.queue.claim import claim, lengthen
from background.queue.enqueue import enqueue
from background.queue.finish import finish, release
from background.queue.outcome import Kind, Outcome
from background.queue.pause import pause_queue
from tests.app import background as tasks
from tests.queue.helpers import end, error, held_by, holder, host, served

pytestmark = pytest.mark.django_db


def take(limit=10, depth=3):
    return claim(holder(), limit, depth=lambda task: depth)


def states(customer="a"):
    return [
        status for status, _ in Run.objects.filter(args=[customer]).order_by("enqueued_at").values_list("status", "id")
    ]


def put(count, customer="a"):
    return [enqueue(served, [customer]) for _ in range(count)]


def test_a_slot_takes_the_runs_that_wait_behind_its_first():
    runs = put(12)

    claims = take(depth=3)

    lanes = {one.lane for one in claims}
    assert len(claims) == 8 and len(lanes) == 2 and None not in lanes  # two slots, three behind the first of each
    assert {one.id for one in claims} == {one.id for one in runs[:8]}
    assert states() == ["running"] * 8 + ["blocked"] * 4
    assert all(one.token == one.lane for one in claims)


def test_a_lane_is_in_the_order_of_the_places():
    runs = put(8)
    claims = take(depth=3)
    for lane in {one.lane for one in claims}:
        ids = [one.id for one in claims if one.lane == lane]
        assert ids == sorted(ids, key=[one.id for one in runs].index)


def test_nothing_waits_behind_a_run_of_which_nobody_knows_how_long_it_takes():
    put(5)
    assert len(claim(holder(), 10)) == 2
    assert states().count("blocked") == 3


def test_a_slot_is_free_only_when_its_whole_lane_has_ended():
    put(10)
    claims = take(depth=3)
    mine = [one for one in claims if one.lane == claims[0].lane]

    for one in mine[:-1]:
        end(one)
        assert take() == []
    end(mine[-1])

    assert len(take(depth=0)) == 1


def test_what_is_taken_from_the_blocked_is_taken_once():
    put(20)
    assert len(claim(holder(), 20)) == 2  # the others are blocked by now
    for one in Run.objects.running():
        Run.objects.filter(id=one.id).update(status="succeeded", token=None)
    enqueue(served, ["a"])
    enqueue(served, ["a"])
    claims = take(depth=4)
    assert len(claims) == len({one.id for one in claims}) == 10


def test_a_lane_is_of_one_task_and_of_runs_that_were_never_lost():
    runs = put(6)
    Run.objects.filter(id=runs[1].id).update(task=tasks.note.module_path)
    Run.objects.filter(id=runs[4].id).update(lost=1)
    claims = take(depth=3)
    others = {runs[1].id, runs[4].id}
    assert not [one for one in claims if one.id in others and one.token != one.lane]
    for lane in {one.lane for one in claims}:
        members = [one for one in claims if one.lane == lane]
        assert len({one.task for one in members}) == 1
        assert len(members) == 1 or not any(one.lost for one in members)


def test_the_runs_of_a_lane_end_each_with_times_of_its_own():
    put(3)
    claims = take(depth=3)[:2]
    lane = [Outcome(one, Kind.SUCCEEDED, waited=n, took=0.5) for n, one in enumerate(claims)]

    assert finish(lane) == []

    rows = [Run.objects.get(id=one.id) for one in claims]
    assert [(row.started_at - one.started_at).total_seconds() for row, one in zip(rows, claims, strict=True)] == [0, 1]
    assert [row.duration for row in rows] == [0.5, 0.5]


def test_a_released_lane_goes_back_to_its_place_and_frees_the_slot():
    runs = put(6)
    claims = take(depth=3)
    before = [one.id for one in runs]

    release(claims)

    again = [one.id for one in take(depth=3)]
    assert sorted(again, key=before.index) == before
    assert set(Run.objects.values_list("attempt", flat=True)) == {1}


def test_unlimited_runs_have_no_lane():
    for _ in range(3):
        enqueue(tasks.note)
    assert {one.lane for one in take()} == {None}


def blocked_behind(count):
    """A lane of one run, and what waits for its key."""
    runs = put(count)
    who = holder()
    claims = claim(who, 20)
    end(claims[1], Kind.RETRY, error={"type": "x", "message": "", "traceback": ""}, delay=60)
    return who, claims[0], runs[2:]


def test_a_lane_is_made_longer_while_its_first_is_executed():
    who, first, waiting = blocked_behind(8)
    Run.objects.filter(status="ready").update(status="blocked", position=None)

    more = lengthen(who, first, 4)

    assert [one.id for one in more] == [one.id for one in waiting[:4]]
    assert {one.lane for one in more} == {one.token for one in more} == {first.token}


def test_a_lane_whose_slot_may_be_someone_elses_is_not_made_longer():
    who, first, _ = blocked_behind(8)
    end(first)
    assert lengthen(who, first, 4) == []


def test_a_lane_of_a_host_that_was_given_up_is_not_made_longer():
    row = host("one")
    put(5)
    first = claim(held_by(row), 20)[0]
    Host.objects.filter(id=row.id).update(state="lost")
    assert lengthen(held_by(row), first, 4) == []


def test_a_lane_is_not_made_longer_in_a_queue_that_is_paused():
    who, first, _ = blocked_behind(8)
    pause_queue("default")
    assert lengthen(who, first, 4) == []


def test_a_lane_takes_no_run_again_that_it_had_before():
    put(3)
    Run.objects.update(concurrency=1)
    who = holder()
    claims = claim(who, 10, depth=lambda task: 2)
    retried = Outcome(claims[1], Kind.RETRY, error=error())
    assert finish([retried]) == []
    take()  # finds no slot for it

    assert lengthen(who, claims[0], 5) == []
    assert finish([retried]) == [retried]  # as a host does to which no answer came
