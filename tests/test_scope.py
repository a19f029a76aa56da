"""One unit of work: its connections, its context variables, its middleware and cleanups."""

import asyncio
import threading
from contextlib import contextmanager
from contextvars import ContextVar

import pytest
from asgiref.sync import ThreadSensitiveContext, sync_to_async
from django.core.cache import caches
from django.db import OperationalError, connection, connections, transaction
from django.test import override_settings
from django.utils import timezone, translation

import background
from background import scope as scopes
from background.models import Run, Service
from background.scope import Scope, Unit, arefresh_connections, close_connections, fresh_context, refresh_connections
from background.testing import drain, run_host
from tests.app import background as tasks
from tests.app.models import Effect

pytestmark = pytest.mark.django_db(transaction=True)

UNIT = Unit("scope", "test")


@pytest.fixture
def own_connection():
    """The test's connection, made anew and left in order."""
    connection.close()
    yield connection
    connection.close()


def ask():
    """Use the connection, and return which one it is."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT 1")
        assert cursor.fetchone() == (1,)
    return connection.connection


def needs_server():
    if connection.vendor == "sqlite":
        pytest.skip("SQLite has no server")


def server_side():
    """Return the server's number for the connection of this thread."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_backend_pid()" if connection.vendor == "postgresql" else "SELECT CONNECTION_ID()")
        return cursor.fetchone()[0]


def kill(number):
    """End the server side of a connection, from another one."""

    def work():
        with connection.cursor() as cursor:
            if connection.vendor == "postgresql":
                cursor.execute("SELECT pg_terminate_backend(%s, 5000)", [number])
            else:
                cursor.execute(f"KILL {number}")
        connection.close()

    in_thread(work)


def in_thread(work):
    """Return what `work()` returns in a thread of its own."""
    found = []

    def call():
        try:
            found.append((work(), None))
        except BaseException as error:
            found.append((None, error))

    thread = threading.Thread(target=call)
    thread.start()
    thread.join(30)
    value, error = found[0]
    if error is not None:
        raise error
    return value


@contextmanager
def database_settings(**settings):
    before = {key: connection.settings_dict[key] for key in settings}
    connection.settings_dict.update(settings)
    try:
        yield
    finally:
        connection.settings_dict.update(before)


# Connections


def test_a_connection_that_the_server_ended_is_replaced_before_the_next_unit(own_connection):
    needs_server()
    with Scope(UNIT):
        number = server_side()
    kill(number)
    with Scope(UNIT):
        assert server_side() != number


def test_a_connection_that_breaks_within_a_unit_harms_no_other(own_connection):
    needs_server()
    with pytest.raises(OperationalError), Scope(UNIT):
        kill(server_side())
        ask()
    with Scope(UNIT):
        ask()


def test_a_connection_that_breaks_within_a_transaction_is_replaced(own_connection):
    needs_server()
    with pytest.raises(OperationalError), Scope(UNIT):
        connection.set_autocommit(False)
        kill(server_side())
        ask()
    with Scope(UNIT):
        ask()
        assert connection.get_autocommit()


def test_a_connection_that_was_closed_behind_djangos_back_is_replaced(own_connection):
    ask()
    connection.connection.close()
    with Scope(UNIT):
        if connection.vendor != "sqlite":  # which cannot be asked without asking
            ask()
    connection.connection = None


def test_a_tick_works_after_the_server_ended_the_connection_between_two_ticks():
    needs_server()

    class Asks(background.PeriodicService):
        schedule = background.every(hours=1)
        run_at_start = True

        def __init__(self):
            self.numbers = []

        def tick(self, scope):
            self.numbers.append(server_side())

    class AsksToo(Asks):
        async def tick(self, scope):
            self.numbers.append(await sync_to_async(server_side)())

    with run_host(Asks, AsksToo) as host:
        for name in ("tests.Asks", "tests.AsksToo"):
            service = host.service(name).service
            host.wait_for(lambda service=service: len(service.numbers) == 1)
            kill(service.numbers[0])
            service.tick_now()
            host.wait_for(lambda service=service: len(service.numbers) == 2)
            assert service.numbers[0] != service.numbers[1]
        assert not Service.objects.exclude(error="").exists()


