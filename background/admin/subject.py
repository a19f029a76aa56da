"""Own the link between a run and the business object it is about, in both directions."""

from __future__ import annotations

from typing import Any

from django.apps import apps
from django.contrib import admin
from django.contrib.admin.utils import quote
from django.urls import NoReverseMatch, reverse
from django.utils.html import format_html, format_html_join
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from background.admin.columns import state_label
from background.admin.text import cut, state, visible, when
from background.jobs.context import subject_of
from background.models import Run
from background.scope import database_alias

SHOWN = 10


def subject_link(site: admin.AdminSite, request: Any, subject: str) -> Any:
    """Return the object as a link to its page in this admin site; the stored text where there is none, or not for this person."""
    label, _colon, pk = subject.partition(":")
    try:
        model = apps.get_model(label)
    except (LookupError, ValueError):
        return visible(subject)
    room = site._registry.get(model)
    found = room.get_object(request, pk) if room is not None else None
    if room is None or found is None or not room.has_view_or_change_permission(request, found):
        return visible(subject)
    name = f"admin:{model._meta.app_label}_{model._meta.model_name}_change"
    try:
        url = reverse(name, args=[quote(found.pk)], current_app=site.name)
    except NoReverseMatch:
        return visible(subject)
    return format_html('<a href="{}">{} {}</a>', url, visible(model._meta.verbose_name), cut(found, 100))


class BackgroundRuns:
    """A part of a ModelAdmin that shows the runs that are about the object on its own page.

    Put it before ModelAdmin: `class OrderAdmin(BackgroundRuns, admin.ModelAdmin)`. Runs are about what `background.about()` said
    when they were enqueued.
    """

    admin_site: Any

    def get_readonly_fields(self, request: Any, obj: Any = None) -> Any:
        return (*super().get_readonly_fields(request, obj), "background_runs")  # type: ignore[misc]

    def get_fieldsets(self, request: Any, obj: Any = None) -> Any:
        theirs: Any = super().get_fieldsets(request, obj)  # type: ignore[misc]
        sets = [(name, {**options, "fields": _without(options["fields"])}) for name, options in theirs]
        if obj is None or not request.user.has_perm("background.view_run"):
            return sets
        return [*sets, (gettext_lazy("Background runs"), {"fields": ("background_runs",)})]

    @admin.display(description=gettext_lazy("Latest"))
    def background_runs(self, obj: Any) -> Any:
        rows = (
            Run.objects.using(database_alias())
            .light()
            .filter(subject=subject_of(obj))
            .exclude(subject="")
            .order_by("-id")[:SHOWN]
        )
        lines = [
            (
                reverse("admin:background_run_change", args=[run.pk], current_app=self.admin_site.name), run.short_id,
                cut(run.job_name or run.task, 80), state(run.status, state_label(run)), when(run.enqueued_at),
            )
            for run in rows
        ]  # fmt: skip
        if not lines:
            return _("none")
        return format_html(
            '<table class="bg-about">{}</table>',
            format_html_join("", '<tr><td><a href="{}">#{}</a></td><td>{}</td><td>{}</td><td>{}</td></tr>', lines),
        )


def _without(fields: Any) -> list[Any]:
    return [one for one in fields if one != "background_runs"]
