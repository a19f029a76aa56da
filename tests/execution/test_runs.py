"""What a run's function meets: its context, its log, and what its words and errors mean for the run."""

import contextvars
import json
import logging
import uuid
from datetime import timedelta
from pathlib import Path

import pytest
from django.conf import settings
from django.test import override_settings

import background
from background import Backoff, Discard, Retry, Snooze
from background.execution import capture
from background.models import Artifact, Run, RunLog
from background.testing import drain
from tests.app.models import Effect

pytestmark = pytest.mark.django_db

logger = logging.getLogger("tests.words")


def lines(run):
    return list(RunLog.objects.filter(run=run).order_by("sequence").values_list("sequence", "level", "message"))


# The context


def test_the_context_knows_its_run_and_is_the_current_one(execute):
    def look(context):
        assert background.current_run() is context
        return [str(context.run_id), context.attempt, context.task_result.status, context.stop.requested]

    run = execute(look, takes_context=True)

    assert run.result == [str(run.id), 1, "RUNNING", False]
    assert background.current_run() is None


def test_a_function_without_context_finds_it_as_the_current_run(execute):
    def whoami():
        return str(background.current_run().run_id)

    run = execute(whoami)
    assert run.result == str(run.id)


def test_a_coroutine_finds_it_as_the_current_run_too(execute):
    async def awhoami():
        return str(background.current_run().run_id)

    run = execute(awhoami)
    assert run.result == str(run.id)


def test_progress_and_track_are_kept(execute):
    def count(context):
        return list(context.track("abc"))

    run = execute(count, takes_context=True)

    assert run.result == ["a", "b", "c"]
    assert (run.progress_done, run.progress_total) == (3, 3)


def test_progress_that_is_no_number_is_refused(execute):
    def bad(context):
        context.progress(float("nan"))

    run = execute(bad, takes_context=True)
    assert (run.status, run.error_type) == ("failed", "builtins.ValueError")


def test_a_file_of_a_run_that_others_have_taken_over_is_not_kept(execute):
    def overtaken(context):
        Run.objects.update(token=uuid.uuid4())
        context.attach("late.txt", "too late")

    execute(overtaken, takes_context=True)

    assert not Artifact.objects.exists()
    assert not list(Path(settings.MEDIA_ROOT).rglob("*late.txt"))


def test_an_attached_file_is_kept_with_the_run(execute):
    def write(context):
        one = context.attach("../reports/sums.csv", "a;b\n1;2\n")
        return one.name

    run = execute(write, takes_context=True)

    artifact = Artifact.objects.get(run=run)
    assert run.result == artifact.name == "sums.csv"
    assert (artifact.content_type, artifact.size) == ("text/csv", 8)
    with artifact.file.open() as file:
        assert file.read() == b"a;b\n1;2\n"


def test_each_run_has_context_variables_of_its_own(execute):
    variable = contextvars.ContextVar("leak", default="clean")

    def leave():
        seen = variable.get()
        variable.set("dirty")
        return seen

    variable.set("the caller's")
    assert execute(leave).result == "clean"
    assert execute(leave).result == "clean"
    assert variable.get() == "the caller's"


# Its log


def test_log_lines_of_any_logger_are_kept_with_the_run_in_order(execute):
    def say(context):
        logger.info("first %d", 1)
        context.logger.warning("second")
        logger.debug("not at this level")
        try:
            raise ZeroDivisionError
        except ZeroDivisionError:
            logger.exception("third")

    found = lines(execute(say, takes_context=True))

    assert [line[:2] for line in found] == [(1, "INFO"), (2, "WARNING"), (3, "ERROR")]
    assert found[0][2] == "first 1"
    assert found[2][2].startswith("third\nTraceback") and "ZeroDivisionError" in found[2][2]


def test_what_the_machinery_and_django_say_of_a_run_is_not_its_log(execute):
    def quiet():
        raise ValueError("no")

    assert lines(execute(quiet)) == []


def test_words_of_one_run_do_not_reach_another(execute):
    def speak(word):
        logger.info(word)

    first, second = execute(speak, "one"), execute(speak, "two")

    assert [line[2] for line in lines(first)] == ["one"]
    assert [line[2] for line in lines(second)] == ["two"]


@override_settings(BACKGROUND={"MAX_LOG_LINES": 3})
def test_surplus_lines_are_counted_and_left_out(execute):
    def chatter():
        for number in range(10):
            logger.info("line %d", number)

    run = execute(chatter)

    assert [line[2] for line in lines(run)] == ["line 0", "line 1", "line 2"]
    assert run.log_lines_dropped == 7


def test_without_capture_nothing_is_kept(execute):
    def murmur():
        logger.error("nobody hears")

    with override_settings(BACKGROUND={"CAPTURE_LOGS": None}):
        assert lines(execute(murmur)) == []


def test_the_lines_of_all_attempts_are_kept_in_order(execute):
    def again(context):
        logger.info("attempt %d", context.attempt)
        raise ValueError

    run = execute(again, takes_context=True, max_attempts=3, backoff=Backoff(0, 0))

    assert [(number, text) for number, _, text in lines(run)] == [(n, f"attempt {n}") for n in (1, 2, 3)]


def test_a_log_record_that_cannot_be_formatted_harms_no_run(execute, monkeypatch):
    monkeypatch.setattr(logging, "raiseExceptions", False)
    record = logging.LogRecord("words", logging.INFO, __file__, 1, "%d", ("x",), None)

    def slip():
        assert capture.CAPTURE.get() is not None
        capture.CaptureHandler().emit(record)
        return "done"

    assert execute(slip).result == "done"


