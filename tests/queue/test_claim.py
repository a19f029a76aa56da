"""How hosts take runs."""

import uuid
from datetime import timedelta

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from background import catalog
from background.dialects import dialect
from background.models import Queue, Run
from background.models.queue import EVERYTHING
from background.queue.claim import claim, claim_next
from background.queue.enqueue import enqueue, enqueue_many
from background.queue.finish import release
from background.queue.holding import Filter
from background.queue.outcome import Kind
from background.queue.pause import pause_everything, pause_queue, queue_names, resume_everything, resume_queue
from tests.app import background as tasks
from tests.queue.helpers import at_once, end, held_by, holder, host, served, status, take, take_one

pytestmark = pytest.mark.django_db


def put(*texts, queue="default"):
    return [enqueue(tasks.note.using(queue_name=queue), [text]) for text in texts]


def texts(claims):
    return [claimed.args[0] for claimed in claims]


def test_a_claim_marks_the_run_with_token_host_version_attempt_and_start():
    (run,) = put("x")
    who = holder()

    (claimed,) = claim(who, 1)

    run.refresh_from_db()
    assert (run.status, run.attempt, run.position) == ("running", 1, None)
    assert (run.host_id, run.host_name, run.version) == (who.id, "one", "1.0")
    assert run.token == claimed.token and run.started_at == claimed.started_at
    assert abs(dialect().now() - run.started_at) < timedelta(seconds=10)
    assert (claimed.attempt, claimed.task, claimed.args) == (1, tasks.note.module_path, ["x"])


def test_a_claim_begins_without_the_progress_and_the_wishes_of_the_attempt_before():
    put("x")
    Run.objects.update(progress_done=1, progress_message="old", cancel_requested_by="ann")

    take()

    run = Run.objects.get()
    assert (run.progress_done, run.progress_message, run.cancel_requested_by) == (None, "", "")


def test_a_claim_takes_no_more_than_its_limit():
    put("a", "b", "c")
    assert texts(take(2)) == ["a", "b"]
    assert texts(take(2)) == ["c"]
    assert take(2) == []
    assert take(0) == [] and take(-1) == []


def test_each_claim_has_a_fresh_token():
    put("a")
    (first,) = take()
    release([first])
    (second,) = take()
    assert first.id == second.id and first.token != second.token


def test_a_claim_carries_the_backoff_of_the_jobs_row():
    catalog.sync()
    enqueue(tasks.flaky)
    assert take()[0].backoff["initial"] == 0
    put("x")
    assert take()[0].backoff is None


def test_a_host_takes_runs_of_its_queues_only():
    put("a", queue="mail")
    put("b", queue="slow")
    put("c")
    assert texts(take(9, queues=("mail", "default"))) == ["a", "c"]
    assert take(9, queues=()) == []


def test_a_host_does_not_take_runs_of_excluded_queues():
    put("a", queue="mail")
    put("b")
    assert texts(take(9, excluded=("mail",))) == ["b"]


def test_a_host_takes_runs_for_the_executors_it_has():
    put("a")
    enqueue(tasks.anote, ["b"])
    assert texts(take(9, executors=("process",))) == []
    assert texts(take(9, executors=("loop",))) == ["b"]
    assert texts(take(9, executors=("thread", "process"))) == ["a"]


def test_a_host_does_not_take_runs_of_tasks_it_does_not_know():
    put("a")
    enqueue(tasks.anote, ["b"])
    assert texts(take(9, not_tasks=(tasks.note.module_path,))) == ["b"]


def test_runs_of_a_paused_queue_are_not_taken_until_it_is_resumed():
    put("a", queue="mail")
    pause_queue("mail", reason="the server is down")
    assert take() == []

    resume_queue("mail")

    assert texts(take()) == ["a"]


def test_running_runs_of_a_paused_queue_go_on():
    run, claimed = take_one(tasks.note.using(queue_name="mail"), "x")
    pause_queue("mail")
    assert end(claimed) == []
    assert status(run) == "succeeded"


def test_a_pause_tells_who_when_and_why_until_it_is_over(django_user_model):
    row = pause_queue("mail", django_user_model.objects.create_user("ann"), "the server is down")
    assert (row.paused, row.paused_by, row.paused_reason) == (True, "ann", "the server is down")
    assert abs(dialect().now() - row.paused_at) < timedelta(seconds=10)

    row = resume_queue("mail")

    assert (row.paused, row.paused_by, row.paused_reason, row.paused_at) == (False, "", "", None)


def test_pausing_twice_keeps_one_row():
    pause_queue("mail", reason="one")
    assert pause_queue("mail", reason="two").paused_reason == "two"
    assert Queue.objects.count() == 1


def test_queues_are_those_with_a_row_or_an_open_run():
    pause_queue("paused")
    put("a", queue="mail")
    _, claimed = take_one(tasks.note.using(queue_name="over", priority=9))
    end(claimed)
    assert queue_names() == ["mail", "paused"]


def test_a_run_with_a_position_that_is_not_ready_is_not_taken():
    put("a")
    Run.objects.update(status="scheduled")
    assert take() == []


