"""Own the command that hosts the services of the installed apps."""

from __future__ import annotations

import argparse
import os
import sys
import uuid
from typing import Any

from django.conf import settings
from django.core.management import call_command
from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import Error, InterfaceError, OperationalError, connections
from django.db.migrations.executor import MigrationExecutor
from django.utils.translation import gettext as _

from background import registry
from background.compat import task_backends
from background.conf import get_settings
from background.exceptions import BackgroundError, QueueNotFound, ServiceNotFound
from background.host import Host, Options
from background.host.processes import WorkerProcesses, watch_parent
from background.host.reload import Reloader, supervise
from background.host.signals import handling
from background.management.first_user import make_first_user
from background.management.terminal import banner, configure_logging
from background.queue.pause import queue_names
from background.scope import database_alias
from background.services.base import BackgroundService
from background.web.health import Health
from background.web.server import web_server


class Command(BaseCommand):
    """Hosts services, schedules jobs and executes runs until it is told to stop."""

    help = "Hosts the background services of the installed apps, schedules jobs and executes runs."
    requires_migrations_checks = False

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._host: Host | None = None
        self._asked = ""  # why to stop, when asked before there is a host

    def add_arguments(self, parser: CommandParser) -> None:
        # Else argparse itself ends the process, with exit code 2 and the whole usage.
        parser.called_from_command_line = False
        parser.add_argument("--queues", type=names, help=_("Only these queues, separated by commas."))
        parser.add_argument("--exclude-queues", type=names, default=(), help=_("Not these queues."))
        parser.add_argument("--services", type=names, help=_("Only these services."))
        parser.add_argument("--no-services", action="store_true", help=_("No services."))
        parser.add_argument("--no-scheduler", action="store_true", help=_("Do not look after schedules."))
        parser.add_argument("--no-worker", action="store_true", help=_("Do not execute runs."))
        parser.add_argument("--concurrency", type=positive, help=_("Runs at once in threads, per process."))
        parser.add_argument(
            "--processes", type=positive, help=_("Worker processes; above 1 this process supervises them.")
        )
        parser.add_argument("--drain", action="store_true", help=_("Execute what is ready until nothing is, then end."))
        parser.add_argument("--max-runs", type=positive, help=_("End after so many runs."))
        parser.add_argument("--migrate", action="store_true", help=_("Apply migrations first."))
        parser.add_argument(
            "--serve", type=address, metavar="HOST:PORT", help=_("Serve the site, too (needs uvicorn).")
        )
        parser.add_argument("--health", type=address, metavar="HOST:PORT", help=_("Answer /livez and /readyz there."))
        parser.add_argument(
            "--reload",
            action=argparse.BooleanOptionalAction,
            default=None,
            help=_("Restart on code changes (default under DEBUG)."),
        )
        parser.add_argument("--name", default="", help=_("Name of this host."))
        parser.add_argument("--reloaded", action="store_true", help=argparse.SUPPRESS)
        parser.add_argument("--child-of", default="", help=argparse.SUPPRESS)

    def run_from_argv(self, argv: list[str]) -> None:
        """Tell one sentence about a wrong flag, and end with exit code 1."""
        try:
            super().run_from_argv(argv)
        except CommandError as error:  # what parsing refused: BaseCommand tells only what handle() raises
            self.stderr.write(f"CommandError: {str(error).removeprefix('Error: ')}")
            sys.exit(1)

    def handle(self, *args: Any, **options: Any) -> None:
        asked = True if options["force_color"] else False if options["no_color"] else None
        configure_logging(verbosity=options["verbosity"], colour=asked)
        processes = options["processes"] or get_settings().processes
        if self._reloads(options):
            sys.exit(supervise(arguments_without_name()))
        with handling(self._stop, supervised=bool(options["child_of"] or options["reloaded"])):
            code = self._run(options, processes)
        leave(code, self._host)

    def _stop(self, reason: str) -> None:
        """Take a signal, whenever it comes."""
        self._asked = self._asked or reason
        if self._host is not None:
            self._host.request_stop(reason)

    def _run(self, options: dict[str, Any], processes: int) -> int:
        try:
            check_queues(options)
            services = chosen_services(options)
            if options["serve"] and not options["drain"]:
                services.append(web_server(*options["serve"]))
        except BackgroundError as error:
            raise CommandError(str(error)) from error
        ready_database(self, options)
        self._host = host = Host(services, self._options(options, processes))
        if self._asked:
            host.request_stop(self._asked)
        if options["child_of"]:
            watch_parent(int(options["child_of"].partition(":")[0]), host.request_stop)
        elif options["reloaded"]:
            watch_parent(os.getppid(), host.request_stop)
        if not options["child_of"]:
            self._greet(host, options, processes)
        return host.run()

    def _reloads(self, options: dict[str, Any]) -> bool:
        if options["reloaded"] or options["child_of"] or options["drain"] or options["max_runs"]:
            return False
        return bool(options["reload"] if options["reload"] is not None else settings.DEBUG)

    def _options(self, options: dict[str, Any], processes: int) -> Options:
        parent = options["child_of"].partition(":")[2]
        many = (
            processes > 1
            and not options["no_worker"]
            and not parent
            and not options["drain"]
            and not options["max_runs"]
        )
        extra: list[Any] = []
        if options["reloaded"]:
            extra.append(Reloader)
        if options["health"]:
            extra.append(lambda host: Health(host, options["health"]))
        if many:
            extra.append(lambda host: WorkerProcesses(host, processes, child_arguments(options)))
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

    def _greet(self, host: Host, options: dict[str, Any], processes: int) -> None:
        database = connections[database_alias()].settings_dict
        lines = [
            (_("host"), host.name),
            (_("database"), f"{connections[database_alias()].vendor} {database['NAME']}"),
            (_("queues"), ", ".join(options["queues"]) if options["queues"] else _("all")),
            (_("services"), ", ".join(one.name for one in host.users) or _("none")),
        ]
        if processes > 1:
            lines.append((_("processes"), str(processes)))
        if options["serve"]:
            site = "http://{}:{}/".format(*options["serve"])
            lines.append((_("site"), f"{site}  {_('admin')}: {site}admin/"))
            if user := make_first_user():
                lines.append(
                    (_("sign in"), _("user %(name)s, password %(password)s (made just now, shown only once)") % user)
                )
        banner(lines)


