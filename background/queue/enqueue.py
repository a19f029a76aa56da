"""Own how runs are written: from a task, from a job, or from an older run."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import timedelta
from typing import Any

from django.db import IntegrityError, transaction
from django.utils import timezone

from background import registry
from background.compat import Task
from background.dialects import dialect
from background.exceptions import BackgroundError, InvalidTransition
from background.models import Job, Run
from background.models.run import position_of
from background.queue.limits import REPLACEABLE
from background.queue.making import Mold, of_using
from background.queue.transitions import move
from background.queue.wakeup import others_wait, wake_on_commit
from background.scope import database_alias

Status = Run.Status

Order = tuple[Task, Sequence[Any], Mapping[str, Any]]

# A debounced run is put off by at most so many times its delay, from when it was first enqueued.
MOST_DELAYS = 10
# Each time that a key was taken between two looks, somebody else has got on.
TRIES = 20
# Rows of one INSERT at most.
ROWS = 5000
# What a waiting run takes over from the one that would have been its duplicate.
WAITING = (Status.SCHEDULED, Status.READY, Status.BLOCKED)
REPLACED = ("args", "kwargs", "run_after", "priority", "queue", "concurrency_key", "concurrency")


def enqueue(
    task: Task,
    args: Sequence[Any] = (),
    kwargs: Mapping[str, Any] | None = None,
    *,
    job: Job | None = None,
    user: Any = None,
    request_key: str | None = None,
    **fields: Any,
) -> Run:
    """Write one run in the caller's transaction and return it; with `unique`, the open run that has its key.

    With `on_duplicate="replace"` or `debounce`, only a run that waits is returned, with the new arguments; its row is
    locked until the caller's transaction ends. `fields` are further columns of the run. Raises InvalidArguments where
    arguments are not JSON. Blocks for the INSERT.
    """
    name: str = getattr(task, "job_name", "")
    if job is None and name:
        job = Job.objects.using(database_alias()).filter(name=name).first()
        fields = {**of_using(task), **fields}
    mold = Mold(task, job, user, **fields)
    run = mold.cast(args, kwargs or {})
    run.request_key = request_key
    if run.unique_key or request_key:
        return insert_unique(run, mold.delay)
    dialect().once(lambda: insert([run]), lambda: _is_there(run))
    return run


def enqueue_many(orders: Iterable[Order]) -> list[Run]:
    """Write runs for (task, args, kwargs) in few statements and return them in order. Blocks for the INSERTs."""
    orders = list(orders)
    if not orders:
        return []
    tasks = {id(task): task for task, _, _ in orders}
    molds = _molds(tasks)
    runs = [molds[id(task)].cast(args, kwargs, place) for place, (task, args, kwargs) in enumerate(orders)]
    delays = [molds[id(task)].delay for task, _, _ in orders]
    written = list(runs)
    dialect().once(lambda: _insert_many(runs, delays, written), lambda: _is_there(*runs))
    return written


def _insert_many(runs: Sequence[Run], delays: Sequence[timedelta | None], written: list[Run]) -> None:
    """Write all or nothing; `written` is told what stands for each in the end."""
    with transaction.atomic(using=database_alias()):
        insert([run for run in runs if run.unique_key is None])
        # In the order of their keys: so two callers with the same ones cannot wait for each other.
        for _, place in sorted((run.unique_key, place) for place, run in enumerate(runs) if run.unique_key):
            written[place] = insert_unique(runs[place], delays[place])


def _molds(tasks: Mapping[int, Task]) -> dict[int, Mold]:
    names = {name for task in tasks.values() if (name := getattr(task, "job_name", ""))}
    rows = {job.name: job for job in Job.objects.using(database_alias()).filter(name__in=names)} if names else {}
    now = timezone.now()  # one for all: what is enqueued together stands in its order, whatever the tasks
    return {
        key: Mold(task, rows.get(getattr(task, "job_name", "")), now=now, **of_using(task))
        for key, task in tasks.items()
    }


def trigger(job: Job, user: Any = None, *, reason: str = "", request_key: str | None = None, **kwargs: Any) -> Run:
    """Enqueue a run of a job because a person asked; works on a disabled job. TaskNotFound if its task is unknown."""
    run_after, queue = kwargs.pop("_run_after", None), kwargs.pop("_queue", None)
    fields: dict[str, Any] = {"run_after": run_after} if run_after else {}
    if queue:
        fields["queue"] = queue
    return enqueue(
        registry.task(job.task, job.name), job.args, {**job.kwargs, **kwargs}, job=job, user=user,
        trigger=Run.Trigger.MANUAL, reason=reason[:300], request_key=request_key, **fields,
    )  # fmt: skip


def again(run: Run, user: Any = None, reason: str = "", *, request_key: str | None = None, **kwargs: Any) -> Run:
    """Enqueue a new run with the arguments of a finished one; InvalidTransition while it is open."""
    run.refresh_from_db(fields=["status"])
    if not run.is_finished:
        raise InvalidTransition(f"Run {run.id} is {run.status}: only a finished run can be run again.")
    return enqueue(
        registry.task(run.task, run.job_name), run.args, {**run.kwargs, **kwargs}, job=run.job, user=user, request_key=request_key,
        **_repeating(run, reason),
    )  # fmt: skip


def again_many(runs: Sequence[Run], user: Any, reason: str, keys: Mapping[Any, str]) -> set[Any]:
    """Enqueue a new run for each of these finished ones, whose jobs are loaded, in the caller's transaction.

    Each has the request key that `keys` tells by the old one's id; IntegrityError if somebody else uses one meanwhile. Returns the ids of
    those for which there is no new run: the arguments do not fit any more, or an open run has the unique key. Blocks for few
    statements, and for some more for each run with a unique key.
    """
    tasks = {run.pk: registry.task(run.task, run.job_name) for run in runs}
    names = {name for task in tasks.values() if (name := getattr(task, "job_name", ""))}
    jobs = {job.name: job for job in Job.objects.using(database_alias()).filter(name__in=names)}
    plain, refused = [], set()
    for run in runs:
        task = tasks[run.pk]
        job = run.job or jobs.get(getattr(task, "job_name", ""))
        try:
            mold = Mold(task, job, user, **_repeating(run, reason))
            new = mold.cast(run.args, run.kwargs)
            new.request_key = keys[run.pk]
            if new.unique_key is None:
                plain.append(new)
            elif insert_unique(new, mold.delay) is not new:
                refused.add(run.pk)
        except BackgroundError:
            refused.add(run.pk)
    insert(plain)
    return refused


def _repeating(run: Run, reason: str) -> dict[str, Any]:
    """Return the columns that a new run takes from the one that it repeats."""
    return {
        "rerun_of": run, "queue": run.queue, "priority": run.priority, "subject": run.subject, "trigger": Run.Trigger.MANUAL,
        "reason": reason[:300],
    }  # fmt: skip


def insert(runs: Sequence[Run]) -> None:
    """Write new runs and wake hosts, but send none of Django's signals. Blocks for a statement, or one for every few thousand."""
    for first in range(0, len(runs), ROWS):
        some = runs[first : first + ROWS]
        ready = any(run.status == Status.READY for run in some)
        tell = ready and others_wait()
        dialect().insert_each(some, tell)
        wake_on_commit(ready, tell)


