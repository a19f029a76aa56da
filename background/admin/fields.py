"""Own the one form field of our own: JSON, bounded."""

from __future__ import annotations

from typing import Any

from django import forms
from django.core.exceptions import ValidationError
from django.utils.translation import gettext as _

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
