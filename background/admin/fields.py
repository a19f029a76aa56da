"""Own the form field of our own: JSON, bounded; and a choice among hundreds."""

from __future__ import annotations

import json
from typing import Any

from django import forms
from django.core.exceptions import ValidationError
from django.forms.fields import InvalidJSONInput
from django.forms.utils import flatatt
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString
from django.utils.translation import gettext as _

from background.admin.text import typeable
from background.jobs.policies import MAX_ARGUMENTS


class JSONField(forms.JSONField):
    """JSON of at most 64 KB, for which no text is an error of the server."""

    def to_python(self, value: Any) -> Any:
        if isinstance(value, str) and len(value) > MAX_ARGUMENTS:
            raise ValidationError(_("At most %(most)d characters of JSON.") % {"most": MAX_ARGUMENTS})
        try:
            return super().to_python(value)
        except (ValueError, RecursionError) as error:
            # Numbers of more than 4,300 digits, and nesting beyond the stack.
            raise ValidationError(_("This JSON holds a number too long or is nested too deeply.")) from error

    def bound_data(self, data: Any, initial: Any) -> Any:
        try:
            return super().bound_data(data, initial)
        except (ValueError, RecursionError):
            return InvalidJSONInput(data)

    def prepare_value(self, value: Any) -> Any:
        if value is None or isinstance(value, InvalidJSONInput):
            return value or ""
        return typeable(json.dumps(value, ensure_ascii=False, indent=2 if isinstance(value, dict) else None))


class LongSelect(forms.Select):
    """A choice among hundreds: Django fills a template for each of them, which takes most of a page's time."""

    def render(self, name: str, value: Any, attrs: dict[str, Any] | None = None, renderer: Any = None) -> SafeString:
        chosen = self.format_value(value)
        facts = ((one, " selected" if str(one) in chosen else "", label) for one, label in self.choices)
        options = format_html_join("", '<option value="{}"{}>{}</option>', facts)
        return format_html(
            "<select{}>{}</select>", flatatt(self.build_attrs(self.attrs, {"name": name, **(attrs or {})})), options
        )