def test_a_run_works_after_the_server_ended_the_connection_of_its_thread():
    needs_server()
    with run_host(CONCURRENCY=1, ASYNC_CONCURRENCY=1) as host:
        for task in (tasks.note, tasks.anote):
            before = backends()
            first = task.enqueue("first")
            host.wait_for(lambda first=first: Run.objects.get(id=first.id).status == "succeeded")
            for number in backends() - before:
                kill(number)
            second = task.enqueue("second")
            host.wait_for(lambda second=second: Run.objects.get(id=second.id).status in ("succeeded", "failed"))
            assert Run.objects.get(id=second.id).status == "succeeded"


def backends():
    """Return the server's numbers of all connections to this database but this thread's."""
    own = server_side()
    with connection.cursor() as cursor:
        if connection.vendor == "postgresql":
            cursor.execute("SELECT pid FROM pg_stat_activity WHERE datname = current_database()")
        else:
            cursor.execute("SELECT id FROM information_schema.processlist WHERE db = DATABASE()")
        return {row[0] for row in cursor.fetchall()} - {own}


def test_an_unfinished_transaction_is_rolled_back_and_its_connection_closed(own_connection):
    with Scope(UNIT):
        connection.set_autocommit(False)
        Effect.objects.create(name="unfinished")
    assert connection.connection is None
    assert not Effect.objects.exists()


def test_a_transaction_left_open_before_a_unit_does_not_leak_into_it(own_connection):
    connection.set_autocommit(False)
    Effect.objects.create(name="unfinished")
    with Scope(UNIT):
        assert connection.get_autocommit()
        assert not Effect.objects.exists()


def test_a_connection_in_an_atomic_block_is_left_alone(own_connection, monkeypatch):
    monkeypatch.setattr(scopes, "IDLE_CHECK", -1)
    with database_settings(CONN_MAX_AGE=0), transaction.atomic():
        Effect.objects.create(name="kept")
        before = connection.connection
        with Scope(UNIT):
            Effect.objects.create(name="kept too")
        close_connections()
        assert connection.connection is before
    assert Effect.objects.count() == 2


def test_with_conn_max_age_0_many_units_in_a_row_keep_one_connection(own_connection):
    with database_settings(CONN_MAX_AGE=0):
        connection.close()
        used = set()
        for _ in range(20):
            with Scope(UNIT):
                used.add(id(ask()))
        assert len(used) == 1
        assert connection.connection is not None


def test_with_conn_max_age_0_an_idle_connection_is_closed(own_connection, monkeypatch):
    with database_settings(CONN_MAX_AGE=0):
        with Scope(UNIT):
            ask()
        monkeypatch.setattr(scopes, "IDLE_CHECK", -1)
        refresh_connections()
        assert connection.connection is None


def test_with_conn_max_age_0_a_connection_is_closed_when_the_next_unit_is_far(own_connection):
    with database_settings(CONN_MAX_AGE=0):
        with Scope(UNIT, idle=1):
            ask()
        assert connection.connection is not None
        with Scope(UNIT, idle=60):
            ask()
        assert connection.connection is None


def test_a_new_connection_does_not_inherit_the_idleness_of_the_one_before(own_connection, monkeypatch):
    clock = [1000.0]
    monkeypatch.setattr(scopes.time, "monotonic", lambda: clock[0])
    with database_settings(CONN_MAX_AGE=0):
        with Scope(UNIT, idle=60):
            ask()
        clock[0] += 60
        with Scope(UNIT):
            ask()
        assert connection.connection is not None


