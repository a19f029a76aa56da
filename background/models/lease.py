"""Own the record of who may do what only one host may do."""

from django.db import models
from django.utils.translation import gettext_lazy as _


class Lease(models.Model):
    """A name that one host holds until a time of the database's clock."""

    name = models.CharField(_("name"), max_length=200, primary_key=True)
    holder = models.UUIDField(_("holder"), null=True, blank=True)  # id of the host; empty when free
    # Believed until then, by the database's clock.
    expires_at = models.DateTimeField(_("expires at"), null=True, blank=True)

    class Meta:
        verbose_name = _("lease")
        verbose_name_plural = _("leases")
        default_permissions = ()

    def __str__(self) -> str:
        return self.name
