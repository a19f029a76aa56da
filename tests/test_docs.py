"""The examples in README and docs are run, and the flags and settings they name exist."""

import re
import types
from contextlib import contextmanager
from dataclasses import fields
from pathlib import Path
from unittest import mock

import pytest
from django.core.management import load_command_class
from django.test import override_settings

from background import registry
from background.conf import Settings
from background.jobs import tasks
from background.testing import run_host

ROOT = Path(__file__).resolve().parent.parent
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]


def blocks(page, language):
    return re.findall(rf"^```{language}\n(.*?)^```", page.read_text(), re.MULTILINE | re.DOTALL)


@contextmanager
def own_registry():
    """What an example declares is gone afterwards."""
    with (
        mock.patch.object(registry, "_services", []) as services,
        mock.patch.object(tasks, "DECLARED", []) as declared,
        mock.patch.dict(tasks.KNOWN),
    ):
        yield services, declared


def execute(code, **names):
    module = types.ModuleType("shop.background")
    module.__dict__.update(names)
    exec(compile(code, "example", "exec"), module.__dict__)
    return module


@pytest.mark.parametrize("document", PAGES, ids=lambda one: one.name)
def test_every_python_example_can_be_executed(document):
    background = __import__("background")
    names = {"background": background, "InventorySync": None, "tracer": None, "every": background.every}
    with own_registry():
        for code in blocks(document, "python"):
            execute(code, **names)


def example(containing):
    (code,) = [code for code in blocks(ROOT / "README.md", "python") if containing in code]
    return code


def test_the_first_example_declares_a_service_and_a_job():
    with own_registry() as (services, declared):
        execute(example("class InventorySync"))
        assert [one.get_name() for one in services] == ["shop.InventorySync"]
        assert [one.name for one in declared] == ["shop.purge_abandoned_carts"]
        assert declared[0].values()["timezone"] == "Europe/Paris"


@pytest.mark.django_db(transaction=True)
def test_the_mailbox_example_sends_and_stops_cleanly():
    sent = []
    connection = mock.Mock(send=sent.append)
    background = __import__("background")
    with own_registry() as (services, _):
        module = execute(example("class Mailbox"), background=background, open_connection=lambda: connection)
        with run_host(*services) as host:
            module.Mailbox.channel.put("hello")
            host.wait_for(lambda: sent == ["hello"])
    assert host.exit_code == 0
    connection.close.assert_called_once_with()


def test_the_settings_table_names_each_setting_and_no_other():
    table = (ROOT / "README.md").read_text().split("## Settings")[1].split("\n\n")[2]
    named = set(re.findall(r"^\| `([A-Z_]+)`", table, re.MULTILINE))
    assert named == {one.name.upper() for one in fields(Settings)}


def test_the_settings_example_passes_the_checks():
    module = execute(example("INSTALLED_APPS"))
    with override_settings(TASKS=module.TASKS):
        assert tasks.backend_alias() == "default"


def test_the_readme_names_each_flag_of_runbackground():
    parser = load_command_class("background", "runbackground").create_parser("manage.py", "runbackground")
    own = {flag for action in parser._actions for flag in action.option_strings if action.help != "==SUPPRESS=="}
    standard = {flag for flag in own if flag in STANDARD}
    text = (ROOT / "README.md").read_text()
    assert {flag for flag in own - standard if flag not in text} == set()


STANDARD = {"-h", "--help", "--version", "-v", "--verbosity", "--settings", "--pythonpath", "--traceback", "--no-color"}
STANDARD |= {"--force-color", "--skip-checks"}
