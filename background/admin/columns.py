"""Own the columns of a list of runs."""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.utils import formats, timezone
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.translation import gettext_lazy, pgettext_lazy

from background.admin import story
from background.admin.text import cut, duration, state, visible, when
from background.models import Run

# get_status_display() makes such a mapping for each call.
STATES, TRIGGERS = dict(Run.Status.choices), dict(Run.Trigger.choices)


def state_label(run: Run) -> str:
    """Return a run's state with how far it is, or which attempt it is at."""
    label = str(STATES.get(run.status, run.status))
    if run.status == Run.Status.RUNNING and run.progress_done is not None and run.progress_total:
        return f"{label} {min(run.progress_done / run.progress_total, 1):.0%}"
    if run.attempt > 1 or (run.status == Run.Status.FAILED and run.max_attempts > 1):
        return f"{label} {run.attempt}/{run.max_attempts}"
    return label


@admin.display(description=pgettext_lazy("noun", "Run"))
def name(run: Run) -> str:
    return f"#{run.short_id}"


@admin.display(description=gettext_lazy("State"))
def shown_state(run: Any) -> SafeString:
    """Return the state and, for a run that waits, the sentence that says why (the list brings it)."""
    shown = state(run.status, state_label(run))
    if not getattr(run, "why", ""):
        return format_html('<span id="bg-state-{}">{}</span>', run.pk, shown)
    return format_html(
        '<span id="bg-state-{}">{} <span class="bg-quiet bg-why-line"><span aria-hidden="true">ℹ</span> {}</span></span>',
        run.pk, shown, run.why,
    )  # fmt: skip


@admin.display(description=gettext_lazy("Job"))
def shown_job(run: Run) -> str:
    return cut(run.job_name or run.task, 80)


@admin.display(description=gettext_lazy("Trigger"))
def shown_trigger(run: Run) -> str:
    trigger = str(TRIGGERS.get(run.trigger, run.trigger))
    if not run.scheduled_for:
        return trigger
    nominal = timezone.localtime(run.scheduled_for)
    same_day = nominal.date() == timezone.localtime(run.enqueued_at).date()
    return f"{trigger} {formats.date_format(nominal, 'H:i' if same_day else 'Y-m-d H:i')}"


@admin.display(description=gettext_lazy("Queue"))
def shown_queue(run: Run) -> str:
    return cut(run.queue, 40)


@admin.display(description=gettext_lazy("Host"), empty_value="–")
def shown_host(run: Run) -> str:
    return cut(run.host_name, 60)


@admin.display(description=gettext_lazy("Queued"))
def queued(run: Run) -> Any:
    return when(run.enqueued_at)


@admin.display(description=gettext_lazy("Waited"))
def waited(run: Run) -> SafeString:
    return format_html('<span id="bg-waited-{}">{}</span>', run.pk, duration(story.waited(run)))


@admin.display(description=gettext_lazy("Took"))
def took(run: Run) -> SafeString:
    return format_html('<span id="bg-took-{}">{}</span>', run.pk, duration(story.took(run)))


@admin.display(description=gettext_lazy("By"), empty_value="–")
def by(run: Run) -> str:
    return visible(run.triggered_by_name)


COLUMNS = (name, shown_state, shown_job, shown_trigger, shown_queue, shown_host, queued, waited, took, by)
