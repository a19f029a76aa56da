"""Own the record of occurrences that were not run."""

from django.db import models
from django.utils import timezone
from django.utils.translation import gettext_lazy as _


class Skip(models.Model):
    """Occurrences of a job's schedule that one decision passed over."""

    class Reason(models.TextChoices):
        # A later missed occurrence was run in their place.
        SUPERSEDED = "superseded", _("superseded")
        # Found too late, with misfire="skip".
        MISSED = "missed", _("missed")
        # More than misfire_limit were due.
        LIMIT = "limit", _("limit")
        # The previous run was still open.
        OVERLAP = "overlap", _("overlap")
        # Its run could not be made; the job says why.
        ERROR = "error", _("error")

    job = models.ForeignKey(
        "background.Job", models.CASCADE, related_name="skips", verbose_name=_("job"), help_text=_("The job.")
    )
    first = models.DateTimeField(_("first"), help_text=_("First occurrence passed over."))
    last = models.DateTimeField(_("last"), help_text=_("Last occurrence passed over."))
    count = models.PositiveIntegerField(_("count"), help_text=_("How many; counting stops at 1,000."))
    reason = models.CharField(_("reason"), max_length=12, choices=Reason.choices, help_text=_("Why."))
    created_at = models.DateTimeField(_("created at"), default=timezone.now, help_text=_("When it was decided."))

    class Meta:
        verbose_name = _("skipped occurrences")
        verbose_name_plural = _("skipped occurrences")
        default_permissions = ()
        indexes = [models.Index(fields=["job", "-last"], name="background_skip_of_job")]

    def __str__(self) -> str:
        return f"{self.count} × {self.reason}"
