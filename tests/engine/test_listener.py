"""Hosts hear at once of what other processes have enqueued, where the database can tell."""

import threading
from types import SimpleNamespace

import pytest
from django.db import connection, connections
from django.test.utils import CaptureQueriesContext

from background.engine.listener import Listener
from background.models import Run
from background.queue import wakeup
from background.queue.enqueue import enqueue
from background.queue.pause import pause_queue, resume_queue
from background.stopping import StopToken
from tests.app import background as tasks
from tests.processes import manage, wait_until

pytestmark = pytest.mark.django_db(transaction=True)
TELLS = connection.vendor in ("postgresql", "sqlite")


@pytest.fixture
def heard(monkeypatch):
    """What a listener in a thread of its own hears from now on."""
    if not TELLS:
        pytest.skip("MariaDB tells nothing to other processes")
    calls, stop = [], StopToken()
    listener = Listener(SimpleNamespace(database_away=False))
    forget = wakeup.listen(lambda: calls.append(threading.current_thread()))

    def listen():
        try:
            listener.execute(stop)
        finally:
            connections.close_all()

    thread = threading.Thread(target=listen)
    thread.start()
    wait_until(lambda: thread in calls)  # once, when it has begun to listen
    calls.clear()
    yield calls
    stop.request("end")
    thread.join(10)
    forget()
    assert not thread.is_alive()


def other_process(code):
    done = manage("shell", "-v", "0", "-c", code)
    assert done.returncode == 0, done.stderr


def test_a_run_that_another_process_enqueues_is_heard_of(heard):
    other_process("from tests.app.background import note; note.enqueue()")
    wait_until(lambda: heard)


def test_runs_that_another_process_enqueues_in_a_transaction_are_heard_of_when_it_commits(heard):
    other_process(
        "from django.db import transaction; from tests.app.background import note\n"
        "with transaction.atomic(): [note.enqueue() for _ in range(3)]"
    )
    wait_until(lambda: heard)


def test_a_slot_that_another_process_frees_is_heard_of(heard):
    run = enqueue(tasks.lonely)
    Run.objects.filter(id=run.id).update(status="blocked", position=None)
    other_process("from background.queue.rescue import sweep_blocked; sweep_blocked()")
    wait_until(lambda: heard)
    assert Run.objects.ready().count() == 1


def test_a_queue_that_another_process_resumes_is_heard_of(heard):
    pause_queue("default")
    heard.clear()
    other_process("from background.queue.pause import resume_queue; resume_queue('default')")
    wait_until(lambda: heard)
    resume_queue("default")


@pytest.mark.skipif(connection.vendor != "postgresql", reason="SQLite has no server")
def test_a_listener_whose_connection_is_killed_listens_anew(heard):
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity "
            "WHERE query = 'LISTEN background' AND datname = current_database()"
        )
        assert cursor.fetchone() == (1,)
    wait_until(lambda: heard)  # it asks what it has missed
    heard.clear()
    other_process("from tests.app.background import note; note.enqueue()")
    wait_until(lambda: heard)


@pytest.mark.skipif(connection.vendor != "postgresql", reason="only PostgreSQL has to be told")
def test_who_enqueues_much_alone_tells_it_once_in_a_while(monkeypatch):
    monkeypatch.setattr(wakeup, "AWAKE", 3600)
    monkeypatch.setattr(wakeup, "_told_at", float("-inf"))
    with CaptureQueriesContext(connection) as captured:
        for _ in range(5):
            enqueue(tasks.note)
    assert ["pg_notify" in one["sql"] for one in captured] == [True, False, False, False, False]


def test_a_listener_that_has_ended_before_the_word_of_the_stop_arrives_says_nothing(caplog, monkeypatch):
    """Where nothing can be heard it waits for the stop itself, and may be faster than the callback."""
    monkeypatch.setattr("background.engine.listener.dialect", lambda: SimpleNamespace(listen=lambda: None))
    stop = StopToken()
    listener = Listener(SimpleNamespace(database_away=False))
    thread = threading.Thread(target=listener.execute, args=(stop,))
    stop.add_callback(lambda: thread.join(10))  # called before the listener's own
    thread.start()
    wait_until(lambda: len(stop._callbacks) == 2)

    stop.request("end")

    assert not thread.is_alive() and not caplog.records
