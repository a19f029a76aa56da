"""
Tasks for the chaos tests. What they did is told by rows of Effect, or by files where a row could be undone.

They are tasks without jobs: nobody else who shares the tests' process finds a further job to write down.
"""

import logging
import os
import signal
import time
from pathlib import Path

from background import Backoff
from background.exceptions import ClaimLost
from background.jobs.tasks import BackgroundTask
from tests.app.models import Effect

logger = logging.getLogger(__name__)

# A step of a loop that took so long tells that the process was stopped in the midst of it (seconds).
FROZEN = 2.0
STEP = 0.05


def task(takes_context=False, **policies):
    """Make a task with policies, and no job."""

    def declare(function):
        return BackgroundTask(
            func=function, priority=0, backend="default", queue_name="default", takes_context=takes_context, **policies
        )

    return declare


@task()
def write(number, seconds=0):
    """Leave an effect that stays, whatever becomes of the run."""
    Effect.objects.create(name="written", note=str(number))
    time.sleep(seconds)


@task(atomic=True)
def book(number, seconds=0):
    """Leave an effect that is there if and only if the run succeeded."""
    Effect.objects.create(name="booked", note=str(number))
    time.sleep(seconds)


# Where connections are cut, a function may fail in the midst of its own statement.
PERSISTENT = {"max_attempts": 500, "backoff": Backoff(0.05, 0.2)}


@task(**PERSISTENT)
def write_again(number, seconds=0):
    write.func(number, seconds)


@task(atomic=True, **PERSISTENT)
def book_again(number, seconds=0):
    book.func(number, seconds)


def is_first(folder, number):
    """Tell whether this run has not been executed before; files stay when transactions do not."""
    try:
        os.close(os.open(Path(folder, str(number)), os.O_CREAT | os.O_EXCL))
    except FileExistsError:
        return False
    return True


def wait_for_thaw(last):
    """Return once this process has been stopped and goes on; `last` is the time.monotonic() before it said that it has begun."""
    for _ in range(int(100 / STEP)):
        time.sleep(STEP)
        now = time.monotonic()
        if now - last > FROZEN:
            return
        last = now
    raise TimeoutError("nobody stopped this process")


@task(takes_context=True)
def speak_when_thawed(context, folder, number):
    """At first, wait to be stopped and say, keep and return things afterwards; else return at once."""
    began = time.monotonic()
    if not is_first(folder, number):
        return "alive"
    context.progress(1, 100, "alive")
    wait_for_thaw(began)
    logger.info("the zombie speaks")
    context.progress(99, 100, "zombie")
    try:
        context.attach("zombie.txt", "boo")
    except ClaimLost:
        Path(folder, f"{number}.refused").touch()
    return "zombie"


@task(takes_context=True)
def listen_when_thawed(context, folder, number):
    """At first, wait to be stopped and note what the stop token says afterwards; else return at once."""
    began = time.monotonic()
    if not is_first(folder, number):
        return "alive"
    wait_for_thaw(began)
    context.stop.wait(30)
    Path(folder, f"{number}.heard").write_text(context.stop.reason or "nothing")
    context.stop.raise_if_requested()
    return "zombie"


@task(atomic=True)
def book_when_thawed(folder, number):
    """At first, wait to be stopped in the midst of the transaction and go on to its end; else return at once."""
    Effect.objects.create(name="booked", note=str(number))
    began = time.monotonic()
    if not is_first(folder, number):
        return "alive"
    wait_for_thaw(began)
    Path(folder, f"{number}.thawed").touch()
    return "zombie"


@task(executor="process", atomic=True)
def book_in_process(folder, number):
    """At first, wait in the midst of the transaction until a file says go; else return at once."""
    Effect.objects.create(name="booked", note=str(number))
    if not is_first(folder, number):
        return "alive"
    while not Path(folder, "go").exists():
        time.sleep(STEP)
    Path(folder, f"{number}.thawed").touch()
    return "zombie"


@task(takes_context=True)
def wait_at_first(context, folder, number):
    """At first, wait to be told to stop; else return at once. Each time, note when it began and in which process."""
    first = is_first(folder, number)
    note_time(folder, number, "began")
    if first:
        context.stop.wait(100)
        context.stop.raise_if_requested()
    return number


@task()
def kill_its_process():
    time.sleep(0.3)
    os.kill(os.getpid(), signal.SIGKILL)


def note_time(folder, key, word):
    """Append a line to this process's file: it is there even if the process is killed right after it."""
    line = f"{key} {word} {os.getpid()} {time.time_ns()}\n"
    handle = os.open(Path(folder, f"times.{os.getpid()}"), os.O_CREAT | os.O_APPEND | os.O_WRONLY)
    try:
        os.write(handle, line.encode())
    finally:
        os.close(handle)


def use(folder, key, number, seconds):
    note_time(folder, f"{key}:{number}", "began")
    time.sleep(seconds)
    note_time(folder, f"{key}:{number}", "ended")


@task(concurrency=1, concurrency_key="{key}")
def use_alone(folder, key, number, seconds=0):
    """Hold something that one run at a time may hold."""
    use(folder, key, number, seconds)


@task(concurrency=3, concurrency_key="{key}")
def use_by_three(folder, key, number, seconds=0):
    """Hold something that three runs at a time may hold."""
    use(folder, key, number, seconds)


@task()
def use_freely(folder, key, number, seconds=0):
    """Hold something that anyone may hold."""
    use(folder, key, number, seconds)


@task(concurrency=1, concurrency_key="{key}")
def nothing_alone(key):
    pass


@task(concurrency=3, concurrency_key="{key}")
def nothing_by_three(key):
    pass
