"""A management command as a job: its output is the run's log, and only what the code declares can be run."""

import logging
from datetime import timedelta

import pytest
from django.contrib.sessions.models import Session
from django.core.management import CommandError
from django.core.management.base import BaseCommand
from django.utils import timezone

from background import registry
from background.contrib.commands import COMMAND, LogLines, management_command_job
from background.jobs import tasks
from background.models import Job, Run
from background.testing import drain

pytestmark = pytest.mark.django_db


class Talkative(BaseCommand):
    """A command of the tests."""

    def add_arguments(self, parser):
        parser.add_argument("count", type=int)
        parser.add_argument("--how", default="well")

    def handle(self, count, how, **options):
        for number in range(count):
            self.stdout.write(self.style.SUCCESS(f"line {number}"))
        self.stdout.write("no end of line", ending="")
        self.stderr.write(f"it goes {how}")
        if how == "badly":
            raise CommandError("all is lost")
        if how == "away":
            raise SystemExit(3)


def talk_daily():
    """Say something each day."""
    return {"how": "fine"}


@pytest.fixture(autouse=True)
def command(monkeypatch):
    from django.core import management

    commands = {**management.get_commands(), "talkative": Talkative()}
    monkeypatch.setattr(management, "get_commands", lambda: commands)


@pytest.fixture(autouse=True)
def own_declarations(monkeypatch):
    monkeypatch.setattr(tasks, "DECLARED", declared := list(tasks.DECLARED))
    monkeypatch.setattr(registry, "DECLARED", declared)
    monkeypatch.setattr("background.contrib.commands.ALLOWED", set())
    return declared


def lines(run):
    return [(line.level, line.message) for line in run.logs.order_by("sequence")]


def test_what_a_command_writes_is_the_log_of_its_run(own_declarations):
    made = management_command_job("talkative", "0 4 * * *", args=[2], options={"how": "so"}, name="talk", queue="night")
    declaration = registry.jobs()["talk"]

    assert (str(declaration.schedule), declaration.task.queue_name) == ("0 4 * * *", "night")
    made.task.enqueue(**declaration.kwargs)
    (run,) = drain()

    assert run.status == Run.Status.SUCCEEDED
    assert lines(run) == [
        ("INFO", "line 0"),
        ("INFO", "line 1"),
        ("WARNING", "it goes so"),
        ("INFO", "no end of line"),
    ]


@pytest.mark.parametrize(
    ("how", "type_", "message"),
    [
        ("badly", "django.core.management.base.CommandError", "all is lost"),
        ("away", "django.core.management.base.CommandError", "talkative ended with exit code 3."),
    ],
)
def test_a_command_that_fails_fails_its_run(how, type_, message):
    management_command_job("talkative")
    COMMAND.enqueue("talkative", [0], {"how": how})
    (run,) = drain()

    assert (run.status, run.error_type, run.error_summary) == (Run.Status.FAILED, type_, message)
    assert ("INFO", "no end of line") in lines(run)


def test_a_command_that_no_code_made_a_job_is_refused():
    COMMAND.enqueue("flush", [], {"interactive": False})
    (run,) = drain()

    assert run.status == Run.Status.FAILED
    assert "No code makes the command 'flush' a job" in run.end_reason + run.error_summary


def test_as_a_decorator_it_takes_name_and_text_from_the_function(own_declarations):
    before = len(own_declarations)

    declared = management_command_job("talkative", "@daily", args=[1], max_attempts=2)(talk_daily)

    (declaration,) = own_declarations[before:]
    assert declaration.name.endswith(".talk_daily") and declaration.task.max_attempts == 2
    assert declared.func.__doc__ == "Say something each day."
    declared.enqueue()
    (run,) = drain()
    assert ("WARNING", "it goes fine") in lines(run)


def test_expired_sessions_are_cleared_by_djangos_own_command():
    Session.objects.create(session_key="old", session_data="", expire_date=timezone.now() - timedelta(days=1))
    made = management_command_job("clearsessions", "0 4 * * *")

    made.task.enqueue(command="clearsessions")

    assert [run.status for run in drain()] == ["succeeded"]
    assert not Session.objects.exists()
    assert not Job.objects.filter(name="clearsessions").exists()  # written by a host, not by the declaration


def test_a_stream_tells_whole_lines(caplog):
    with caplog.at_level(logging.INFO), LogLines(logging.getLogger("lines"), logging.INFO) as stream:
        stream.write("one\ntw")
        stream.write("o\n\n   \nthree")
    assert caplog.messages == ["one", "two", "three"]