def insert_unique(run: Run, delay: timedelta | None = None) -> Run:
    """Insert a run unless an open one has its unique key, or one its request key: then return that.

    A replaceable key is that of a waiting run, which takes what is new; it is put off by `delay`, but not for ever. Once it is
    claimed it has no key any more, and gets none again if it is handed back, rescued or tried again: then a newer run may
    wait beside it, and neither's arguments are lost.
    """
    error: IntegrityError | None = None
    for _ in range(TRIES):
        if found := _existing(run):
            return found
        if _is_replaceable(run) and (found := dialect().in_transaction(lambda: _replace(run, delay))):
            return found
        try:
            dialect().once(lambda: dialect().in_transaction(lambda: insert([run])), lambda: _is_there(run))
        except IntegrityError as refusal:
            error = refusal
            continue  # someone was faster; by now theirs may have ended again
        return run
    raise InvalidTransition(
        f"The unique key {run.unique_key!r} was taken and freed again and again; try later."
    ) from error


def _is_there(*runs: Run) -> bool:
    """Tell whether any of these runs was written. Blocks for a query."""
    ids = [run.id for run in runs if run.unique_key is None][:1] or [run.id for run in runs][:500]
    return Run.objects.using(database_alias()).filter(id__in=ids).exists()


def _existing(run: Run) -> Run | None:
    rows = Run.objects.using(database_alias())
    if run.request_key and (found := rows.filter(request_key=run.request_key).first()):
        return found
    if not run.unique_key or _is_replaceable(run):
        return None
    return rows.filter(unique_key=run.unique_key).first()


def _is_replaceable(run: Run) -> bool:
    return bool(run.unique_key and run.unique_key.startswith(REPLACEABLE))


def _replace(run: Run, delay: timedelta | None) -> Run | None:
    """Give what is new to the waiting run that has the key, and return it; None if none has it."""
    rows = Run.objects.using(database_alias()).filter(unique_key=run.unique_key, status__in=WAITING)
    # A claim passes over a row that is locked; where the claim was faster, the row has no key any more.
    waiting = dialect().lock(rows, skip=False).first()
    if waiting is None:
        return None
    before, new = waiting.status, _new(run, waiting, delay)
    to = Status.READY if new["run_after"] is None or new["run_after"] <= run.enqueued_at else Status.SCHEDULED
    new["position"] = new["place"] if before == to == Status.READY else None
    if not rows.filter(id=waiting.id, status=before).update(**new):  # for databases that lock no rows
        return None
    if before == Status.BLOCKED:  # perhaps by another key than it has now
        move([waiting.id], Status.READY, of=[Status.BLOCKED])
    if before != to:
        move([waiting.id], to, of=[Status.SCHEDULED, Status.READY])
    for name, value in {**new, "status": to}.items():
        setattr(waiting, name, value)
    wake_on_commit(to == Status.READY)
    return waiting


def _new(run: Run, waiting: Run, delay: timedelta | None) -> dict[str, Any]:
    """Return the columns that a waiting run takes from the one that would have been its duplicate."""
    new = {name: getattr(run, name) for name in REPLACED}
    if delay is not None:
        new["run_after"] = min(new["run_after"], waiting.enqueued_at + MOST_DELAYS * delay)
    # It keeps the place for which it has waited: else others would go before it as long as it is asked for.
    new["place"] = position_of(max(waiting.enqueued_at, new["run_after"] or waiting.enqueued_at), run.priority)
    return new
