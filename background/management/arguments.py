"""Own the command line of `background`: its verbs, their arguments, and what a wrong one is told."""

from __future__ import annotations

import argparse
import difflib
import math
from collections.abc import Callable, Iterable

from django.core.management.base import CommandParser
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from background.models import Run, Service

LISTS = ("jobs", "runs", "services", "hosts", "queues")
VERBS = {
    "status": gettext_lazy("Hosts, open runs and what needs attention."),
    "jobs": gettext_lazy("The jobs, their schedules and how they went."),
    "runs": gettext_lazy("The newest runs."),
    "services": gettext_lazy("The services of the live hosts."),
    "hosts": gettext_lazy("The hosts, the newest first."),
    "queues": gettext_lazy("The queues, what waits in them and who serves them."),
    "health": gettext_lazy("What needs attention; exit code 1 if anything does."),
    "watch": gettext_lazy("Show the status again and again until Ctrl-C."),
    "next": gettext_lazy("The next times of a job's schedule."),
    "run": gettext_lazy("Run a job now."),
    "enqueue": gettext_lazy("Enqueue a registered task."),
    "cancel": gettext_lazy("End a waiting run; ask a running one to end."),
    "again": gettext_lazy("Run a finished run once more, as a new run."),
    "pause": gettext_lazy("Let no run of a queue start, follow a job's schedule no more, or let a service rest."),
    "resume": gettext_lazy("End a pause."),
    "service": gettext_lazy("Start, stop, restart or tick a service on every live host."),
    "prune": gettext_lazy("Delete finished runs whose time is over."),
    "roles": gettext_lazy("The groups viewer, operator and manager."),
}


def add_verbs(parser: CommandParser) -> None:
    # Else argparse itself ends the process, with exit code 2 and the whole usage.
    parser.called_from_command_line = False
    verbs = parser.add_subparsers(dest="verb", required=True, metavar="VERB")
    made = {name: verbs.add_parser(name, help=str(text)) for name, text in VERBS.items()}
    for verb in made.values():
        add_django_flags(verb)
    for name in ("status", "health", "next", *LISTS):
        made[name].add_argument("--json", action="store_true", help=_("For programs."))
    made["health"].add_argument("--check", action="store_true", help=_("Say nothing when all is well."))
    runs = made["runs"]
    runs.add_argument("--id", metavar="ID", help=_("One run: its id, or the last eight characters of it."))
    runs.add_argument("--status", type=one_of(_("status"), Run.Status.values), metavar="|".join(Run.Status.values))
    runs.add_argument("--job", metavar="NAME")
    runs.add_argument("--queue", metavar="NAME")
    runs.add_argument("--limit", type=whole(1, 100_000), default=50, metavar="N")
    made["next"].add_argument("name", metavar="NAME")
    made["next"].add_argument("-n", type=whole(1, 1000), default=5, dest="count", metavar="N")
    made["watch"].add_argument("--interval", type=seconds, default=2.0, metavar="SECONDS")
    made["run"].add_argument("name", metavar="NAME")
    made["enqueue"].add_argument("task", metavar="TASK", help=_("Dotted path."))
    made["enqueue"].add_argument("--args", dest="arguments", metavar="JSON", help=_("JSON array."))
    for name in ("run", "enqueue"):
        made[name].add_argument("--kwargs", metavar="JSON", help=_("JSON object."))
        made[name].add_argument(
            "--wait", nargs="?", type=seconds, const=math.inf, metavar="SECONDS", help=_("Until it is finished.")
        )
    for name in ("cancel", "again"):
        made[name].add_argument("id", metavar="ID", help=_("Id of a run, or its last eight characters."))
        made[name].add_argument("--reason", default="")
    for name in ("pause", "resume"):
        kinds = ("job", "queue", "service", "everything")
        made[name].add_argument("kind", type=one_of(_("kind"), kinds), metavar=f"({'|'.join(kinds)})")
        made[name].add_argument("name", metavar="NAME", nargs="?", default="")
        made[name].add_argument("--reason", default="")
    acts = Service.Request.values
    made["service"].add_argument("name", metavar="NAME")
    made["service"].add_argument("act", type=one_of(_("verb"), acts), metavar=f"({'|'.join(acts)})")
    made["roles"].add_argument("--create", action="store_true", help=_("Make them, with their permissions."))


def add_django_flags(verb: argparse.ArgumentParser) -> None:
    """Take Django's own flags behind the verb as well, where people write them."""
    for flag in ("--settings", "--pythonpath"):
        verb.add_argument(flag, default=argparse.SUPPRESS, help=argparse.SUPPRESS)
    for flag in ("--traceback", "--no-color", "--force-color"):
        verb.add_argument(flag, action="store_true", default=argparse.SUPPRESS, help=argparse.SUPPRESS)


def no_such(what: str, name: str, known: Iterable[str]) -> str:
    """Return the sentence for a wrong name: with the nearest right ones."""
    known = sorted(known)
    near = difflib.get_close_matches(name, known, n=3, cutoff=0.4)
    if near:
        hint = _("Did you mean %(near)s?") % {"near": ", ".join(near)}
    elif known:
        hint = _("Known are %(known)s.") % {"known": ", ".join(known[:20]) + (", …" if len(known) > 20 else "")}
    else:
        hint = _("There is none yet.")
    return _("There is no %(what)s %(name)r. %(hint)s") % {"what": what, "name": name, "hint": hint}


def one_of(what: str, known: Iterable[str]) -> Callable[[str], str]:
    known = tuple(known)

    def read(text: str) -> str:
        if text not in known:
            raise argparse.ArgumentTypeError(no_such(what, text, known))
        return text

    return read


def whole(least: int, most: int) -> Callable[[str], int]:
    def read(text: str) -> int:
        try:
            number = int(text)
        except ValueError:
            number = least - 1
        if not least <= number <= most:
            raise argparse.ArgumentTypeError(
                _("%(text)r is not a whole number from %(least)d to %(most)d.")
                % {"text": text, "least": least, "most": most}
            )
        return number

    return read


def seconds(text: str) -> float:
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not 0 <= number < math.inf:
        raise argparse.ArgumentTypeError(_("%(text)r is not a number of seconds.") % {"text": text})
    return number
