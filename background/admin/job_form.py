"""Own the form of a job's row: typed arguments, what the code says beside what is in force, timing that the scheduler can read."""

from __future__ import annotations

from typing import Any

from django import forms
from django.contrib.admin.widgets import AdminTextareaWidget, AdminTextInputWidget
from django.core.exceptions import ValidationError
from django.utils import timezone
from django.utils.html import format_html
from django.utils.http import urlencode
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from background import registry
from background.admin.arguments import PREFIX, ArgumentsForm, masked, parameters
from background.admin.fields import JSONField, LongSelect
from background.admin.forms import declared_value, zone_choices
from background.admin.permissions import may_touch
from background.admin.redact import secrets_of, unmask
from background.admin.text import visible
from background.compat import Task
from background.exceptions import BackgroundError, InvalidArguments, InvalidPolicy, InvalidSchedule
from background.jobs.policies import bind, json_ready, retention_text
from background.models import Job
from background.timing import Backoff, parse

# What a person may type as a schedule; code may write longer ones.
LONGEST_SCHEDULE = 120
# Fields that cannot be empty: of a declared job, empty means the code's value.
FILLED = ("queue", "priority", "max_attempts", "jitter", "misfire_grace", "misfire_limit")


def typed_task(job: Job | None) -> Task | None:
    """Return the job's task if its arguments can be typed one by one; None where they are JSON only."""
    task = registry.tasks().get(job.task) if job is not None else None
    return None if task is None or getattr(task, "form", None) else task


def typed_names(job: Job | None) -> list[str]:
    """Return the names under which the job's form has the arguments of its task."""
    task = typed_task(job)
    return [f"{PREFIX}-{one.name}" for one in parameters(task)] if task else []


def in_lines(names: list[str], job: Job | None) -> list[Any]:
    """Return the names three to a line where their fields are short; those of JSON have a line of their own."""
    lines: list[list[str]] = []
    form = ArgumentsForm(typed_task(job), job.args, job.kwargs, frozenset(), partial=True) if job else None  # type: ignore[arg-type]
    wide = (
        {form.add_prefix(name) for name, field in form.fields.items() if isinstance(field, JSONField)}
        if form
        else set()
    )
    for name in names:
        if not lines or len(lines[-1]) == 3 or {name, lines[-1][0]} & wide:
            lines.append([name])
        else:
            lines[-1].append(name)
    return [tuple(line) for line in lines]


def check_schedule(text: str, zone: str, stored: str = "") -> Any:
    """Return the schedule that a person has typed. Raises InvalidSchedule; what is stored may be longer."""
    if len(text) > LONGEST_SCHEDULE and text != stored:
        raise InvalidSchedule(_("At most %(most)d characters.") % {"most": LONGEST_SCHEDULE})
    return parse(text, zone or None)


class JobForm(forms.ModelForm):
    """A job as its row: what runs comes from the registry, when it runs from the scheduler's own parser."""

    user: Any = None  # set by the admin on the class made for a request, as is the next
    reset_url = ""

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
        widget=LongSelect,
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
        # Fields that the class declares are part of a form also where its fieldsets leave them out: what is not shown would
        # be read as emptied.
        for name in set(self.fields) - set(self._meta.fields or ()):
            del self.fields[name]
        if "task" in self.fields:
            known = [path for path in sorted(registry.tasks()) if self.user is None or may_touch(self.user, path)]
            self.fields["task"].choices = [("", "---------"), *((path, path) for path in known)]  # type: ignore[attr-defined]
        self.initial = {**self.initial}
        self.initial |= {name: visible(value) for name, value in self.initial.items() if isinstance(value, str)}
        shown = dict(zip(("args", "kwargs"), masked(job.task, job.name, job.args, job.kwargs), strict=True))
        self.initial |= {name: value for name, value in shown.items() if name in self.fields}
        self.typed = self._typed() if "kwargs" in self.fields else None
        self._show_the_code()
        self._name_the_parts()

    def _name_the_parts(self) -> None:
        # Django's two fields of one instant have a label together, but none of their own to be read out.
        for name in ("starts_at", "ends_at"):
            if name in self.fields:
                parts = getattr(self.fields[name].widget, "widgets", ())  # none outside the admin
                for part, word in zip(parts, (_("date"), _("time")), strict=False):
                    part.attrs["aria-label"] = f"{self.fields[name].label}: {word}"

    def _typed(self) -> ArgumentsForm | None:
        job = self.instance
        task = typed_task(job if job.pk else None)
        if task is None:
            return None
        secrets = secrets_of(job.task, job.name)
        data = self.data if self.is_bound else None
        form = ArgumentsForm(task, job.args, job.kwargs, secrets, data, partial=True)
        # Shown and read among the fields of the job; what they mean is the other form's business.
        self.fields.update({form.add_prefix(name): field for name, field in form.fields.items()})
        return form

    def _show_the_code(self) -> None:
        """Say beside each field of a declared job what the code says, and offer to go back to it."""
        job = self.instance
        overrides = job.overrides if job.pk else {}
        for name in (job.defaults or {}) if job.pk else ():
            if (field := self.fields.get(name)) is None:
                continue
            if name in FILLED:
                field.required = False
                field.widget.attrs["placeholder"] = declared_value(job, name)
            if name not in overrides:
                field.widget.attrs["class"] = f"{field.widget.attrs.get('class', '')} bg-inherited".strip()
                continue
            said = _("Overridden; the code says: %(value)s.") % {"value": declared_value(job, name)}
            # Django's fieldset prints help texts without escaping: format_html escapes here.
            field.help_text = format_html(
                '{} <span class="bg-override"><span aria-hidden="true">✎</span> <strong>{}</strong> <a href="{}?{}">{}</a></span>',
                field.help_text, said, self.reset_url, urlencode({"names": name}), _("reset"),
            )  # fmt: skip

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
        self._fill()
        self._check_schedule()
        self._take_typed()
        self._check_arguments()
        return found

    def _fill(self) -> None:
        """Take the code's value for what was emptied and cannot be empty."""
        defaults = self.instance.defaults or {}
        for name in FILLED:
            if name in defaults and self.cleaned_data.get(name, 0) in (None, ""):
                self.cleaned_data[name] = defaults[name]

    @property
    def typed_changes(self) -> bool:
        return self.typed is not None and self.typed.has_changed()

    @property
    def edited(self) -> list[str]:
        """The columns that a person has changed."""
        names = [name for name in self.changed_data if name in JobForm.Meta.fields]
        return [*names, *(["args", "kwargs"] if self.typed_changes else [])]

    def _take_typed(self) -> None:
        """Take the arguments from the fields of their own, unless it was the JSON that was changed."""
        if self.typed is None or not self.typed_changes:
            return
        if {"args", "kwargs"} & set(self.changed_data):
            self.add_error(
                "kwargs", _("The arguments were changed here and in the fields above: change one of the two only.")
            )
            return
        if self.typed.is_valid():
            self.cleaned_data["args"], self.cleaned_data["kwargs"] = self.typed.positional, self.typed.keywords
            return
        for name, errors in self.typed.errors.items():
            place = None if name == "__all__" else self.typed.add_prefix(name)
            if place not in self.errors:
                self.add_error(place, errors.as_data())

    def _check_schedule(self) -> None:
        data, job = self.cleaned_data, self.instance
        text = data.get("schedule", "")
        if data.get("starts_at") and data.get("ends_at") and data["starts_at"] >= data["ends_at"]:
            self.add_error("ends_at", _("The end must lie after the start."))
        if not text or "timezone" not in data:
            return
        try:
            schedule = check_schedule(text, data["timezone"], job.schedule)
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
