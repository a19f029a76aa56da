"""Settings of the processes that the tests of Celery start: those of the tests, with the part installed."""

from tests.settings import *  # noqa: F403
from tests.settings import INSTALLED_APPS

INSTALLED_APPS = [*INSTALLED_APPS, "background.contrib.celery"]
