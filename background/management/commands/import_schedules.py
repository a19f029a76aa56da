"""Own the command that makes jobs of what other schedulers have written down."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import DEFAULT_DB_ALIAS, connections
from django.utils.translation import gettext as _

from background import registry
from background.contrib.importers import apscheduler, celery_beat, crontab, django_q
from background.contrib.importers.carrying import Found, carry_over
from background.management.arguments import no_such
from background.management.terminal import table

TABLES = {"celery-beat": celery_beat.read, "django-q2": django_q.read, "apscheduler": apscheduler.read}


class Command(BaseCommand):
    """Makes jobs of crontab files and of the tables of celery-beat, django-q2 and APScheduler."""

    help = "Makes jobs of a crontab file or of the tables of django-celery-beat, django-q2 or django-apscheduler."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("source", choices=("crontab", *TABLES))
        parser.add_argument("file", nargs="?", metavar="FILE", help=_("The crontab."))
        parser.add_argument("--dry-run", action="store_true", help=_("Show what would be made, and make nothing."))
        parser.add_argument(
            "--map", action="append", default=[], metavar="OLD=NEW", help=_("Which task stands for which.")
        )
        parser.add_argument("--system", action="store_true", help=_("The crontab has a column of users."))
        parser.add_argument("--timezone", default="", help=_("Zone of the crontab's machine; default: the site's."))
        parser.add_argument(
            "--database", default=DEFAULT_DB_ALIAS, help=_("Alias of the database with the old tables.")
        )

    def handle(self, *args: Any, **options: Any) -> None:
        names = dict(map(old_and_new, options["map"]))
        if options["database"] not in connections:
            raise CommandError(no_such(_("database"), options["database"], connections))
        of_crontab = options["source"] == "crontab"
        found = read_crontab(options) if of_crontab else TABLES[options["source"]](options["database"])
        fates = carry_over(found, names, options["dry_run"])
        done, not_done = (_("would be made") if options["dry_run"] else _("made")), _("not carried over")
        rows = [
            (one.job.name, one.job.task, f"{one.job.schedule} {one.job.timezone}", done, one.reason)
            if one.job
            else (one.found.name, one.found.task, "", not_done, one.reason)
            for one in fates
        ]
        heads = (_("Name"), _("Task"), _("Schedule"), _("Result"), _("Remarks"))
        table(self.stdout, "", heads, rows, _("There is nothing to import."))
        made = sum(one.job is not None for one in fates)
        self.stdout.write(f"{made} {done}, {len(fates) - made} {not_done}.")


def read_crontab(options: dict[str, Any]) -> Iterator[Found]:
    if not options["file"]:
        raise CommandError(_("Name the file: import_schedules crontab FILE."))
    try:
        with open(options["file"], encoding="utf-8", errors="backslashreplace") as lines:
            yield from crontab.read(lines, options["timezone"], options["system"])
    except OSError as error:
        raise CommandError(
            _("%(file)s cannot be read: %(why)s.") % {"file": options["file"], "why": error.strerror}
        ) from error


def old_and_new(text: str) -> tuple[str, str]:
    old, _sign, new = text.rpartition("=")
    if not old:
        raise CommandError(_("--map takes OLD=NEW, not %(text)r.") % {"text": text})
    if new not in registry.tasks():
        raise CommandError(no_such(_("task"), new, registry.tasks()))
    return old, new
