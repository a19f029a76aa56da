"""Own the command that shows and steers background work from the terminal."""

from __future__ import annotations

import time
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import OperationalError, ProgrammingError
from django.utils.translation import gettext as _

from background.management import acting, reading
from background.management.attention import attention
from background.management.terminal import ago, as_json, plain, table
from background.models import Host, Job, Run, Service
from background.timing import describe

MODELS = {"jobs": Job, "runs": Run, "services": Service, "hosts": Host}
HEAVY = ("args", "kwargs", "result")


class Command(BaseCommand):
    """Shows status, jobs, runs, services, hosts and queues, and acts on them."""

    help = "Shows and steers background work: status, jobs, runs, services, hosts, queues and what to do with them."

    def add_arguments(self, parser: CommandParser) -> None:
        verbs = parser.add_subparsers(dest="verb", required=True, metavar="VERB")
        for name in ("status", *reading.LISTINGS, "health"):
            verb = verbs.add_parser(name)
            verb.add_argument("--json", action="store_true", help=_("For programs."))
            if name == "runs":
                verb.add_argument("--status", choices=Run.Status.values)
                verb.add_argument("--job")
                verb.add_argument("--queue")
                verb.add_argument("--limit", type=int, default=50)
        verb = verbs.add_parser("service", help=_("Start, stop, restart or tick a service on every host."))
        verb.add_argument("name")
        verb.add_argument("act", choices=Service.Request.values)
        verb = verbs.add_parser("run", help=_("Run a job now."))
        verb.add_argument("name")
        verb.add_argument("--kwargs", help=_("JSON object."))
        self._add_wait(verb)
        verb = verbs.add_parser("enqueue", help=_("Enqueue a registered task."))
        verb.add_argument("task")
        verb.add_argument("--args", dest="arguments", help=_("JSON array."))
        verb.add_argument("--kwargs", help=_("JSON object."))
        self._add_wait(verb)
        for name in ("cancel", "again"):
            verb = verbs.add_parser(name)
            verb.add_argument("id", help=_("Id of a run, or its last eight characters."))
            verb.add_argument("--reason", default="")
        for name in ("pause", "resume"):
            verb = verbs.add_parser(name)
            verb.add_argument("kind", choices=["job", "queue"])
            verb.add_argument("name")
            verb.add_argument("--reason", default="")
        verb = verbs.add_parser("next", help=_("The next times of a job's schedule."))
        verb.add_argument("name")
        verb.add_argument("-n", type=int, default=5, dest="count")
        verb.add_argument("--json", action="store_true")
        verbs.add_parser("prune", help=_("Delete finished runs whose time is over."))
        verb = verbs.add_parser("watch", help=_("Show the status again and again until Ctrl-C."))
        verb.add_argument("--interval", type=float, default=2.0)
        verb = verbs.add_parser("roles", help=_("The groups viewer, operator and manager."))
        verb.add_argument("--create", action="store_true", required=True)

    def _add_wait(self, verb: CommandParser) -> None:
        verb.add_argument(
            "--wait", nargs="?", type=float, const=-1.0, metavar="SECONDS", help=_("Until it is finished.")
        )

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            getattr(self, f"do_{options['verb']}", self.do_list)(options)
        except (OperationalError, ProgrammingError) as error:
            first = str(error).strip().partition("\n")[0]
            raise CommandError(
                _(
                    "The database does not answer as expected (%(error)s). Is it there, and has `python manage.py migrate` been run?"
                )
                % {"error": first}
            ) from error

    def do_list(self, options: dict[str, Any]) -> None:
        name = options["verb"]
        if name == "runs":
            filters = {"status": options["status"], "job_name": options["job"], "queue": options["queue"]}
            rows: Any = reading.runs(filters, options["limit"])
        else:
            rows = getattr(reading, name)()
        if options["json"]:
            as_json(
                self.stdout,
                rows if name == "queues" else reading.objects(MODELS[name], rows, *(HEAVY if name == "runs" else ())),
            )
            return
        listing = reading.LISTINGS[name]
        table(self.stdout, str(listing.title), listing.heads, [listing.row(row) for row in rows], str(listing.empty))

    def do_status(self, options: dict[str, Any]) -> None:
        facts = reading.status()
        if options["json"]:
            as_json(self.stdout, facts)
            return
        self.stdout.write(_("hosts    %(hosts)s") % {"hosts": plain(", ".join(facts["hosts"])) or _("none")})
        self.stdout.write(
            _("runs     %(runs)s") % {"runs": ", ".join(f"{count} {state}" for state, count in facts["runs"].items())}
        )
        self.stdout.write(_("jobs     %(jobs)d") % {"jobs": facts["jobs"]})
        if facts["paused_queues"]:
            self.stdout.write(_("paused   %(names)s") % {"names": plain(", ".join(facts["paused_queues"]))})
        self._say_attention(facts["attention"])

    def _say_attention(self, sentences: list[str]) -> None:
        for sentence in sentences:
            self.stdout.write(self.style.WARNING(f"▲ {plain(sentence)}"))
        if not sentences:
            self.stdout.write(self.style.SUCCESS(_("✔ Nothing needs attention.")))

    def do_health(self, options: dict[str, Any]) -> None:
        sentences = attention()
        if options["json"]:
            as_json(self.stdout, {"ok": not sentences, "attention": sentences})
        else:
            self._say_attention(sentences)
        if sentences:
            raise SystemExit(1)

    def do_watch(self, options: dict[str, Any]) -> None:
        try:
            while True:
                if self.stdout.isatty():
                    self.stdout.write("\x1b[2J\x1b[H", ending="")
                self.do_status({"json": False})
                self.stdout.write("")
                self.do_list({"verb": "runs", "status": None, "job": None, "queue": None, "limit": 15, "json": False})
                time.sleep(max(options["interval"], 0.5))
        except KeyboardInterrupt:
            self.stdout.write("")

    def do_service(self, options: dict[str, Any]) -> None:
        count = acting.control_service(options["name"], options["act"])
        self.stdout.write(
            _("%(verb)s of %(name)s asked on %(count)d hosts.")
            % {"verb": options["act"], "name": options["name"], "count": count}
        )

    def do_run(self, options: dict[str, Any]) -> None:
        self._enqueued(acting.run_job(options["name"], options["kwargs"]), options)

    def do_enqueue(self, options: dict[str, Any]) -> None:
        self._enqueued(acting.enqueue_task(options["task"], options["arguments"], options["kwargs"]), options)

    def _enqueued(self, run: Run, options: dict[str, Any]) -> None:
        self.stdout.write(
            _("Run %(id)s of %(name)s is %(state)s.")
            % {"id": run.id, "name": run.job_name or run.task, "state": run.status}
        )
        if options["wait"] is None:
            return
        run = acting.wait_for(run, None if options["wait"] < 0 else options["wait"])
        if run.status != Run.Status.SUCCEEDED:
            raise CommandError(
                _("Run %(id)s %(state)s: %(why)s")
                % {"id": run.id, "state": run.status, "why": plain(run.error_summary or run.end_reason)}
            )
        self.stdout.write(_("It succeeded in %(seconds).2f s.") % {"seconds": run.duration or 0})

    def do_cancel(self, options: dict[str, Any]) -> None:
        run = acting.find_run(options["id"])
        if not run.cancel(reason=options["reason"]):
            raise CommandError(_("Run %(id)s is %(state)s already.") % {"id": run.id, "state": run.status})
        self.stdout.write(
            _("Run %(id)s: %(what)s.")
            % {"id": run.id, "what": _("cancelled") if run.is_finished else _("asked to end")}
        )

    def do_again(self, options: dict[str, Any]) -> None:
        old = acting.find_run(options["id"])
        self._enqueued(acting.told(old.again, reason=options["reason"]), {"wait": None})

    def do_pause(self, options: dict[str, Any]) -> None:
        acting.set_pause(options["kind"], options["name"], True, options["reason"])
        self.stdout.write(_("%(name)s is paused.") % {"name": options["name"]})

    def do_resume(self, options: dict[str, Any]) -> None:
        acting.set_pause(options["kind"], options["name"], False, "")
        self.stdout.write(_("%(name)s goes on.") % {"name": options["name"]})

    def do_next(self, options: dict[str, Any]) -> None:
        job, schedule, times = acting.next_times(options["name"], min(max(options["count"], 1), 1000))
        if options["json"]:
            as_json(
                self.stdout,
                [{"at": one.instant_utc, "local": one.local.isoformat(), "note": one.note} for one in times],
            )
            return
        self.stdout.write(f"{job.name}: {describe(schedule)}")
        rows = [
            (
                f"{one.local:%a %d %b %Y %H:%M:%S %Z}",
                f"{one.instant_utc:%Y-%m-%d %H:%M:%SZ}",
                ago(one.instant_utc),
                one.note,
            )
            for one in times
        ]
        table(self.stdout, "", (_("Local"), _("UTC"), _("When"), _("Note")), rows, _("It does not fire any more."))
        if not job.enabled:
            self.stdout.write(_("The job is paused: these times pass by."))

    def do_prune(self, options: dict[str, Any]) -> None:
        self.stdout.write(_("%(count)d runs deleted.") % {"count": acting.prune_history()})

    def do_roles(self, options: dict[str, Any]) -> None:
        self.stdout.write(_("Groups: %(names)s.") % {"names": ", ".join(acting.create_roles())})
