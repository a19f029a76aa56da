"""Own the app's place among the installed ones."""

from django.apps import AppConfig
from django.utils.translation import gettext_lazy as _


class MailConfig(AppConfig):
    name = "background.contrib.mail"
    label = "background_mail"
    verbose_name = _("Queued mail")
    default_auto_field = "django.db.models.BigAutoField"
