"""Own the way from a claim to an outcome: resolve, open a scope, call, name what happened."""

from __future__ import annotations

import asyncio
import hashlib
import inspect
import json
import logging
import math
import time
import traceback
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any

from django.db import transaction

from background import registry
from background.compat import Task
from background.exceptions import (
    LONGEST,
    ClaimLost,
    Discard,
    Retry,
    RunCancelled,
    RunTimedOut,
    Snooze,
    StopRequested,
    TaskNotFound,
)  # fmt: skip
from background.execution import telling
from background.execution.capture import CAPTURE, Capture
from background.jobs.context import CURRENT, RunContext
from background.jobs.policies import is_storable, storable
from background.jobs.results import result_of
from background.queue.holding import Claim
from background.queue.outcome import Kind, Outcome
from background.scope import Scope, Unit, database_alias, fresh_context
from background.stopping import StopToken
from background.timing import Backoff

logger = logging.getLogger("background.execution")

MAX_RESULT = 64 * 1024
ENCODER = json.JSONEncoder(allow_nan=False)
NO_DOOR: AbstractContextManager[Any] = nullcontext()


@dataclass(slots=True, eq=False)
class Execution:
    """One attempt in progress: what the executor calls, and what the worker may ask of it meanwhile."""

    claim: Claim
    stop: StopToken = field(default_factory=StopToken)
    capture: Capture = field(default_factory=Capture)
    attach: Callable[..., Any] | None = None  # lent by the engine: keeps a file with the run
    commit: Callable[[Outcome], bool] | None = (
        None  # lent by the engine: writes the success of an atomic run in its transaction
    )
    # Lent by the executor: held open around the function alone, the only code that may be interrupted.
    door: AbstractContextManager[Any] = NO_DOOR
    stored: Outcome | None = None  # what is written already
    asked_at: float = 0.0  # when a deaf run was asked to end (time.monotonic())
    task: Task | None = None  # what it calls, once that is resolved
    told: bool = False  # Django's receivers have heard of its end
    _context: RunContext | None = None
    claimed_at: float = field(default_factory=time.monotonic)
    begun_at: float | None = None  # time.monotonic()

    def progress(self, done: float, total: float | None = None, message: str = "") -> None:
        self.stop.beat()
        whole = None if total is None else float(total)
        if not math.isfinite(done) or (whole is not None and not math.isfinite(whole)):
            raise ValueError(f"progress() takes finite numbers, not {done!r} of {total!r}.")
        self.capture.progress = float(done), whole, storable(str(message))

    @property
    def reason(self) -> str | None:
        return self.stop.reason

    def context(self) -> RunContext:
        """Return what the function may see of its run, made when it is first asked for."""
        if self._context is None:
            assert self.task is not None, "only what is being executed has a context"
            self._context = RunContext(
                task_result=result_of(self.claim, self.task),
                run_id=self.claim.id,
                number=self.claim.attempt,
                stop=self.stop,
                logger=logging.getLogger(self.task.func.__module__),
                reports=_Reports(self),
            )
        return self._context


class _Reports:
    __slots__ = ("execution",)

    def __init__(self, execution: Execution) -> None:
        self.execution = execution

    def progress(self, done: float, total: float | None, message: str) -> None:
        self.execution.progress(done, total, message)

    def attach(self, name: str, content: Any, content_type: str | None) -> Any:
        if self.execution.attach is None:
            raise RuntimeError("This run cannot keep files: it is executed outside a host or a drain.")
        return self.execution.attach(self.execution.claim, name, content, content_type)


def run(execution: Execution) -> Outcome:
    """Execute a plain function's run in this thread and return what happened; never raises an Exception. Blocks."""
    return fresh_context().run(_run, execution)


def _run(execution: Execution) -> Outcome:
    task: Task | None = None
    execution.begun_at = time.monotonic()
    try:
        execution.stop.raise_if_requested()  # it may have waited for its turn
        task = registry.task(execution.claim.task, execution.claim.job_name)
        arguments = _prepare(execution, task)
        telling.begun(execution)
        with _scope(execution):
            ended = _call(execution, task, arguments)
    except (Exception, SystemExit, asyncio.CancelledError) as error:  # noqa: BLE001 - around a run's function
        ended = failed(execution, task, error)
        telling.ended(execution, ended)  # here, because Django's receiver logs the exception that is being handled
        return ended
    telling.ended(execution, ended)
    return ended


