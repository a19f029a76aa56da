"""Own the record of a run: queue entry and history in one row that keeps its id for life."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator, Mapping
from datetime import datetime
from functools import cache
from typing import Any

from django.conf import settings
from django.db import models
from django.db.models import Q
from django.db.models.base import ModelState
from django.utils.translation import gettext_lazy as _

from background.models.ids import uuid7
from background.models.partial import IndexWhere, UniqueWhereGiven
from background.models.verbs import verb

# One step of priority is worth a minute of waiting: larger priorities first, and yet no run starves.
AGEING = 60_000_000


def position_of(instant: datetime, priority: int) -> int:
    """Return the place in the queue: microseconds of `instant`, moved forward by a minute per step of priority."""
    return int(instant.timestamp() * 1_000_000) - priority * AGEING


class RunQuerySet(models.QuerySet["Run"]):
    def open(self) -> RunQuerySet:
        """Runs that will still do something."""
        return self.filter(status__in=Run.OPEN)

    def finished(self) -> RunQuerySet:
        """Runs in a final state."""
        return self.filter(status__in=Run.FINISHED)

    def scheduled(self) -> RunQuerySet:
        return self.filter(status=Run.Status.SCHEDULED)

    def ready(self) -> RunQuerySet:
        return self.filter(status=Run.Status.READY)

    def running(self) -> RunQuerySet:
        return self.filter(status=Run.Status.RUNNING)

    def succeeded(self) -> RunQuerySet:
        return self.filter(status=Run.Status.SUCCEEDED)

    def failed(self) -> RunQuerySet:
        return self.filter(status=Run.Status.FAILED)

    def cancelled(self) -> RunQuerySet:
        return self.filter(status=Run.Status.CANCELLED)

    def keyed(self) -> RunQuerySet:
        """Runs with a concurrency key: for SQLite, which takes their index only where a query says so."""
        return self.exclude(concurrency_key="")

    def light(self) -> RunQuerySet:
        """Leave the heavy columns where they are: for lists."""
        return self.defer("args", "kwargs", "result", "errors")


class Run(models.Model):
    """One enqueued task or job occurrence, over all its attempts."""

    class Status(models.TextChoices):
        # Waits for its time.
        SCHEDULED = "scheduled", _("scheduled")
        # Waits for a host.
        READY = "ready", _("ready")
        # Waits for a concurrency slot of its key.
        BLOCKED = "blocked", _("blocked")
        # A host holds it.
        RUNNING = "running", _("running")
        # Its function returned.
        SUCCEEDED = "succeeded", _("succeeded")
        # Attempts used up, discarded, or lost too often.
        FAILED = "failed", _("failed")
        # A person or code asked for its end.
        CANCELLED = "cancelled", _("cancelled")

    class Trigger(models.TextChoices):
        # An occurrence of a job's schedule.
        SCHEDULE = "schedule", _("schedule")
        # A person asked for it.
        MANUAL = "manual", _("manual")
        # Code enqueued it.
        CODE = "code", _("code")

    OPEN = (Status.SCHEDULED, Status.READY, Status.BLOCKED, Status.RUNNING)
    FINISHED = (Status.SUCCEEDED, Status.FAILED, Status.CANCELLED)

    id = models.UUIDField(
        _("id"), primary_key=True, default=uuid7, editable=False, help_text=_("Made by the sender; grows with time.")
    )
    job = models.ForeignKey(
        "background.Job",
        models.SET_NULL,
        null=True,
        blank=True,
        db_constraint=False,
        db_index=False,
        related_name="runs",
        verbose_name=_("job"),
        help_text=_("The job this run belongs to, if any."),
    )
    job_name = models.CharField(
        _("job name"), max_length=200, blank=True, help_text=_("The job's name, kept when the job is deleted.")
    )
    task = models.CharField(
        _("task"), max_length=255, help_text=_("Dotted path of the task; resolved by the registry only.")
    )
    backend = models.CharField(
        _("backend"), max_length=64, default="default", help_text=_("Alias in TASKS by which it was enqueued.")
    )
    args = models.JSONField(_("positional arguments"), default=list, blank=True, help_text=_("JSON list."))
    kwargs = models.JSONField(_("keyword arguments"), default=dict, blank=True, help_text=_("JSON object."))

    queue = models.CharField(_("queue"), max_length=100, default="default", help_text=_("Hosts serve queues by name."))
    priority = models.SmallIntegerField(_("priority"), default=0, help_text=_("From -100 to 100, larger first."))
    status = models.CharField(
        _("status"), max_length=10, choices=Status.choices, default=Status.READY, help_text=_("Where the run stands.")
    )
    position = models.BigIntegerField(
        _("position"),
        null=True,
        blank=True,
        help_text=_(
            "Place among the ready runs (microseconds less priority); empty unless ready, so that history is not searched."
        ),
    )
    place = models.BigIntegerField(
        _("place"), default=0, help_text=_("The position that the run has, or will have, when it is ready.")
    )
    run_after = models.DateTimeField(
        _("run after"), null=True, blank=True, help_text=_("Not started before this instant.")
    )
    scheduled_for = models.DateTimeField(
        _("scheduled for"), null=True, blank=True, help_text=_("The nominal instant of the schedule.")
    )
    executor = models.CharField(
        _("executor"),
        max_length=10,
        default="thread",
        help_text=_("Where its function is called: thread, loop or process."),
    )
    timeout = models.FloatField(_("timeout"), null=True, blank=True, help_text=_("Seconds that one attempt may take."))

    trigger = models.CharField(
        _("trigger"), max_length=10, choices=Trigger.choices, default=Trigger.CODE, help_text=_("Why the run exists.")
    )
    triggered_by = models.ForeignKey(
        settings.AUTH_USER_MODEL,
        models.SET_NULL,
        null=True,
        blank=True,
        db_index=False,
        related_name="+",
        verbose_name=_("triggered by"),
        help_text=_("The person who asked for it."),
    )
    triggered_by_name = models.CharField(
        _("triggered by (name)"), max_length=150, blank=True, help_text=_("Kept when the user is deleted.")
    )
    reason = models.CharField(_("reason"), max_length=300, blank=True, help_text=_("Why it was asked for."))
    rerun_of = models.ForeignKey(
        "self",
        models.SET_NULL,
        null=True,
        blank=True,
        db_constraint=False,
        db_index=False,
        related_name="reruns",
        verbose_name=_("rerun of"),
        help_text=_("The finished run that this one repeats."),
    )
    request_key = models.CharField(  # noqa: DJ001 - unique among those that have one, and "" would be one
        _("request key"),
        max_length=64,
        null=True,
        blank=True,
        help_text=_("A form sent twice makes one run."),
    )
    subject = models.CharField(
        _("subject"), max_length=300, blank=True, help_text=_("What it is about: app_label.model:pk.")
    )

    enqueued_at = models.DateTimeField(_("enqueued at"), help_text=_("When the row was written."))
    started_at = models.DateTimeField(
        _("started at"), null=True, blank=True, help_text=_("Start of the latest attempt.")
    )
    finished_at = models.DateTimeField(
        _("finished at"), null=True, blank=True, help_text=_("When it reached its final state.")
    )

    attempt = models.PositiveIntegerField(
        _("attempt"), default=0, help_text=_("Attempts begun; the current one included.")
    )
    max_attempts = models.PositiveIntegerField(
        _("attempts at most"), default=1, help_text=_("Attempts before it is failed.")
    )
    lost = models.PositiveIntegerField(_("lost"), default=0, help_text=_("Times its host disappeared under it."))
    token = models.UUIDField(
        _("claim token"),
        null=True,
        blank=True,
        editable=False,
        help_text=_("Stamped by each claim; a holder that shows another is refused."),
    )
    host = models.ForeignKey(
        "background.Host",
        models.SET_NULL,
        null=True,
        blank=True,
        db_constraint=False,
        db_index=False,
        related_name="runs",
        verbose_name=_("host"),
        help_text=_("The host that holds or held it."),
    )
    host_name = models.CharField(
        _("host name"), max_length=200, blank=True, help_text=_("Kept when the host's row is pruned.")
    )
    version = models.CharField(_("version"), max_length=64, blank=True, help_text=_("Build of the host that ran it."))
    cancel_requested_at = models.DateTimeField(
        _("cancel requested at"), null=True, blank=True, help_text=_("When a running run was asked to end.")
    )
    cancel_requested_by = models.CharField(
        _("cancel requested by"), max_length=150, blank=True, help_text=_("Who asked.")
    )

    unique_key = models.CharField(  # noqa: DJ001 - the same
        _("unique key"),
        max_length=255,
        null=True,
        blank=True,
        help_text=_("At most one open run has it; emptied at the end."),
    )
    concurrency_key = models.CharField(
        _("concurrency key"), max_length=255, blank=True, help_text=_("Runs with one key share a limit.")
    )
    concurrency = models.PositiveIntegerField(
        _("concurrency"), null=True, blank=True, help_text=_("Runs of its key at once over all hosts.")
    )

    result = models.JSONField(_("result"), null=True, blank=True, help_text=_("What the function returned, as JSON."))
    errors = models.JSONField(_("errors"), default=list, blank=True, help_text=_("One entry for each failed attempt."))
    error_type = models.CharField(
        _("error type"), max_length=255, blank=True, help_text=_("Dotted path of the last exception.")
    )
    error_summary = models.CharField(
        _("error summary"), max_length=500, blank=True, help_text=_("First line of the last exception.")
    )
    fingerprint = models.CharField(
        _("fingerprint"), max_length=32, blank=True, help_text=_("Equal for equal faults: type and place.")
    )
    end_reason = models.CharField(_("end reason"), max_length=300, blank=True, help_text=_("Why it ended so."))

    progress_done = models.FloatField(_("progress"), null=True, blank=True, help_text=_("Units done."))
    progress_total = models.FloatField(
        _("progress total"), null=True, blank=True, help_text=_("Units in all, if known.")
    )
    progress_message = models.CharField(
        _("progress message"), max_length=200, blank=True, help_text=_("What it is doing.")
    )
    log_lines_dropped = models.PositiveIntegerField(
        _("log lines dropped"), default=0, help_text=_("Lines beyond MAX_LOG_LINES.")
    )

    objects = RunQuerySet.as_manager()

    class Meta:
        verbose_name = _("run")
        verbose_name_plural = _("runs")
        default_permissions = ("view", "delete")
        permissions = [
            ("view_run_arguments", _("Can view run arguments and results")),
            ("view_run_output", _("Can view run output")),
            ("cancel_run", _("Can cancel runs")),
        ]
        constraints = [
            UniqueWhereGiven(
                fields=["job", "scheduled_for"], given="scheduled_for", name="background_one_run_per_occurrence"
            ),
            UniqueWhereGiven(fields=["unique_key"], given="unique_key", name="background_run_unique"),
            UniqueWhereGiven(fields=["request_key"], given="request_key", name="background_run_request"),
        ]
        indexes = [
            # Where all rows are indexed the NULLs of history stay outside the range that is read. SQLite takes an index of some
            # rows only if a query says one of the alternatives of each condition in the same words.
            IndexWhere(fields=["position"], name="background_run_claim", where=Q(position__isnull=False)),
            IndexWhere(fields=["status", "run_after"], name="background_run_due", where=Q(status="scheduled")),
            IndexWhere(fields=["host"], name="background_run_held", where=Q(status="running")),
            IndexWhere(
                fields=["concurrency_key", "status", "place"],
                name="background_run_slots",
                where=(Q(status="running") | Q(status="blocked")) & ~Q(concurrency_key=""),
            ),
            IndexWhere(fields=["triggered_by"], name="background_run_person", where=Q(triggered_by__isnull=False)),
            IndexWhere(fields=["rerun_of"], name="background_run_reruns", where=Q(rerun_of__isnull=False)),
            # Ids grow with time: the primary key tells the newest. PostgreSQL writes an entry of each index that holds a row
            # whenever the row changes, so those below leave out what most runs are.
            IndexWhere(
                fields=["status", "-id"],
                name="background_run_by_status",
                where=Q(status="scheduled") | Q(status="blocked") | Q(status="failed") | Q(status="cancelled"),
            ),
            IndexWhere(fields=["job", "-id"], name="background_run_by_job", where=Q(job__isnull=False)),
            IndexWhere(fields=["queue", "-id"], name="background_run_by_queue", where=~Q(queue="default")),
            IndexWhere(fields=["subject", "-id"], name="background_run_about", where=~Q(subject="")),
            IndexWhere(fields=["fingerprint", "-id"], name="background_run_by_fault", where=~Q(fingerprint="")),
        ]

    def __str__(self) -> str:
        return f"{self.job_name or self.task.rpartition('.')[2]} #{self.short_id}"

    @classmethod
    @cache
    def blank(cls) -> Mapping[str, Any]:
        """Return the defaults of all columns by attribute, as the database has them. Not to be changed."""
        defaults = {field.attname: field.get_default() for field in cls._meta.concrete_fields}
        return {name: getattr(value, "value", value) for name, value in defaults.items()}

    @classmethod
    def lean(cls, columns: Mapping[str, Any], alias: str, **own: Any) -> Run:
        """Return a new run with these columns, which are all there are but for its `own`, for a tenth of what Django's constructor costs.

        It counts as saved: whoever asks for it writes it to the database `alias`.
        """
        run, state = cls.__new__(cls), ModelState()
        state.adding, state.db = False, alias
        run.__dict__ = {**columns, **own, "id": uuid7(), "errors": [], "_state": state}
        return run

    @property
    def short_id(self) -> str:
        """The tail of the id, enough for people to tell runs apart."""
        return str(self.id)[-8:]

    @property
    def is_open(self) -> bool:
        return self.status in self.OPEN

    @property
    def is_finished(self) -> bool:
        return self.status in self.FINISHED

    @property
    def duration(self) -> float | None:
        """Seconds that the last attempt took."""
        return (self.finished_at - self.started_at).total_seconds() if self.finished_at and self.started_at else None

    def wait(self, timeout: float | None = None) -> Run:
        """Return this run once it is finished; raise TimeoutError after `timeout` seconds. Blocks, polling."""
        self.refresh_from_db()
        for pause in pauses(self, timeout):
            time.sleep(pause)
            self.refresh_from_db()
        return self

    async def await_(self, timeout: float | None = None) -> Run:
        """Return this run once it is finished; raise TimeoutError after `timeout` seconds."""
        await self.arefresh_from_db()
        for pause in pauses(self, timeout):
            await asyncio.sleep(pause)
            await self.arefresh_from_db()
        return self

    def cancel(self, user: Any = None, reason: str = "") -> bool:
        """End a waiting run at once or ask a running one to end; False when it is finished already."""
        return verb("cancel")(self, user=user, reason=reason)

    def again(self, user: Any = None, reason: str = "", **kwargs: Any) -> Run:
        """Enqueue a new run like this one, linked by `rerun_of`; `kwargs` replace single arguments."""
        return verb("again")(self, user=user, reason=reason, **kwargs)


def pauses(run: Run, timeout: float | None) -> Iterator[float]:
    """Yield the seconds until the next look at a run while it is open; TimeoutError after `timeout` seconds."""
    deadline = None if timeout is None else time.monotonic() + timeout
    pause = 0.01
    while not run.is_finished:
        left = pause if deadline is None else deadline - time.monotonic()
        if left <= 0:
            raise TimeoutError(f"Run {run.id} is still {run.status} after {timeout} seconds.")
        yield min(pause, left)
        pause = min(pause * 1.5, 0.5)
