"""Own how a task's signature becomes a form, and the filled form arguments again."""

from __future__ import annotations

import datetime
import enum
import inspect
import types
import typing
import uuid
from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any

from django import forms
from django.contrib.admin import widgets
from django.core.exceptions import ValidationError
from django.utils.html import escape, format_html, format_html_join
from django.utils.module_loading import import_string
from django.utils.translation import gettext as _

from background import registry
from background.admin.fields import JSONField
from background.admin.redact import MASK, is_secret, redact, secrets_of, unmask
from background.admin.text import as_text, folded, visible
from background.compat import Task
from background.exceptions import BackgroundError
from background.jobs.policies import bind, json_ready

Parameter = inspect.Parameter
NOTHING = Parameter.empty
POSITIONAL = (Parameter.POSITIONAL_ONLY, Parameter.POSITIONAL_OR_KEYWORD)

# The field and the widget for each type that has one.
SIMPLE: dict[Any, tuple[type[forms.Field], type[forms.Widget]]] = {
    str: (forms.CharField, widgets.AdminTextInputWidget),
    int: (forms.IntegerField, widgets.AdminIntegerFieldWidget),
    float: (forms.FloatField, forms.NumberInput),
    Decimal: (forms.DecimalField, forms.NumberInput),
    datetime.date: (forms.DateField, widgets.AdminDateWidget),
    datetime.time: (forms.TimeField, widgets.AdminTimeWidget),
    datetime.datetime: (forms.DateTimeField, widgets.AdminTextInputWidget),
    uuid.UUID: (forms.UUIDField, widgets.AdminUUIDInputWidget),
}


def parameters(task: Task) -> list[Parameter]:
    """Return what the task's function takes, without the context, with annotations resolved where they can be."""
    found = list(inspect.signature(task.func).parameters.values())[1 if task.takes_context else 0 :]
    try:
        hints = typing.get_type_hints(task.func)
    except (NameError, TypeError, AttributeError, SyntaxError):
        hints = {}  # written for the type checker only
    return [one.replace(annotation=hints.get(one.name, one.annotation)) for one in found]


def named(task: Task, args: Sequence[Any], kwargs: Mapping[str, Any]) -> dict[str, Any]:
    """Return arguments by the names of their parameters; surplus positional ones under the name of `*args`, or as `args`."""
    rest, found = list(args), {}
    for one in parameters(task):
        if one.kind in POSITIONAL and rest:
            found[one.name] = rest.pop(0)
        elif one.kind is Parameter.VAR_POSITIONAL and rest:
            found[one.name], rest = rest, []
    return {**found, **({"args": rest} if rest else {}), **kwargs}


def masked(
    path: str, job_name: str, args: Sequence[Any], kwargs: Mapping[str, Any]
) -> tuple[list[Any], dict[str, Any]]:
    """Return stored arguments with the secret ones masked; all of them where the code that names the secrets is gone."""
    task = registry.tasks().get(path)
    if task is None:
        return [MASK for _one in args], dict.fromkeys(kwargs, MASK)
    secrets = secrets_of(path, job_name)
    names = [one.name for one in parameters(task) if one.kind in POSITIONAL]
    shown = [
        MASK if place < len(names) and is_secret(names[place], secrets) else redact(one, secrets)
        for place, one in enumerate(args)
    ]
    return shown, redact(dict(kwargs), secrets)


def shown_arguments(task: str, job_name: str, args: Any, kwargs: Any) -> Any:
    """Return arguments by name, with secrets masked; none where the code that names the secrets is gone."""
    known = registry.tasks().get(task)
    if known is None and (args or kwargs):
        return _("hidden: no installed app declares this task, so nobody knows which arguments are secret")
    values = redact(named(known, args, kwargs), secrets_of(task, job_name)) if known else {}
    if not values:
        return _("none")
    pairs = ((visible(name), folded(as_text(value))) for name, value in values.items())
    return format_html('<dl class="bg-arguments">{}</dl>', format_html_join("", "<dt>{}</dt><dd>{}</dd>", pairs))


