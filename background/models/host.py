"""Own the record of a host: a process that runs services."""

import uuid

from django.db import models
from django.utils.translation import gettext_lazy as _


class HostQuerySet(models.QuerySet["Host"]):
    def live(self) -> "HostQuerySet":
        """Hosts that are believed to be there."""
        return self.filter(state__in=Host.LIVE)


class Host(models.Model):
    """One start of a process; a restart is a new row."""

    class State(models.TextChoices):
        # Its services are being started.
        STARTING = "starting", _("starting")
        # It works.
        RUNNING = "running", _("running")
        # It was told to stop and finishes its work.
        STOPPING = "stopping", _("stopping")
        # It ended.
        STOPPED = "stopped", _("stopped")
        # It fell silent and was given up.
        LOST = "lost", _("lost")

    LIVE = (State.STARTING, State.RUNNING, State.STOPPING)

    id = models.UUIDField(
        _("boot id"), primary_key=True, default=uuid.uuid4, editable=False, help_text=_("Random for each start.")
    )
    name = models.CharField(_("name"), max_length=200, help_text=_("Machine and process, or --name."))
    pid = models.PositiveIntegerField(_("process id"), help_text=_("On its machine."))
    parent = models.ForeignKey(
        "self",
        models.SET_NULL,
        null=True,
        blank=True,
        db_constraint=False,
        related_name="children",
        verbose_name=_("parent"),
        help_text=_("The host that supervises this worker process."),
    )
    state = models.CharField(
        _("state"), max_length=10, choices=State.choices, default=State.STARTING, help_text=_("Where it stands.")
    )
    started_at = models.DateTimeField(_("started at"), help_text=_("By the database's clock."))
    heartbeat_at = models.DateTimeField(_("heartbeat at"), help_text=_("Last sign of life, by the database's clock."))
    stopped_at = models.DateTimeField(
        _("stopped at"), null=True, blank=True, help_text=_("When it ended or was given up.")
    )
    stop_reason = models.CharField(_("stop reason"), max_length=300, blank=True, help_text=_("Why it stopped."))
    exit_code = models.IntegerField(_("exit code"), null=True, blank=True, help_text=_("0 is clean."))
    stop_requested_at = models.DateTimeField(
        _("stop requested at"), null=True, blank=True, help_text=_("A person asked it to stop.")
    )
    stop_requested_by = models.CharField(_("stop requested by"), max_length=150, blank=True, help_text=_("Who asked."))

    version = models.CharField(_("version"), max_length=64, blank=True, help_text=_("Build of the site."))
    software = models.JSONField(
        _("software"), default=dict, blank=True, help_text=_("Versions of Python, Django and the database.")
    )
    command = models.CharField(
        _("command"), max_length=500, blank=True, help_text=_("The command line, without what is secret in it.")
    )
    concurrency = models.JSONField(_("capacity"), default=dict, blank=True, help_text=_("Slots by executor."))
    running = models.JSONField(_("in use"), default=dict, blank=True, help_text=_("Slots in use by executor."))
    queues = models.JSONField(_("queues"), null=True, blank=True, help_text=_("Queues it serves; null: all."))
    excluded_queues = models.JSONField(
        _("excluded queues"), default=list, blank=True, help_text=_("Queues it does not serve.")
    )
    works = models.BooleanField(_("works"), default=True, help_text=_("It executes runs."))
    schedules = models.BooleanField(_("schedules"), default=True, help_text=_("It looks after schedules."))
    tasks = models.JSONField(_("tasks"), default=list, blank=True, help_text=_("Tasks its code knows."))
    jobs = models.JSONField(_("jobs"), default=list, blank=True, help_text=_("Jobs its code declares."))
    clock_offset = models.FloatField(
        _("clock offset"), default=0, help_text=_("Seconds that its clock is ahead of the database's.")
    )

    objects = HostQuerySet.as_manager()

    class Meta:
        verbose_name = _("host")
        verbose_name_plural = _("hosts")
        default_permissions = ("view",)
        permissions = [("stop_host", _("Can stop hosts"))]
        indexes = [models.Index(fields=["state", "heartbeat_at"], name="background_host_alive")]

    def __str__(self) -> str:
        return self.name

    @property
    def is_live(self) -> bool:
        return self.state in self.LIVE

    def serves(self, queue: str) -> bool:
        """Tell whether it executes runs of this queue."""
        return self.works and queue not in self.excluded_queues and (self.queues is None or queue in self.queues)
