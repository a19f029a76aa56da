"""Own the record of a service's starts: when each began, how it ended."""

from __future__ import annotations

from django.db import models
from django.utils.translation import gettext_lazy as _

from background.models.ids import uuid7


class ServiceStart(models.Model):
    """One life of a service on a host; the latest of each service are kept."""

    # Of each name, over all hosts.
    KEPT = 100

    class Reason(models.TextChoices):
        # Its execute returned.
        FINISHED = "finished", _("finished")
        # Its execute or on_start raised.
        FAILED = "failed", _("failed")
        # A person stopped it.
        STOPPED = "stopped", _("stopped by a person")
        # A person wanted it to begin anew.
        RESTARTED = "restarted", _("restarted by a person")
        # A person paused it on all hosts.
        PAUSED = "paused", _("paused by a person")
        # Another host may have this singleton now.
        LEASE = "lease", _("lease lost")
        # Its host stopped.
        HOST = "host", _("host stopped")
        # Its host disappeared.
        LOST = "lost", _("host lost")

    id = models.UUIDField(_("id"), primary_key=True, default=uuid7, editable=False)  # made by the host; grows with time
    name = models.CharField(_("name"), max_length=200)  # the service, as declared in code
    host = models.ForeignKey(
        "background.Host",
        models.SET_NULL,
        null=True,
        blank=True,
        db_constraint=False,
        related_name="+",
        verbose_name=_("host"),
    )
    host_name = models.CharField(_("host name"), max_length=200)  # kept when the host's row is pruned
    restart = models.PositiveIntegerField(_("restart"))  # restarts before, on this host; 0 is the first
    started_at = models.DateTimeField(_("started at"))
    ended_at = models.DateTimeField(_("ended at"), null=True, blank=True)  # when it was over
    # Why it ended; empty: it goes on.
    reason = models.CharField(_("reason"), max_length=10, choices=Reason.choices, blank=True)
    error = models.CharField(_("error"), max_length=300, blank=True)  # type and message of its failure

    class Meta:
        verbose_name = _("start of a service")
        verbose_name_plural = _("starts of services")
        default_permissions = ()
        indexes = [models.Index(fields=["name", "-started_at"], name="background_start_of_service")]

    def __str__(self) -> str:
        return f"{self.name} {self.started_at.isoformat(timespec='seconds')}"
