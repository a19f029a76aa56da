"""Own lists that are refreshed while they are open: the cells of the same rows, by the list's own view."""

from __future__ import annotations

from typing import Any

from django.core.exceptions import PermissionDenied
from django.http import Http404

from background.admin import live
from background.admin.base import THEMED, RoomAdmin

# Seconds between two looks.
EVERY = 5


class LiveList(RoomAdmin):
    """Pages of a model whose list lives; `beside` names a template with what stands below the table."""

    change_list_template = "admin/background/live_list.html"
    beside = ""

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
