"""Own the pages of the history of checks, and of what people were told; nobody edits them."""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.utils.formats import number_format
from django.utils.translation import gettext_lazy as _

from background.admin.read_only import ReadOnly
from background.admin.text import cut, visible
from background.contrib.health.models import Notice, Period
from background.scope import database_alias


class LastsFilter(admin.SimpleListFilter):
    title = _("period")
    parameter_name = "lasts"

    def lookups(self, request: Any, model_admin: Any) -> list[tuple[str, Any]]:
        return [("yes", _("how it is now"))]

    def queryset(self, request: Any, queryset: Any) -> Any:
        return queryset.filter(current_name__isnull=False) if self.value() == "yes" else queryset


class HistoryAdmin(ReadOnly, admin.ModelAdmin):
    show_full_result_count = False
    search_fields = ("check_name",)

    def get_queryset(self, request: Any) -> Any:
        return super().get_queryset(request).using(database_alias())

    @admin.display(description=_("Detail"))
    def shown_detail(self, row: Any) -> str:
        return cut(row.detail, 200) or "–"

    @admin.display(description=_("Detail"))
    def whole_detail(self, row: Any) -> str:
        return visible(row.detail, lines=True) or "–"


@admin.register(Period)
class PeriodAdmin(HistoryAdmin):
    list_display = (
        "check_name",
        "state",
        "shown_detail",
        "began_at",
        "last_at",
        "alarmed_at",
        "count",
        "shown_slowest",
    )
    list_filter = (LastsFilter, "state")
    fields = readonly_fields = (
        "check_name", "state", "began_at", "last_at", "alarmed_at", "count", "shown_seconds", "shown_slowest",
        "whole_detail",
    )  # fmt: skip

    @admin.display(description=_("seconds"))
    def shown_seconds(self, row: Period) -> str:
        return seconds(row.seconds)

    @admin.display(description=_("slowest"), ordering="slowest")
    def shown_slowest(self, row: Period) -> str:
        return seconds(row.slowest)


def seconds(value: float) -> str:
    return _("%(seconds)s s") % {"seconds": number_format(round(value, 3), 3)}


@admin.register(Notice)
class NoticeAdmin(HistoryAdmin):
    list_display = ("at", "check_name", "kind", "shown_detail", "told_at")
    list_filter = ("kind", ("told_at", admin.EmptyFieldListFilter))
    fields = readonly_fields = (
        "check_name", "kind", "at", "since", "urgent", "told_at", "waits_for", "whole_detail",
    )  # fmt: skip
