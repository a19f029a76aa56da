"""Own where a run's function is called: each executor takes executions and tells their outcomes."""

from typing import Any

from django.utils.module_loading import import_string

from background.conf import get_settings
from background.execution.executors.inbox import Done
from background.execution.executors.loop import LoopExecutor
from background.execution.executors.process import ProcessExecutor
from background.execution.executors.thread import ThreadExecutor

__all__ = ["INTERFACE", "LoopExecutor", "ProcessExecutor", "ThreadExecutor", "local_executors", "make_executors"]

# What the worker asks of an executor, besides its `name` and `capacity`.
INTERFACE = ("free", "submit", "enforce", "cancel", "cut", "drain", "stack_of", "close")


def make_executors(concurrency: int, async_concurrency: int, done: Done) -> tuple[Any, ...]:
    """Return a worker's executors, for threads, coroutines, processes: its own, or those of the dispatcher that EXECUTOR names."""
    conf = get_settings()
    slots = concurrency, async_concurrency, conf.process_concurrency
    if conf.executor == "local":
        return local_executors(*slots, done)
    dispatcher = import_string(conf.executor)
    return tuple(dispatcher(*one, done) for one in zip(("thread", "loop", "process"), slots, strict=True))


def local_executors(threads: int, coroutines: int, processes: int, done: Done) -> tuple[Any, ...]:
    return ThreadExecutor(threads, done), LoopExecutor(coroutines, done), ProcessExecutor(processes, done)
