"""How runs come to be."""

from contextlib import contextmanager
from datetime import UTC, datetime, timedelta

import pytest
from django.contrib.auth import get_user_model
from django.db import OperationalError, connection, transaction
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from background import catalog
from background.exceptions import InvalidArguments, InvalidTransition, TaskNotFound
from background.models import Job, Run
from background.queue.claim import next_due, promote_due
from background.queue.enqueue import again, enqueue, enqueue_many, trigger
from background.queue.outcome import Kind
from tests.app import background as tasks
from tests.queue.helpers import at_once, end, served, take, take_one

pytestmark = pytest.mark.django_db
# One statement for each transaction tells other processes, where the database can.
TOLD = int(connection.vendor == "postgresql")


class Undo(Exception):
    pass


@pytest.mark.django_db(transaction=True)
def test_a_run_enqueued_in_a_transaction_that_is_rolled_back_does_not_exist():
    with pytest.raises(Undo), transaction.atomic():
        tasks.note.enqueue("x")
        enqueue(tasks.single, ["a"])
        enqueue_many([(tasks.note, ["y"], {})])
        raise Undo

    assert Run.objects.count() == 0
    assert enqueue(tasks.single, ["a"]).status == "ready"


WAYS = {
    "a task": lambda: [tasks.note.enqueue("x")],
    "a unique task": lambda: [tasks.single.enqueue("a")],
    "a request": lambda: [enqueue(tasks.note, ["x"], request_key="r")],
    "many": lambda: enqueue_many([(tasks.note, ["x"], {}), (tasks.single, ["a"], {}), (tasks.single, ["a"], {})]),
    "many that are unique": lambda: enqueue_many([(tasks.single, ["b"], {}), (tasks.single, ["a"], {})]),
}


@contextmanager
def connection_lost(when, monkeypatch):
    """Lose the connection once: before the next INSERT arrives, or after its commit and before the answer."""
    lost = []

    def lose():
        lost.append(when)
        raw = connection.connection
        getattr(raw, "_force_close", raw.close)()  # PyMySQL's word for a connection that broke
        raise OperationalError("the connection was closed unexpectedly")

    def at_insert(execute, sql, *rest):
        is_insert = "INSERT INTO" in sql and not lost
        if is_insert and when == "before":
            lose()
        result = execute(sql, *rest)
        if is_insert and not connection.in_atomic_block:
            lose()
        return result

    def at_commit():
        commit()
        if not lost and when == "after":
            lose()

    commit = connection._commit
    monkeypatch.setattr(connection, "_commit", at_commit)
    with connection.execute_wrapper(at_insert):
        yield
    assert lost == [when]


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("way", WAYS)
def test_a_run_whose_answer_is_lost_with_the_connection_is_neither_lost_nor_doubled(way, when, monkeypatch):
    with connection_lost(when, monkeypatch):
        runs = WAYS[way]()
    assert {str(run.id) for run in runs} == {str(id) for id in Run.objects.values_list("id", flat=True)}


@pytest.mark.django_db(transaction=True)
def test_inside_a_transaction_the_loss_of_the_connection_is_the_callers_to_repeat(monkeypatch):
    with pytest.raises(OperationalError), connection_lost("before", monkeypatch), transaction.atomic():
        enqueue(tasks.note, ["x"])
    assert not Run.objects.exists()


@pytest.mark.parametrize("queue", ["feeds.eu-1", "it's %s; --", 'a "b" \\', "größer"])
def test_the_name_of_a_queue_is_stored_as_it_is(queue):
    run = enqueue(tasks.note, ["x"], queue=queue)
    assert Run.objects.get(id=run.id).queue == queue


def test_enqueueing_a_plain_task_is_one_query_that_also_tells_others(django_assert_num_queries):
    with django_assert_num_queries(1):
        tasks.note.enqueue("x")


def test_enqueueing_a_job_is_two_queries_because_its_row_decides(django_assert_num_queries):
    catalog.sync()
    with django_assert_num_queries(2):
        tasks.plain.enqueue(1)


