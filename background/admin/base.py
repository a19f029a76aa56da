"""Own what all pages of the room share: the base class, and the way of a verb from its form to the act."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from django.apps import apps
from django.contrib import admin, messages
from django.contrib.admin.helpers import ACTION_CHECKBOX_NAME, AdminForm
from django.contrib.admin.utils import quote, unquote
from django.core.exceptions import PermissionDenied
from django.forms import Script
from django.http import Http404, HttpResponse, HttpResponseNotAllowed, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import path, reverse
from django.utils.functional import cached_property
from django.utils.html import format_html
from django.utils.module_loading import import_string
from django.utils.translation import gettext as _
from django.utils.translation import gettext as djangos  # for words of Django's own catalogue
from django.views.decorators.clickjacking import xframe_options_deny

from background.admin import live
from background.admin.forms import ReasonForm
from background.admin.lists import CappedPaginator, RoomList, labelled
from background.admin.permissions import may
from background.admin.read_only import ReadOnly
from background.admin.text import Shown, visible
from background.conf import get_settings
from background.scope import database_alias

# Unfold: its templates have places of their own, its styles other names.
THEMED = apps.is_installed("unfold")

if TYPE_CHECKING:
    Base = admin.ModelAdmin
else:
    Base = import_string(
        get_settings().admin_base or ("unfold.admin.ModelAdmin" if THEMED else "django.contrib.admin.ModelAdmin")
    )


def possible(obj: Any) -> str:
    return ""


@dataclass(frozen=True, kw_only=True)
class Verb:
    """Something a person may do to one record: asked for on a page of its own, done by POST, kept in the History."""

    name: str
    label: Any  # "Pause": the button repeats it
    effect: Any  # one sentence: what will happen
    act: Callable[[Any, Any, str], str]  # (record, user, reason) -> what was done, as a sentence
    refusal: Callable[[Any], str] = possible  # why it cannot be done to this record now, or ""
    opposite: bool = False  # not offered at all where it cannot be done: its opposite is
    facts: Callable[[Any], list[Any]] = lambda obj: []  # sentences that help to decide


@dataclass(frozen=True)
class Tool:
    """A button of a record's page; without an address it is shown with the reason why not."""

    label: Any
    url: str = ""
    why_not: str = ""


