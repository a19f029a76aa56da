"""Every error that `background` raises or stores; the docstring is the message when none is given."""

import inspect


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


class HostLost(BackgroundError):
    """The host that held this run disappeared too often while the run was being executed."""


class ClaimLost(BackgroundError):
    """Another host holds this run by now; what this one did for it is discarded."""


class ResultNotSerializable(BackgroundError, TypeError):
    """The task returned something that is not JSON; return plain data or attach a file."""


# What a task raises to steer its own run


class Retry(BackgroundError):
    """The task asked for another attempt."""

    def __init__(self, message: str | None = None, *, after: float | None = None) -> None:
        """Ask for another attempt in `after` seconds (default: the task's backoff); it counts as an attempt."""
        super().__init__(message)
        self.after = after


class Snooze(BackgroundError):
    """The task asked to come back later; this does not count as an attempt."""

    def __init__(self, message: str | None = None, *, after: float) -> None:
        """Come back in `after` seconds."""
        super().__init__(message)
        self.after = after


class Discard(BackgroundError):
    """The task gave up: further attempts would not help."""
