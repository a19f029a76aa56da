"""The function as a task of huey; the consumer starts here."""

import django

from tests.benchmarks import tasks

django.setup()

from huey.contrib.djhuey import HUEY, task  # noqa: E402, F401


@task()
def noop(i):
    tasks.mark(i)
