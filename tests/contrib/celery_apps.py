"""The Celery apps of the tests, one for each broker. Named by `celery -A` and by BACKGROUND["CELERY"]["APP"]."""

import os

from celery import Celery

BROKERS = {
    "redis": "redis://127.0.0.1:6379/14",
    "rabbitmq": "amqp://guest:guest@127.0.0.1:5672//",
    "private": os.environ.get("CELERY_TEST_BROKER", ""),  # told by the test that starts one
}


def make(name):
    app = Celery(f"tests.{name}", broker=BROKERS[name], set_as_current=False)
    app.conf.update(broker_connection_retry_on_startup=True, worker_prefetch_multiplier=1)
    app.autodiscover_tasks()
    return app


redis, rabbitmq, private = (make(name) for name in BROKERS)