def arguments_json(run: Any) -> str:
    """Return a run's arguments as JSON to be copied, with secrets masked; "" where there is nothing to show."""
    if run.task not in registry.tasks() or not (run.args or run.kwargs):
        return ""
    args, kwargs = masked(run.task, run.job_name, run.args, run.kwargs)
    return as_text({"args": args, "kwargs": kwargs} if args else kwargs)


class ArgumentsForm(forms.Form):
    """The arguments of one run, typed by the function's signature; fields of other names are not read.

    With `partial` those of a job, among the fields of its own: what is left empty is given when it is run.
    """

    def __init__(
        self,
        task: Task,
        args: Sequence[Any],
        kwargs: Mapping[str, Any],
        secrets: frozenset[str],
        data: Any = None,
        partial: bool = False,
    ) -> None:
        self.task, self.secrets, self.partial = task, secrets, partial
        self.parameters = {one.name: one for one in parameters(task)}
        self.stored = self._stored(args, kwargs)
        super().__init__(data, prefix=PREFIX if partial or RESERVED & set(self.parameters) else None)
        for one in self.parameters.values():
            self.fields[one.name] = self._field(one)
        for name, field in self.fields.items():
            shield(name, field, self.stored, secrets)

    def _stored(self, args: Sequence[Any], kwargs: Mapping[str, Any]) -> dict[str, Any]:
        found = named(self.task, args, kwargs)
        extra = {name: found.pop(name) for name in list(found) if name not in self.parameters}
        catch_all = next((one.name for one in self.parameters.values() if one.kind is Parameter.VAR_KEYWORD), None)
        if catch_all and extra:
            found[catch_all] = extra
        self.ignored = [] if catch_all else sorted(extra)
        return found

    def _field(self, one: Parameter) -> forms.Field:
        field = field_for(one, self.stored.get(one.name, NOTHING), self.partial)
        field.label = one.name
        if one.name in self.stored:
            field.initial = as_initial(field, redact(self.stored[one.name], self.secrets))
        elif one.default is not NOTHING:
            field.initial = as_initial(field, one.default)
        return field

    def clean(self) -> dict[str, Any]:
        found = super().clean() or self.cleaned_data
        if not self.errors:
            self.positional, self.keywords = checked(self.task, *self._bound(), bound=not self.partial)
        return found

    def _bound(self) -> tuple[list[Any], dict[str, Any]]:
        values = {one.name: value for one in self.parameters.values() if (value := self._value(one)) is not NOTHING}
        spread = any(one.kind is Parameter.VAR_POSITIONAL and values.get(one.name) for one in self.parameters.values())
        args: list[Any] = []
        kwargs: dict[str, Any] = {}
        for one in self.parameters.values():
            if one.name not in values:
                continue
            if one.kind is Parameter.VAR_POSITIONAL:
                args.extend(values[one.name] or [])
            elif one.kind is Parameter.VAR_KEYWORD:
                kwargs |= values[one.name] or {}
            elif one.kind is Parameter.POSITIONAL_ONLY or (spread and one.kind is Parameter.POSITIONAL_OR_KEYWORD):
                args.append(values[one.name])
            else:
                kwargs[one.name] = values[one.name]
        return args, kwargs

    def _value(self, one: Parameter) -> Any:
        """Return what to pass for a parameter; NOTHING where the function's own default shall count."""
        value = self.cleaned_data[one.name]
        if is_secret(one.name, self.secrets) and value in (None, "", False):
            return self.stored.get(one.name, NOTHING if one.default is not NOTHING or one.kind in CATCHING else value)
        if one.kind in CATCHING:
            wanted = list if one.kind is Parameter.VAR_POSITIONAL else dict
            if not isinstance(value, wanted | None):
                raise ValidationError(
                    {one.name: _("This must be a JSON list.") if wanted is list else _("This must be a JSON object.")}
                )
        elif self.partial and value in (None, "") and one.name not in self.stored:
            return NOTHING
        elif one.default is not NOTHING and one.name not in self.stored and one.name not in self.changed_data:
            return NOTHING
        elif self.partial and value is None and one.default is NOTHING and not is_optional(one.annotation):
            return NOTHING
        elif (
            value is None and one.default is not NOTHING and not is_optional(one.annotation) and one.default is not None
        ):
            return NOTHING
        return restored(one.name, as_json(value), self.stored.get(one.name))


