"""Own the app's place among the installed ones, and the look at its settings before anything runs."""

from importlib.util import find_spec
from typing import Any

from django.apps import AppConfig
from django.core.checks import CheckMessage, Error, register
from django.core.exceptions import ImproperlyConfigured
from django.utils.module_loading import import_string

from background.conf import get_part
from background.contrib.celery.conf import CelerySettings

INSTALL = "background.contrib.celery needs Celery: pip install 'django-hosted-background[celery]'."


class CeleryConfig(AppConfig):
    name = "background.contrib.celery"
    label = "background_celery"
    verbose_name = "Celery"

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        if find_spec("celery") is None:
            raise ImproperlyConfigured(INSTALL)  # before anything looks for the tasks of this app

    def ready(self) -> None:
        register(check_app)


def check_app(**kwargs: Any) -> list[CheckMessage]:
    """BACKGROUND["CELERY"]["APP"] names the site's Celery app."""
    path = get_part(CelerySettings).app
    try:
        if hasattr(import_string(path), "send_task"):
            return []
        why = "which is no Celery app"
    except ImportError as error:
        why = f"which cannot be imported: {error}"
    text = f"BACKGROUND['CELERY']['APP'] is {path!r}, {why}. Name the site's, such as 'mysite.celery.app'."
    return [Error(text, id="background_celery.E001")]