@pytest.mark.django_db(transaction=True)
def test_two_holders_that_claim_at_once_never_get_the_same_run():
    enqueue_many([(tasks.note, [str(n)], {}) for n in range(300)])

    def work():
        who, mine, empty = holder(), [], 0
        while empty < 3:
            claims = claim(who, 7)
            empty = 0 if claims else empty + 1
            mine += claims
        return mine

    found = at_once(work, work)

    ids = [claimed.id for mine in found for claimed in mine]
    assert len(ids) == len(set(ids)) == 300
    tokens = dict(Run.objects.values_list("id", "token"))
    assert all(tokens[claimed.id] == claimed.token for mine in found for claimed in mine)
    assert set(Run.objects.values_list("attempt", flat=True)) == {1}


def statements(size):
    with CaptureQueriesContext(connection) as context:
        assert len(take(size)) == size
    return len(context)


def test_a_claim_of_fifty_runs_takes_as_many_statements_as_a_claim_of_one():
    put(*"a" * 51)
    # Elsewhere a look, and two in a transaction, whose begin and end are counted where it is a savepoint.
    assert statements(1) == statements(50) == (1 if connection.vendor == "postgresql" else 5)


def test_to_look_for_something_to_claim_is_one_query(django_assert_num_queries):
    with django_assert_num_queries(1):
        assert take_next(thread=8, loop=9) == ("thread", [], False)
    put("a")
    with django_assert_num_queries(1):
        assert take_next(loop=9)[1] == []


def take_next(depth=None, **rooms):
    return claim_next(holder(), rooms, Filter(), lambda name: depth)


def test_the_executor_of_the_run_that_is_next_in_line_is_served_as_far_as_it_has_room():
    put("a", "b")
    enqueue(tasks.anote, ["c"])
    put("d", "e")

    name, first, _ = take_next(loop=9, thread=3)
    assert (name, texts(first)) == ("thread", ["a", "b", "d"])
    name, second, _ = take_next(thread=3, loop=9)
    assert (name, texts(second)) == ("loop", ["c"])
    name, third, _ = take_next(thread=3, loop=9)
    assert (name, texts(third)) == ("thread", ["e"])


def test_an_executor_without_room_keeps_nothing_from_the_others():
    enqueue(tasks.anote, ["a"])
    put("b")
    assert texts(take_next(thread=3)[1]) == ["b"]


def test_what_comes_behind_a_run_with_a_limit_is_claimed_with_it_in_order():
    put("a")
    enqueue(served, ["ann"])
    enqueue(served, ["ann"])
    enqueue(served, ["ann"])
    put("b")
    assert texts(take_next(thread=9)[1]) == ["a", "b", "ann", "ann"]  # of one claim those without a limit come first
    assert [run.status for run in Run.objects.order_by("id")] == [*["running"] * 3, "blocked", "running"]


def test_runs_of_a_limited_queue_are_counted_also_among_plain_ones():
    put("a")
    put("b", "c", queue="mail")
    put("d")
    Queue.objects.create(name="mail", concurrency=1)
    assert texts(take_next(thread=9)[1]) == ["a", "b", "d"]


def test_a_host_that_was_given_up_is_given_nothing():
    put("a")
    one = held_by(host("one", state="lost"))
    assert claim_next(one, {"thread": 3}, Filter(), lambda name: None)[1] == []


# ---------------------------------------------------------------------------------------------------- lost runs


def test_runs_that_were_lost_before_run_one_at_a_time_on_a_host():
    put("a", "b", "c", "d")
    Run.objects.exclude(args=["c"]).update(lost=1)
    one, two = held_by(host("one")), held_by(host("two"))

    first = take(9, one)

    assert texts(first) == ["a", "c"]
    assert take(9, one) == []
    assert texts(take(9, two)) == ["b"]
    end(first[0], Kind.SUCCEEDED)
    assert texts(take(9, one)) == ["d"]


def test_runs_that_were_lost_before_do_not_keep_others_from_a_host():
    put(*"abcde")
    Run.objects.exclude(args=["e"]).update(lost=1)
    one = held_by(host("one"))

    assert texts(take(1, one)) == ["a"]
    assert texts(take(1, one)) == ["e"]


def test_the_filter_says_all_by_default():
    assert Filter() == Filter(None, (), ("thread", "loop", "process"), ())
    assert holder().id != uuid.UUID(int=0)


# ------------------------------------------------------------------------------------------------- everything paused


def test_with_everything_paused_nothing_is_claimed_whatever_the_queue():
    put("a")
    enqueue(tasks.note.using(queue_name="other"), ["b"])
    pause_everything(reason="the database is moved")

    assert take(9) == []
    assert take_next(thread=9)[1] == []

    resume_everything()
    assert len(take(9)) == 2


def test_a_queue_that_is_paused_by_itself_stays_so_when_everything_goes_on():
    put("a")
    pause_queue("default")
    pause_everything()
    resume_everything()
    assert take(9) == []


def test_the_pause_of_everything_is_no_queue():
    pause_everything()
    assert EVERYTHING not in queue_names()
