"""Own where a run's function is called: each executor takes executions and tells their outcomes."""

from background.execution.executors.loop import LoopExecutor
from background.execution.executors.process import ProcessExecutor
from background.execution.executors.thread import ThreadExecutor

__all__ = ["LoopExecutor", "ProcessExecutor", "ThreadExecutor"]