def _call(execution: Execution, task: Task, arguments: list[Any]) -> Outcome:
    call = task.func if _is_called_plainly(task.func, type(task).call) else task.call
    if not getattr(task, "atomic", False):
        with execution.door:
            result = call(*arguments, **execution.claim.kwargs)
        return succeeded(execution, result)
    # The function and the word of its success commit in one transaction; nothing is kept if the token holds no more.
    ended = None
    try:
        with transaction.atomic(using=database_alias()):
            with execution.door:
                result = call(*arguments, **execution.claim.kwargs)
            ended = succeeded(execution, result)
            if execution.commit is not None and not execution.commit(ended):
                raise ClaimLost()
    except BaseException:
        if ended is not None:  # what it said was undone with the rest
            execution.capture.give_back(ended.lines, ended.progress)
        raise
    execution.stored = ended if execution.commit is not None else None
    return ended


async def arun(execution: Execution) -> Outcome:
    """Execute a coroutine function's run on this loop and return what happened; never raises an Exception."""
    task: Task | None = None
    execution.begun_at = time.monotonic()
    try:
        execution.stop.raise_if_requested()  # it may have waited for its turn
        task = registry.task(execution.claim.task, execution.claim.job_name)
        arguments = _prepare(execution, task)
        await telling.abegun(execution)
        async with _scope(execution):
            result = await _bounded(execution, task.acall(*arguments, **execution.claim.kwargs))
        ended = succeeded(execution, result)
    except (Exception, SystemExit, asyncio.CancelledError) as error:  # noqa: BLE001 - around a run's function
        ended = failed(execution, task, error)
        await telling.aended(execution, ended)
        return ended
    await telling.aended(execution, ended)
    return ended


async def _bounded(execution: Execution, call: Any) -> Any:
    running = asyncio.current_task()
    assert running is not None

    def expire() -> None:
        execution.stop.request("timeout")
        running.cancel()

    timeout = execution.claim.timeout
    timer = asyncio.get_running_loop().call_later(timeout, expire) if timeout else None
    try:
        return await call
    finally:
        if timer is not None:
            timer.cancel()


def timed_out(claim: Claim) -> str:
    return f"The attempt took longer than its timeout of {claim.timeout:g} seconds."


def _scope(execution: Execution) -> Scope:
    claim = execution.claim
    return Scope(Unit("run", claim.task, claim.id, claim.job_name, claim.attempt), execution.stop)


def _prepare(execution: Execution, task: Task) -> list[Any]:
    """Set what the function may see of its run, in a context that ends with it; returns its positional arguments."""
    execution.task = task
    CURRENT.set(execution.context)
    CAPTURE.set(execution.capture)
    return [execution.context(), *execution.claim.args] if task.takes_context else execution.claim.args


@lru_cache(maxsize=1024)
def _is_called_plainly(function: Callable[..., Any], call: Callable[..., Any]) -> bool:
    """Whether a task's `call` only calls its function: Django's looks each time whether that is a coroutine's."""
    return call is Task.call and not inspect.iscoroutinefunction(function)


def succeeded(execution: Execution, result: Any) -> Outcome:
    if result is None:
        return outcome(execution, Kind.SUCCEEDED)
    try:
        text = ENCODER.encode(result)
        if not is_storable(text):
            raise ValueError("it holds NUL or half characters, which databases do not store")
    except (TypeError, ValueError, RecursionError) as error:
        raise TypeError(
            f"Unsupported type: {execution.claim.task} returned {type(result).__name__}, which is not JSON ({error}); "
            "return plain data or attach a file."
        ) from error
    if len(text) > MAX_RESULT:
        raise ValueError(
            f"{execution.claim.task} returned {len(text):,} bytes of JSON; at most {MAX_RESULT:,} are kept. Attach a file."
        )
    return outcome(execution, Kind.SUCCEEDED, result=json.loads(text))


