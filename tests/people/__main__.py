"""Start, see and cancel a run as a person of another user model; run by tests/admin/test_custom_user.py."""

import os

os.environ["DJANGO_SETTINGS_MODULE"] = "tests.people.settings"

import django

django.setup()

from django.contrib.auth import get_user_model  # noqa: E402
from django.core.management import call_command  # noqa: E402
from django.test import Client  # noqa: E402
from django.urls import reverse  # noqa: E402

from background.models import Job, Run  # noqa: E402

call_command("migrate", run_syncdb=True, verbosity=0)
call_command("makemigrations", "background", check=True, dry_run=True, verbosity=0)
client = Client()
ana = get_user_model().objects.create_superuser("ana@example.org")
client.force_login(ana)
job = Job.objects.get(name="app.plain")
client.post(reverse("admin:background_job_run", args=[job.pk]), {"number": "1", "word": "x", "reason": "try"})
run = Run.objects.get()
assert (run.triggered_by, run.triggered_by_name, run.reason) == (ana, "ana@example.org", "try"), vars(run)
for model in ("job", "run", "service", "host", "queue", "dashboard"):
    assert client.get(reverse(f"admin:background_{model}_changelist")).status_code == 200, model
assert "ana@example.org" in client.get(reverse("admin:background_run_change", args=[run.pk])).content.decode()
client.post(reverse("admin:background_run_cancel", args=[run.pk]), {"reason": "by mistake"})
run.refresh_from_db()
assert run.status == "cancelled" and run.cancel_requested_by == "ana@example.org", vars(run)
print("done")
