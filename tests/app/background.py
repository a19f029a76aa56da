"""Tasks and jobs for the tests."""

import asyncio
import logging
import threading

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