def failed(execution: Execution, task: Task | None, error: BaseException) -> Outcome:
    """Name what an exception of the run's function means for the run."""
    claim, reason = execution.claim, execution.reason
    if execution.stored is not None:  # too late: what came after the commit changes nothing
        logger.error("run %s of %s succeeded; what came after it failed", claim.id, claim.task, exc_info=error)
        return execution.stored
    if isinstance(error, ClaimLost):  # whoever holds it now tells its end; this outcome is refused
        return outcome(execution, Kind.RELEASED, reason="claim lost")
    task = task or registry.tasks().get(claim.task)
    stopped = isinstance(error, (StopRequested, RunCancelled, asyncio.CancelledError))
    if stopped and reason == "timeout":
        error = RunTimedOut(timed_out(claim))
        stopped = False
    if stopped and reason in ("cancelled", "replaced"):
        return outcome(execution, Kind.CANCELLED)  # why is in the row: whoever asked wrote it there
    if stopped and reason:
        return outcome(execution, Kind.RELEASED, reason=reason)
    if isinstance(error, Snooze):
        return outcome(execution, Kind.SNOOZED, delay=error.after, reason=storable(str(error)))
    facts = describe(claim, error)
    again = is_retried(task, error) and claim.attempt < claim.max_attempts
    if not again or (task is None and isinstance(error, TaskNotFound)):
        why = storable(str(error)) if isinstance(error, Discard) else ""
        return said(outcome(execution, Kind.FAILED, error=facts, fingerprint=fingerprint(error), reason=why))
    delay = delay_before_next(claim, task, error)
    return said(outcome(execution, Kind.RETRY, error=facts, fingerprint=fingerprint(error), delay=delay))


def said(outcome: Outcome) -> Outcome:
    """Log the failure that an outcome tells of, and return it."""
    claim, facts = outcome.claim, outcome.error
    told = (claim.id, claim.task, claim.attempt, claim.max_attempts)
    if facts is not None and outcome.kind is Kind.FAILED:
        logger.error("run %s of %s failed (attempt %d of %d): %s", *told, facts["message"])
    elif facts is not None:
        logger.warning(
            "run %s of %s failed (attempt %d of %d), again in %.1f s: %s", *told, outcome.delay, facts["message"]
        )
    return outcome


def is_retried(task: Task | None, error: BaseException) -> bool:
    if isinstance(error, Retry):
        return True
    if isinstance(error, (Discard, *getattr(task, "discard_on", ()))):
        return False
    return isinstance(error, getattr(task, "retry_on", (Exception,)))


def delay_before_next(claim: Claim, task: Task | None, error: BaseException) -> float:
    """Return the seconds until the next attempt."""
    if isinstance(error, Retry) and error.after is not None:
        return error.after
    backoff = getattr(task, "backoff", None) or Backoff()
    if claim.backoff:
        try:
            backoff = Backoff.from_dict(claim.backoff)
        except (TypeError, ValueError) as wrong:
            logger.error("job %s has a backoff that is none (%s); its task's is used", claim.job_name, wrong)
    return min(backoff.delay(max(claim.attempt, 1)), LONGEST)


def outcome(execution: Execution, kind: Kind, **facts: Any) -> Outcome:
    now, heard = time.monotonic(), execution.capture
    lines, progress = heard.take() if heard.is_heard else ((), None)
    begun = execution.begun_at or now
    return Outcome(
        execution.claim, kind, lines=tuple(lines), lines_dropped=heard.dropped, progress=progress,
        waited=begun - execution.claimed_at, took=now - begun, **facts,
    )  # fmt: skip


def describe(claim: Claim, error: BaseException) -> dict[str, Any]:
    """Return the entry of `Run.errors` for an exception: without the values of local variables."""
    text = storable("".join(traceback.format_exception(error)))
    return {
        "attempt": claim.attempt,
        "at": datetime.now(UTC).isoformat(),
        "started_at": claim.started_at.isoformat(),
        "host": claim.host_name,
        "type": f"{type(error).__module__}.{type(error).__qualname__}",
        "message": storable(_message(error))[:2000],
        "traceback": text[-20_000:],
    }


def _message(error: BaseException) -> str:
    try:
        return str(error).strip() or type(error).__name__
    except Exception:  # noqa: BLE001 - the error's own code
        return f"{type(error).__name__} (it cannot say what it is)"


def fingerprint(error: BaseException) -> str:
    """Return the same short text for the same fault: type of the exception and the place that raised it."""
    frames = traceback.extract_tb(error.__traceback__)
    place = f"{frames[-1].filename}:{frames[-1].name}" if frames else ""
    return hashlib.sha256(f"{type(error).__module__}.{type(error).__qualname__}@{place}".encode()).hexdigest()[:32]
