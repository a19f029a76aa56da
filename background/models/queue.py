"""Own the record of a queue: its pause and its limit."""

from django.db import models
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

# The name under which everything is paused: no queue of runs can have it.
EVERYTHING = "*"


class QueueQuerySet(models.QuerySet["Queue"]):
    def named(self) -> "QueueQuerySet":
        """Real queues: without the row that stands for all."""
        return self.exclude(name=EVERYTHING)

    def paused(self) -> "QueueQuerySet":
        return self.filter(paused=True)


class Queue(models.Model):
    """A queue that a person has touched or a run has named."""

    name = models.CharField(_("name"), max_length=100, unique=True, help_text=_("As named by runs."))
    paused = models.BooleanField(_("paused"), default=False, help_text=_("No run of it is started while set."))
    paused_at = models.DateTimeField(_("paused at"), null=True, blank=True, help_text=_("Since when."))
    paused_by = models.CharField(_("paused by"), max_length=150, blank=True, help_text=_("By whom."))
    paused_reason = models.CharField(_("reason of the pause"), max_length=300, blank=True, help_text=_("Why."))
    concurrency = models.PositiveIntegerField(
        _("concurrency"), null=True, blank=True, help_text=_("Runs at once over all hosts; empty: no limit.")
    )

    objects = QueueQuerySet.as_manager()

    class Meta:
        verbose_name = _("queue")
        verbose_name_plural = _("queues")
        default_permissions = ("view",)
        ordering = ["name"]
        permissions = [("pause_queue", _("Can pause queues")), ("pause_all", _("Can pause everything"))]

    def __str__(self) -> str:
        return gettext("all queues") if self.name == EVERYTHING else self.name
