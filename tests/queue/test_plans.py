"""With a long history every look of the queue reads what is open, by an index, and nothing of the history."""

import os
from datetime import timedelta

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from background.dialects import dialect
from background.engine.lookout import look
from background.models import Run
from background.queue.claim import claim_next, lengthen, next_due, promote_due
from background.queue.enqueue import enqueue, enqueue_many
from background.queue.finish import finish
from background.queue.holding import Filter
from background.queue.limits import blocked_keys
from background.queue.outcome import Kind, Outcome
from background.queue.rescue import rescue
from tests.app import background as tasks
from tests.benchmarks.peers.ours import IDS
from tests.benchmarks.stores import STORES
from tests.queue.helpers import held_by, host

# Not within a transaction: on MariaDB ANALYZE would commit it.
pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.timeout(900)]

# Finished runs: a million where there is time for it. The plans are the same from some ten thousand on.
ROWS = int(os.environ.get("BACKGROUND_TEST_HISTORY", 20_000))
KIND = {"mysql": "mariadb"}.get(connection.vendor, connection.vendor)


@pytest.fixture
def one():
    """A host, some open runs, and many finished ones."""
    run = Run.objects.create(task=tasks.note.module_path, enqueued_at=dialect().now(), status="succeeded", attempt=1)
    quote = connection.ops.quote_name
    columns = [quote(field.column) for field in Run._meta.concrete_fields if not field.generated]
    values = [IDS[KIND] if name == quote("id") else name for name in columns]
    with connection.cursor() as cursor:
        numbers = STORES[KIND]("").numbers(ROWS)
        cursor.execute(
            f"INSERT INTO background_run ({', '.join(columns)}) SELECT {', '.join(values)} FROM background_run, {numbers}"
        )
        enqueue_many([(tasks.note, ["a"], {})] * 20)
        later = enqueue(tasks.note.using(run_after=dialect().now() + timedelta(hours=1)))
        cursor.execute("ANALYZE TABLE background_run" if KIND == "mariadb" else "ANALYZE")
    assert Run.objects.filter(id=later.id).exists() and Run.objects.filter(id=run.id).exists()
    return host("one")


def asked(call):
    """Return the statements about runs that a call asks, but for inserts."""
    with CaptureQueriesContext(connection) as found:
        call()
    about = [one["sql"] for one in found if "background_run" in one["sql"]]
    return [sql for sql in about if sql.startswith(("SELECT", "UPDATE", "WITH"))]


def explained(sql):
    """Return the lines of the plan of a statement."""
    with connection.cursor() as cursor:
        cursor.execute(f"{'EXPLAIN QUERY PLAN' if KIND == 'sqlite' else 'EXPLAIN'} {sql}")
        names = [column[0] for column in cursor.description]
        return [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]


def reads_all(row):
    """Whether this line of a plan reads the whole table of runs, or a whole index of it."""
    if KIND == "mariadb":
        return row["table"] in ("background_run", "r") and row["type"] in ("ALL", "index")
    line = " ".join(map(str, row.values()))
    if KIND == "postgresql":
        return "Seq Scan on background_run" in line
    # An index that holds what is open only may be read from end to end.
    return "SCAN background_run" in line and not any(f"background_run_{name}" in line for name in OPEN)


OPEN = ("claim", "due", "held", "slots")
MANY = 20  # thousands of steps of SQLite's machine: a look at all rows takes four times as many


def is_long(sql):
    """Whether a question takes so many steps as SQLite needs to read the history: a plan does not tell whose table U0 is."""
    if KIND != "sqlite" or not sql.startswith("SELECT"):
        return False
    connection.ensure_connection()
    thousands = []
    connection.connection.set_progress_handler(lambda: thousands.append(1) and None, 1000)
    try:
        with connection.cursor() as cursor:
            cursor.execute(sql)
            cursor.fetchall()
    finally:
        connection.connection.set_progress_handler(None, 1000)
    return len(thousands) > MANY


def test_no_look_claim_or_outcome_reads_the_history(one):
    holder, claims = held_by(one), []
    statements = {
        "look": asked(lambda: look(one.id, Filter())),
        "claim": asked(
            lambda: claims.extend(claim_next(holder, {"thread": 8, "loop": 9}, Filter(), lambda name: None)[1])
        ),
        "promote": asked(promote_due),
        "next": asked(next_due),
        "rescue": asked(rescue),
        "finish": asked(lambda: finish([Outcome(one, Kind.SUCCEEDED, took=0.1) for one in claims])),
    }
    assert len(claims) == 8 and all(count for name, count in statements.items() if name != "finish")
    assert [(name, sql) for name, found in statements.items() for sql in found if is_long(sql)] == []
    plans = {(name, sql): explained(sql) for name, found in statements.items() for sql in found}
    assert [(*key, plan) for key, plan in plans.items() if any(map(reads_all, plan))] == []
    for (name, _sql), plan in plans.items():
        if name == "claim" and KIND != "mariadb":
            assert any("background_run_claim" in str(row) for row in plan) or "UPDATE" in _sql, plan


@pytest.mark.parametrize("is_analysed", [True, False])
def test_nor_does_one_of_runs_that_wait_for_each_other(one, is_analysed):
    """Those with a concurrency key: blocked, in a lane, unblocked, in their own order."""
    if not is_analysed and KIND == "sqlite":  # as a database is that nobody has ever looked after
        with connection.cursor() as cursor:
            cursor.execute("DROP TABLE sqlite_stat1")
            cursor.execute("ANALYZE sqlite_schema")
    Run.objects.filter(position__isnull=False).delete()
    enqueue_many([(tasks.hot_one, (), {})] * 30)
    holder, claims = held_by(one), []

    def take():
        claims.extend(claim_next(holder, {"thread": 8}, Filter(), lambda name: lambda task: 4)[1])

    statements = {"claim": asked(take), "look": asked(lambda: look(one.id, Filter()))}
    assert {run.status for run in Run.objects.filter(task=tasks.hot_one.module_path)} == {"running", "blocked"}
    first = claims[0]
    statements["lengthen"] = asked(lambda: claims.extend(lengthen(holder, first, 4)))
    assert len(claims) > 5
    done = [Outcome(one, Kind.SUCCEEDED, took=0.1, frees=one is claims[-1]) for one in claims]
    statements["finish"] = asked(lambda: finish(done))
    statements["keys"] = asked(blocked_keys)
    assert not any(Run.objects.filter(status="running")) and Run.objects.filter(status="ready").exists()

    found = [(name, sql) for name, found in statements.items() for sql in found]
    assert [one for one in found if is_long(one[1]) or any(map(reads_all, explained(one[1])))] == []