class RoomAdmin(Base):
    """Views of one model; whatever acts is a verb with a permission in `permissions.VERBS`."""

    verbs: tuple[Verb, ...] = ()
    paginator = CappedPaginator
    list_per_page = 100
    list_max_show_all = 0
    show_full_result_count = False
    show_facets = admin.ShowFacets.NEVER
    view_on_site = False

    class Media:
        css = {"all": ["background/admin.css", *(["background/unfold.css"] if THEMED else [])]}
        js = [Script("background/admin.js", type="module")]

    # What is there, and for whom

    def get_queryset(self, request):
        return super().get_queryset(request).using(database_alias())

    def find(self, request, object_id):
        """Return the record that the person may see; Http404 alike where there is none and where it is not theirs."""
        found = self.get_object(request, unquote(object_id))
        if found is None:
            raise Http404(_("There is no such %(noun)s.") % {"noun": self.opts.verbose_name})
        return found

    def require(self, request, verb, obj=None):
        if not may(request.user, f"{self.opts.model_name}.{verb}", obj):
            raise PermissionDenied

    def get_list_display(self, request):
        return self.labelled

    @cached_property
    def labelled(self) -> list[Any]:
        """The columns, each but the first with its name in its cells."""
        first, *rest = self.list_display
        return [first, *(labelled(self, name) for name in rest)]

    def get_changelist(self, request, **kwargs):
        return RoomList

    def changelist_view(self, request, extra_context=None):
        # Django passes over an action that the person is not offered; here it is refused as everything else is.
        if request.method == "POST" and {*request.POST.getlist("action"), ""} - {"", *self.get_actions(request)}:
            raise PermissionDenied
        return super().changelist_view(request, extra_context)

    def action_checkbox(self, obj):
        if THEMED:  # which draws its own
            return super().action_checkbox(Shown(obj))
        # What Django's widget gives, without the tenth of a list's time that its templates take.
        return format_html(
            '<input type="checkbox" name="{}" value="{}" class="action-select" aria-label="{}">',
            ACTION_CHECKBOX_NAME,
            obj.pk,
            djangos("Select this object for an action - {}").format(Shown(obj)),
        )

    # Addresses

    def get_urls(self):
        return [
            *(
                self.own_url(f"<path:object_id>/{verb.name}/", verb.name, partial(self.verb_view, verb=verb))
                for verb in self.verbs
            ),
            *super().get_urls(),
        ]

    def own_url(self, route, name, view):
        # admin_view adds never_cache and CSRF protection.
        return path(
            route,
            self.admin_site.admin_view(xframe_options_deny(view)),
            name=f"background_{self.opts.model_name}_{name}",
        )

    def live_url(self, route, name, view):
        """Return the address of a fragment: what `view(request, ...)` answers is put into the page while it is open."""
        return path(route, live.fragment(self.admin_site, view), name=f"background_{self.opts.model_name}_{name}")

    def url(self, name, *args, model=None):
        model = model or self.opts.model_name
        return reverse(
            f"admin:background_{model}_{name}", args=[quote(one) for one in args], current_app=self.admin_site.name
        )

    def link(self, model, name, record_id, text, user=None):
        """Return a link to a record, or the text alone where the person may not see it."""
        if not record_id or (user is not None and not user.has_perm(f"background.view_{model}")):
            return visible(text)
        return format_html('<a href="{}">{}</a>', self.url(name, record_id, model=model), visible(text))

    def page_of(self, request, obj):
        """Return where a person is sent after acting: as near to the record as they may see."""
        if self.has_view_or_change_permission(request, obj):
            return self.url("change", obj.pk)
        return reverse("admin:index", current_app=self.admin_site.name)

    # Verbs

    def verb_view(self, request, object_id, verb):
        """Ask for confirmation on GET, act on POST."""
        self.require(request, verb.name)
        obj = self.find(request, object_id)
        self.require(request, verb.name, obj)
        return self.confirm(request, obj, verb)

    def confirm(self, request, obj, verb, title=""):
        """Ask whether to do what the person may do, or do it."""
        refusal = verb.refusal(obj)
        form = ReasonForm(request.POST if request.method == "POST" else None)
        if request.method == "POST":
            if refusal:
                return self.done(request, obj, refusal, messages.WARNING)
            if form.is_valid():
                return self.act(request, obj, verb, form.cleaned_data["reason"])
        elif request.method not in ("GET", "HEAD"):
            return HttpResponseNotAllowed(["GET", "HEAD", "POST"])
        context = {
            "title": title or _("%(verb)s: %(what)s") % {"verb": verb.label, "what": visible(obj)},
            "lines": [verb.effect, *verb.facts(obj)],
            "refusal": refusal,
            "forms": [form],
            "button": verb.label,
        }
        return self.ask(request, obj, context)

    def act(self, request, obj, verb, reason):
        said = verb.act(obj, request.user, reason)
        self.note(request, obj, verb.label, reason)
        return self.done(request, obj, said)

    def note(self, request, obj, label, reason="", detail=""):
        """Leave a line in the admin's History."""
        parts = [
            str(label),
            *([detail] if detail else []),
            *([_("reason: %(reason)s") % {"reason": reason}] if reason else []),
        ]
        self.log_change(request, Shown(obj), visible("; ".join(parts)))

    def done(self, request, obj, message, level=messages.SUCCESS, to=""):
        self.message_user(request, message, level)
        return HttpResponseRedirect(to or self.page_of(request, obj))

    def ask(self, request, obj, context, template="confirm.html", status=200) -> HttpResponse:
        """Return a page with a form about one record."""
        request.current_app = self.admin_site.name
        forms = context.get("forms", ())
        media = self.media
        for form in forms:
            media += form.media
        context = {
            **self.admin_site.each_context(request),
            "opts": self.opts,
            "original": Shown(obj) if obj is not None else context["title"],
            "has_view_permission": self.has_view_or_change_permission(request),
            "adminforms": [AdminForm(form, [(None, {"fields": list(form.fields)})], {}) for form in forms],
            "back": self.page_of(request, obj) if obj is not None else self.url("changelist"),
            "media": media,
            **context,
        }
        return TemplateResponse(request, f"admin/background/{template}", context, status=status)

    def tools(self, request, obj):
        """Return the buttons of a record's page: what the person may do, and why not if it cannot be done."""
        found = []
        for verb in self.verbs:
            if may(request.user, f"{self.opts.model_name}.{verb.name}", obj):
                refusal = verb.refusal(obj)
                if not (refusal and verb.opposite):
                    label = _("%(verb)s…") % {"verb": verb.label}
                    found.append(Tool(label, "" if refusal else self.url(verb.name, obj.pk), refusal))
        return found

    # Django's pages, with names that have no unseen characters

    def render_change_form(self, request, context, add=False, change=False, form_url="", obj=None):
        if obj is not None:
            context |= {"original": Shown(obj), "tools": self.tools(request, obj)}
            if context.get("subtitle"):
                context["subtitle"] = visible(obj)
        return super().render_change_form(request, context, add, change, form_url, obj)

    def history_view(self, request, object_id, extra_context=None):
        obj = self.get_object(request, unquote(object_id))
        shown = {"object": Shown(obj), "title": _("Change history: %(what)s") % {"what": visible(obj)}} if obj else {}
        return super().history_view(request, object_id, {**shown, **(extra_context or {})})

    def delete_view(self, request, object_id, extra_context=None):
        obj = self.get_object(request, unquote(object_id))
        shown = {"object": Shown(obj), "subtitle": None} if obj else {}
        return super().delete_view(request, object_id, {**shown, **(extra_context or {})})


class ReadOnlyAdmin(ReadOnly, RoomAdmin):
    """Views of records that only the machinery writes."""

    actions: Any = None