def test_a_connection_older_than_conn_max_age_is_closed(own_connection):
    with database_settings(CONN_MAX_AGE=60):
        connection.close()
        with Scope(UNIT):
            ask()
        assert connection.connection is not None
        connection.close_at -= 61
        refresh_connections()
        assert connection.connection is None


def test_a_connection_without_a_maximal_age_is_kept_and_asked_after_a_pause(own_connection, monkeypatch):
    with database_settings(CONN_MAX_AGE=None):
        connection.close()
        with Scope(UNIT):
            raw = ask()
        asked = []
        monkeypatch.setattr(type(connections["default"]), "is_usable", lambda self: asked.append(self) or True)
        refresh_connections()
        assert not asked
        monkeypatch.setattr(scopes, "IDLE_CHECK", -1)
        refresh_connections()
        assert asked and connection.connection is raw


def test_a_connection_that_cannot_even_be_closed_is_dropped(own_connection, monkeypatch):
    ask()
    connections["default"].errors_occurred = True
    monkeypatch.setattr(type(connections["default"]), "is_usable", lambda self: False)
    monkeypatch.setattr(type(connections["default"]), "close", lambda self: fail())
    refresh_connections()
    monkeypatch.undo()
    assert connection.connection is None
    ask()


def fail(*_):
    raise OperationalError("gone")


def test_queries_are_forgotten_after_each_unit(own_connection):
    with override_settings(DEBUG=True):
        with Scope(UNIT):
            ask()
            assert connection.queries
        assert not connection.queries


def test_queries_that_someone_counts_are_not_forgotten(django_assert_num_queries):
    ask()
    with django_assert_num_queries(2):
        with Scope(UNIT):
            ask()
        with Scope(UNIT):
            ask()


def test_after_a_wait_the_connections_are_looked_after(monkeypatch):
    needs_server()

    class Waits(background.BackgroundService):
        def execute(self, stop):
            self.numbers = [server_side()]
            while not stop.wait(60):
                self.numbers.append(server_side())

    class Sleeps(Waits):
        async def execute(self, stop):
            self.numbers = [await sync_to_async(server_side)()]
            while not await stop.sleep(60):
                self.numbers.append(await sync_to_async(server_side)())

    with run_host(Waits, Sleeps) as host:
        for name in ("tests.Waits", "tests.Sleeps"):
            service = host.service(name).service
            host.wait_for(lambda service=service: hasattr(service, "numbers"))
            kill(service.numbers[0])
            service.stop.poke()
            host.wait_for(lambda service=service: len(service.numbers) > 1)
            assert host.service(name).state == "running"


def test_an_async_scope_looks_after_the_thread_that_its_orm_calls_use():
    async def main():
        seen = []
        async with ThreadSensitiveContext():
            for _ in range(2):
                async with Scope(UNIT):
                    seen.append(await sync_to_async(where)())
            seen.append(await sync_to_async(where)())
            await sync_to_async(lambda: connection.close())()
        return seen

    def where():
        ask()
        connection.set_autocommit(False)
        return threading.get_ident(), connection.connection

    def call():
        return asyncio.run(main())

    (one, first), (two, second), (three, third) = in_thread(call)
    assert one == two == three != threading.get_ident()
    assert first is not second  # closed, because of the transaction that was left open


def test_an_async_scope_opens_no_thread_for_nothing():
    async def main():
        before = threading.active_count()
        async with ThreadSensitiveContext():
            async with Scope(UNIT):
                pass
            await arefresh_connections()
            return threading.active_count() - before

    assert asyncio.run(main()) == 0


# Context variables

OWN = ContextVar("own", default="default")
SEEN = []


def look_and_change():
    SEEN.append((translation.get_language(), timezone.get_current_timezone_name(), OWN.get(), caches["default"]))
    translation.activate("de")
    timezone.activate("Asia/Tokyo")
    OWN.set("changed")


class Changes(background.PeriodicService):
    schedule = background.every(hours=1)
    run_at_start = True

    def tick(self, scope):
        look_and_change()