@pytest.mark.parametrize(
    "argument",
    [object(), {1, 2}, datetime(2026, 1, 1, tzinfo=UTC), b"\xff", timedelta(1)],
    ids=lambda o: type(o).__name__,
)
def test_an_argument_of_another_type_than_json_has_is_refused_by_name(argument):
    with pytest.raises(
        InvalidArguments, match=r"tests\.app\.background\.note.*Unsupported type.*" + type(argument).__name__
    ):
        enqueue(tasks.note, [argument])
    assert not Run.objects.exists()


@pytest.mark.parametrize("argument", [float("nan"), float("inf"), {(1, 2): 3}])
def test_what_json_cannot_say_is_refused(argument):
    with pytest.raises(InvalidArguments, match=r"tests\.app\.background\.note must be JSON"):
        enqueue(tasks.note, [], {"text": argument})


def test_arguments_that_are_too_large_are_refused_with_their_size():
    with pytest.raises(InvalidArguments, match=r"note take 70,0\d\d bytes as JSON; at most 65,536"):
        enqueue(tasks.note, ["x" * 70_000])


@pytest.mark.parametrize("text", ["a\x00b", "\ud800", "a\udfff"], ids=["NUL", "high half", "low half"])
def test_text_that_databases_do_not_store_is_refused(text):
    with pytest.raises(InvalidArguments, match="note hold NUL or half characters"):
        enqueue(tasks.note, [text])
    with pytest.raises(InvalidArguments):
        enqueue(tasks.note, [], {"text": {"deep": [text]}})


@pytest.mark.parametrize("text", ["€ 😀 \u2028", r"C:\u0000 is no NUL", "\\", "\x1b[0m"])
def test_other_text_is_stored_as_it_is(text):
    run = enqueue(tasks.note, [text])
    run.refresh_from_db()
    assert run.args == [text]


def test_tuples_become_lists_and_nested_data_stays():
    run = enqueue(tasks.note, [(1, 2)], {"a": {"b": [None, True, 1.5]}})
    run.refresh_from_db()
    assert (run.args, run.kwargs) == ([[1, 2]], {"a": {"b": [None, True, 1.5]}})


# ------------------------------------------------------------------------------------------------------------ unique


def test_unique_returns_the_open_run_with_the_key():
    first = enqueue(tasks.single, ["a"])

    assert enqueue(tasks.single, [], {"key": "a"}) == first
    assert enqueue(tasks.single, ["b"]) != first
    assert Run.objects.count() == 2


@pytest.mark.parametrize("kind", [Kind.SUCCEEDED, Kind.FAILED, Kind.CANCELLED])
def test_the_unique_key_is_free_once_the_run_has_ended(kind):
    first, claimed = take_one(tasks.single, "a")
    assert enqueue(tasks.single, ["a"]) == first
    end(claimed, kind)

    assert enqueue(tasks.single, ["a"]) != first


def test_a_run_that_will_be_tried_again_keeps_its_unique_key():
    first, claimed = take_one(tasks.single, "a")
    end(claimed, Kind.RETRY, delay=60)

    assert enqueue(tasks.single, ["a"]) == first


def test_cancelling_frees_the_unique_key():
    first = enqueue(tasks.single, ["a"])
    first.cancel()

    assert enqueue(tasks.single, ["a"]) != first


def test_arguments_that_do_not_fit_a_unique_task_are_refused():
    with pytest.raises(InvalidArguments, match="do not fit app.single|do not fit tests.app.background.single"):
        enqueue(tasks.single, [], {"wrong": 1})


@pytest.mark.django_db(transaction=True)
def test_eight_threads_that_enqueue_one_key_get_one_run():
    for key in "abcde":
        found = at_once(*[lambda key=key: enqueue(tasks.single, [key]).id] * 8)
        assert len(set(found)) == 1
    assert Run.objects.count() == 5


@pytest.mark.django_db(transaction=True)
def test_eight_threads_that_enqueue_and_finish_one_key_never_have_two_open_runs():
    from background.queue.cancel import cancel

    def work():
        for _ in range(5):
            cancel(enqueue(tasks.single, ["a"]))

    at_once(*[work] * 8)

    assert not Run.objects.open().exists()
    assert 5 <= Run.objects.cancelled().count() <= 40


