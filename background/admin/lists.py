"""Own what lists need: a count with an end, filters that ask the database nothing, and cells that say what they are."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import cache
from typing import Any

from django.contrib.admin import SimpleListFilter
from django.contrib.admin.utils import label_for_field
from django.contrib.admin.views.main import ChangeList
from django.core.paginator import Paginator
from django.utils.functional import cached_property
from django.utils.html import conditional_escape, format_html
from django.utils.safestring import SafeString
from django.utils.translation import get_language
from django.utils.translation import gettext_lazy as _

# What is counted exactly; one more says "and more".
CAP = 10_000


class RoomList(ChangeList):
    """A list whose address may also say how often it is refreshed."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        # Said in `url_for_result`: Django would take each row's address apart to add it.
        self.kept, self.preserved_filters = self.preserved_filters, ""

    def get_filters_params(self, params: Any = None) -> Any:
        found = super().get_filters_params(params)
        found.pop("live", None)
        return found

    def url_for_result(self, result: Any) -> str:
        url = super().url_for_result(result)
        return f"{url}?{self.kept}" if self.kept else url


class CappedPaginator(Paginator):
    """A paginator that never counts, nor offers, more than the first ten thousand rows."""

    @cached_property
    def count(self) -> int:
        return min(self.counted, CAP)

    @cached_property
    def counted(self) -> int:
        """Rows up to the cap and one more."""
        rows: Any = self.object_list
        return rows.order_by()[: CAP + 1].count()

    @property
    def is_capped(self) -> bool:
        return self.counted > CAP


class TextFilter(SimpleListFilter):
    """A filter into which a person types: no query is needed to offer choices."""

    template = "admin/background/text_filter.html"
    value_max_length = 200

    def lookups(self, request: Any, model_admin: Any) -> list[tuple[str, Any]]:
        return [("", "")]

    def choices(self, changelist: Any) -> Iterator[Any]:
        others = changelist.get_filters_params()
        rest = [
            (name, value) for name, values in others.items() if name != self.parameter_name for value in _listed(values)
        ]
        yield {"name": self.parameter_name, "value": self.value() or "", "others": rest, "query": changelist.query}

    def value(self) -> str:
        return (super().value() or "").replace("\x00", "").strip()[: self.value_max_length]


def _listed(values: Any) -> list[Any]:
    return values if isinstance(values, list) else [values]


class QueueFilter(TextFilter):
    title = _("queue")
    parameter_name = "queue"

    def queryset(self, request: Any, queryset: Any) -> Any:
        return queryset.filter(queue=self.value()) if self.value() else queryset


class LiveFilter(SimpleListFilter):
    """Hide what belongs to hosts that are gone, unless asked for."""

    title = _("host")
    parameter_name = "hosts"
    path = "host__state__in"

    def lookups(self, request: Any, model_admin: Any) -> list[tuple[str, Any]]:
        return [("all", _("all, also gone ones"))]

    def queryset(self, request: Any, queryset: Any) -> Any:
        live = queryset.model._meta.get_field("host").related_model.LIVE
        return queryset if self.value() == "all" else queryset.filter(host__state__in=live)

    def choices(self, changelist: Any) -> Iterator[Any]:
        chosen = self.value() == "all"
        yield {
            "selected": not chosen,
            "query_string": changelist.get_query_string(remove=[self.parameter_name]),
            "display": _("live hosts"),
        }
        yield {
            "selected": chosen,
            "query_string": changelist.get_query_string({self.parameter_name: "all"}),
            "display": self.lookup_choices[0][1],
        }


def labelled(room: Any, name: Any) -> Callable[[Any], Any]:
    """
    Return a column like the one of that name, or like that function, with its name in its cells: on a phone they stand under
    each other. Django takes the column's order, class and empty value from the function.
    """
    column = name if callable(name) else getattr(room, name)

    @cache
    def head(language: str) -> SafeString:
        return format_html('<span class="bg-named">{}</span> ', label_for_field(name, room.model, room))

    def cell(record: Any) -> Any:
        value = column(record)
        if value in (None, ""):
            return value
        return head(get_language()) + conditional_escape(value)

    cell.__name__ = column.__name__
    for attribute in ("short_description", "admin_order_field", "empty_value_display"):
        if hasattr(column, attribute):
            setattr(cell, attribute, getattr(column, attribute))
    return cell
