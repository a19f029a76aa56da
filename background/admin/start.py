"""Own the page from which a person starts a run: run now, and run again."""

from __future__ import annotations

import secrets
from dataclasses import dataclass, field
from typing import Any

from django.contrib import messages
from django.db import transaction
from django.http import HttpResponseNotAllowed
from django.utils import timezone
from django.utils.crypto import salted_hmac
from django.utils.http import urlencode
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from background import registry
from background.admin.arguments import arguments_form
from background.admin.forms import RequestForm
from background.admin.permissions import ARGUMENTS
from background.admin.redact import secrets_of
from background.admin.text import Shown, visible
from background.admin.verdict import WARNS, verdict
from background.exceptions import BackgroundError, TaskNotFound
from background.models import Job, Queue, Run
from background.queue.enqueue import enqueue
from background.scope import database_alias

TWICE = gettext_lazy("This form had made run %(run)s already; no second one was made.")
UNIQUE = gettext_lazy("Run %(run)s with the same unique key is open; no second one was made.")
KEPT = gettext_lazy("It gets the stored arguments; to see and change them needs “Can view run arguments and results”.")
SURPLUS = gettext_lazy("The function does not take these stored arguments any more: %(names)s.")


@dataclass(frozen=True)
class Order:
    """What is to be run, before a person has had a say."""

    task: str
    args: list[Any]
    kwargs: dict[str, Any]
    job: Job | None
    job_name: str
    queue: str
    label: Any
    fields: dict[str, Any] = field(default_factory=dict)  # further columns of the run


def new_key() -> str:
    """Return a key for a form's address: one address makes one run."""
    return secrets.token_urlsafe(12)


def start_view(admin: Any, request: Any, obj: Any, order: Order, refusal: str) -> Any:
    """Show the typed form on GET; enqueue on POST and go to the run's page."""
    if request.method not in ("GET", "HEAD", "POST"):
        return HttpResponseNotAllowed(["GET", "HEAD", "POST"])
    if request.method == "POST" and refusal:
        return admin.done(request, obj, refusal, messages.WARNING)
    key, forms = request.GET.get("key", "")[:64], []
    if not refusal:
        forms = _forms(request, order)
    if request.method == "POST":
        existing = _made_before(request, obj, key)
        if existing:
            return _arrive(admin, request, obj, existing, TWICE, messages.WARNING)
        valid = [form.is_valid() for form in forms]  # each, so that all errors are shown at once
        if all(valid) and (answer := _start(admin, request, obj, order, forms, key)):
            return answer
    context = {
        "title": _("%(verb)s: %(what)s") % {"verb": order.label, "what": visible(obj)},
        "lines": _lines(order, forms),
        "refusal": refusal,
        "forms": forms,
        "button": order.label,
        "action": f"?{urlencode({'key': key or new_key()})}",
    }
    return admin.ask(request, obj, context)


def _forms(request: Any, order: Order) -> list[Any]:
    data = request.POST if request.method == "POST" else None
    forms: list[Any] = [RequestForm(order.queue, known_queues(), data)]
    if request.user.has_perm(ARGUMENTS):
        task = _declared(order)
        forms.insert(0, arguments_form(task, order.args, order.kwargs, secrets_of(order.task, order.job_name), data))
    return forms


def known_queues() -> set[str]:
    """Return the queues that have a row or that a job names. Blocks for two queries."""
    rows = Queue.objects.using(database_alias()).named().values_list("name", flat=True)
    jobs = Job.objects.using(database_alias()).order_by().values_list("queue", flat=True).distinct()
    return {*rows, *jobs}


def _declared(order: Order) -> Any:
    """Return the task with the policies of its job, which may bring a form of its own."""
    declared = registry.jobs().get(order.job_name)
    return declared.task if declared and declared.task.module_path == order.task else registry.task(order.task)


def request_key(request: Any, obj: Any, key: str) -> str | None:
    """Return what makes a form of this address make one run only."""
    if not key:
        return None
    # Bound to person and record: a key out of someone else's address means nothing here.
    value = f"{request.user.pk}:{obj._meta.label}:{obj.pk}:{key}"
    return salted_hmac("background.request_key", value, algorithm="sha256").hexdigest()


def _made_before(request: Any, obj: Any, key: str) -> Run | None:
    wanted = request_key(request, obj, key)
    return Run.objects.using(database_alias()).light().filter(request_key=wanted).first() if wanted else None


def _start(admin: Any, request: Any, obj: Any, order: Order, forms: list[Any], key: str) -> Any:
    asked = forms[-1].cleaned_data
    args, kwargs = (forms[0].positional, forms[0].keywords) if len(forms) > 1 else (order.args, order.kwargs)
    fields = {**order.fields, **{name: asked[name] for name in ("run_after", "queue") if asked[name]}}
    wanted, began = request_key(request, obj, key), timezone.now()
    try:
        with transaction.atomic(using=database_alias()):
            run = enqueue(
                registry.task(order.task), args, kwargs, job=order.job, user=request.user, request_key=wanted,
                trigger=Run.Trigger.MANUAL, reason=asked["reason"], **fields,
            )  # fmt: skip
            made = run.enqueued_at >= began
            if made:
                admin.note(request, obj, order.label, asked["reason"], _("run %(run)s") % {"run": run.pk})
                admin.log_addition(request, Shown(run), visible(_("by %(verb)s") % {"verb": order.label}))
    except (BackgroundError, TaskNotFound) as error:
        forms[0].add_error(None, visible(error))
        return None
    if not made:
        return _arrive(
            admin,
            request,
            obj,
            run,
            UNIQUE,
            messages.WARNING,
        )
    said = _("Run %(run)s is scheduled.") if run.status == Run.Status.SCHEDULED else _("Run %(run)s is queued.")
    return _arrive(admin, request, obj, run, said)


def _arrive(admin: Any, request: Any, obj: Any, run: Run, said: Any, level: int = messages.SUCCESS) -> Any:
    to = admin.url("change", run.pk, model="run") if request.user.has_perm("background.view_run") else ""
    return admin.done(request, obj, said % {"run": f"#{run.short_id}"}, level, to)


def _lines(order: Order, forms: list[Any]) -> list[str]:
    """Return sentences about what a click will lead to."""
    if not forms:
        return []
    queue = forms[-1].queues.get(forms[-1]["queue"].value(), order.queue)
    lines = verdict(order.task, queue, order.job)
    if len(forms) == 1:
        lines.append(str(KEPT))
    elif forms[0].ignored:
        lines.append(WARNS + SURPLUS % {"names": visible(", ".join(forms[0].ignored))})
    return lines
