"""Start Django with nothing but the installed wheel: run in an empty environment, outside the repository."""

import tempfile
from importlib.metadata import entry_points, files
from pathlib import Path

import django
from django.conf import settings
from django.core.management import call_command

shipped = {str(file) for file in files("django-hosted-background") or []}
assert "background/py.typed" in shipped
assert "background/migrations/0001_initial.py" in shipped
assert any(file.startswith("background/templates/") for file in shipped), "no templates in the wheel"
strangers = {file for file in shipped if not file.startswith(("background/", "django_hosted_background-"))}
assert not strangers, strangers
assert [e.value for e in entry_points(group="pytest11", name="background")] == ["background.testing.plugin"]

with tempfile.TemporaryDirectory() as folder:
    settings.configure(
        SECRET_KEY="smoke",
        DEFAULT_AUTO_FIELD="django.db.models.BigAutoField",
        DATABASES={
            "default": {
                "ENGINE": "django.db.backends.sqlite3",
                "NAME": str(Path(folder) / "db.sqlite3"),
                "OPTIONS": {"transaction_mode": "IMMEDIATE", "init_command": "PRAGMA journal_mode=WAL;"},
            }
        },
        INSTALLED_APPS=[
            "django.contrib.admin",
            "django.contrib.auth",
            "django.contrib.contenttypes",
            "django.contrib.messages",
            "django.contrib.sessions",
            *(["django_tasks"] if django.VERSION < (6, 0) else []),
            "background",
        ],
        TASKS={"default": {"BACKEND": "background.backend.DatabaseBackend"}},
        USE_TZ=True,
    )
    django.setup()

    import background

    assert "site-packages" in (background.__file__ or ""), background.__file__
    for name in ["BackgroundService", "PeriodicService", "register", "job", "every", "cron"]:
        getattr(background, name)
    call_command("migrate", verbosity=0)
    call_command("makemigrations", check=True, dry_run=True)
    call_command("runbackground", "--drain")

print(f"The wheel works with Django {django.__version__}")
