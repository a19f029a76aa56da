"""The few things that databases do differently, on the database of this test run."""

import threading
import time
import uuid
from datetime import UTC, datetime, timedelta

import pytest
from django.core import checks
from django.db import IntegrityError, OperationalError, ProgrammingError, connection, connections, transaction

from background.dialects import Dialect, MySQL, PostgreSQL, SQLite, base, dialect
from background.dialects.base import ATTEMPTS
from background.exceptions import TookTooLong
from background.models import Lease, Run
from background.models.clock import DatabaseNow
from background.queue.enqueue import enqueue_many
from tests.app import background as tasks
from tests.queue.helpers import at_once

pytestmark = pytest.mark.django_db
PASSING = {
    "postgresql": ["deadlock detected", "could not serialize access due to concurrent update"],
    "mysql": [
        "(1213, 'Deadlock found when trying to get lock; try restarting transaction')",
        "(1205, 'Lock wait timeout exceeded; try restarting transaction')",
        "(1020, \"Record has changed since last read in table 'x'\")",
    ],
    "sqlite": ["database is locked", "database table is locked"],
}


@pytest.fixture
def pauses(monkeypatch):
    """The pauses that were made between attempts; none is really waited for."""
    made = []
    monkeypatch.setattr(base.time, "sleep", made.append)
    return made


@pytest.fixture
def far_zone():
    """The session speaks another zone than UTC: by the site's settings on PostgreSQL, by the server's on MariaDB."""
    if connection.vendor == "mysql":
        with connection.cursor() as cursor:
            cursor.execute("SET time_zone = '+09:00'")
            yield
            cursor.execute("SET time_zone = 'SYSTEM'")
    elif connection.vendor == "postgresql":
        set_zone("Asia/Tokyo")
        yield
        set_zone(None)
    else:
        yield


def set_zone(name):
    connection.settings_dict["TIME_ZONE"] = name
    for cached in ("timezone", "timezone_name"):
        connection.__dict__.pop(cached, None)
    connection.ensure_timezone()


def is_near(instant):
    return abs(instant - datetime.now(UTC)) < timedelta(seconds=10)


def test_the_database_has_its_dialect():
    expected = {"postgresql": PostgreSQL, "mysql": MySQL, "sqlite": SQLite}[connection.vendor]
    assert type(dialect()) is expected
    assert type(dialect("default")) is expected


def test_another_database_has_the_plain_dialect(monkeypatch):
    monkeypatch.setattr(connections["default"], "vendor", "oracle")
    assert type(dialect()) is Dialect and dialect().warnings() == []


def test_now_is_the_time_in_utc():
    assert is_near(dialect().now())
    assert dialect().now().utcoffset() == timedelta(0)


def test_now_is_in_utc_whatever_the_zone_of_the_session(far_zone):
    assert is_near(dialect().now())
    assert dialect().now().utcoffset() == timedelta(0)


def test_the_clock_within_a_statement_is_right_whatever_the_zone_of_the_session(far_zone):
    Lease.objects.create(name="a")
    Lease.objects.update(expires_at=DatabaseNow())

    assert is_near(Lease.objects.get().expires_at)
    assert Lease.objects.filter(expires_at__lte=DatabaseNow()).exists()
    assert not Lease.objects.filter(expires_at__gt=DatabaseNow()).exists()


def test_now_goes_on_within_a_transaction():
    first = dialect().now()
    while dialect().now() == first:
        pass  # the clock of a transaction would stand still for ever
    assert dialect().now() > first


def test_a_transaction_is_committed_and_its_value_returned():
    assert dialect().in_transaction(lambda: Lease.objects.create(name="a").name) == "a"
    assert Lease.objects.count() == 1


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("number", range(3))
def test_a_passing_error_is_tried_again_from_the_beginning(number, pauses):
    sentences = PASSING[connection.vendor]
    calls = []

    def work():
        calls.append(1)
        Lease.objects.create(name="a")
        if len(calls) < 4:
            raise OperationalError(sentences[number % len(sentences)])
        return "done"

    assert dialect().in_transaction(work) == "done"
    assert (len(calls), len(pauses), Lease.objects.count()) == (4, 3, 1)


@pytest.mark.django_db(transaction=True)
def test_it_gives_up_after_some_attempts_with_growing_pauses(pauses):
    calls = []

    def work():
        calls.append(1)
        raise OperationalError(PASSING[connection.vendor][0])

    with pytest.raises(OperationalError):
        dialect().in_transaction(work)
    assert (len(calls), len(pauses)) == (ATTEMPTS, ATTEMPTS - 1)
    assert 0.0025 <= pauses[0] <= 0.005 and max(pauses) <= 0.5 and pauses[-1] > pauses[0]


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize(
    "error", [OperationalError("server closed the connection"), IntegrityError("x"), ValueError("deadlock detected")]
)
def test_other_errors_go_up_at_once_and_undo_the_transaction(error, pauses):
    def work():
        Lease.objects.create(name="a")
        raise error

    with pytest.raises(type(error)):
        dialect().in_transaction(work)
    assert pauses == [] and not Lease.objects.exists()