class AChanges(Changes):
    async def tick(self, scope):
        look_and_change()


@pytest.mark.parametrize("service", [Changes, AChanges])
def test_each_tick_has_fresh_context_variables_and_keeps_its_caches(service):
    SEEN.clear()
    with run_host(service) as host:
        supervised = host.service(service.get_name())
        host.wait_for(lambda: len(SEEN) == 1)
        supervised.service.tick_now()
        host.wait_for(lambda: len(SEEN) == 2)
    assert [one[:3] for one in SEEN] == [("en-us", "UTC", "default")] * 2
    assert SEEN[0][3] is SEEN[1][3]


@pytest.mark.parametrize("task", ["look", "alook"])
def test_each_run_has_fresh_context_variables_and_keeps_its_caches(task):
    SEEN.clear()
    with run_host(CONCURRENCY=1, ASYNC_CONCURRENCY=1) as host:
        for _ in range(2):
            result = TASKS[task].enqueue()
            host.wait_for(lambda result=result: Run.objects.get(id=result.id).status == "succeeded")
    assert [one[:3] for one in SEEN] == [("en-us", "UTC", "default")] * 2
    assert SEEN[0][3] is SEEN[1][3]


@background.job
def look():
    look_and_change()


@background.job
async def alook():
    look_and_change()


@background.job
def fails():
    raise LookupError("no")


@background.job
async def afails():
    raise LookupError("no")


TASKS = {"look": look, "alook": alook, "fails": fails, "afails": afails}


def test_two_threads_do_not_share_a_cache_object():
    def mine():
        return fresh_context().run(lambda: caches["default"])

    assert in_thread(mine) is not mine()
    assert mine() is mine()


class BrokenCache:
    def __init__(self, *args):
        raise ValueError("no such server")


@pytest.mark.parametrize("backend", ["nowhere.Cache", "tests.test_scope.BrokenCache"])
def test_a_broken_cache_harms_only_those_who_use_it(backend):
    locmem = {"BACKEND": "django.core.cache.backends.locmem.LocMemCache"}
    with override_settings(CACHES={"broken": {"BACKEND": backend}, "default": locmem}):
        assert fresh_context().run(lambda: caches["default"]) is not None
        with pytest.raises(Exception, match="nowhere|no such server"):
            fresh_context().run(lambda: caches["broken"])


def test_a_broken_task_backend_harms_nobody():
    good = {"BACKEND": "background.backend.DatabaseBackend", "QUEUES": []}
    with override_settings(TASKS={"broken": {"BACKEND": "nowhere.Backend"}, "default": good}):
        tasks.note.enqueue("hello")
        drain()
    assert Effect.objects.get().note == "hello"


# Cleanups


def test_cleanups_are_called_in_reverse_order_with_their_arguments():
    called = []
    with Scope(UNIT) as scope:
        scope.add_cleanup(called.append, 1)
        scope.add_cleanup(called.append, 2)
        scope.add_cleanup(lambda *, word: called.append(word), word="three")
    assert called == ["three", 2, 1]


def test_cleanups_are_called_after_a_failure_and_when_one_of_them_fails():
    called = []
    with pytest.raises(ZeroDivisionError), Scope(UNIT) as scope:
        scope.add_cleanup(called.append, 1)
        scope.add_cleanup(lambda: 1 / 0)
        scope.add_cleanup(called.append, 2)
        raise LookupError
    assert called == [2, 1]


def test_cleanups_of_an_async_scope_are_called_after_a_failure():
    called = []

    async def main():
        async with Scope(UNIT) as scope:
            scope.add_cleanup(called.append, 1)
            raise LookupError

    with pytest.raises(LookupError):
        asyncio.run(main())
    assert called == [1]


def test_a_scope_takes_no_cleanup_outside_its_block():
    with pytest.raises(RuntimeError, match="inside its with block"):
        Scope(UNIT).add_cleanup(print)


# Middleware

STORY = []


