"""Own how the tests import: the command is run, and its table is read back."""

from __future__ import annotations

import io

from django.core.management import call_command

from background.models import Job

PLAIN = "tests.app.background.plain"


def imported(*words: str) -> str:
    """Return what the command says."""
    out = io.StringIO()
    call_command("import_schedules", *words, stdout=out, no_color=True)
    return out.getvalue()


def line(said: str, name: str) -> str:
    (found,) = [line for line in said.splitlines() if line.startswith(name + "  ")]
    return found


def schedules() -> dict[str, str]:
    return dict(Job.objects.filter(defaults__isnull=True).values_list("name", "schedule"))
