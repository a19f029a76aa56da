"""Own the control room: pages in Django's admin for jobs, runs, services, hosts and queues."""

from django.contrib import admin

from background.admin.dashboard import DashboardAdmin
from background.admin.host import HostAdmin
from background.admin.job import JobAdmin
from background.admin.queue import QueueAdmin
from background.admin.run import RunAdmin
from background.admin.service import ServiceAdmin
from background.admin.subject import BackgroundRuns as BackgroundRuns
from background.models import Dashboard, Host, Job, Queue, Run, Service

ROOMS = {
    Dashboard: DashboardAdmin,
    Host: HostAdmin,
    Job: JobAdmin,
    Queue: QueueAdmin,
    Run: RunAdmin,
    Service: ServiceAdmin,
}


def register(site: admin.AdminSite) -> None:
    """Hang the pages into an admin site; the default one has them already."""
    for model, room in ROOMS.items():
        site.register(model, room)


register(admin.site)
