"""Own how runs come to be: from a task, from a job, from an occurrence of its schedule, or from an older run."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from functools import cache
from typing import Any

from django.db import IntegrityError, transaction
from django.utils import timezone

from background import registry
from background.compat import Task
from background.dialects import dialect
from background.exceptions import InvalidTransition
from background.jobs.policies import bind, json_ready, key_of
from background.models import Job, Run
from background.models.run import position_of
from background.queue.limits import REPLACEABLE, SLOT
from background.queue.transitions import move
from background.queue.wakeup import telling, wake_on_commit
from background.scope import database_alias

Status = Run.Status

Order = tuple[Task, Sequence[Any], Mapping[str, Any]]

# A debounced run is put off by at most so many times its delay, from when it was first enqueued.
MOST_DELAYS = 10
# Each time that a key was taken between two looks, somebody else has got on.
TRIES = 20
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
        fields = {**_of_using(task), **fields}
    run = make(task, args, kwargs or {}, job, user, **fields)
    run.request_key = request_key
    if run.unique_key or request_key:
        return insert_unique(run, _delay(task, fields))
    dialect().once(lambda: _insert_told(run), lambda: _is_there(run))
    return run


def enqueue_many(orders: Iterable[Order]) -> list[Run]:
    """Write runs for (task, args, kwargs) in few statements and return them in order. Blocks for the INSERTs."""
    orders = list(orders)
    if not orders:
        return []
    names = {name for task, _, _ in orders if (name := getattr(task, "job_name", ""))}
    rows = {job.name: job for job in Job.objects.using(database_alias()).filter(name__in=names)} if names else {}
    runs = [
        make(task, args, kwargs, rows.get(getattr(task, "job_name", "")), None, **_of_using(task))
        for task, args, kwargs in orders
    ]
    written = list(runs)
    dialect().once(lambda: _insert_many(orders, runs, written), lambda: _is_there(*runs))
    return written


def _insert_many(orders: Sequence[Order], runs: Sequence[Run], written: list[Run]) -> None:
    """Write all or nothing; `written` is told what stands for each in the end."""
    with transaction.atomic(using=database_alias()):
        plain = [run for run in runs if run.unique_key is None]
        Run.objects.using(database_alias()).bulk_create(plain, batch_size=500)
        # In the order of their keys: so two callers with the same ones cannot wait for each other.
        for _, place in sorted((run.unique_key, place) for place, run in enumerate(runs) if run.unique_key):
            written[place] = insert_unique(runs[place], _delay(orders[place][0], {}))
        wake_on_commit(any(run.status == Status.READY for run in plain))


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
        registry.task(run.task, run.job_name), run.args, {**run.kwargs, **kwargs}, job=run.job, user=user, rerun_of=run, queue=run.queue,
        priority=run.priority, trigger=Run.Trigger.MANUAL, reason=reason[:300], request_key=request_key, subject=run.subject,
    )  # fmt: skip


def occurrence(job: Job, task: Task, scheduled_for: datetime, run_after: datetime, now: datetime) -> Run:
    """Return the unsaved run of one occurrence of a job's schedule."""
    run = make(task, job.args, job.kwargs, job, None, trigger=Run.Trigger.SCHEDULE, scheduled_for=scheduled_for)
    run.run_after = run_after
    run.enqueued_at = now
    if job.is_exclusive:
        run.concurrency = 1
    run.place = position_of(run_after, run.priority)
    run.status, run.position = (Status.SCHEDULED, None) if run_after > now else (Status.READY, run.place)
    return run


