"""The functions as tasks of Django's own framework, for its other backends."""

from tests.benchmarks import tasks

try:
    from django.tasks import task
except ImportError:
    from django_tasks import task


@task
def noop(i):
    tasks.mark(i)


@task
def orm(i):
    tasks.touch(i)