@pytest.mark.django_db(transaction=True)
def test_inside_a_callers_transaction_a_passing_error_goes_up_at_once(pauses):
    calls = []

    def work():
        calls.append(1)
        raise OperationalError(PASSING[connection.vendor][0])

    with pytest.raises(OperationalError), transaction.atomic():
        dialect().in_transaction(work)
    assert (len(calls), pauses) == (1, [])


@pytest.mark.django_db(transaction=True)
def test_two_transactions_that_deadlock_are_both_done_in_the_end():
    if connection.vendor == "sqlite":
        pytest.skip("SQLite has one writer at a time: transactions cannot deadlock")
    Lease.objects.create(name="a"), Lease.objects.create(name="b")
    both, tries = threading.Barrier(2), []

    def work(first, second):
        met = []

        def once():
            tries.append(first)
            Lease.objects.filter(name=first).update(holder=None)
            if not met:
                met.append(1)
                both.wait(20)  # each has one row and wants the other's
            Lease.objects.filter(name=second).update(expires_at=datetime(2026, 1, 1, tzinfo=UTC))
            return first

        return lambda: dialect().in_transaction(once)

    assert at_once(work("a", "b"), work("b", "a")) == ["a", "b"]
    assert len(tries) > 2
    assert Lease.objects.filter(expires_at__isnull=False).count() == 2


@pytest.mark.django_db(transaction=True)
def test_a_writer_waits_for_another_that_holds_the_lock(monkeypatch):
    if connection.vendor != "sqlite":
        pytest.skip("only SQLite locks the whole database")
    held, refused = threading.Event(), threading.Event()
    monkeypatch.setattr(base.time, "sleep", lambda seconds: refused.set())

    def hold():
        with transaction.atomic():
            Lease.objects.create(name="first")
            held.set()
            assert refused.wait(20)

    def write():
        with connection.cursor() as cursor:
            cursor.execute("PRAGMA busy_timeout = 1")
        assert held.wait(20)
        monkeypatch.setattr(base, "ATTEMPTS", 10_000)
        dialect().in_transaction(lambda: Lease.objects.create(name="second"))

    at_once(hold, write)

    assert set(Lease.objects.values_list("name", flat=True)) == {"first", "second"}


@pytest.mark.django_db(transaction=True)
def test_locked_rows_are_passed_over_by_another_transaction():
    if connection.vendor == "sqlite":
        pytest.skip("SQLite has one writer at a time: there are no locked rows")
    Lease.objects.create(name="a"), Lease.objects.create(name="b")
    locked, seen = threading.Event(), threading.Event()

    def hold():
        with transaction.atomic():
            list(dialect().lock(Lease.objects.filter(name="a")))
            locked.set()
            assert seen.wait(20)

    def look():
        assert locked.wait(20)
        try:
            with transaction.atomic():
                return [row.name for row in dialect().lock(Lease.objects.order_by("name"))]
        finally:
            seen.set()

    assert at_once(hold, look)[1] == ["b"]


# --------------------------------------------------------------------------------------------------------- warnings


def with_options(monkeypatch, kind, **options):
    monkeypatch.setitem(connections["default"].settings_dict, "OPTIONS", options)
    return kind("default").warnings()


def test_the_settings_of_this_site_need_no_warning():
    assert dialect().warnings() == []


def test_django_warns_of_none_of_our_tables_on_any_database():
    """MariaDB has no partial indexes, and a site would be told at every command."""
    found = checks.run_checks(tags=[checks.Tags.models], databases=["default"])
    assert [one for one in found if getattr(one.obj, "__module__", "").startswith("background.")] == []


def test_postgresql_needs_no_settings(monkeypatch):
    assert with_options(monkeypatch, PostgreSQL) == []


def test_mysql_needs_read_committed(monkeypatch):
    (sentence,) = with_options(monkeypatch, MySQL, isolation_level="repeatable read")
    assert '"isolation_level"' in sentence and "'repeatable read'" in sentence
    (sentence,) = with_options(monkeypatch, MySQL, isolation_level=None)
    assert "read committed" in sentence
    assert with_options(monkeypatch, MySQL) == []
    assert with_options(monkeypatch, MySQL, isolation_level="READ COMMITTED") == []


def test_sqlite_needs_immediate_transactions_and_a_write_ahead_log(monkeypatch):
    immediate, wal = with_options(monkeypatch, SQLite)
    assert '"transaction_mode"' in immediate and "IMMEDIATE" in immediate
    assert '"init_command"' in wal and "journal_mode=WAL" in wal
    good = {"transaction_mode": "immediate", "init_command": "PRAGMA journal_mode = wal; PRAGMA synchronous=NORMAL;"}
    assert with_options(monkeypatch, SQLite, **good) == []


