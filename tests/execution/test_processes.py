"""Runs in processes of their own: what crosses the pipe, limits, kills, and that nothing is left behind."""

import os
import time

import pytest
from django.db import connection

from background.models import Artifact, Run, RunLog
from background.testing import run_host
from tests.app import background as tasks
from tests.app.models import Effect
from tests.processes import is_alive, wait_until

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.slow]


def finished(host, *results, timeout=40):
    """Wait until these runs are finished and return their rows."""
    ids = [one.id for one in results]
    host.wait_for(lambda: Run.objects.finished().filter(id__in=ids).count() == len(ids), timeout=timeout)
    rows = Run.objects.in_bulk(ids)
    return [rows[type(next(iter(rows)))(str(id))] for id in ids]


def noted(name, timeout=40):
    """Wait for an effect of this name and return its note."""
    return wait_until(lambda: Effect.objects.filter(name=name).values_list("note", flat=True).first(), timeout)


def test_a_run_is_executed_in_another_process_whose_words_are_kept():
    with run_host() as host:
        (run,) = finished(host, tasks.in_process.enqueue(7))

    assert run.status == "succeeded", run.errors
    assert run.result["number"] == 7
    assert run.result["pid"] != os.getpid()
    assert (run.progress_done, run.progress_total, run.progress_message) == (7, 7, "counted")
    lines = list(RunLog.objects.filter(run=run.id).order_by("sequence").values_list("sequence", "message"))
    assert lines == [(n + 1, f"number {n}") for n in range(7)]
    assert Artifact.objects.get(run=run.id).name == "numbers.txt"
    wait_until(lambda: not is_alive(run.result["pid"]))  # it ended with its host


def test_a_child_is_used_again_unless_it_has_done_its_share():
    with run_host(PROCESS_CONCURRENCY=1) as host:
        pids = [one.result["pid"] for one in finished(host, *(tasks.in_process.enqueue(1) for _ in range(3)))]
    assert len(set(pids)) == 1

    with run_host(PROCESS_CONCURRENCY=1, MAX_RUNS_PER_CHILD=1) as host:
        pids = [one.result["pid"] for one in finished(host, *(tasks.in_process.enqueue(1) for _ in range(3)))]
    assert len(set(pids)) == 3


def test_a_child_that_holds_too_much_memory_is_replaced():
    with run_host(PROCESS_CONCURRENCY=1, MAX_MEMORY_PER_CHILD=10) as host:
        pids = [one.result["pid"] for one in finished(host, *(tasks.in_process.enqueue(1) for _ in range(2)))]
    assert len(set(pids)) == 2


def test_a_process_is_killed_at_its_timeout_even_in_c_code():
    with run_host() as host:
        (run,) = finished(host, tasks.process_that_burns.enqueue())

    assert (run.status, run.error_type) == ("failed", "background.exceptions.RunTimedOut"), run.errors
    assert not is_alive(int(noted("burns")))


def test_the_stop_token_of_a_process_hears_a_cancel_at_once():
    with run_host() as host:
        result = tasks.process_that_listens.enqueue()
        noted("listens")
        asked = time.monotonic()
        assert Run.objects.get(id=result.id).cancel(reason="enough")
        (run,) = finished(host, result)
        took = time.monotonic() - asked

    assert (run.status, run.end_reason) == ("cancelled", "enough")
    assert noted("heard") == "cancelled"
    assert took < 5  # not only when the deaf are killed


def test_the_signal_of_a_cancel_is_not_heard_by_the_next_run_of_the_process():
    with run_host(PROCESS_CONCURRENCY=1) as host:
        result = tasks.process_that_listens.enqueue()
        noted("listens")
        following = tasks.process_that_waits.enqueue(2)
        Run.objects.get(id=result.id).cancel()
        (run, other) = finished(host, result, following)

    assert (run.status, other.status, other.result) == ("cancelled", "succeeded", False)
    pids = Effect.objects.filter(name__in=["listens", "waits"]).order_by("id").values_list("note", flat=True)
    assert len(pids) == 2 and len(set(pids)) == 1  # one process, and each begun once


def test_a_process_deaf_to_its_cancel_is_killed():
    with run_host() as host:
        result = tasks.process_that_sleeps.enqueue()
        pid = int(noted("sleeps"))
        Run.objects.get(id=result.id).cancel()
        (run,) = finished(host, result)

    assert run.status == "cancelled"
    assert not is_alive(pid)


def test_a_process_that_dies_fails_its_attempt_by_name_and_the_next_gets_a_new_one():
    with run_host(PROCESS_CONCURRENCY=1) as host:
        (run, other) = finished(host, tasks.process_that_dies.enqueue(), tasks.in_process.enqueue(1))

    assert (run.status, run.error_type) == ("failed", "background.exceptions.ProcessDied")
    assert "SIGKILL" in run.error_summary
    assert (run.attempt, len(run.errors)) == (2, 2)  # tried again, as its policy says
    assert other.status == "succeeded"


def test_an_atomic_run_in_a_process_commits_its_body_and_success_together(caplog):
    with run_host() as host:
        good, bad = finished(host, tasks.process_booked.enqueue(), tasks.process_booked.enqueue(fail=True))

    assert (good.status, bad.status) == ("succeeded", "failed")
    assert Effect.objects.filter(name="process_booked").count() == 1
    assert "process_booked failed (attempt 1 of 1): no" in caplog.text  # the host says it, in its own log


@pytest.mark.skipif(connection.vendor == "sqlite", reason="SQLite: an atomic run holds the only write lock")
def test_an_atomic_run_in_a_process_that_lost_its_claim_leaves_nothing(tmp_path):
    with run_host() as host:
        result = tasks.process_waits_and_books.enqueue(str(tmp_path))
        pid = int(wait_until(lambda: (tmp_path / "waits").exists() and (tmp_path / "waits").read_text(), 40))
        Run.objects.filter(id=result.id).update(status="succeeded", token=None)  # as if another host had done it
        (tmp_path / "go").touch()
        host.wait_for(lambda: not host.host.worker.active(), timeout=30)

    assert not Effect.objects.filter(name="waited and booked").exists()
    assert not is_alive(pid)


def test_the_stop_of_the_host_reaches_the_process_and_hands_its_run_back_unburnt():
    with run_host() as host:
        result = tasks.process_that_listens.enqueue()
        noted("listens")
        assert host.stop() == 0

    run = Run.objects.get(id=result.id)
    assert (run.status, run.attempt, run.lost) == ("ready", 0, 0)
    assert noted("heard") == "shutdown"


def test_a_process_deaf_to_the_stop_is_killed_and_its_run_handed_back():
    with run_host(SHUTDOWN_TIMEOUT=3) as host:
        result = tasks.process_that_sleeps.enqueue()
        pid = int(noted("sleeps"))
        assert host.stop() == 0

    run = Run.objects.get(id=result.id)
    assert (run.status, run.attempt, run.lost) == ("ready", 0, 0)
    assert not is_alive(pid)


def test_a_child_that_cannot_start_fails_the_attempt_and_says_so(monkeypatch):
    monkeypatch.setenv("DJANGO_SETTINGS_MODULE", "nowhere.settings")
    with run_host() as host:
        (run,) = finished(host, tasks.in_process.enqueue(1))

    assert (run.status, run.error_type) == ("failed", "background.exceptions.ProcessDied")
    assert "could not start" in run.error_summary
