"""The app in a site with little else: no admin, no sessions, no messages."""

import io
import json
import os
import subprocess
import sys
from pathlib import Path

import django
import pytest
from django.apps import apps
from django.core.management import call_command

from tests.app import background as tasks

ROOT = Path(__file__).resolve().parent.parent
SITE = """
import django
from django.conf import settings

settings.configure(
    SECRET_KEY="x", USE_TZ=True, DATABASES={"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"}},
    INSTALLED_APPS=["django.contrib.auth", "django.contrib.contenttypes", "background", "tests.app"],
    TASKS={"default": {"BACKEND": "background.backend.DatabaseBackend", "QUEUES": []}}, DEFAULT_AUTO_FIELD="django.db.models.BigAutoField",
)
django.setup()
from django.core.management import call_command

call_command("check", fail_level="WARNING", verbosity=0)
call_command("migrate", verbosity=0)
from background.testing import drain
from tests.app import background as tasks

tasks.note.enqueue("small")
tasks.anote.enqueue("site")
print([run.result or run.errors for run in drain()])
"""


def test_a_site_without_the_admin_passes_its_check_and_executes_runs():
    environment = {name: value for name, value in os.environ.items() if name != "DJANGO_SETTINGS_MODULE"}
    done = subprocess.run(
        [sys.executable, "-c", SITE], cwd=ROOT, capture_output=True, text=True, timeout=60, env=environment
    )

    assert done.returncode == 0, (django.VERSION, done.stderr)
    assert done.stdout.splitlines()[-1] == "['small', 'site']"


@pytest.mark.django_db
@pytest.mark.parametrize("everything", [False, True])
def test_a_whole_site_can_be_dumped(everything):
    tasks.note.enqueue("kept")
    out = io.StringIO()

    call_command("dumpdata", use_base_manager=everything, stdout=out)

    assert [row["fields"]["args"] for row in json.loads(out.getvalue()) if row["model"] == "background.run"] == [
        ["kept"]
    ]


def test_every_field_of_our_models_says_what_it_is():
    models = [one for one in apps.get_models() if one.__module__.startswith("background.")]
    fields = [field for one in models for field in one._meta.fields if not field.auto_created and field.name != "id"]
    assert len(fields) > 100
    assert [str(field) for field in fields if not field.help_text] == []
