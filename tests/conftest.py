"""What all tests share."""

from importlib.metadata import entry_points

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
