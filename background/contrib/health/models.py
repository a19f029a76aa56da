"""Own the records of health: periods in which a check was well or failing, and what people have to be told."""

from __future__ import annotations

from typing import Any

from django.db import models
from django.utils import timezone
from django.utils.translation import gettext_lazy as _


class Period(models.Model):
    """A time during which a check came to the same again and again; the current one of each check grows."""

    class State(models.TextChoices):
        # Each answer was as it should be.
        OK = "ok", _("ok")
        # Each answer was a failure, or there was none.
        FAILING = "failing", _("failing")

    check_name = models.CharField(_("check"), max_length=200, help_text=_("What was checked."))
    current_name = models.CharField(  # noqa: DJ001 - unique while it is there: MariaDB has no condition for that
        _("current"), max_length=200, null=True, unique=True, editable=False,
        help_text=_("The check's name while the period lasts; then empty."),
    )  # fmt: skip
    state = models.CharField(_("state"), max_length=10, choices=State.choices, help_text=_("How it was."))
    began_at = models.DateTimeField(_("began at"), db_index=True, help_text=_("Time of the first answer."))
    last_at = models.DateTimeField(_("last at"), db_index=True, help_text=_("Time of the latest answer."))
    alarmed_at = models.DateTimeField(
        _("alarm at"), null=True, blank=True, help_text=_("When it had failed often enough for an alarm.")
    )
    count = models.PositiveIntegerField(_("answers"), default=0, help_text=_("How often it was asked."))
    detail = models.TextField(_("detail"), blank=True, help_text=_("The latest answer in words."))
    seconds = models.FloatField(_("seconds"), default=0, help_text=_("What the latest answer took."))
    slowest = models.FloatField(_("slowest"), default=0, help_text=_("Seconds that the slowest answer took."))

    class Meta:
        verbose_name = _("period")
        verbose_name_plural = _("history of checks")
        ordering = ["-began_at", "-id"]
        default_permissions = ("view",)

    def __str__(self) -> str:
        return f"{self.check_name}: {self.get_state_display()}"

    @property
    def is_alarm(self) -> bool:
        return self.alarmed_at is not None and self.current_name is not None


class Notice(models.Model):
    """A change of which people are told: an alarm, or that it is over."""

    class Kind(models.TextChoices):
        # A check has failed often enough.
        ALARM = "failing", _("failing")
        # It answers well again.
        RECOVERY = "recovered", _("recovered")

    check_name = models.CharField(_("check"), max_length=200, help_text=_("What has changed."))
    kind = models.CharField(_("kind"), max_length=10, choices=Kind.choices, help_text=_("To what it has changed."))
    at = models.DateTimeField(_("at"), default=timezone.now, db_index=True, help_text=_("When it changed."))
    since = models.DateTimeField(_("since"), help_text=_("When it had begun to fail."))
    detail = models.TextField(_("detail"), blank=True, help_text=_("The answer in words."))
    urgent = models.BooleanField(_("urgent"), default=False, help_text=_("Whether it is told in quiet hours, too."))
    waits_for = models.JSONField(
        _("waits for"), default=list, blank=True, help_text=_("The ways on which it is still to be told.")
    )
    told_at = models.DateTimeField(_("told at"), null=True, blank=True, help_text=_("When all had been told."))

    class Meta:
        verbose_name = _("notice")
        verbose_name_plural = _("notices")
        ordering = ["-at", "-id"]
        default_permissions = ("view",)

    def __str__(self) -> str:
        return f"{self.check_name}: {self.get_kind_display()}"

    def facts(self) -> dict[str, Any]:
        """Return it for programs."""
        times = {"since": self.since.isoformat(), "at": self.at.isoformat()}
        return {
            "check": self.check_name,
            "state": str(self.kind),
            "detail": self.detail,
            "urgent": self.urgent,
            **times,
        }