# Results


@pytest.mark.parametrize("value", [None, True, 1.5, "é\U0001f600", [1, [2]], {"a": {"b": None}}])
def test_plain_data_is_the_result(execute, value):
    def give():
        return value

    assert execute(give).result == value


@pytest.mark.parametrize("value", [object(), {1, 2}, float("nan"), b"bytes", "\x00", "\ud800"], ids=repr)
def test_a_result_that_is_not_json_fails_the_run_as_a_type_error(execute, value):
    def give():
        return value

    run = execute(give)

    assert (run.status, run.error_type, run.result) == ("failed", "builtins.TypeError", None)
    assert "Unsupported type" in run.errors[0]["message"]
    assert "Unsupported type" in run.errors[0]["traceback"]


def test_a_result_that_is_too_large_fails_the_run_and_says_what_to_do(execute):
    def give():
        return "x" * 70_000

    run = execute(give)

    assert run.status == "failed"
    assert "Attach a file" in run.errors[0]["message"]


# Errors


def test_an_error_is_kept_with_its_attempt_host_type_message_and_traceback(execute):
    def fail():
        _secret = "swordfish"
        raise KeyError("colour")

    run = execute(fail)

    (error,) = run.errors
    assert (run.status, run.error_type, run.attempt) == ("failed", "builtins.KeyError", 1)
    assert (error["attempt"], error["host"], error["message"]) == (1, "drain", "'colour'")
    assert "Traceback" in error["traceback"] and "swordfish" not in error["traceback"]
    assert json.dumps(error)


def test_equal_faults_have_one_fingerprint_and_others_another(execute):
    def fail(kind):
        raise ValueError("one") if kind == 1 else KeyError("two")

    first, second, third = execute(fail, 1), execute(fail, 1), execute(fail, 2)

    assert first.fingerprint == second.fingerprint != third.fingerprint


def test_system_exit_fails_the_run_and_not_the_process(execute):
    def leave():
        raise SystemExit("enough")

    async def aleave():
        raise SystemExit("enough")

    for run in (execute(leave), execute(aleave)):
        assert (run.status, run.error_type, run.error_summary) == ("failed", "builtins.SystemExit", "enough")


def test_an_exception_that_cannot_say_what_it_is_fails_the_run_all_the_same(execute):
    class Mute(Exception):
        def __str__(self):
            raise RuntimeError

    def fail():
        raise Mute

    assert execute(fail).status == "failed"


def test_an_exception_with_text_that_databases_refuse_is_kept_with_escapes(execute):
    def fail():
        raise ValueError("nul \x00 and half \ud83d")

    assert execute(fail).errors[0]["message"] == "nul \\x00 and half \\ud83d"


# Again, later, never


def test_only_what_retry_on_names_is_tried_again(execute):
    def fail(kind):
        raise {"value": ValueError, "key": KeyError}[kind]

    policies = {"max_attempts": 3, "backoff": Backoff(0, 0), "retry_on": (ValueError,)}
    assert execute(fail, "value", **policies).attempt == 3
    assert execute(fail, "key", **policies).attempt == 1


def test_what_discard_on_names_is_not_tried_again(execute):
    def fail():
        raise KeyError

    run = execute(fail, max_attempts=3, backoff=Backoff(0, 0), discard_on=(LookupError,))
    assert (run.status, run.attempt) == ("failed", 1)


def test_discard_fails_the_run_at_once_with_its_reason(execute):
    def give_up():
        raise Discard("the customer is gone")

    run = execute(give_up, max_attempts=3)
    assert (run.status, run.attempt, run.end_reason) == ("failed", 1, "the customer is gone")


def test_the_delays_of_the_backoff_are_used(execute):
    def fail():
        raise ValueError

    run = execute(fail, max_attempts=3, backoff=Backoff(initial=100, maximum=1000, factor=3, jitter=0))
    run.refresh_from_db()
    assert (run.status, run.attempt) == ("scheduled", 1)
    assert 95 < (run.run_after - run.started_at).total_seconds() < 105

    later = run.run_after + timedelta(seconds=1)
    (run,) = drain(now=later)
    assert (run.run_after - later).total_seconds() == pytest.approx(300, abs=1)


def test_retry_asks_for_another_attempt_after_its_own_delay(execute):
    def fail():
        raise Retry("busy", after=50)

    run = execute(fail, max_attempts=2, retry_on=())
    assert run.status == "scheduled"
    assert 45 < (run.run_after - run.started_at).total_seconds() < 55

    (run,) = drain(now=run.run_after)
    assert (run.status, run.attempt) == ("failed", 2)
    assert [error["message"] for error in run.errors] == ["busy", "busy"]


def test_snooze_comes_back_without_counting_as_an_attempt(execute):
    def wait():
        if not Effect.objects.filter(name="ready").exists():
            raise Snooze("not yet", after=20)
        return "ready"

    run = execute(wait)
    assert (run.status, run.attempt, run.errors) == ("scheduled", 0, [])

    Effect.objects.create(name="ready")
    (run,) = drain(now=run.run_after)
    assert (run.status, run.attempt, run.result) == ("succeeded", 1, "ready")


def test_an_unknown_task_fails_with_task_not_found(execute):
    def known():
        pass

    execute(known)
    Run.objects.update(status="ready", position=1, task="nowhere.to_be_found")
    (run,) = drain()
    assert (run.status, run.error_type) == ("failed", "background.exceptions.TaskNotFound")