class OwnArguments:
    """The form that `@job(form=…)` brings, in the same shape as `ArgumentsForm`."""

    def __new__(
        cls, task: Task, args: Sequence[Any], kwargs: Mapping[str, Any], secrets: frozenset[str], data: Any = None
    ) -> Any:
        given = task.form  # type: ignore[attr-defined]
        given = import_string(given) if isinstance(given, str) else given
        stored = named(task, args, kwargs)

        class Own(given):  # type: ignore[valid-type, misc]
            def clean(self) -> Any:
                found = super().clean() or self.cleaned_data
                if not self.errors:
                    values = {name: self._kept(name, value) for name, value in found.items()}
                    self.positional, self.keywords = checked(task, [], values)
                return found

            def _kept(self, name: str, value: Any) -> Any:
                if is_secret(name, secrets) and value in (None, "", False) and name in stored:
                    return stored[name]
                return restored(name, as_json(value), stored.get(name))

        prefix = PREFIX if RESERVED & set(given.base_fields) else None
        form = Own(data, initial={k: v for k, v in redact(stored, secrets).items() if v != MASK}, prefix=prefix)
        form.ignored = sorted(set(stored) - set(form.fields))
        for name, field in form.fields.items():
            shield(name, field, stored, secrets)
        return form


CATCHING = (Parameter.VAR_POSITIONAL, Parameter.VAR_KEYWORD)
# Names of the other fields on the same page.
RESERVED = {"reason", "when", "run_after", "zone", "queue", "csrfmiddlewaretoken", "key"}
PREFIX = "arg"


def arguments_form(
    task: Task, args: Sequence[Any], kwargs: Mapping[str, Any], secrets: frozenset[str], data: Any = None
) -> Any:
    """Return the form for a task's arguments; once valid, it has them as `positional` and `keywords`."""
    kind = OwnArguments if getattr(task, "form", None) else ArgumentsForm
    return kind(task, args, kwargs, secrets, data)


def checked(
    task: Task, args: list[Any], kwargs: dict[str, Any], bound: bool = True
) -> tuple[list[Any], dict[str, Any]]:
    """Return arguments as stored; ValidationError if they are not JSON, too large, or (if `bound`) do not fit the function."""
    try:
        args, kwargs = json_ready(args, task.module_path), json_ready(kwargs, task.module_path)
        if not bound:
            return args, kwargs
        bind(task.func, task.takes_context, args, kwargs, task.module_path)
    except BackgroundError as error:
        raise ValidationError(str(error)) from error
    return args, kwargs


def shield(name: str, field: forms.Field, stored: Mapping[str, Any], secrets: frozenset[str]) -> None:
    """Make the field of a secret show nothing, and keep what is stored unless something is typed."""
    if not is_secret(name, secrets):
        return
    field.initial = None
    field.widget = forms.PasswordInput(attrs={"autocomplete": "new-password", "class": "vTextField"})
    if name in stored:
        field.required = False
        field.help_text = _("The stored value is used unless you type a new one.")


def restored(name: str, value: Any, stored: Any) -> Any:
    try:
        return unmask(value, stored)
    except ValueError as error:
        raise ValidationError({name: _("“[hidden]” stands where nothing is stored: type the value.")}) from error


# Fields by type


def is_optional(annotation: Any) -> bool:
    return (
        type(None) in typing.get_args(annotation)
        if typing.get_origin(annotation) in (typing.Union, types.UnionType)
        else False
    )