def make(task: Task, args: Sequence[Any], kwargs: Mapping[str, Any], job: Job | None, user: Any, **fields: Any) -> Run:
    """Return an unsaved run: policies of the job's row where there is one, else of the task."""
    name = job.name if job else task.module_path
    args, kwargs = json_ready(list(args), name), json_ready(dict(kwargs), name)
    now = timezone.now()
    delay = _delay(task, fields)
    run_after = fields.pop("run_after", None) or task.run_after
    if delay is not None:
        run_after = now + delay
    policies = {"queue": job.queue if job else task.queue_name, "priority": (job or task).priority}
    source = job or task
    policies |= {one: getattr(source, one, default) for one, default in _SHARED.items()}
    policies["executor"] = policies["executor"] or getattr(task, "runs_on", "thread")
    unique, limit = getattr(task, "unique", None), policies["concurrency"]
    # Without a limit the key of a job's runs only tells its occurrences that they are there (see Overlap).
    slot = slot_of(job) if job is not None and job.is_exclusive else ""
    if unique or limit:
        bind(task.func, task.takes_context, args, kwargs, name)
    run = _unsaved(
        job=job, job_name=job.name if job else getattr(task, "job_name", ""), task=task.module_path, backend=task.backend,
        args=args, kwargs=kwargs, run_after=run_after, enqueued_at=now,
        triggered_by=user, triggered_by_name=user.get_username() if user is not None else "",
        unique_key=key_of(unique, task, args, kwargs, _prefix(task)) if unique else None,
        concurrency_key=_concurrency_key(task, args, kwargs) if limit else slot,
        **{**policies, **fields},
    )  # fmt: skip
    due = run_after is None or run_after <= now
    run.status = Status.READY if due else Status.SCHEDULED
    run.place = position_of(now if due else run_after, run.priority)  # type: ignore[arg-type]
    run.position = run.place if due else None
    return run


def _unsaved(**values: Any) -> Run:
    """Return Run(**values); made of a whole row, which takes a quarter of the time."""
    places, row, makers = _blank()
    row = row.copy()
    for place, maker in makers:
        row[place] = maker()
    related = [name for name in values if name not in places]
    for name in values.keys() & places.keys():
        row[places[name]] = values[name]
    run = Run(*row)  # type: ignore[misc]
    for name in related:
        Run._meta.get_field(name)  # raises for what is no column
        setattr(run, name, values[name])
    return run


@cache
def _blank() -> tuple[dict[str, int], list[Any], list[tuple[int, Callable[[], Any]]]]:
    """Return where the columns of a run are, their defaults, and what makes those that are made anew for each."""
    columns = Run._meta.concrete_fields
    made = {place for place, one in enumerate(columns) if one.has_default() and callable(one.default)}
    row = [None if place in made else one.get_default() for place, one in enumerate(columns)]
    makers = [(place, columns[place].default) for place in made]
    return {one.attname: place for place, one in enumerate(columns)}, row, makers


def _delay(task: Task, fields: Mapping[str, Any]) -> timedelta | None:
    """Return by how much the task's policy puts a run off, unless somebody asked for a time."""
    seconds = getattr(task, "debounce", None)
    if seconds is None or fields.get("run_after") or task.run_after:
        return None
    return timedelta(seconds=seconds)


def _prefix(task: Task) -> str:
    return REPLACEABLE if getattr(task, "replaces", False) else ""


def slot_of(job: Job) -> str:
    """Return the concurrency key that stands for the job itself."""
    return f"{SLOT}{job.name}"


def _of_using(task: Task) -> dict[str, Any]:
    """Return what `task.using()` changed: the caller's word goes before that of the job's row."""
    declared = registry.tasks().get(task.module_path, task)
    fields = {"queue": (task.queue_name, declared.queue_name), "priority": (task.priority, declared.priority)}
    return {name: value for name, (value, plain) in fields.items() if value != plain}


_SHARED: dict[str, Any] = {"max_attempts": 1, "timeout": None, "executor": "", "concurrency": None}


def _concurrency_key(task: Task, args: Sequence[Any], kwargs: Mapping[str, Any]) -> str:
    policy = getattr(task, "concurrency_key", None)
    return key_of(policy, task, args, kwargs) if policy else task.module_path


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
            dialect().once(lambda: dialect().in_transaction(lambda: _insert(run)), lambda: _is_there(run))
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


def _insert_told(run: Run) -> None:
    with telling():
        _insert(run)


def _insert(run: Run) -> None:
    run.save(force_insert=True, using=database_alias())
    wake_on_commit(run.status == Status.READY)


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