@contextmanager
def outer(unit):
    STORY.append(("outer in", unit))
    try:
        yield
    except Exception as error:
        STORY.append(("outer saw", type(error)))
        raise
    finally:
        STORY.append(("outer out", unit.name))


@contextmanager
def inner(unit):
    STORY.append(("inner in", unit))
    yield
    STORY.append(("inner out", unit.name))


@contextmanager
def broken(unit):
    raise LookupError("middleware")
    yield


MIDDLEWARE = [f"{__name__}.outer", f"{__name__}.inner"]


@pytest.fixture
def story(monkeypatch):
    # With import-mode=importlib this module is not importable by its name everywhere.
    import sys

    monkeypatch.setitem(sys.modules, __name__, sys.modules.get(__name__) or module())
    STORY.clear()
    return STORY


def module():
    import types

    made = types.ModuleType(__name__)
    made.__dict__.update(globals())
    return made


def test_middleware_wraps_a_unit_in_the_order_of_the_setting(story):
    with override_settings(BACKGROUND={"MIDDLEWARE": MIDDLEWARE}), Scope(UNIT):
        story.append("body")
    assert story == [("outer in", UNIT), ("inner in", UNIT), "body", ("inner out", "test"), ("outer out", "test")]


@pytest.mark.parametrize("name", ["look", "alook"])
def test_what_a_run_changes_in_its_context_does_not_reach_who_drains(name):
    before = (translation.get_language(), timezone.get_current_timezone_name(), OWN.get())
    TASKS[name].enqueue()
    drain()
    assert SEEN[-1][:3] == before
    assert (translation.get_language(), timezone.get_current_timezone_name(), OWN.get()) == before


@pytest.mark.parametrize("name", ["look", "alook"])
def test_middleware_wraps_runs_and_knows_which(story, name):
    with override_settings(BACKGROUND={"MIDDLEWARE": MIDDLEWARE}):
        result = TASKS[name].enqueue()
        drain()
    unit = story[0][1]
    assert (unit.kind, unit.name, str(unit.run_id), unit.attempt) == ("run", TASKS[name].module_path, str(result.id), 1)
    assert [one[0] for one in story] == ["outer in", "inner in", "inner out", "outer out"]


@pytest.mark.parametrize("name", ["fails", "afails"])
def test_middleware_sees_the_exception_of_a_run(story, name):
    with override_settings(BACKGROUND={"MIDDLEWARE": MIDDLEWARE}):
        result = TASKS[name].enqueue()
        drain()
    assert ("outer saw", LookupError) in story
    assert Run.objects.get(id=result.id).status == "failed"


@pytest.mark.parametrize("service", [Changes, AChanges])
def test_middleware_wraps_ticks(story, service):
    with run_host(service, MIDDLEWARE=MIDDLEWARE) as host:
        host.wait_for(lambda: ("outer out", service.get_name()) in story)
    assert story[0] == ("outer in", Unit("tick", service.get_name()))


def test_middleware_that_fails_fails_the_unit_and_those_around_it_see_why(story):
    with override_settings(BACKGROUND={"MIDDLEWARE": [MIDDLEWARE[0], f"{__name__}.broken"]}):
        with pytest.raises(LookupError, match="middleware"), Scope(UNIT):
            story.append("body")
    assert [one[0] for one in story] == ["outer in", "outer saw", "outer out"]


def test_a_middleware_failure_is_the_failure_of_the_run(story):
    with override_settings(BACKGROUND={"MIDDLEWARE": [f"{__name__}.broken"]}):
        result = tasks.note.enqueue("x")
        drain()
    run = Run.objects.get(id=result.id)
    assert (run.status, run.error_summary) == ("failed", "middleware")


def test_the_end_of_a_thread_closes_its_connections():
    def work():
        ask()
        raw = connections["default"].connection
        close_connections()
        return raw, connections["default"].connection

    raw, after = in_thread(work)
    assert raw is not None and after is None
