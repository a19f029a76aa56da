"""Own the log lines of a run."""

from django.db import models
from django.utils.translation import gettext_lazy as _


class RunLog(models.Model):
    """One line that was logged while a run was being executed."""

    run = models.ForeignKey(
        "background.Run",
        models.CASCADE,
        db_index=False,
        related_name="logs",
        verbose_name=_("run"),
        help_text=_("The run that logged it."),
    )
    sequence = models.PositiveIntegerField(_("sequence"), help_text=_("Number within the run, from 1."))
    created_at = models.DateTimeField(_("created at"), help_text=_("When it was logged, by the host's clock."))
    level = models.CharField(_("level"), max_length=10, help_text=_("As a word: INFO, WARNING, …"))
    message = models.TextField(_("message"), help_text=_("The formatted line."))

    class Meta:
        verbose_name = _("log line")
        verbose_name_plural = _("log lines")
        default_permissions = ()
        ordering = ["sequence", "id"]
        indexes = [models.Index(fields=["run", "sequence"], name="background_log_of_run")]

    def __str__(self) -> str:
        return self.message
