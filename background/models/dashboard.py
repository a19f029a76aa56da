"""Own the record that is none: through it the dashboard has a place in any admin site, and a permission."""

from django.db import models
from django.utils.translation import gettext_lazy as _


class Nothing(models.Manager["Dashboard"]):
    """Finds nothing without asking: `dumpdata` of a whole site looks into each model."""

    def get_queryset(self) -> models.QuerySet["Dashboard"]:
        return super().get_queryset().none()


class Dashboard(models.Model):
    """The whole at a glance; it has no table."""

    objects = Nothing()

    class Meta:
        managed = False
        base_manager_name = "objects"
        verbose_name = _("dashboard")
        verbose_name_plural = _("dashboard")
        default_permissions = ("view",)

    def __str__(self) -> str:
        return "dashboard"
