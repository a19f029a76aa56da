"""The functions as tasks of ours: found by itself, being in an installed app."""

import background
from background.compat import BUILT_IN
from tests.benchmarks import tasks

if BUILT_IN:
    from django.tasks import task
else:
    from django_tasks import task


@task
def noop(i):
    tasks.mark(i)


@task
def orm(i):
    tasks.touch(i)


@task
async def coroutine(i):
    tasks.mark(i)


@background.job(concurrency=1, concurrency_key="hot")
def hot(i):
    tasks.mark(i)


@background.job
def job(i):
    """Like noop, with a row in the admin."""
    tasks.mark(i)
