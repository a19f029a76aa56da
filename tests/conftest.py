"""What all tests share."""

from importlib.metadata import entry_points

PLUGIN = "background.testing.plugin"

# The repository is tested without being installed, so its own pytest plugin is loaded here. Where it is installed,
# pytest has it already by its entry point, and would not take it a second time.
if not any(e.value == PLUGIN for e in entry_points(group="pytest11")):
    pytest_plugins = [PLUGIN]
