"""Own the one sentence about health on the app's own page in the admin."""

from __future__ import annotations

from typing import Any

from django import template
from django.db import DatabaseError

from background.attention import ERROR, attention
from background.dialects import dialect
from background.exceptions import TookTooLong

register = template.Library()

LONGEST = 3.0  # seconds for a statement: the page is there without the sentence as well


@register.inclusion_tag("admin/background/health.html", takes_context=True)
def background_health(context: Any) -> dict[str, Any]:
    """Say how many things need attention, with the way to the dashboard: `{% background_health %}`. Blocks for six queries."""
    user = context["request"].user
    if not user.has_perm("background.view_dashboard"):
        return {}
    try:
        with dialect().time_limit(LONGEST):
            found = [one for one in attention() if one.may_be_seen_by(user)]
    except (DatabaseError, TookTooLong):
        return {"unknown": True}
    return {"known": True, "count": len(found), "bad": any(one.severity == ERROR for one in found)}
