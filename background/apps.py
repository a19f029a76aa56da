"""Own what happens when Django loads the app: discovery, checks, and the verbs handed up to the records."""

from typing import Any

from django.apps import AppConfig, apps
from django.db.models.signals import post_migrate
from django.utils.translation import gettext_lazy as _


class BackgroundConfig(AppConfig):
    name = "background"
    verbose_name = _("Background")
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        # These rooms need the models, which are there only now.
        from background import catalog, checks, registry  # noqa: F401, PLC0415
        from background.models.verbs import VERBS  # noqa: PLC0415
        from background.queue import cancel, enqueue  # noqa: PLC0415

        VERBS.update(
            cancel=cancel.cancel,
            again=enqueue.again,
            trigger=enqueue.trigger,
            pause_job=catalog.pause,
            resume_job=catalog.resume,
        )
        registry.discover()
        if apps.is_installed("django.contrib.admin"):
            # Hosts execute what the list of runs asks for, also where no admin site is filled by itself.
            from background.admin import sweep  # noqa: F401, PLC0415
        post_migrate.connect(_write_jobs, sender=self)


def _write_jobs(using: str, **kwargs: Any) -> None:
    """Let the declared jobs be seen in the admin as soon as the tables exist."""
    from background import catalog  # noqa: PLC0415 - needs the models
    from background.scope import database_alias  # noqa: PLC0415

    if using == database_alias():
        catalog.sync()
