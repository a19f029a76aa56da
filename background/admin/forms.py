"""Own the forms about jobs and runs, apart from their arguments."""

from __future__ import annotations

from typing import Any
from zoneinfo import available_timezones

from django import forms
from django.contrib.admin.widgets import AdminTextareaWidget, AdminTextInputWidget
from django.core.exceptions import ValidationError
from django.utils import timezone
from django.utils.html import format_html
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from background import registry
from background.admin.arguments import as_json, masked
from background.admin.fields import JSONField
from background.admin.permissions import may_touch
from background.admin.redact import unmask
from background.admin.text import as_text, cut, visible
from background.exceptions import BackgroundError, InvalidArguments, InvalidPolicy, InvalidSchedule
from background.jobs.policies import bind, json_ready, retention_text
from background.models import Job
from background.timing import Backoff, check_zone, parse

# What a person may type as a schedule; code may write longer ones.
LONGEST_SCHEDULE = 120


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
    """When a run shall start, and why."""

    run_after = forms.DateTimeField(
        label=gettext_lazy("Not before"),
        required=False,
        widget=AdminTextInputWidget(attrs={"placeholder": "YYYY-MM-DD HH:MM"}),
    )

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["run_after"].help_text = _("Empty: now. Time zone: %(zone)s.") % {
            "zone": timezone.get_current_timezone_name()
        }

    def clean_run_after(self):
        value = self.cleaned_data["run_after"]
        if value and value < timezone.now():
            raise ValidationError(_("This time is over; leave it empty to run now."))
        return value


