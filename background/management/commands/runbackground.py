"""Own the command that hosts the services of the installed apps."""

from __future__ import annotations

import gc
import os
import sys
import uuid
from typing import Any

from django.conf import settings
from django.core.management import call_command
from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import Error, InterfaceError, OperationalError, connections
from django.utils.translation import gettext as _

from background import registry
from background.conf import get_settings
from background.exceptions import BackgroundError, QueueNotFound, ServiceNotFound
from background.host import Host, Options
from background.host.asking import unapplied
from background.host.processes import ORPHANED, WorkerProcesses, time_of_child, watch_parent
from background.host.reload import Reloader, supervise
from background.host.retirement import Retirement
from background.host.signals import handling
from background.management.acting import known_queues
from background.management.first_user import make_first_user
from background.management.flags import add_flags, check_share, child_arguments, supervises
from background.management.terminal import PlainCommand, banner, configure_logging
from background.scope import database_alias
from background.services.base import BackgroundService
from background.web.health import Health
from background.web.server import web_server


class Command(PlainCommand):
    """Hosts services, schedules jobs and executes runs until it is told to stop."""

    help = "Hosts the background services of the installed apps, schedules jobs and executes runs."
    requires_migrations_checks = False

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._host: Host | None = None
        self._processes: WorkerProcesses | None = None
        self._asked = ""  # why to stop, when asked before there is a host
        self._time_to_stop: float | None = None

    def add_arguments(self, parser: CommandParser) -> None:
        add_flags(parser)

    def handle(self, *args: Any, **options: Any) -> None:
        asked = True if options["force_color"] else False if options["no_color"] else None
        configure_logging(verbosity=options["verbosity"], colour=asked)
        processes = options["processes"] or get_settings().processes
        if self._reloads(options):
            sys.exit(supervise(arguments_without_name()))
        if options["child_of"]:
            watch_parent(int(options["child_of"].partition(":")[0]), self._orphaned)
        elif options["reloaded"]:
            watch_parent(os.getppid(), self._orphaned)
        with handling(self._stop, supervised=bool(options["child_of"] or options["reloaded"]), last=self._at_once):
            code = self._run(options, processes)
        leave(code, self._host)

    def _stop(self, reason: str) -> None:
        """Take a signal, whenever it comes."""
        self._asked = self._asked or reason
        if self._host is not None:
            self._host.request_stop(reason)

    def _orphaned(self, reason: str) -> None:
        """The parent is gone: hand back what is there, and quickly."""
        self._time_to_stop = ORPHANED
        if self._host is not None:
            self._host.time_to_stop = ORPHANED
        self._stop(reason)

    def _at_once(self) -> None:
        """A second signal: the worker processes end with this one."""
        if self._processes is not None:
            self._processes.kill()

    def _run(self, options: dict[str, Any], processes: int) -> int:
        try:
            if not options["child_of"]:  # its parent has asked; a name that is only a run's may be gone by now
                check_queues(options)
            check_share(options, processes)
            services = chosen_services(options)
            if options["serve"] and not options["drain"]:
                services.append(web_server(*options["serve"]))
        except BackgroundError as error:
            raise CommandError(str(error)) from error
        ready_database(self, options)
        self._host = host = Host(services, self._options(options, processes))
        if options["child_of"]:
            host.time_to_stop = time_of_child()
        if self._time_to_stop is not None:
            host.time_to_stop = self._time_to_stop
        if self._asked:
            host.request_stop(self._asked)
        if not options["child_of"]:
            self._greet(host, options, processes)
        gc.freeze()  # what is loaded by now stays: to look through it for garbage took up to half of the time of short runs
        return host.run()

    def _reloads(self, options: dict[str, Any]) -> bool:
        if options["reloaded"] or options["child_of"] or options["drain"] or options["max_runs"]:
            return False
        return bool(options["reload"] if options["reload"] is not None else settings.DEBUG)

    def _options(self, options: dict[str, Any], processes: int) -> Options:
        parent, many = options["child_of"].partition(":")[2], supervises(options, processes)
        extra: list[Any] = []
        if parent and (megabytes := options["max_memory_per_process"]):
            extra.append(lambda host: Retirement(host, megabytes))
        if options["reloaded"]:
            extra.append(Reloader)
        if options["health"]:
            extra.append(lambda host: Health(host, options["health"]))
        if many:
            extra.append(lambda host: self._make_processes(host, options, processes))
        return Options(
            name=options["name"],
            queues=options["queues"],
            excluded_queues=options["exclude_queues"],
            works=not options["no_worker"] and not many,
            schedules=not options["no_scheduler"] and not options["drain"] and not parent,
            concurrency=options["concurrency"],
            drain=options["drain"],
            max_runs=options["max_runs"],
            parent=uuid.UUID(parent) if parent else None,
            extra=tuple(extra),
        )

    def _make_processes(self, host: Host, options: dict[str, Any], processes: int) -> WorkerProcesses:
        self._processes = WorkerProcesses(host, processes, child_arguments(options), options["max_runs_per_process"])
        return self._processes

    def _greet(self, host: Host, options: dict[str, Any], processes: int) -> None:
        database = connections[database_alias()].settings_dict
        lines = [
            (_("host"), host.name),
            (_("database"), f"{connections[database_alias()].vendor} {database['NAME']}"),
            (_("queues"), ", ".join(options["queues"]) if options["queues"] else _("all")),
            (_("services"), ", ".join(one.name for one in host.users) or _("none")),
        ]
        if supervises(options, processes):
            lines.append((_("processes"), str(processes)))
        elif processes > 1 and not options["no_worker"]:
            lines.append((_("processes"), _("one only: --drain and --max-runs do not share their work")))
        if options["serve"]:
            site = "http://{}:{}/".format(*options["serve"])
            lines.append((_("site"), f"{site}  {_('admin')}: {site}admin/"))
            if user := make_first_user():
                lines.append(
                    (_("sign in"), _("user %(name)s, password %(password)s (made just now, shown only once)") % user)
                )
        banner(lines)


