"""Owns the pages of accounts and of their usage."""

from django.contrib import admin

from background.admin import BackgroundRuns
from project.examples.read_only import ReadOnlyAdmin
from project.examples.saas.models import Account, Usage


@admin.register(Account)
class AccountAdmin(BackgroundRuns, admin.ModelAdmin):
    list_display = ["name", "owner", "plan", "trial_ends_at", "reminded_at"]
    list_filter = ["plan"]
    raw_id_fields = ["owner"]
    readonly_fields = ["reminded_at"]


admin.site.register(Usage, ReadOnlyAdmin)
