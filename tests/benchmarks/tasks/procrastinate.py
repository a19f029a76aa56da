"""The functions as tasks of procrastinate."""

from procrastinate.contrib.django import app

from tests.benchmarks import tasks


@app.task
def noop(i):
    tasks.mark(i)


@app.task
def orm(i):
    tasks.touch(i)


@app.task
async def coroutine(i):
    tasks.mark(i)


@app.task(lock="hot")
def hot(i):
    tasks.mark(i)
