"""Own the durable memory of services."""

from django.db import models
from django.utils.translation import gettext_lazy as _


class Checkpoint(models.Model):
    """What a service wants to find again after a restart."""

    name = models.CharField(_("name"), max_length=200, primary_key=True, help_text=_("Name of the service."))
    data = models.JSONField(_("data"), default=dict, help_text=_("JSON object."))
    updated_at = models.DateTimeField(_("updated at"), auto_now=True, help_text=_("Last change."))

    class Meta:
        verbose_name = _("checkpoint")
        verbose_name_plural = _("checkpoints")
        default_permissions = ()

    def __str__(self) -> str:
        return self.name