def test_a_request_key_makes_one_run_however_often_it_is_sent():
    first = enqueue(tasks.note, ["x"], request_key="form-1")

    assert enqueue(tasks.note, ["x"], request_key="form-1") == first
    assert enqueue(tasks.note, ["x"], request_key="form-2") != first


def test_a_request_key_is_remembered_after_the_end():
    first = enqueue(tasks.note, ["x"], request_key="form-1")
    first.cancel()

    assert enqueue(tasks.note, ["x"], request_key="form-1") == first


# -------------------------------------------------------------------------------------------------------------- many


def test_enqueue_many_returns_the_runs_in_order_and_writes_them_by_one_statement(django_assert_num_queries):
    with django_assert_num_queries(3):  # a savepoint around one INSERT
        runs = enqueue_many([(tasks.note, [str(n)], {}) for n in range(100)])

    assert [run.args for run in runs] == [[str(n)] for n in range(100)]
    assert [claimed.args for claimed in take(100)] == [[str(n)] for n in range(100)]


def test_what_enqueue_many_returns_is_what_the_database_has():
    catalog.sync()
    text = '{"a,b}, "quoted" \\ back\\slash \' %s NULL \n € 😀'
    later = timezone.now() + timedelta(hours=1)
    orders = [
        (tasks.note, [text], {"text": None}), (tasks.note, [], {}), (tasks.note, [True], {}), (tasks.note, [1], {}),
        (tasks.note, ["NULL"], {}),
        (tasks.note.using(run_after=later, priority=-3, queue_name=text[:20]), [[1.5, {}]], {text: [text]}), (served, ["acme"], {}),
        (tasks.plain, [0], {}), (tasks.hourly, [], {"limit": 2}), (tasks.anote, ["x"], {}), (tasks.single, ["a"], {}),
    ]  # fmt: skip

    runs = enqueue_many(orders)

    stored = Run.objects.in_bulk([run.id for run in runs])
    for run in runs:
        assert not run._state.adding and run._state.db == "default"
        for field in Run._meta.concrete_fields:
            mine, found = (getattr(one, field.attname) for one in (run, stored[run.id]))
            assert mine == found, field.name
        assert repr(run.args) == repr(stored[run.id].args)  # True is 1 to Python, but not to JSON
    assert [run.args for run in runs[:5]] == [[text], [], [True], [1], ["NULL"]]
    assert runs[7].job.name == "app.plain" and runs[0].job is None
    assert len({run.place for run in runs}) == len(runs)


def test_runs_that_were_enqueued_together_share_nothing_that_can_be_changed():
    one, other = enqueue_many([(tasks.note, [], {}), (tasks.note, [], {})])
    for name in ("args", "kwargs", "errors"):
        assert getattr(one, name) is not getattr(other, name)


def test_enqueue_many_of_more_than_one_statement_takes_keeps_the_order(monkeypatch):
    monkeypatch.setattr("background.queue.enqueue.ROWS", 3)
    monkeypatch.setattr("background.dialects.mysql.ROWS", 2)
    runs = enqueue_many([(tasks.note, [str(n)], {}) for n in range(10)])
    assert [claimed.id for claimed in take(100)] == [run.id for run in runs]


@pytest.mark.skipif(connection.vendor != "postgresql", reason="only PostgreSQL has to be told")
def test_a_transaction_tells_others_by_its_first_insert_only():
    with CaptureQueriesContext(connection) as captured:
        enqueue(tasks.note, run_after=timezone.now() + timedelta(hours=1))
        enqueue(tasks.note)
        enqueue(tasks.note)
        enqueue_many([(tasks.note, [], {})] * 3)
    assert ["pg_notify" in one["sql"] for one in captured if "INSERT" in one["sql"]] == [False, True, False, False]


def test_enqueue_many_reads_the_rows_of_jobs_once(django_assert_num_queries):
    catalog.sync()
    with django_assert_num_queries(4):
        runs = enqueue_many([(tasks.plain, [n], {}) for n in range(10)] + [(tasks.lonely, [1], {})])
    assert runs[0].job_name == "app.plain" and runs[-1].concurrency == 1


