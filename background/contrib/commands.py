"""Own management commands as jobs: what they print becomes the log of the run."""

from __future__ import annotations

import functools
import io
import logging
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from django.core.management import CommandError, call_command

from background.exceptions import Discard
from background.jobs import tasks
from background.jobs.context import current_run
from background.jobs.tasks import BackgroundTask, backend_alias, job, schedule
from background.timing import Schedule

# What the code has made a job; no other command can be run by editing a row.
ALLOWED: set[str] = set()


class LogLines(io.TextIOBase):
    """A stream whose lines are log records of the run that is being executed."""

    def __init__(self, logger: logging.Logger, level: int) -> None:
        self._logger = logger
        self._level = level
        self._rest = ""

    def write(self, text: str) -> int:
        *lines, self._rest = (self._rest + text).split("\n")
        for line in lines:
            if line.strip():
                self._logger.log(self._level, "%s", line.rstrip())
        return len(text)

    def close(self) -> None:
        if not self.closed and self._rest:
            self.write("\n")
        super().close()


def call(command: str, args: Sequence[Any], options: Mapping[str, Any]) -> None:
    """Run a command, its output in the run's log; CommandError where it ends with another exit code than 0. Blocks."""
    context = current_run()
    logger = context.logger if context else logging.getLogger(f"commands.{command}")
    with LogLines(logger, logging.INFO) as out, LogLines(logger, logging.WARNING) as err:
        try:
            call_command(command, *args, **{"no_color": True, **options}, stdout=out, stderr=err)
        except SystemExit as end:
            if end.code not in (None, 0):
                raise CommandError(f"{command} ended with exit code {end.code}.") from end


def run_command(command: str, args: Sequence[Any] = (), options: Mapping[str, Any] | None = None) -> None:
    """Run a management command that the code has made a job; its output is the log."""
    if command not in ALLOWED:
        raise Discard(f"No code makes the command {command!r} a job; it can be declared by management_command_job().")
    call(command, args, options or {})


COMMAND = BackgroundTask(func=run_command, backend=backend_alias())


class management_command_job:
    """Make a management command a job: `management_command_job("clearsessions", "0 4 * * *")`.

    `args` and `options` are those of `call_command`; `name` is that of the job (default: the command's); the rest are the
    policies of `@job`. As a decorator it names the job after the function, whose text describes it, and which may return
    further options for this run. What the command writes to its own `stdout` and `stderr` is kept as the run's log; what
    it prints by `print` is not. Raises InvalidSchedule and InvalidPolicy.
    """

    def __init__(
        self,
        command: str,
        schedule_: Schedule | str | None = None,
        *,
        args: Sequence[Any] = (),
        options: Mapping[str, Any] | None = None,
        name: str | None = None,
        **policies: Any,
    ) -> None:
        self._command, self._args, self._options = command, list(args), dict(options or {})
        self._declare = functools.partial(job, schedule_, **policies)
        self._named = name
        ALLOWED.add(command)
        kwargs = {"command": command, "args": self._args, "options": self._options}
        self.task = schedule(COMMAND, schedule_, name=name or command, kwargs=kwargs, **policies)
        self._declaration = tasks.DECLARED[-1]

    def __call__(self, function: Callable[[], Mapping[str, Any] | None]) -> Any:
        tasks.DECLARED.remove(self._declaration)  # the function gives it a better name

        @functools.wraps(function)
        def body() -> None:
            call(self._command, self._args, {**self._options, **(function() or {})})

        return self._declare(name=self._named)(body)
