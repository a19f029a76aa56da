"""What the tests of the queue share: holders, hosts, outcomes, and callers at once."""

import threading
import uuid
from datetime import UTC, datetime, timedelta

from django.db import connections

from background.dialects import dialect
from background.jobs.tasks import BackgroundTask
from background.models import Host, Run
from background.queue.claim import claim
from background.queue.enqueue import enqueue
from background.queue.finish import finish
from background.queue.holding import Filter, Holder
from background.queue.outcome import Kind, Outcome

START = datetime(2026, 5, 1, 12, tzinfo=UTC)


def per_customer(customer, n=0):
    return n


# At most two at once for each customer; not a job, so its policies are only the code's.
served = BackgroundTask(
    func=per_customer, priority=0, backend="default", queue_name="default", concurrency=2, concurrency_key="{customer}"
)


def holder(name="one"):
    return Holder(uuid.uuid4(), name, "1.0")


def host(name="one", silent=0, **fields):
    """Write the row of a live host that was last heard of `silent` seconds ago."""
    now = dialect().now()
    fields = {"state": Host.State.RUNNING, "started_at": now, **fields}
    return Host.objects.create(name=name, pid=1, heartbeat_at=now - timedelta(seconds=silent), **fields)


def held_by(row):
    return Holder(row.id, row.name)


def take(limit=1, who=None, **which):
    return claim(who or holder(), limit, Filter(**which))


def take_one(task=None, *args, who=None, **kwargs):
    """Enqueue a task and claim it: (run, claim)."""
    run = enqueue(task, args, kwargs) if task is not None else None
    (claimed,) = take(1, who)
    return run or Run.objects.get(id=claimed.id), claimed


def error(message="no", attempt=1):
    return {
        "attempt": attempt,
        "at": START.isoformat(),
        "started_at": START.isoformat(),
        "host": "one",
        "type": "builtins.ValueError",
        "message": message,
        "traceback": "Traceback …",
    }


def end(claimed, kind=Kind.SUCCEEDED, **fields):
    return finish([Outcome(claimed, kind, **fields)])


def status(run):
    return Run.objects.values_list("status", flat=True).get(id=run.id)


def at_once(*calls):
    """Call all of them in threads that begin together and return what they return; the first error is raised."""
    barrier = threading.Barrier(len(calls))
    found = [None] * len(calls)
    errors = []

    def work(index, call):
        try:
            barrier.wait(20)
            found[index] = call()
        except BaseException as caught:
            errors.append(caught)
        finally:
            connections.close_all()

    threads = [threading.Thread(target=work, args=pair, daemon=True) for pair in enumerate(calls)]
    for one in threads:
        one.start()
    for one in threads:
        one.join(50)
    assert not any(one.is_alive() for one in threads), "a thread hangs"
    if errors:
        raise errors[0]
    return found
