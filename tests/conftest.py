"""What all tests share."""

from importlib.metadata import entry_points

import pytest

PLUGIN = "background.testing.plugin"

# The repository is tested without being installed, so its own pytest plugin is loaded here. Where it is installed,
# pytest has it already by its entry point, and would not take it a second time.
if not any(e.value == PLUGIN for e in entry_points(group="pytest11")):
    pytest_plugins = [PLUGIN]


def pytest_addoption(parser):
    group = parser.getgroup("chaos")
    group.addoption(
        "--chaos", choices=["short", "long"], default="short", help="figures of the chaos tests: for CI, or full"
    )
    group.addoption("--chaos-report", metavar="PATH", help="write what the chaos tests measured to this file, as JSON")


@pytest.fixture(scope="session")
def django_db_setup(django_db_setup, django_db_blocker):
    """With a quicker end of the tests that commit."""
    from django.db import connections
    from django.test import TransactionTestCase

    from tests.emptying import empty_all, made

    with django_db_blocker.unblock():
        for alias in connections:
            made(alias)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(TransactionTestCase, "_fixture_teardown", empty_all)
        yield
