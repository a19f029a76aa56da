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
    name = models.CharField(_("name"), max_length=200)  # machine and process, or --name
    pid = models.PositiveIntegerField(_("process id"), help_text=_("On its machine."))
    # The host that supervises this worker process.
    parent = models.ForeignKey(
        "self",
        models.SET_NULL,
        null=True,
        blank=True,
        db_constraint=False,
        related_name="children",
        verbose_name=_("parent"),
    )
    state = models.CharField(_("state"), max_length=10, choices=State.choices, default=State.STARTING)
    started_at = models.DateTimeField(_("started at"))  # by the database's clock
    heartbeat_at = models.DateTimeField(_("heartbeat at"))  # last sign of life, by the database's clock
    stopped_at = models.DateTimeField(_("stopped at"), null=True, blank=True)
    stop_reason = models.CharField(_("stop reason"), max_length=300, blank=True)
    exit_code = models.IntegerField(_("exit code"), null=True, blank=True)  # 0 is clean
    stop_requested_at = models.DateTimeField(_("stop requested at"), null=True, blank=True)
    stop_requested_by = models.CharField(_("stop requested by"), max_length=150, blank=True)

    version = models.CharField(_("version"), max_length=64, blank=True)
    software = models.JSONField(_("software"), default=dict, blank=True)
    # The command line, without what is secret in it.
    command = models.CharField(_("command"), max_length=500, blank=True)
    concurrency = models.JSONField(_("capacity"), default=dict, blank=True)  # slots by executor
    running = models.JSONField(_("in use"), default=dict, blank=True)  # slots in use by executor
    queues = models.JSONField(_("queues"), null=True, blank=True)  # queues it serves; null: all
    excluded_queues = models.JSONField(_("excluded queues"), default=list, blank=True)
    works = models.BooleanField(_("works"), default=True)
    schedules = models.BooleanField(_("schedules"), default=True)
    tasks = models.JSONField(_("tasks"), default=list, blank=True)
    jobs = models.JSONField(_("jobs"), default=list, blank=True)
    clock_offset = models.FloatField(_("clock offset"), default=0)  # seconds that its clock is ahead of the database's

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