def names(text: str) -> tuple[str, ...]:
    return tuple(one for part in text.split(",") if (one := part.strip()))


def positive(text: str) -> int:
    if not text.isdigit() or int(text) < 1:
        raise argparse.ArgumentTypeError(_("%(text)r is not a whole number from 1") % {"text": text})
    return int(text)


def address(text: str) -> tuple[str, int]:
    host, colon, port = text.rpartition(":")
    if not colon or not port.isdigit() or int(port) > 65535:
        raise argparse.ArgumentTypeError(_("%(text)r is not HOST:PORT, such as 127.0.0.1:8000") % {"text": text})
    return host.strip("[]") or "127.0.0.1", int(port)


def check_queues(options: dict[str, Any]) -> None:
    """Raise QueueNotFound for a queue on the command line that nothing names."""
    asked = [*(options["queues"] or ()), *options["exclude_queues"]]
    if not asked:
        return
    known = {task.queue_name for task in registry.tasks().values()} | {"default"}
    for params in task_backends.settings.values():
        known.update(params.get("QUEUES") or ())
    try:
        known.update(queue_names())
    except Error:
        return  # without tables or database nobody can say
    for name in asked:
        if name not in known:
            raise QueueNotFound(
                _(
                    "No queue is named %(name)r; known are: %(known)s. List it in TASKS' QUEUES if runs for it will come."
                )
                % {"name": name, "known": ", ".join(sorted(known))}
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
        executor = MigrationExecutor(connections[alias])
        missing = executor.migration_plan(executor.loader.graph.leaf_nodes())
    except (OperationalError, InterfaceError):
        return
    finally:
        connections[alias].close()
    if missing:
        first = ", ".join(sorted({migration.app_label for migration, _back in missing}))
        raise CommandError(
            _(
                "%(count)d migrations are not applied (%(apps)s). Run `python manage.py migrate`, or start with --migrate."
            )
            % {"count": len(missing), "apps": first}
        )


def child_arguments(options: dict[str, Any]) -> list[str]:
    """Return the flags for a worker process."""
    found = [
        "--no-services",
        "--no-scheduler",
        "--processes",
        "1",
        "--no-reload",
        "--verbosity",
        str(options["verbosity"]),
    ]
    for flag in ("queues", "exclude_queues"):
        if options[flag]:
            found += [f"--{flag.replace('_', '-')}", ",".join(options[flag])]
    if options["concurrency"]:
        found += ["--concurrency", str(options["concurrency"])]
    if options["settings"]:
        found += ["--settings", options["settings"]]
    return found


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
