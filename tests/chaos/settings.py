"""
Settings of the processes that the chaos tests start: those of the tests, without the examples' own jobs, and the app with the tasks.

CHAOS_CLOCK sets the process's clock apart by so many seconds. The database keeps its own.
"""

import os
from datetime import UTC, datetime, timedelta

from tests.settings import *  # noqa: F403
from tests.settings import INSTALLED_APPS

INSTALLED_APPS = [*(one for one in INSTALLED_APPS if not one.startswith("project.examples")), "tests.chaos"]
ROOT_URLCONF = "django.contrib.auth.urls"  # that of the site knows the examples

if off := float(os.environ.get("CHAOS_CLOCK", "0")):
    import time_machine

    # Underneath Python: whoever holds a reference to time.time or datetime.now sees the shifted clock as well.
    time_machine.travel(datetime.now(UTC) + timedelta(seconds=off), tick=True).start()
