"""The tests' settings with the theme Unfold around the admin: nothing else is said, the room finds its base class itself."""

from tests.settings import *  # noqa: F403
from tests.settings import INSTALLED_APPS

INSTALLED_APPS = ["unfold", *INSTALLED_APPS]