class ResetForm(ReasonForm):
    """Which overrides are given back to the code."""

    names = forms.MultipleChoiceField(label=gettext_lazy("Fields"), widget=forms.CheckboxSelectMultiple)
    field_order = ["names", "reason"]

    def __init__(self, job: Job, with_arguments: bool, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["names"].choices = [(name, change_of(job, name, with_arguments)) for name in job.overrides]  # type: ignore[attr-defined]
        self.fields["names"].initial = list(job.overrides)


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


def zone_choices() -> list[tuple[str, str]]:
    """Return the time zones that the scheduler accepts."""
    return [
        ("", _("the site's (%(zone)s)") % {"zone": timezone.get_default_timezone_name()}),
        *((one, one) for one in _zones()),
    ]


def _zones() -> list[str]:
    names = []
    for name in sorted(available_timezones()):
        try:
            check_zone(name)
        except InvalidSchedule:
            continue
        names.append(name)
    return names


class JobForm(forms.ModelForm):
    """A job as its row: what runs comes from the registry, when it runs from the scheduler's own parser."""

    user: Any = None  # set by the admin on the class made for a request

    task = forms.ChoiceField(label=gettext_lazy("Task"))
    schedule = forms.CharField(
        label=gettext_lazy("Schedule"),
        required=False,
        widget=AdminTextInputWidget,
        help_text=Job._meta.get_field("schedule").help_text,
    )
    timezone = forms.ChoiceField(
        label=gettext_lazy("Time zone"),
        required=False,
        choices=zone_choices,
        help_text=Job._meta.get_field("timezone").help_text,
    )
    args = JSONField(
        label=gettext_lazy("Positional arguments"),
        required=False,
        widget=AdminTextareaWidget(attrs={"rows": 3}),
        help_text=gettext_lazy("JSON list."),
    )
    kwargs = JSONField(
        label=gettext_lazy("Keyword arguments"),
        required=False,
        widget=AdminTextareaWidget(attrs={"rows": 6}),
        help_text=gettext_lazy("JSON object. Secret values are shown as “[hidden]”; leave that as it is to keep them."),
    )
    backoff = JSONField(
        label=gettext_lazy("Backoff"),
        required=False,
        widget=AdminTextareaWidget(attrs={"rows": 2}),
        help_text=Job._meta.get_field("backoff").help_text,
    )

    class Meta:
        model = Job
        fields = [
            "name", "task", "args", "kwargs", "schedule", "timezone", "enabled", "starts_at", "ends_at", "jitter", "overlap", "misfire",
            "misfire_grace", "misfire_limit", "queue", "priority", "max_attempts", "backoff", "timeout", "executor", "concurrency",
            "on_lost", "retain",
        ]  # fmt: skip

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        job = self.instance
        if "task" in self.fields:
            known = [path for path in sorted(registry.tasks()) if self.user is None or may_touch(self.user, path)]
            self.fields["task"].choices = [("", "---------"), *((path, path) for path in known)]  # type: ignore[attr-defined]
        self.initial = {**self.initial}
        self.initial |= {name: visible(value) for name, value in self.initial.items() if isinstance(value, str)}
        shown = dict(zip(("args", "kwargs"), masked(job.task, job.name, job.args, job.kwargs), strict=True))
        self.initial |= {name: value for name, value in shown.items() if name in self.fields}
        for name in job.overrides if job.pk else ():
            if name in self.fields:
                field = self.fields[name]
                # Django's fieldset prints help texts without escaping: format_html escapes here.
                field.help_text = format_html(
                    '{} <strong class="bg-override">{}</strong>',
                    field.help_text,
                    _("Overridden; the code says: %(value)s.") % {"value": declared_value(job, name)},
                )

    def clean_name(self):
        return self._plain("name")

    def clean_queue(self):
        return self._plain("queue")

    def _plain(self, name: str) -> str:
        value = self.cleaned_data[name]
        if visible(value) != value:
            raise ValidationError(
                _("It holds characters that cannot be seen: %(text)s"), params={"text": visible(value)}
            )
        return value

    def clean_task(self):
        path = self.cleaned_data["task"]
        if path not in registry.tasks():
            raise ValidationError(_("No installed app declares this task."))
        return path

    def clean_args(self):
        return self._arguments("args", list, _("This must be a JSON list."))

    def clean_kwargs(self):
        return self._arguments("kwargs", dict, _("This must be a JSON object."))

    def _arguments(self, name: str, kind: type, complaint: str) -> Any:
        value = self.cleaned_data[name]
        if value is None:
            return kind()
        if not isinstance(value, kind):
            raise ValidationError(complaint)
        try:
            return json_ready(unmask(value, getattr(self.instance, name)), self.instance.name or _("the job"))
        except InvalidArguments as error:
            raise ValidationError(str(error)) from error
        except ValueError as error:
            raise ValidationError(_("“[hidden]” stands where nothing is stored: type the value.")) from error

    def clean_backoff(self):
        value = self.cleaned_data["backoff"]
        if value in (None, ""):
            return None
        try:
            return Backoff.from_dict(value).as_dict()
        except (ValueError, TypeError) as error:
            raise ValidationError(str(error)) from error

    def clean_retain(self):
        try:
            return retention_text(self.cleaned_data["retain"])
        except InvalidPolicy as error:
            raise ValidationError(_("Days (30) or a number of runs (100 runs).")) from error

    def clean(self):
        found = super().clean()
        self._check_schedule()
        self._check_arguments()
        return found

    def _check_schedule(self) -> None:
        data, job = self.cleaned_data, self.instance
        text = data.get("schedule", "")
        if data.get("starts_at") and data.get("ends_at") and data["starts_at"] >= data["ends_at"]:
            self.add_error("ends_at", _("The end must lie after the start."))
        if not text or "timezone" not in data:
            return
        if len(text) > LONGEST_SCHEDULE and text != job.schedule:
            self.add_error("schedule", _("At most %(most)d characters.") % {"most": LONGEST_SCHEDULE})
            return
        try:
            schedule = parse(text, data["timezone"] or None)
        except InvalidSchedule as error:
            self.add_error("schedule", str(error))
            return
        if text != job.schedule and schedule.next(timezone.now()) is None:
            self.add_error("schedule", _("Its time is over: it would never run."))

    def _check_arguments(self) -> None:
        """Refuse arguments that the function would not take; what has no schedule may get the rest when it is run."""
        data, job = self.cleaned_data, self.instance
        task = registry.tasks().get(data.get("task") or job.task)
        if task is None or "kwargs" not in data or not data.get("schedule"):
            return
        try:
            bind(task.func, task.takes_context, data.get("args", []), data["kwargs"], task.module_path)
        except BackgroundError as error:
            self.add_error("kwargs", str(error))