def field_for(one: Parameter, stored: Any = NOTHING, partial: bool = False) -> forms.Field:
    """Return the empty field for a parameter, and for the value that is stored for it; with `partial` it may stay empty."""
    optional, kind = is_optional(one.annotation), one.annotation
    if optional:
        others = [arg for arg in typing.get_args(kind) if arg is not type(None)]
        kind = others[0] if len(others) == 1 else kind
    if kind is NOTHING and type(one.default) in (*SIMPLE, bool):
        kind = type(one.default)
    required = one.default is NOTHING and not optional and one.kind not in CATCHING and not partial
    if one.kind in CATCHING or isinstance(stored, (list, dict)):
        return json_field(one, required)
    if offers := offers_of(kind):
        return choice_field(offers, required)
    if kind is bool:
        if optional:
            return choice_field([("true", _("yes"), True), ("false", _("no"), False)], False)
        return forms.BooleanField(required=False)
    if kind in SIMPLE:
        field, widget = SIMPLE[kind]
        extra = {"empty_value": None} if kind is str and optional else {"strip": False} if kind is str else {}
        return field(required=required and stored != "", widget=widget, **extra)
    return json_field(one, required)


def json_field(one: Parameter, required: bool) -> forms.Field:
    hint = "" if one.annotation is NOTHING else f" ({inspect.formatannotation(one.annotation)})"
    form = _("JSON list") if one.kind is Parameter.VAR_POSITIONAL else _("JSON")
    form = _("JSON object") if one.kind is Parameter.VAR_KEYWORD else form
    return JSONField(
        required=required,
        widget=widgets.AdminTextareaWidget(attrs={"rows": 3}),
        help_text=escape(visible(form + hint)),  # Django's fieldset prints it unescaped
    )


def offers_of(kind: Any) -> list[tuple[str, str, Any]]:
    """Return the values of a Literal or an Enum, each with its key in the form and its word for people."""
    if isinstance(kind, type) and issubclass(kind, enum.Enum):
        return [(str(one.value), str(getattr(one, "label", one.name)), one) for one in kind]
    if typing.get_origin(kind) is not typing.Literal:
        return []
    values = [one.value if isinstance(one, enum.Enum) else one for one in typing.get_args(kind)]
    plain = len({str(one) for one in values}) == len(values)
    return [(str(one) if plain else repr(one), str(one), one) for one in values]


def choice_field(offers: list[tuple[str, str, Any]], required: bool) -> forms.Field:
    required = required and all(value is not None for _key, _word, value in offers)
    offers = [one for one in offers if one[2] is not None]
    by_key = {key: value for key, _word, value in offers}

    def coerce(key: str) -> Any:
        if key not in by_key:
            raise ValueError(key)
        return by_key[key]

    field = forms.TypedChoiceField(
        choices=[*([] if required else [("", "---------")]), *((key, visible(word)) for key, word, _value in offers)],
        coerce=coerce,
        empty_value=None,
        required=required,
    )
    field.by_key = by_key  # type: ignore[attr-defined]
    return field


def as_initial(field: forms.Field, value: Any) -> Any:
    """Return what a field shows for a value."""
    by_key = getattr(field, "by_key", None)
    if by_key is None:
        return None if value is None else value.value if isinstance(value, enum.Enum) else value
    plain = as_json(value)
    return next(
        (key for key, one in by_key.items() if as_json(one) == plain and type(as_json(one)) is type(plain)), None
    )


def as_json(value: Any) -> Any:
    """Return a form's value as JSON data: dates in ISO 8601, decimals and ids as text, members by their value."""
    if isinstance(value, enum.Enum):
        return as_json(value.value)
    if isinstance(value, (datetime.date, datetime.time)):
        return value.isoformat()
    if isinstance(value, (Decimal, uuid.UUID)):
        return str(value)
    if isinstance(value, (list, tuple, set)):
        return [as_json(one) for one in value]
    if isinstance(value, dict):
        return {str(key): as_json(one) for key, one in value.items()}
    return value
