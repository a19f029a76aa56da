"""Own the flags of `runbackground`: what may be said, and what it means for worker processes."""

from __future__ import annotations

import argparse
from typing import Any

from django.core.management.base import CommandError, CommandParser
from django.utils.translation import gettext as _

from background.host.retirement import memory
from background.management.arguments import whole

positive = whole(1, 1_000_000)


def add_flags(parser: CommandParser) -> None:
    """Declare them all."""
    # Else argparse itself ends the process, with exit code 2 and the whole usage.
    parser.called_from_command_line = False
    parser.add_argument("--queues", type=names, help=_("Only these queues, separated by commas."))
    parser.add_argument("--exclude-queues", type=names, default=(), help=_("Not these queues."))
    parser.add_argument("--services", type=names, help=_("Only these services."))
    parser.add_argument("--no-services", action="store_true", help=_("No services."))
    parser.add_argument("--no-scheduler", action="store_true", help=_("Do not look after schedules."))
    parser.add_argument("--no-worker", action="store_true", help=_("Do not execute runs."))
    parser.add_argument("--concurrency", type=positive, help=_("Runs at once in threads, per process."))
    parser.add_argument("--processes", type=positive, help=_("Worker processes; above 1 this process supervises them."))
    parser.add_argument(
        "--max-runs-per-process", type=positive, metavar="N", help=_("Replace a worker process after so many runs.")
    )
    parser.add_argument(
        "--max-memory-per-process",
        type=positive,
        metavar="MB",
        help=_("Replace a worker process that takes more memory."),
    )
    parser.add_argument("--drain", action="store_true", help=_("Execute what is ready until nothing is, then end."))
    parser.add_argument("--max-runs", type=positive, help=_("End after so many runs."))
    parser.add_argument("--migrate", action="store_true", help=_("Apply migrations first."))
    parser.add_argument("--serve", type=address, metavar="HOST:PORT", help=_("Serve the site, too (needs uvicorn)."))
    parser.add_argument(
        "--health", type=address, metavar="HOST:PORT", help=_("Answer /livez, /readyz and /metrics there.")
    )
    parser.add_argument(
        "--reload",
        action=argparse.BooleanOptionalAction,
        default=None,
        help=_("Restart on code changes (default under DEBUG)."),
    )
    parser.add_argument("--name", default="", help=_("Name of this host."))
    parser.add_argument("--reloaded", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--child-of", default="", help=argparse.SUPPRESS)


def names(text: str) -> tuple[str, ...]:
    return tuple(one for part in text.split(",") if (one := part.strip()))


def address(text: str) -> tuple[str, int]:
    host, colon, port = text.rpartition(":")
    if not colon or not port.isdigit() or int(port) > 65535:
        raise argparse.ArgumentTypeError(_("%(text)r is not HOST:PORT, such as 127.0.0.1:8000") % {"text": text})
    return host.strip("[]") or "127.0.0.1", int(port)


def limits_share(options: dict[str, Any]) -> bool:
    """Whether a worker process is replaced after so many runs, or above so much memory."""
    return bool(options["max_runs_per_process"] or options["max_memory_per_process"])


def supervises(options: dict[str, Any], processes: int) -> bool:
    """Whether this process has worker processes, and executes no runs itself."""
    alone = options["no_worker"] or options["child_of"] or options["drain"] or options["max_runs"]
    return not alone and (processes > 1 or (bool(options["processes"]) and limits_share(options)))


def check_share(options: dict[str, Any], processes: int) -> None:
    """Raise CommandError for limits per process where no process could be replaced or measured."""
    if not limits_share(options) or options["child_of"]:
        return
    if not supervises(options, processes):
        raise CommandError(
            _(
                "--max-runs-per-process and --max-memory-per-process need worker processes: add --processes, and leave out"
                " --no-worker, --drain and --max-runs."
            )
        )
    if options["max_memory_per_process"] and not memory():
        raise CommandError(_("--max-memory-per-process needs psutil on this system: pip install psutil."))


def child_arguments(options: dict[str, Any]) -> list[str]:
    """Return the flags for a worker process."""
    found = [
        "--no-services",
        "--no-scheduler",
        "--processes",
        "1",
        "--no-reload",
        "--skip-checks",  # which the parent has made
        "--verbosity",
        str(options["verbosity"]),
    ]
    found += [f"--{flag.replace('_', '-')}" for flag in ("no_color", "force_color", "traceback") if options[flag]]
    for flag in ("queues", "exclude_queues"):
        if options[flag]:
            found += [f"--{flag.replace('_', '-')}", ",".join(options[flag])]
    for flag in ("concurrency", "max_memory_per_process", "settings", "pythonpath"):
        if options[flag]:
            found += [f"--{flag.replace('_', '-')}", str(options[flag])]
    return found
