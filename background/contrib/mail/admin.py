"""Own the pages of queued mail: what waits, what was sent, and the dead letters, which can be sent again."""

from __future__ import annotations

from typing import Any

from django.contrib import admin, messages
from django.urls import reverse
from django.utils.html import format_html
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy, ngettext, pgettext_lazy

from background.admin.text import visible
from background.contrib.mail.backend import queue
from background.contrib.mail.models import Attachment, Message
from background.scope import database_alias


class StateFilter(admin.SimpleListFilter):
    title = gettext_lazy("state")
    parameter_name = "state"

    def lookups(self, request: Any, model_admin: Any) -> list[tuple[str, Any]]:
        return [("waiting", _("waiting")), ("sent", _("sent")), ("failed", _("failed: dead letters"))]

    def queryset(self, request: Any, queryset: Any) -> Any:
        chosen = self.value()
        return getattr(queryset, chosen)() if chosen in ("waiting", "sent", "failed") else queryset


class AttachmentInline(admin.TabularInline):
    model = Attachment
    fields = readonly_fields = ("name", "content_type", "kind")
    extra = 0
    can_delete = False

    def get_queryset(self, request: Any) -> Any:
        return super().get_queryset(request).defer("content")

    def has_add_permission(self, request: Any, obj: Any = None) -> bool:
        return False

    def has_view_permission(self, request: Any, obj: Any = None) -> bool:
        return True  # whoever sees the message


@admin.register(Message)
class MessageAdmin(admin.ModelAdmin):
    list_display = ("shown_subject", "shown_to", "state", "created_at", "sent_at", "shown_run")
    list_filter = (StateFilter,)
    search_fields = ("=id",)
    show_full_result_count = False
    list_select_related = ("run",)
    fields = readonly_fields = (
        "shown_subject", "from_email", "to", "cc", "bcc", "reply_to", "state", "created_at", "sent_at", "shown_run", "shown_body",
    )  # fmt: skip
    inlines = (AttachmentInline,)
    actions = ("send_again",)

    def get_queryset(self, request: Any) -> Any:
        return super().get_queryset(request).using(database_alias())

    def has_add_permission(self, request: Any) -> bool:
        return False

    def has_change_permission(self, request: Any, obj: Any = None) -> bool:
        return False

    def has_resend_permission(self, request: Any) -> bool:
        return request.user.has_perm("background_mail.resend_message")

    @admin.display(description=gettext_lazy("Subject"))
    def shown_subject(self, row: Message) -> str:
        return visible(row.subject) or "–"

    @admin.display(description=gettext_lazy("To"))
    def shown_to(self, row: Message) -> str:
        return visible(", ".join(row.to))

    @admin.display(description=gettext_lazy("Text"))
    def shown_body(self, row: Message) -> str:
        return format_html("<pre>{}</pre>", row.body)

    @admin.display(description=pgettext_lazy("noun", "Run"))
    def shown_run(self, row: Message) -> str:
        if row.run is None:
            return "–"
        url = reverse("admin:background_run_change", args=[row.run_id], current_app=self.admin_site.name)
        return format_html('<a href="{}">#{} {}</a>', url, row.run.short_id, row.run.get_status_display())

    @admin.action(description=gettext_lazy("Send again"), permissions=["resend"])
    def send_again(self, request: Any, queryset: Any) -> None:
        rows = list(queryset.failed())
        for row in rows:
            queue(row)
            self.log_change(request, row, _("Sent again"))
        text = ngettext("%(count)d message is queued again.", "%(count)d messages are queued again.", len(rows))
        self.message_user(request, text % {"count": len(rows)})
        if left := queryset.count() - len(rows):
            text = ngettext(
                "%(count)d message was left alone: it is sent, or waits already.",
                "%(count)d messages were left alone: they are sent, or wait already.",
                left,
            )
            self.message_user(request, text % {"count": left}, messages.WARNING)
