"""Own the small app whose tasks the chaos tests run; only hosts under `tests.chaos.settings` install it."""

from django.apps import AppConfig


class ChaosConfig(AppConfig):
    name = "tests.chaos"
    label = "chaos"
