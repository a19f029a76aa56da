"""Own the record of a job: a task with arguments, a schedule and policies, under a unique name."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.core.validators import MaxValueValidator, MinValueValidator
from django.db import models
from django.db.models import Case, F, Q, Value, When
from django.utils.translation import gettext_lazy as _
from django.utils.translation import pgettext_lazy

from background.models.verbs import verb

if TYPE_CHECKING:
    from background.models.run import Run


class JobQuerySet(models.QuerySet["Job"]):
    def active(self) -> JobQuerySet:
        """Jobs whose schedule is followed."""
        return self.filter(enabled=True, orphaned=False).exclude(schedule="")

    def edited(self) -> JobQuerySet:
        """Jobs whose timing differs from what `next_run_at` was computed for, however it was changed."""
        # Not `=True`: Django leaves the column bare for that, and SQLite has no index for a bare column.
        return self.filter(is_edited__gt=False)


# The fields that decide when it runs.
TIMING = ("schedule", "timezone", "enabled", "starts_at", "ends_at")


def _as_planned(name: str) -> Q:
    planned = f"planned_{name}"
    both_empty = Q(**{f"{name}__isnull": True, f"{planned}__isnull": True})
    return Q(**{name: F(planned)}) | both_empty if name.endswith("_at") else Q(**{name: F(planned)})


AS_PLANNED = Q(*map(_as_planned, TIMING))


class Computed(models.GeneratedField):
    """A generated column whose check leaves the database in peace.

    From Django 6.1 on the check of one connects to every PostgreSQL, so that `manage.py check` fails where none is there.
    All databases served here have stored generated columns.
    """

    def check(self, **kwargs: Any) -> list[Any]:
        return super().check(**{**kwargs, "databases": []})

    def deconstruct(self) -> Any:
        name, _path, args, kwargs = super().deconstruct()
        return name, "django.db.models.GeneratedField", args, kwargs


class Job(models.Model):
    """A task with arguments, a schedule and policies."""

    class Overlap(models.TextChoices):
        # Pass the occurrence over while a run is open.
        SKIP = "skip", _("skip")
        # Let one occurrence wait for the open run.
        QUEUE = "queue", pgettext_lazy("verb", "queue")
        # Start it beside the open run.
        ALLOW = "allow", _("allow")
        # Cancel the open run.
        REPLACE = "replace", _("replace")

    class Misfire(models.TextChoices):
        # Run the latest missed occurrence.
        ONCE = "once", _("once")
        # Run none that is older than the grace.
        SKIP = "skip", _("skip")
        # Run them all, up to the limit.
        ALL = "all", _("all")

    class OnLost(models.TextChoices):
        # Try again elsewhere.
        RETRY = "retry", _("retry")
        # End as failed.
        FAIL = "fail", _("fail")

    class Executor(models.TextChoices):
        # By kind: coroutines on the loop, functions in threads.
        AUTO = "", _("by kind")
        # In a thread of the host.
        THREAD = "thread", _("thread")
        # On the host's event loop.
        LOOP = "loop", _("loop")
        # In a process of its own.
        PROCESS = "process", _("process")

    # The fields that code declares and an operator may override.
    DECLARED = (
        "task",
        "args",
        "kwargs",
        "schedule",
        "timezone",
        "enabled",
        "queue",
        "priority",
        "max_attempts",
        "backoff",
        "timeout",
        "executor",
        "concurrency",
        "overlap",
        "misfire",
        "misfire_grace",
        "misfire_limit",
        "starts_at",
        "ends_at",
        "jitter",
        "on_lost",
        "retain",
    )
    TIMING = TIMING
    DURATIONS = ("duration_p10", "duration_p50", "duration_p90", "duration_p95")
    # The columns that hosts keep up to date, whatever instances of the job are about.
    KEPT = (
        "orphaned", "cursor", "next_run_at", *(f"planned_{name}" for name in TIMING), "is_edited", "schedule_error", "outcomes",
        *DURATIONS,
    )  # fmt: skip

    name = models.CharField(_("name"), max_length=200, unique=True, help_text=_("Unique; code finds the job by it."))
    task = models.CharField(
        _("task"), max_length=255, help_text=_("What to run: a task that the installed apps declare.")
    )
    description = models.TextField(
        _("description"), blank=True, help_text=_("First paragraph of the task's docstring.")
    )
    args = models.JSONField(_("positional arguments"), default=list, blank=True, help_text=_("JSON list."))
    kwargs = models.JSONField(_("keyword arguments"), default=dict, blank=True, help_text=_("JSON object."))

    schedule = models.CharField(
        _("schedule"),
        max_length=255,
        blank=True,
        help_text=_(
            'Cron ("0 3 * * *"), "@daily", "every 5 minutes", "at 2027-01-01T00:00:00Z"; empty: by hand and by code only.'
        ),
    )
    timezone = models.CharField(
        _("time zone"), max_length=64, blank=True, help_text=_("Zone of a cron schedule; empty: the site's.")
    )
    enabled = models.BooleanField(_("enabled"), default=True, help_text=_("Unset to pause the schedule."))
    starts_at = models.DateTimeField(_("starts at"), null=True, blank=True, help_text=_("No occurrence before."))
    ends_at = models.DateTimeField(_("ends at"), null=True, blank=True, help_text=_("No occurrence from then on."))
    jitter = models.FloatField(
        _("jitter"),
        default=0,
        validators=[MinValueValidator(0)],
        help_text=_("Seconds; each occurrence is delayed by a fixed part of it."),
    )
    overlap = models.CharField(
        _("overlap"),
        max_length=10,
        choices=Overlap.choices,
        default=Overlap.SKIP,
        help_text=_("When the previous run is still open."),
    )
    misfire = models.CharField(
        _("misfire"),
        max_length=10,
        choices=Misfire.choices,
        default=Misfire.ONCE,
        help_text=_("When a due time is found late."),
    )
    misfire_grace = models.FloatField(
        _("misfire grace"),
        default=300,
        validators=[MinValueValidator(0)],
        help_text=_("Seconds up to which late is not missed."),
    )
    misfire_limit = models.PositiveIntegerField(
        _("misfire limit"),
        default=100,
        validators=[MinValueValidator(1), MaxValueValidator(1000)],
        help_text=_('Runs at most for misfire "all".'),
    )

    queue = models.CharField(_("queue"), max_length=100, default="default", help_text=_("Where its runs wait."))
    priority = models.SmallIntegerField(
        _("priority"),
        default=0,
        validators=[MinValueValidator(-100), MaxValueValidator(100)],
        help_text=_("From -100 to 100, larger first."),
    )
    max_attempts = models.PositiveIntegerField(
        _("attempts at most"),
        default=1,
        validators=[MinValueValidator(1)],
        help_text=_("Attempts before a run is failed."),
    )
    backoff = models.JSONField(
        _("backoff"),
        null=True,
        blank=True,
        help_text=_("Delays between attempts: initial, maximum, factor, jitter; empty: the task's."),
    )
    timeout = models.FloatField(
        _("timeout"),
        null=True,
        blank=True,
        validators=[MinValueValidator(0.001)],
        help_text=_("Seconds that one attempt may take; empty: no limit."),
    )
    executor = models.CharField(
        _("executor"), max_length=10, choices=Executor.choices, blank=True, help_text=_("Where its function is called.")
    )
    concurrency = models.PositiveIntegerField(
        _("concurrency"),
        null=True,
        blank=True,
        validators=[MinValueValidator(1)],
        help_text=_("Runs at once over all hosts; empty: no limit."),
    )
    on_lost = models.CharField(
        _("when lost"),
        max_length=10,
        choices=OnLost.choices,
        default=OnLost.RETRY,
        help_text=_("When the host dies under a run."),
    )
    retain = models.CharField(
        _("retain"),
        max_length=20,
        blank=True,
        help_text=_('How long finished runs are kept: days ("30") or a number of runs ("100 runs"); empty: RETENTION.'),
    )

    defaults = models.JSONField(
        _("defaults"),
        null=True,
        blank=True,
        editable=False,
        help_text=_("What the code declared last; empty: made by hand."),
    )
    orphaned = models.BooleanField(
        _("orphaned"), default=False, editable=False, help_text=_("No live host's code declares it.")
    )
    cursor = models.DateTimeField(
        _("cursor"), null=True, blank=True, editable=False, help_text=_("All occurrences up to here are decided.")
    )
    next_run_at = models.DateTimeField(
        _("next run at"),
        null=True,
        blank=True,
        editable=False,
        help_text=_("The next occurrence; empty: none."),
    )
    planned_schedule = models.CharField(
        _("planned schedule"),
        max_length=255,
        blank=True,
        editable=False,
        help_text=_("What next_run_at was computed for."),
    )
    planned_timezone = models.CharField(
        _("planned time zone"),
        max_length=64,
        blank=True,
        editable=False,
        help_text=_("What next_run_at was computed for."),
    )
    planned_enabled = models.BooleanField(
        _("planned enabled"), default=False, editable=False, help_text=_("What next_run_at was computed for.")
    )
    planned_starts_at = models.DateTimeField(
        _("planned start"), null=True, blank=True, editable=False, help_text=_("What next_run_at was computed for.")
    )
    planned_ends_at = models.DateTimeField(
        _("planned end"), null=True, blank=True, editable=False, help_text=_("What next_run_at was computed for.")
    )
    # Computed by the database with each change, whoever makes it: so a look for edits reads no job that was not edited.
    is_edited = Computed(
        verbose_name=_("edited"),
        expression=Case(When(AS_PLANNED, then=Value(False)), default=Value(True)),
        output_field=models.BooleanField(),
        db_persist=True,
        help_text=_("Its timing is not the one that next_run_at was computed for."),
    )
    schedule_error = models.CharField(
        _("schedule error"),
        max_length=300,
        blank=True,
        editable=False,
        help_text=_("Why its schedule cannot be followed."),
    )

    paused_at = models.DateTimeField(
        _("paused at"), null=True, blank=True, editable=False, help_text=_("When a person paused it.")
    )
    paused_by = models.CharField(
        _("paused by"), max_length=150, blank=True, editable=False, help_text=_("Who paused it.")
    )
    paused_reason = models.CharField(
        _("reason of the pause"), max_length=300, blank=True, editable=False, help_text=_("Why.")
    )
    outcomes = models.CharField(
        _("outcomes"),
        max_length=30,
        blank=True,
        editable=False,
        help_text=_("The last thirty: s succeeded, f failed, c cancelled, m missed, o overlap."),
    )
    duration_p10 = models.FloatField(
        _("10th percentile of duration"), null=True, blank=True, editable=False, help_text=_("Seconds.")
    )
    duration_p50 = models.FloatField(
        _("median duration"), null=True, blank=True, editable=False, help_text=_("Seconds.")
    )
    duration_p90 = models.FloatField(
        _("90th percentile of duration"), null=True, blank=True, editable=False, help_text=_("Seconds.")
    )
    duration_p95 = models.FloatField(
        _("95th percentile of duration"), null=True, blank=True, editable=False, help_text=_("Seconds.")
    )

    objects = JobQuerySet.as_manager()

    class Meta:
        verbose_name = _("job")
        verbose_name_plural = _("jobs")
        ordering = ["name"]
        permissions = [("run_job", _("Can run jobs")), ("pause_job", _("Can pause jobs"))]
        indexes = [
            models.Index(fields=["next_run_at"], name="background_job_due"),
            models.Index(fields=["is_edited"], name="background_job_edited"),
            # Decided further than the clock has come: it was set back.
            models.Index(fields=["cursor"], name="background_job_cursor"),
        ]

    def __str__(self) -> str:
        return self.name

    def save(self, *args: Any, **kwargs: Any) -> None:
        """Save it; of a job that is there already only what people and code decide, unless `update_fields` says otherwise.

        Hosts may have gone on since this instance was read: its `cursor` of then would decide anew what is decided.
        """
        if not (args or self._state.adding or kwargs.get("force_insert")) and kwargs.get("update_fields") is None:
            left = {*self.KEPT, *self.get_deferred_fields()}
            names = {field.name for field in self._meta.concrete_fields if not field.primary_key}
            kwargs["update_fields"] = names - left
        super().save(*args, **kwargs)

    @property
    def is_declared(self) -> bool:
        """Whether code declares it (now or once)."""
        return self.defaults is not None

    @property
    def is_exclusive(self) -> bool:
        """Whether an occurrence of its schedule waits until no other run of it is running."""
        return self.overlap in (self.Overlap.QUEUE, self.Overlap.REPLACE)

    @property
    def overrides(self) -> dict[str, Any]:
        """The fields that differ from what the code declares, with the value in force."""
        defaults = self.defaults or {}
        current = self.declared_values()
        return {name: current[name] for name in defaults if name in current and current[name] != defaults[name]}

    def declared_values(self) -> dict[str, Any]:
        """The values in force of the fields that code may declare, as JSON."""
        return {name: as_json(getattr(self, name)) for name in self.DECLARED}

    def reset(self, *names: str) -> None:
        """Give the named fields (default: all) back to the code and save them."""
        fields = {name: (self.defaults or {})[name] for name in names or self.overrides}
        for name, value in fields.items():
            field = self._meta.get_field(name)
            assert isinstance(field, models.Field)
            setattr(self, name, None if value is None else field.to_python(value))
        self.save(update_fields=list(fields))

    def trigger(self, user: Any = None, **kwargs: Any) -> Run:
        """Enqueue a run now, also when disabled; `kwargs` replace single arguments for this run."""
        return verb("trigger")(self, user=user, **kwargs)

    def pause(self, user: Any = None, reason: str = "") -> None:
        """Stop following the schedule from now on."""
        verb("pause_job")(self, user=user, reason=reason)

    def resume(self, user: Any = None) -> None:
        """Follow the schedule again; occurrences that passed meanwhile are not made up."""
        verb("resume_job")(self, user=user)


def as_json(value: Any) -> Any:
    return value.isoformat() if hasattr(value, "isoformat") else value