def test_a_database_that_keeps_times_in_another_zone_is_warned_about(monkeypatch):
    monkeypatch.setitem(connections["default"].settings_dict, "TIME_ZONE", "Asia/Tokyo")
    found = dialect().warnings()
    if connection.vendor == "postgresql":
        assert found == []  # it keeps instants
    else:
        assert "'Asia/Tokyo'" in found[0]


def test_warnings_ask_the_database_nothing(django_assert_num_queries):
    with django_assert_num_queries(0):
        dialect().warnings()


LONG = """WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 900)
          SELECT count(*) FROM n AS a, n AS b, n AS c, n AS d"""


def test_a_statement_that_takes_longer_than_the_limit_is_broken_off_and_the_next_one_is_not_limited():
    began = time.monotonic()
    with pytest.raises(TookTooLong), transaction.atomic(), dialect().time_limit(0.2), connection.cursor() as cursor:
        cursor.execute(LONG)
    assert time.monotonic() - began < 10
    with connection.cursor() as cursor:
        cursor.execute(LONG.replace("900", "30"))
        assert cursor.fetchone() == (810_000,)


def test_an_error_that_is_not_about_time_passes_the_limit_as_it_is():
    with pytest.raises(ProgrammingError if connection.vendor != "sqlite" else OperationalError):
        with transaction.atomic(), dialect().time_limit(5), connection.cursor() as cursor:
            cursor.execute("SELECT nothing_of_this_name FROM nowhere")


@pytest.mark.parametrize("differing", ["all", "none", "alone"])
def test_rows_that_are_inserted_together_are_as_one_by_one(db, differing):
    """Columns that are alike may be sent once; what they hold is the same."""
    now = datetime(2026, 5, 1, 12, 0, 0, 123456, tzinfo=UTC)
    values = {
        "args": [[12, -3], [1, "ü", None, True]], "kwargs": [{}, {"a": [True]}], "result": [None, {"x": 1}], "errors": [[], [{"e": 1}]],
        "priority": [0, 5], "position": [None, 7], "scheduled_for": [None, now], "run_after": [now, None], "timeout": [None, 1.5],
        "token": [None, uuid.uuid4()], "queue": ["default", "mail"], "unique_key": [None, "k"], "host_id": [None, uuid.uuid4()],
        "lost": [1, 0], "progress_done": [0.5, None], "status": ["ready", "running"], "job_name": ["", "nämé'\"%s"],
    }  # fmt: skip
    rows = [
        Run(
            task="t",
            enqueued_at=now,
            **{name: pair[n % 2 if differing != "none" else 0] for name, pair in values.items()},
        )
        for n in range(2)
    ]
    for some in [[row] for row in rows] if differing == "alone" else [rows]:
        dialect().insert_each(some)
    for row in rows:
        found = Run.objects.get(id=row.id)
        assert all(getattr(found, one.attname) == getattr(row, one.attname) for one in Run._meta.concrete_fields)
        assert not row._state.adding
        row.lost = 3
        row.save()
    assert Run.objects.filter(lost=3).count() == 2
    dialect().insert_each([])


def test_a_plan_of_a_connection_that_prepares_statements_serves_for_seconds(monkeypatch):
    seconds, postgresql = [1000.0], PostgreSQL("default")
    monkeypatch.setattr("background.dialects.postgresql.time.monotonic", lambda: seconds[0])
    monkeypatch.setitem(connections["default"].settings_dict, "OPTIONS", {})
    assert postgresql._planned_anew("SELECT 1") == "SELECT 1"
    monkeypatch.setitem(connections["default"].settings_dict, "OPTIONS", {"prepare_threshold": 5})
    texts = []
    for seconds[0] in (1000, 1009, 1011, 1021):
        texts.append(postgresql._planned_anew("SELECT 1"))
    assert texts[0] == texts[1] and len(set(texts)) == 3
    with connection.cursor() as cursor:
        cursor.execute(texts[0])
        assert cursor.fetchone() == (1,)


def test_statistics_are_renewed_where_the_database_does_not_do_so_by_itself(db):
    enqueue_many([(tasks.note, ["a"], {})] * 3)
    dialect().renew_statistics(Run)
    assert Run.objects.count() == 3
    if connection.vendor == "sqlite":
        with connection.cursor() as cursor:
            cursor.execute(
                "SELECT stat FROM sqlite_stat1 WHERE tbl = 'background_run' AND idx = 'background_run_claim'"
            )
            assert cursor.fetchall() == [("3 1",)]
            assert cursor.execute("PRAGMA analysis_limit").fetchone() == (0,)  # the site's own ANALYZE looks at all


def test_a_row_that_is_inserted_twice_is_refused(db):
    row = Run(task="t", enqueued_at=datetime(2026, 5, 1, tzinfo=UTC))
    dialect().insert_each([row])
    with pytest.raises(IntegrityError), transaction.atomic():
        dialect().insert_each([row])
