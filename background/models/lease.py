"""Own the record of who may do what only one host may do."""

from django.db import models
from django.utils.translation import gettext_lazy as _


class Lease(models.Model):
    """A name that one host holds until a time of the database's clock."""

    name = models.CharField(_("name"), max_length=200, primary_key=True, help_text=_("What is held."))
    holder = models.UUIDField(_("holder"), null=True, blank=True, help_text=_("Id of the host; empty when free."))
    expires_at = models.DateTimeField(
        _("expires at"), null=True, blank=True, help_text=_("Believed until then, by the database's clock.")
    )

    class Meta:
        verbose_name = _("lease")
        verbose_name_plural = _("leases")
        default_permissions = ()

    def __str__(self) -> str:
        return self.name
