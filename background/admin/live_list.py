"""Own lists that are refreshed while they are open: the cells of the same rows, by the list's own view."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from django.contrib.admin.utils import label_for_field
from django.core.exceptions import PermissionDenied
from django.http import Http404
from django.utils.functional import cached_property
from django.utils.html import format_html

from background.admin import live
from background.admin.base import THEMED, RoomAdmin

# Seconds between two looks.
EVERY = 5


class LiveList(RoomAdmin):
    """Pages of a model whose list lives; `beside` names a template with what stands below the table."""

    change_list_template = "admin/background/live_list.html"
    beside = ""

    def get_list_display(self, request):
        return self.labelled

    @cached_property
    def labelled(self) -> list[Any]:
        """The columns, each but the first with its name in its cells: on a phone they stand under each other."""
        first, *rest = self.list_display
        return [first, *(labelled(self, name) for name in rest)]

    def get_urls(self):
        return [self.live_url("live/", "live_list", self.live_list_view), *super().get_urls()]

    def changelist_view(self, request, extra_context=None):
        query = f"?{request.GET.urlencode()}" if request.GET else ""
        context: dict[str, Any] = {"live_list": self.url("live_list") + query, "live_every": live.every(request, EVERY)}
        return super().changelist_view(request, {**context, "beside": self.beside, **(extra_context or {})})

    def live_list_view(self, request):
        """Answer with the table of the list, and what stands below it."""
        if not self.has_view_or_change_permission(request):
            raise PermissionDenied
        response: Any = self.changelist_view(request)
        if not hasattr(response, "template_name"):
            raise Http404  # an address that the list itself sends elsewhere
        response.template_name = f"admin/background/{'unfold/' if THEMED else ''}live_list_part.html"
        return response


def labelled(room: LiveList, name: Any) -> Callable[[Any], Any]:
    """Return a column like the one of that name; Django takes its order, its class and its empty value from the function."""
    column = getattr(room, name)

    def cell(record: Any) -> Any:
        value = column(record)
        if value in (None, ""):
            return value
        label = label_for_field(name, room.model, room)
        return format_html('<span class="bg-named">{}</span> {}', label, value)

    cell.__name__ = name
    for attribute in ("short_description", "admin_order_field", "empty_value_display"):
        if hasattr(column, attribute):
            setattr(cell, attribute, getattr(column, attribute))
    return cell
