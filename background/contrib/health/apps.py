"""Own the app's place among the installed ones, and the look at its settings before anything runs."""

from typing import Any

from django.apps import AppConfig
from django.core.checks import CheckMessage, Error, register
from django.utils.translation import gettext_lazy as _

from background.contrib.health.conf import InvalidHealthSetting, addresses, quiet_hours


class HealthConfig(AppConfig):
    name = "background.contrib.health"
    label = "background_health"
    verbose_name = _("Health")
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        register(check_health)


def check_health(**kwargs: Any) -> list[CheckMessage]:
    """BACKGROUND["HEALTH"] names checks that exist, with options that fit, and hours that can be read."""
    from background.contrib.health.configured import checks  # noqa: PLC0415 - needs the models

    found: list[CheckMessage] = []
    for read in (checks, quiet_hours, addresses):
        try:
            read()
        except InvalidHealthSetting as error:
            found.append(Error(str(error), id="background_health.E001"))
    return found
