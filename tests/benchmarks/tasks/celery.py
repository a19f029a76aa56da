"""The function as a task of Celery; the worker starts here."""

import os

import django
from celery import Celery

from tests.benchmarks import tasks

django.setup()
app = Celery("bench", broker=os.environ["BENCH_CELERY_BROKER"])
app.conf.update(task_default_queue="bench", broker_connection_retry_on_startup=True)
if "BENCH_CELERY_RESULTS" in os.environ:
    app.conf.update(result_backend="django-db", result_extended=True)
    if reuse := os.environ["BENCH_CELERY_RESULTS"]:
        app.conf["CELERY_DB_REUSE_MAX"] = int(reuse)
else:
    app.conf.update(task_ignore_result=True)


@app.task
def noop(i):
    tasks.mark(i)