def check_queues(options: dict[str, Any]) -> None:
    """Raise QueueNotFound for a queue on the command line that nothing names."""
    asked = [*(options["queues"] or ()), *options["exclude_queues"]]
    try:
        known = known_queues() if asked else set()
    except Error:
        return  # without tables or database nobody can say
    if unknown := [name for name in asked if name not in known]:
        raise QueueNotFound(
            _("No queue is named %(name)r; known are: %(known)s. List it in TASKS' QUEUES if runs for it will come.")
            % {"name": unknown[0], "known": ", ".join(sorted(known))}
        )


def chosen_services(options: dict[str, Any]) -> list[type[BackgroundService]]:
    """Return the services to host; ServiceNotFound on an unknown name."""
    if options["no_services"] or options["drain"] or options["child_of"]:
        if options["services"]:
            raise ServiceNotFound(_("--services and --no-services contradict each other."))
        return []
    if options["services"] is None:
        return registry.services()
    return [registry.service(name) for name in options["services"]]


def ready_database(command: BaseCommand, options: dict[str, Any]) -> None:
    """Apply migrations if asked to; refuse to start where some are missing. A database that is away is the host's matter."""
    alias = database_alias()
    try:
        if options["migrate"]:
            call_command("migrate", database=alias, verbosity=0 if options["verbosity"] < 2 else 1, interactive=False)
        missing = unapplied(alias)
    except (OperationalError, InterfaceError):
        return
    finally:
        connections[alias].close()
    if missing:
        raise CommandError(
            _(
                "%(count)d migrations are not applied (%(apps)s). Run `python manage.py migrate`, or start with --migrate."
            )
            % {"count": len(missing), "apps": ", ".join(sorted({name.partition(".")[0] for name in missing}))}
        )


def arguments_without_name() -> list[str]:
    place = sys.argv.index("runbackground") if "runbackground" in sys.argv else 1
    return sys.argv[place + 1 :]


def leave(code: int, host: Host | None) -> None:
    """End the process with this code, also when threads are deaf."""
    sys.stdout.flush()
    sys.stderr.flush()
    if host is not None and host.problems:
        os._exit(code)  # a deaf thread would keep the interpreter from ending
    if code:
        sys.exit(code)