def test_enqueue_many_returns_open_runs_for_unique_keys_and_keeps_the_order():
    before = enqueue(tasks.single, ["a"])

    runs = enqueue_many(
        [(tasks.note, ["1"], {}), (tasks.single, ["a"], {}), (tasks.single, ["b"], {}), (tasks.single, ["b"], {}), (tasks.note, ["2"], {})]
    )  # fmt: skip

    assert runs[1] == before and runs[2] == runs[3]
    assert [runs[0].args, runs[4].args] == [["1"], ["2"]]
    assert Run.objects.count() == 4


def test_enqueue_many_writes_all_or_nothing():
    with pytest.raises(InvalidArguments):
        enqueue_many([(tasks.note, ["1"], {}), (tasks.note, [object()], {})])
    assert not Run.objects.exists()


def test_enqueue_many_of_nothing_asks_nothing(django_assert_num_queries):
    with django_assert_num_queries(0):
        assert enqueue_many([]) == []


# ------------------------------------------------------------------------------------------------- time and priority


def test_a_run_for_later_waits_until_it_is_due():
    later = timezone.now() + timedelta(hours=1)
    run = enqueue(tasks.note, run_after=later)
    assert (run.status, run.position, next_due()) == ("scheduled", None, later)
    assert promote_due() == 0 and take() == []

    assert promote_due(later) == 1

    run.refresh_from_db()
    assert run.status == "ready"
    assert [claimed.id for claimed in take()] == [run.id]


def test_due_runs_are_promoted_by_the_databases_clock():
    run = enqueue(tasks.note, run_after=timezone.now() + timedelta(hours=1))
    Run.objects.update(run_after=timezone.now() - timedelta(seconds=1))

    assert promote_due() == 1
    assert [claimed.id for claimed in take()] == [run.id]


def test_a_run_whose_time_has_passed_is_ready_at_once():
    assert enqueue(tasks.note, run_after=timezone.now() - timedelta(seconds=1)).status == "ready"


def test_promoted_runs_stand_in_the_order_of_their_due_times():
    now = timezone.now()
    runs = [enqueue(tasks.note, [str(n)], run_after=now + timedelta(minutes=n)) for n in (3, 1, 2)]

    promote_due(now + timedelta(hours=1))

    assert [claimed.id for claimed in take(3)] == [runs[1].id, runs[2].id, runs[0].id]


def test_promoting_many_runs_is_a_few_statements(django_assert_num_queries):
    later = timezone.now() + timedelta(hours=1)
    for n in range(30):
        enqueue(tasks.note, [str(n)], run_after=later)
    with django_assert_num_queries(5 + TOLD):  # is there any? and a savepoint around: which, and make them ready
        assert promote_due(later) == 30


def test_larger_priorities_come_first_and_equal_ones_in_the_order_of_arrival():
    for text, priority in [("a", 0), ("b", -5), ("c", 10), ("d", 0), ("e", 10)]:
        enqueue(tasks.note.using(priority=priority), [text])

    assert [claimed.args[0] for claimed in take(5)] == ["c", "e", "a", "d", "b"]


def test_a_run_that_has_waited_eleven_minutes_goes_before_one_ten_steps_above_it(monkeypatch):
    now = timezone.now()
    for text, minutes, priority in [("9 minutes", 9, 0), ("11 minutes", 11, 0), ("urgent", 0, 10)]:
        monkeypatch.setattr(timezone, "now", lambda minutes=minutes: now - timedelta(minutes=minutes))
        enqueue(tasks.note.using(priority=priority), [text])

    assert [claimed.args[0] for claimed in take(3)] == ["11 minutes", "urgent", "9 minutes"]


# -------------------------------------------------------------------------------------------------- jobs and policies


def test_a_run_of_a_job_takes_the_policies_of_its_row():
    catalog.sync()
    Job.objects.filter(name="app.hourly").update(queue="slow", priority=7, max_attempts=4, timeout=9)

    run = enqueue(tasks.hourly)

    assert (run.job_name, run.queue, run.priority, run.max_attempts, run.timeout) == ("app.hourly", "slow", 7, 4, 9)


def test_what_a_caller_says_with_using_goes_before_the_row():
    catalog.sync()
    Job.objects.filter(name="app.hourly").update(queue="slow", priority=7)

    run = enqueue(tasks.hourly.using(queue_name="mail", priority=3))
    many = enqueue_many([(tasks.hourly.using(queue_name="mail"), [], {})])[0]

    assert (run.queue, run.priority) == ("mail", 3)
    assert (many.queue, many.priority) == ("mail", 7)


