"""Owns the pages of accounts and of their usage."""

from typing import Any

from django.contrib import admin
from django.http import HttpRequest

from background.admin import BackgroundRuns
from project.examples.read_only import ReadOnlyAdmin
from project.examples.saas.background import ask_for_export
from project.examples.saas.models import Account, Usage


@admin.register(Account)
class AccountAdmin(BackgroundRuns, admin.ModelAdmin):
    list_display = ["name", "owner", "plan", "trial_ends_at", "reminded_at"]
    list_filter = ["plan"]
    list_select_related = ["owner"]
    raw_id_fields = ["owner"]
    readonly_fields = ["reminded_at"]
    search_fields = ["name"]
    actions = ["export"]

    def has_export_permission(self, request: HttpRequest) -> bool:
        return request.user.has_perm("saas.export_account")

    @admin.action(description="Export data", permissions=["export"])
    def export(self, request: HttpRequest, queryset: Any) -> None:
        for account in queryset:
            ask_for_export(account)
            self.log_change(request, account, "Asked for an export.")
        self.message_user(request, "The files will be found with the runs on the accounts' pages.")


admin.site.register(Usage, ReadOnlyAdmin)
