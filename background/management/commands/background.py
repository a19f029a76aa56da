"""Own the command that shows and steers background work from the terminal."""

from __future__ import annotations

import io
import time
from typing import Any

from django.core.management.base import CommandError, CommandParser
from django.db import InterfaceError, OperationalError, ProgrammingError
from django.utils import timezone
from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from background.attention import Finding, attention
from background.management import acting, reading
from background.management.arguments import LISTS, VERBS, add_verbs, no_such
from background.management.terminal import PlainCommand, ago, as_json, duration, plain, table
from background.models import Host, Job, Run, Service
from background.queue.prune import prune
from background.scope import refresh_connections
from background.timing import Occurrence, describe, remark

MODELS = {"jobs": Job, "runs": Run, "services": Service, "hosts": Host}
UNANSWERED = (OperationalError, ProgrammingError, InterfaceError)


class Command(PlainCommand):
    """Shows status, jobs, runs, services, hosts and queues, and acts on them."""

    help = "Shows and steers background work: status, jobs, runs, services, hosts, queues and what to do with them."

    def add_arguments(self, parser: CommandParser) -> None:
        add_verbs(parser)

    def check_words(self, argv: list[str]) -> None:
        if len(argv) < 3:
            raise CommandError(_("Say what to do: %(verbs)s.") % {"verbs": ", ".join(VERBS)})
        if not argv[2].startswith("-") and argv[2] not in VERBS:
            raise CommandError(no_such(_("verb"), argv[2], VERBS))

    def handle(self, *args: Any, **options: Any) -> None:
        self.colour = False if options.get("no_color") else True if options.get("force_color") else None
        stream: Any = getattr(self.stdout, "_out", None)
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")  # a terminal without ▲ must not fail a command
        try:
            getattr(self, f"do_{options['verb']}", self.do_list)(options)
        except CommandError as error:
            raise CommandError(plain(error), returncode=error.returncode) from error
        except UNANSWERED as error:
            raise CommandError(unanswered(error)) from error

    def say(self, sentence: str) -> None:
        self.stdout.write(plain(sentence))

    def do_list(self, options: dict[str, Any]) -> None:
        name = options["verb"]
        assert name in LISTS, name
        rows: Any = reading.runs(options) if name == "runs" else getattr(reading, name)()
        if options["json"]:
            found = rows if name == "queues" else reading.objects(MODELS[name], rows, *reading.HEAVY.get(name, ()))
            as_json(self.stdout, found)
            return
        listing = reading.LISTINGS[name]
        cells = [listing.row(row) for row in rows]
        table(self.stdout, str(listing.title), listing.heads, cells, str(listing.empty), self.colour)

    def do_status(self, options: dict[str, Any]) -> None:
        facts = reading.status()
        if options["json"]:
            as_json(self.stdout, {**facts, "attention": reading.findings(facts["attention"])})
            return
        runs = ", ".join(
            f"{count}{'+' if count == reading.COUNTED else ''} {Run.Status(state).label}"
            for state, count in facts["runs"].items()
        )
        self.say(_("hosts    %(hosts)s") % {"hosts": ", ".join(facts["hosts"]) or _("none")})
        self.say(_("runs     %(runs)s") % {"runs": runs})
        self.say(_("jobs     %(jobs)d") % {"jobs": facts["jobs"]})
        if facts["everything_paused"]:
            self.say(_("paused   everything: no run starts until `background resume everything`"))
        if facts["paused_queues"]:
            self.say(_("paused   %(names)s") % {"names": ", ".join(facts["paused_queues"])})
        self._say_attention(facts["attention"])

    def _say_attention(self, found: list[Finding]) -> None:
        for one in found:
            style, mark = (self.style.ERROR, "✖") if one.severity == "error" else (self.style.WARNING, "▲")
            self.stdout.write(style(f"{mark} " + " ".join(plain(one).split())))
        if not found:
            self.stdout.write(self.style.SUCCESS(_("✔ Nothing needs attention.")))

    def do_health(self, options: dict[str, Any]) -> None:
        found = attention()
        if options["json"]:
            as_json(self.stdout, {"ok": not found, "attention": reading.findings(found)})
        elif found or not options["check"]:
            self._say_attention(found)
        if found:
            raise SystemExit(1)

    def do_watch(self, options: dict[str, Any]) -> None:
        stream: Any = getattr(self.stdout, "_out", self.stdout)
        clear = "\x1b[2J\x1b[H" if stream.isatty() else ""
        try:
            while True:
                stream.write(f"{clear}{self._screen()}\n")
                stream.flush()
                time.sleep(max(options["interval"], 0.5))
        except KeyboardInterrupt:
            stream.write("\n")

    def _screen(self) -> str:
        """Return status and newest runs as text; why not, where the database does not answer."""
        out = io.StringIO()
        shown = Command(stdout=out, no_color=True)
        shown.colour = False
        try:
            refresh_connections()
            shown.do_status({"json": False})
            shown.say("")
            shown.do_list({"verb": "runs", "limit": 15, "json": False})
        except UNANSWERED as error:
            shown.say(f"▲ {unanswered(error)}")
        at = timezone.localtime()
        return f"{at:%H:%M:%S %Z}  {_('Ctrl-C ends')}\n\n{out.getvalue()}"

    def do_service(self, options: dict[str, Any]) -> None:
        count = acting.control_service(options["name"], options["act"])
        text = ngettext(
            "%(verb)s of %(name)s asked on %(count)d host.", "%(verb)s of %(name)s asked on %(count)d hosts.", count
        )
        self.say(text % {"verb": options["act"], "name": options["name"], "count": count})

    def do_run(self, options: dict[str, Any]) -> None:
        self._enqueued(acting.run_job(options["name"], options["kwargs"]), options["wait"])

    def do_enqueue(self, options: dict[str, Any]) -> None:
        run = acting.enqueue_task(options["task"], options["arguments"], options["kwargs"])
        self._enqueued(run, options["wait"])

    def do_again(self, options: dict[str, Any]) -> None:
        old = acting.find_run(options["id"])
        self._enqueued(acting.told(old.again, reason=options["reason"]))

    def _enqueued(self, run: Run, wait: float | None = None) -> None:
        facts = {"id": run.id, "name": run.job_name or run.task, "state": run.get_status_display()}
        self.say(_("Run %(id)s of %(name)s is %(state)s.") % facts)
        self.say(acting.where_to_look(run))
        if run.is_open and not acting.is_served(run):
            self.say(_("▲ No live host serves queue %(queue)s: it waits until one does.") % {"queue": run.queue})
        if wait is None:
            return
        self.stdout.flush()
        run = acting.wait_for(run, wait)
        if run.status != Run.Status.SUCCEEDED:
            why = run.error_summary if run.status == Run.Status.FAILED else ""
            facts |= {"state": run.get_status_display(), "why": why or run.end_reason or run.error_type or "–"}
            raise CommandError(_("Run %(id)s %(state)s: %(why)s") % facts)
        self.say(_("It succeeded in %(time)s.") % {"time": duration(run.duration)})

    def do_cancel(self, options: dict[str, Any]) -> None:
        run = acting.find_run(options["id"])
        if not run.cancel(reason=options["reason"]):
            raise CommandError(
                _("Run %(id)s is %(state)s already.") % {"id": run.id, "state": run.get_status_display()}
            )
        text = _("Run %(id)s is cancelled.") if run.is_finished else _("Run %(id)s was asked to end.")
        self.say(text % {"id": run.id})

    def _set_pause(self, options: dict[str, Any], paused: bool) -> None:
        if bool(options["name"]) == (options["kind"] == "everything"):
            raise CommandError(_("A job, a queue or a service is paused by its NAME, everything without one."))
        acting.set_pause(options["kind"], options["name"], paused, options["reason"])

    def do_pause(self, options: dict[str, Any]) -> None:
        self._set_pause(options, True)
        self.say(_("%(name)s is paused.") % {"name": options["name"] or _("Everything")})

    def do_resume(self, options: dict[str, Any]) -> None:
        self._set_pause(options, False)
        self.say(_("%(name)s goes on.") % {"name": options["name"] or _("Everything")})

    def do_next(self, options: dict[str, Any]) -> None:
        job, schedule, times = acting.next_times(options["name"], options["count"])
        if options["json"]:
            as_json(self.stdout, [as_row(one) for one in times])
            return
        zone = f" ({times[0].local.tzinfo})" if times else ""
        self.say(f"{job.name}: {describe(schedule)}{zone}")
        rows = [
            (
                f"{one.local:%a %d %b %Y %H:%M:%S %Z}",
                f"{one.instant_utc:%Y-%m-%d %H:%M:%SZ}",
                ago(one.instant_utc),
                one.note,
            )
            for one in times
        ]
        heads = (_("Local"), _("UTC"), _("When"), _("Note"))
        table(self.stdout, "", heads, rows, _("It does not fire any more."), self.colour)
        if job.orphaned:
            self.say(_("No live host's code declares the job: these times pass by."))
        elif not job.enabled:
            self.say(_("The job is paused: these times pass by."))
        if said := remark(schedule, job.timezone):
            self.say(said)
        if job.jitter:
            self.say(_("Each run starts up to %(seconds)g s later (jitter).") % {"seconds": job.jitter})

    def do_prune(self, options: dict[str, Any]) -> None:
        count = prune()
        self.say(ngettext("%(count)d run deleted.", "%(count)d runs deleted.", count) % {"count": count})

    def do_roles(self, options: dict[str, Any]) -> None:
        if not options["create"]:
            raise CommandError(_("Add --create to make the groups %(names)s.") % {"names": ", ".join(acting.ROLES)})
        self.say(_("Groups: %(names)s.") % {"names": ", ".join(acting.create_roles())})


def as_row(one: Occurrence) -> dict[str, Any]:
    """Return a coming occurrence for programs: `scheduled_for` is what its run will bear."""
    local, zone = one.local.isoformat(), str(one.local.tzinfo)
    return {"scheduled_for": one.instant_utc, "at": one.instant_utc, "local": local, "timezone": zone, "note": one.note}


def unanswered(error: Exception) -> str:
    """Return the sentence for a database that is away, or without its tables."""
    first = plain(str(error).strip().partition("\n")[0])
    if isinstance(error, ProgrammingError) or "no such" in first:
        return _("Tables are missing or not up to date (%(error)s): run `python manage.py migrate`.") % {"error": first}
    return _(
        "The database does not answer as expected (%(error)s). Is it there, and has `python manage.py migrate` been run?"
    ) % {"error": first}