def test_a_task_without_a_job_takes_the_policies_of_the_code():
    run = enqueue(served, ["acme"])
    assert (run.job, run.concurrency, run.executor) == (None, 2, "thread")
    assert run.concurrency_key == "tests.queue.helpers.per_customer:acme"
    assert enqueue(tasks.anote).executor == "loop"


# -------------------------------------------------------------------------------------------------- trigger and again


@pytest.fixture
def user():
    return get_user_model().objects.create_user("ann")


def test_trigger_runs_a_disabled_job_for_a_person_with_arguments_for_this_run(user):
    catalog.sync()
    Job.objects.filter(name="app.hourly").update(enabled=False, kwargs={"region": "US"}, queue="slow")
    job = Job.objects.get(name="app.hourly")

    run = job.trigger(user=user, limit=3)

    run.refresh_from_db()
    assert (run.job, run.trigger, run.triggered_by, run.triggered_by_name) == (job, "manual", user, "ann")
    assert (run.kwargs, run.queue, run.status) == ({"region": "US", "limit": 3}, "slow", "ready")
    job.refresh_from_db()
    assert job.kwargs == {"region": "US"}


def test_trigger_keeps_the_reason_and_may_be_for_later(user):
    catalog.sync()
    later = timezone.now() + timedelta(hours=1)
    run = trigger(Job.objects.get(name="app.plain"), user, reason="because", _run_after=later, _queue="mail")
    assert (run.reason, run.status, run.run_after, run.queue) == ("because", "scheduled", later, "mail")


def test_trigger_of_a_job_whose_task_nobody_declares_says_so():
    job = Job.objects.create(name="gone", task="nowhere.gone")
    with pytest.raises(TaskNotFound, match="nowhere.gone"):
        job.trigger()


def test_a_job_made_by_hand_runs_a_plain_task():
    job = Job.objects.create(name="by hand", task=tasks.note.module_path, args=["x"], queue="mail", max_attempts=3)
    run = job.trigger()
    assert (run.job_name, run.args, run.queue, run.max_attempts) == ("by hand", ["x"], "mail", 3)


def test_again_makes_a_new_run_and_leaves_the_finished_one_as_it_is(user):
    catalog.sync()
    run, claimed = take_one(tasks.plain, 1, word="two")
    end(claimed, Kind.FAILED, reason="over")
    before = Run.objects.filter(id=run.id).values().get()

    new = again(Run.objects.get(id=run.id), user, "once more", word="three")

    assert (new.rerun_of_id, new.args, new.kwargs, new.attempt) == (run.id, [1], {"word": "three"}, 0)
    assert (new.trigger, new.triggered_by_name, new.reason, new.job_name) == ("manual", "ann", "once more", "app.plain")
    assert Run.objects.filter(id=run.id).values().get() == before


@pytest.mark.parametrize("open_status", Run.OPEN)
def test_again_is_refused_while_the_run_is_open(open_status):
    run = enqueue(tasks.note)
    Run.objects.update(status=open_status)
    with pytest.raises(InvalidTransition, match=f"is {open_status.value}: only a finished run"):
        run.again()


def test_again_of_a_run_without_a_job_keeps_queue_and_priority():
    run, claimed = take_one(tasks.note.using(queue_name="mail", priority=5), "x")
    end(claimed)
    new = Run.objects.get(id=run.id).again()
    assert (new.queue, new.priority, new.args) == ("mail", 5, ["x"])


def test_a_column_that_runs_do_not_have_is_refused():
    with pytest.raises(TypeError, match="prioritty"):
        enqueue(tasks.note, prioritty=3)


def test_runs_of_several_tasks_that_are_enqueued_together_stand_in_their_order():
    orders = [(tasks.note, [], {}), (tasks.plain, [], {}), (tasks.note, [], {}), (tasks.single, ["a"], {})]
    runs = enqueue_many(orders * 5)
    assert len({run.enqueued_at for run in runs}) == 1
    waiting = Run.objects.order_by("position").values_list("task", flat=True)
    assert list(waiting[:3]) == [task.module_path for task, _, _ in orders[:3]]
