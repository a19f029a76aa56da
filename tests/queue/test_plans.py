"""With a long history every look of the queue reads what is open, by an index, and nothing of the history."""

import os
from datetime import timedelta

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from background.dialects import dialect
from background.engine.lookout import look
from background.models import Run
from background.queue.claim import claim_next, next_due, promote_due
from background.queue.enqueue import enqueue, enqueue_many
from background.queue.finish import finish
from background.queue.holding import Filter
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
    plans = {(name, sql): explained(sql) for name, found in statements.items() for sql in found}
    assert [(*key, plan) for key, plan in plans.items() if any(map(reads_all, plan))] == []
    for (name, _sql), plan in plans.items():
        if name == "claim" and KIND != "mariadb":
            assert any("background_run_claim" in str(row) for row in plan) or "UPDATE" in _sql, plan
