"""Own the record of a paused service: while it is there, no host runs the service."""

from django.db import models
from django.utils.translation import gettext_lazy as _


class ServicePause(models.Model):
    """A person's wish that a service rest on every host, kept over restarts and deploys."""

    name = models.CharField(_("name"), max_length=200, unique=True)  # the service, as declared in code
    paused_at = models.DateTimeField(_("paused at"))
    paused_by = models.CharField(_("paused by"), max_length=150, blank=True)
    paused_reason = models.CharField(_("reason of the pause"), max_length=300, blank=True)

    class Meta:
        verbose_name = _("paused service")
        verbose_name_plural = _("paused services")
        default_permissions = ()

    def __str__(self) -> str:
        return self.name
