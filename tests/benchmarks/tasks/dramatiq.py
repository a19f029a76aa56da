"""The function as an actor of dramatiq; the worker starts here."""

import django

django.setup()

import dramatiq  # noqa: E402 - django_dramatiq sets its broker in setup()

from tests.benchmarks import tasks  # noqa: E402


@dramatiq.actor
def noop(i):
    tasks.mark(i)
