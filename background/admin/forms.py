"""Own the forms by which people ask for something, apart from a run's arguments and from a job's row."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from datetime import datetime
from functools import cache
from typing import Any

from django import forms
from django.contrib.admin.widgets import AdminTextInputWidget
from django.core.exceptions import ValidationError
from django.utils import timezone
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from background.admin.arguments import as_json, masked
from background.admin.fields import LongSelect
from background.admin.text import as_text, cut, visible
from background.models import Job
from background.timing.zones import zone_names


def zone_choices() -> list[tuple[str, str]]:
    """Return the time zones that the scheduler accepts, the site's first."""
    site = _("the site's (%(zone)s)") % {"zone": timezone.get_default_timezone_name()}
    return [("", site), *((one, one) for one in _zones())]


@cache
def _zones() -> list[str]:
    return sorted(zone_names())


class ReasonForm(forms.Form):
    """Why a person asks for something."""

    reason = forms.CharField(
        label=gettext_lazy("Reason"),
        max_length=300,
        required=False,
        widget=AdminTextInputWidget,
        help_text=gettext_lazy("Kept in the history."),
    )


class RequestForm(ReasonForm):
    """When and where a run shall start, and why."""

    NOW, LATER = "now", "at"

    when = forms.ChoiceField(
        label=gettext_lazy("When"),
        required=False,
        initial=NOW,
        choices=[(NOW, gettext_lazy("now")), (LATER, gettext_lazy("at the time below"))],
        widget=forms.RadioSelect,
    )
    run_after = forms.CharField(
        label=gettext_lazy("At"),
        required=False,
        max_length=40,
        widget=AdminTextInputWidget(attrs={"placeholder": "YYYY-MM-DD HH:MM"}),
    )
    zone = forms.ChoiceField(
        label=gettext_lazy("Time zone"),
        required=False,
        choices=zone_choices,
        widget=LongSelect,
        help_text=gettext_lazy("In which the time above is meant."),
    )
    queue = forms.ChoiceField(label=gettext_lazy("Queue"), required=False)
    field_order = ["when", "run_after", "zone", "queue", "reason"]

    def __init__(self, queue: str, queues: Iterable[str], *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.queues = {visible(name): name for name in sorted({queue, *queues})}
        self.fields["queue"].choices = [(shown, shown) for shown in self.queues]  # type: ignore[attr-defined]
        self.fields["queue"].initial = visible(queue)
        zone = timezone.get_current_timezone_name()
        self.fields["zone"].initial = zone if zone != timezone.get_default_timezone_name() else ""

    def clean_queue(self):
        return self.queues.get(self.cleaned_data["queue"], "")

    def clean(self):
        data = super().clean() or self.cleaned_data
        if data.get("when") != self.LATER and not (data.get("run_after") and not data.get("when")):
            data["run_after"] = None
        elif {"run_after", "zone"} <= set(data):
            data["run_after"] = self._instant(data["run_after"], data["zone"])
        return data

    def _instant(self, text: str, zone: str) -> datetime | None:
        if not text:
            self.add_error("run_after", _("Say when, or choose “now”."))
            return None
        try:
            with timezone.override(zone or timezone.get_default_timezone_name()):
                instant = forms.DateTimeField().to_python(text)
        except ValidationError as error:
            self.add_error("run_after", error)
            return None
        if instant and instant < timezone.now():
            self.add_error("run_after", _("This time is over; choose “now”."))
        return instant


class ResetForm(ReasonForm):
    """Which overrides are given back to the code."""

    names = forms.MultipleChoiceField(label=gettext_lazy("Fields"), widget=forms.CheckboxSelectMultiple)
    field_order = ["names", "reason"]

    def __init__(self, job: Job, with_arguments: bool, *args: Any, chosen: Collection[str] = (), **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["names"].choices = [(name, change_of(job, name, with_arguments)) for name in job.overrides]  # type: ignore[attr-defined]
        self.fields["names"].initial = [name for name in job.overrides if not chosen or name in chosen]


def change_of(job: Job, name: str, with_arguments: bool) -> str:
    """Return a field, its value and what it becomes when it is given back."""
    label = str(getattr(Job._meta.get_field(name), "verbose_name", name))
    if name in ("args", "kwargs") and not with_arguments:
        return label
    return f"{label}: {shown_value(job, name, getattr(job, name))} → {declared_value(job, name)}"


def shown_value(job: Job, name: str, value: Any) -> str:
    """Return a field's value as it may be shown."""
    if name == "args":
        value = masked(job.task, job.name, value or [], {})[0]
    elif name == "kwargs":
        value = masked(job.task, job.name, [], value or {})[1]
    return _("none") if value in (None, "") else cut(as_text(as_json(value)), 200)


def declared_value(job: Job, name: str) -> str:
    return shown_value(job, name, (job.defaults or {}).get(name))
