"""Own the records of services: the state of each on a host, its starts there, and its pause on all hosts."""

from __future__ import annotations

from typing import Any

from django.db import models
from django.utils.translation import gettext_lazy as _

from background.models.clock import DatabaseNow
from background.models.ids import uuid7


class Service(models.Model):
    """The state of one service on one host, and what a person wishes of it."""

    class State(models.TextChoices):
        # Its start hooks run.
        STARTING = "starting", _("starting")
        # Its execute runs.
        RUNNING = "running", _("running")
        # It failed and waits to be started again.
        BACKOFF = "backoff", _("backoff")
        # Another host runs this singleton.
        STANDBY = "standby", _("standby")
        # It was told to stop.
        STOPPING = "stopping", _("stopping")
        # It ended or was stopped.
        STOPPED = "stopped", _("stopped")
        # It was given up.
        FAILED = "failed", _("failed")
        # A person paused it on all hosts.
        PAUSED = "paused", _("paused")

    class Request(models.TextChoices):
        START = "start", _("start")
        STOP = "stop", _("stop")
        RESTART = "restart", _("restart")
        TICK = "tick", _("tick now")

    host = models.ForeignKey(
        "background.Host",
        models.CASCADE,
        related_name="services",
        verbose_name=_("host"),
        help_text=_("Where it runs."),
    )
    name = models.CharField(_("name"), max_length=200, help_text=_("As declared in code."))
    state = models.CharField(
        _("state"), max_length=10, choices=State.choices, default=State.STARTING, help_text=_("Where it stands.")
    )
    healthy = models.BooleanField(
        _("healthy"), default=True, help_text=_("Unset when it misses its watchdog or keeps failing.")
    )
    engine = models.BooleanField(_("engine"), default=False, help_text=_("Part of the host's own machinery."))
    singleton = models.BooleanField(_("singleton"), default=False, help_text=_("One in the whole installation."))
    schedule = models.CharField(
        _("schedule"), max_length=255, blank=True, help_text=_("When it ticks, if it is periodic.")
    )
    error = models.TextField(_("error"), blank=True, help_text=_("Traceback of the last failure."))
    error_at = models.DateTimeField(_("error at"), null=True, blank=True, help_text=_("When it last failed."))
    log = models.JSONField(
        _("log"), default=list, blank=True, help_text=_("The last lines of its thread: when, level, message.")
    )
    restarts = models.PositiveIntegerField(_("restarts"), default=0, help_text=_("On this host since it started."))
    since = models.DateTimeField(_("since"), null=True, blank=True, help_text=_("When it entered its state."))
    next_start_at = models.DateTimeField(
        _("next start at"), null=True, blank=True, help_text=_("When a failed service is tried again.")
    )
    next_tick_at = models.DateTimeField(
        _("next tick at"), null=True, blank=True, help_text=_("When a periodic service ticks next.")
    )
    last_beat_at = models.DateTimeField(
        _("last sign of life"), null=True, blank=True, help_text=_("Last tick or beat.")
    )
    last_duration = models.FloatField(
        _("last duration"), null=True, blank=True, help_text=_("Seconds that the last tick took.")
    )
    iterations = models.BigIntegerField(_("iterations"), default=0, help_text=_("Ticks in all."))
    failures = models.PositiveIntegerField(_("failures"), default=0, help_text=_("Failures in a row."))
    request_verb = models.CharField(
        _("wish"),
        max_length=10,
        choices=Request.choices,
        blank=True,
        help_text=_("What a person asked for, until it is obeyed."),
    )
    requested_at = models.DateTimeField(_("wished at"), null=True, blank=True, help_text=_("When it was asked for."))
    requested_by = models.CharField(_("wished by"), max_length=150, blank=True, help_text=_("Who asked."))

    class Meta:
        verbose_name = _("service")
        verbose_name_plural = _("services")
        default_permissions = ("view",)
        permissions = [("control_service", _("Can control services"))]
        constraints = [models.UniqueConstraint(fields=["host", "name"], name="background_one_row_per_service")]

    def __str__(self) -> str:
        return self.name

    def request(self, verb: str, user: Any = None) -> None:
        """Ask the host to "start", "stop", "restart" or "tick"; it obeys within two seconds. ValueError on another verb."""
        if verb not in self.Request.values:
            raise ValueError(f"A service cannot {verb!r}; it can {', '.join(self.Request.values)}.")
        by = user.get_username() if user is not None else ""
        type(self).objects.filter(pk=self.pk).update(request_verb=verb, requested_at=DatabaseNow(), requested_by=by)
        self.request_verb, self.requested_by = verb, by


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

    id = models.UUIDField(
        _("id"), primary_key=True, default=uuid7, editable=False, help_text=_("Made by the host; grows with time.")
    )
    name = models.CharField(_("name"), max_length=200, help_text=_("The service, as declared in code."))
    host = models.ForeignKey(
        "background.Host",
        models.SET_NULL,
        null=True,
        blank=True,
        db_constraint=False,
        related_name="+",
        verbose_name=_("host"),
        help_text=_("Where it ran."),
    )
    host_name = models.CharField(_("host name"), max_length=200, help_text=_("Kept when the host's row is pruned."))
    restart = models.PositiveIntegerField(_("restart"), help_text=_("Restarts before, on this host; 0 is the first."))
    started_at = models.DateTimeField(_("started at"), help_text=_("When it began."))
    ended_at = models.DateTimeField(_("ended at"), null=True, blank=True, help_text=_("When it was over."))
    reason = models.CharField(
        _("reason"), max_length=10, choices=Reason.choices, blank=True, help_text=_("Why it ended; empty: it goes on.")
    )
    error = models.CharField(_("error"), max_length=300, blank=True, help_text=_("Type and message of its failure."))

    class Meta:
        verbose_name = _("start of a service")
        verbose_name_plural = _("starts of services")
        default_permissions = ()
        indexes = [models.Index(fields=["name", "-started_at"], name="background_start_of_service")]

    def __str__(self) -> str:
        return f"{self.name} {self.started_at.isoformat(timespec='seconds')}"


class ServicePause(models.Model):
    """A person's wish that a service rest on every host, kept over restarts and deploys."""

    name = models.CharField(_("name"), max_length=200, unique=True, help_text=_("The service, as declared in code."))
    paused_at = models.DateTimeField(_("paused at"), help_text=_("Since when."))
    paused_by = models.CharField(_("paused by"), max_length=150, blank=True, help_text=_("By whom."))
    paused_reason = models.CharField(_("reason of the pause"), max_length=300, blank=True, help_text=_("Why."))

    class Meta:
        verbose_name = _("paused service")
        verbose_name_plural = _("paused services")
        default_permissions = ()

    def __str__(self) -> str:
        return self.name
