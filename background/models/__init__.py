"""Own the records: what is stored and how it is read; nothing here decides."""

from background.models.artifact import Artifact
from background.models.checkpoint import Checkpoint
from background.models.dashboard import Dashboard
from background.models.host import Host
from background.models.job import Job
from background.models.lease import Lease
from background.models.log import RunLog
from background.models.queue import Queue
from background.models.run import Run
from background.models.service import Service, ServicePause, ServiceStart
from background.models.skip import Skip
from background.models.statistics import Statistic

__all__ = [
    "Artifact",
    "Checkpoint",
    "Dashboard",
    "Host",
    "Job",
    "Lease",
    "Queue",
    "Run",
    "RunLog",
    "Service",
    "ServicePause",
    "ServiceStart",
    "Skip",
    "Statistic",
]
