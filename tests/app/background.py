"""Tasks and jobs for the tests."""

import asyncio
import ctypes
import logging
import os
import signal
import threading
import time
from pathlib import Path

from asgiref.sync import sync_to_async

import background
from background import Backoff, every
from background.compat import BUILT_IN
from tests.app.models import Effect

if BUILT_IN:
    from django.tasks import task
else:
    from django_tasks import task

logger = logging.getLogger(__name__)


@task
def note(text="note"):
    Effect.objects.create(name="note", note=text)
    return text


@task
async def anote(text="anote"):
    await sync_to_async(Effect.objects.create)(name="anote", note=text)
    return text


@task(takes_context=True)
def talk(context, lines=3):
    for number in range(lines):
        logger.info("line %d", number)
        context.progress(number + 1, lines, f"line {number}")
    return context.attempt


@background.job(max_attempts=3, backoff=Backoff(0, 0))
def flaky(fails=2):
    """Fail some times, then succeed."""
    done = Effect.objects.filter(name="flaky").count()
    if done < fails:
        # kept although the attempt fails: each attempt is its own unit
        Effect.objects.create(name="flaky")
        raise ValueError(f"failure {done + 1}")
    return done


@background.job
def plain(number=1, word="one"):
    """Return what it was given."""
    return [number, word]


@background.job("*/5 * * * *", timezone="UTC", misfire="once")
def often():
    """Run every five minutes."""
    Effect.objects.create(name="often")


@background.job(every(hours=1), overlap="skip", queue="reports")
def hourly(region: str = "EU", limit: int = 10):
    return f"{region}:{limit}"


@background.job(unique="{key}")
def single(key):
    return key


@background.job(concurrency=1)
def lonely(n=0):
    return n


@background.job(atomic=True)
def booked(fail=False):
    Effect.objects.create(name="booked")
    if fail:
        raise ValueError("no")
    return "yes"


# What the tests of hosts wait on and let go: runs are executed in threads of the same process there.
GATES: dict[str, threading.Event] = {}


def gate(name):
    return GATES.setdefault(name, threading.Event())


@task
def wait_at(name):
    gate(f"{name}.arrived").set()
    gate(name).wait(30)
    return name


@task(takes_context=True)
def wait_for_stop(context, name="stop"):
    gate(f"{name}.arrived").set()
    context.stop.wait(30)
    context.stop.raise_if_requested()
    return "never asked"


@task(takes_context=True)
def tell_order(context):
    """Note when it is told to stop."""
    context.stop.wait(60)
    Effect.objects.create(name="order", note="run told")


@task
async def sleep_long(name="sleep"):
    gate(f"{name}.arrived").set()
    await asyncio.sleep(30)


@background.job(timeout=0.2)
def too_long():
    gate("too_long.arrived").set()
    for _ in range(3000):
        threading.Event().wait(0.01)


@background.job(timeout=0.2)
async def atoo_long():
    await asyncio.sleep(30)


@background.register
class Lone(background.BackgroundService):
    """Runs once in the whole installation."""

    singleton = True

    def execute(self, stop):
        stop.wait()


@task(takes_context=True)
def speak_and_wait(context, name):
    logger.info("I am %s", name)
    context.progress(3, 10)
    gate(name).wait(30)


# In processes of their own, where only rows can tell what happened.


def say(name):
    Effect.objects.create(name=name, note=str(os.getpid()))


@background.job(executor="process", takes_context=True)
def in_process(context, number):
    for one in range(number):
        logger.info("number %d", one)
        context.progress(one + 1, number, "counted")
    if number > 1:
        context.attach("numbers.txt", "1234567")
    return {"number": number, "pid": os.getpid()}


@background.job(executor="process", timeout=2)
def process_that_burns():
    say("burns")
    return len(str(9**9_999_999))  # one call of C code that keeps the interpreter for minutes


@background.job(executor="process", takes_context=True)
def process_that_listens(context):
    say("listens")
    context.stop.wait(60)
    Effect.objects.create(name="heard", note=context.stop.reason or "")
    context.stop.raise_if_requested()


@background.job(executor="process", takes_context=True)
def process_that_waits(context, seconds):
    say("waits")
    return context.stop.wait(seconds)


@background.job(executor="process")
def process_that_sleeps():
    say("sleeps")
    time.sleep(60)


@background.job(executor="process", max_attempts=2, backoff=Backoff(0, 0))
def process_that_dies():
    os.kill(os.getpid(), signal.SIGKILL)


@background.job(executor="process", atomic=True)
def process_booked(fail=False):
    Effect.objects.create(name="process_booked")
    if fail:
        raise ValueError("no")


@background.job(executor="process", atomic=True)
def process_waits_and_books(folder):
    Path(folder, "waits").write_text(str(os.getpid()))
    while not Path(folder, "go").exists():
        time.sleep(0.05)
    Effect.objects.create(name="waited and booked")


# In worker processes.

EATEN = []


@task
def where():
    say("where")


@task
def wait_for_file(path):
    say("waits")
    while not Path(path).exists():
        time.sleep(0.02)
    say("waited")


@task
def eat(megabytes):
    EATEN.append(b"x" * megabytes * 1_000_000)
    say("ate")


@task
def hold_the_interpreter(seconds=60):
    say("holds")
    ctypes.PyDLL(None).sleep(seconds)  # unlike CDLL it keeps the lock: no other thread gets its turn


@task
def end_process(code):
    os._exit(code)


@task(takes_context=True)
def listen(context):
    say("listens")
    context.stop.wait(60)
    context.stop.raise_if_requested()


# For measuring: functions that do nothing.


@task
def noop():
    pass


@background.job(concurrency=1, concurrency_key="hot one")
def hot_one():
    pass


@background.job(concurrency=3, concurrency_key="hot three")
def hot_three():
    pass
