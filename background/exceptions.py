"""Every error that `background` raises or stores; the docstring is the message when none is given."""

import inspect
import math
from datetime import timedelta

# Seconds; who asks for a longer delay asks for none that a calendar has.
LONGEST = 10 * 366 * 86400.0


class BackgroundError(Exception):
    """Something went wrong in background."""

    def __init__(self, message: str | None = None) -> None:
        super().__init__(message or inspect.cleandoc(type(self).__doc__ or ""))


# What is asked for does not exist or cannot be done


class InvalidSchedule(BackgroundError, ValueError):
    """This text is no schedule."""


class InvalidArguments(BackgroundError, TypeError, ValueError):
    """These arguments do not fit the task."""


class InvalidPolicy(BackgroundError, ValueError):
    """This policy has a value that is not allowed."""


class InvalidTransition(BackgroundError):
    """The run is in a state from which this step is not possible."""


class NotAllowed(BackgroundError):
    """Nobody asked for this who may do it: such runs are made by the list of runs in the admin."""


class Overtaken(BackgroundError):
    """Another host goes on with this run."""


class DuplicateName(BackgroundError):
    """Two declarations share one name; give one of them another `name`."""


class DependencyCycle(BackgroundError):
    """Services depend on each other in a circle; remove one `depends_on`."""


class JobNotFound(BackgroundError):
    """No job has this name."""


class ServiceNotFound(BackgroundError):
    """No service has this name."""


class QueueNotFound(BackgroundError):
    """No queue has this name."""


class TaskNotFound(BackgroundError):
    """No installed app declares this task; was it renamed or removed while runs were waiting?"""


class ServiceNotHosted(BackgroundError):
    """This belongs to a service that a host runs; use `background.testing.run_host` to try it out."""


# Stopping


class StopRequested(BackgroundError):
    """The host, a person or a timeout asked this work to stop."""


class StartFailed(BackgroundError):
    """A service could not be started."""


class StartTimedOut(StartFailed):
    """A start hook took longer than its timeout."""


class TookTooLong(BackgroundError):
    """The database needed longer for this page than it is given."""


# Channels


class ChannelTimeout(BackgroundError, TimeoutError):
    """The channel stayed full (or empty) for the whole timeout."""


class ChannelFull(BackgroundError):
    """The channel is full and was made with when_full="reject"."""


class ChannelClosed(BackgroundError):
    """The channel is closed."""


# How a run ends


class RunTimedOut(BackgroundError, TimeoutError):
    """The attempt took longer than the run's timeout."""


class RunCancelled(BackgroundError):
    """A person or code cancelled the run."""


class ProcessDied(BackgroundError):
    """The process that executed this run ended in the midst of it."""


class HostLost(BackgroundError):
    """The host that held this run disappeared too often while the run was being executed."""


class ClaimLost(BackgroundError):
    """Another host holds this run by now; what this one did for it is discarded."""


# What a task raises to steer its own run


def seconds(after: float | timedelta) -> float:
    """Return a delay as a number from 0; TypeError, ValueError where it is none."""
    number = after.total_seconds() if isinstance(after, timedelta) else float(after)
    if math.isnan(number):
        raise ValueError("A delay is a number of seconds, not nan.")
    return min(max(number, 0.0), LONGEST)


class Retry(BackgroundError):
    """The task asked for another attempt."""

    def __init__(self, message: str | None = None, *, after: float | timedelta | None = None) -> None:
        """Ask for another attempt in `after` seconds (default: the task's backoff); it counts as an attempt."""
        super().__init__(message)
        self.after = None if after is None else seconds(after)


class Snooze(BackgroundError):
    """The task asked to come back later; this does not count as an attempt."""

    def __init__(self, message: str | None = None, *, after: float | timedelta) -> None:
        """Come back in `after` seconds."""
        super().__init__(message)
        self.after = seconds(after)


class Discard(BackgroundError):
    """The task gave up: further attempts would not help."""
