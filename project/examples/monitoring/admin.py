"""Owns the pages that show measurements, summaries and requests; nobody edits them."""

from django.contrib import admin
from django.http import HttpRequest

from project.examples.monitoring.models import HourSummary, Measurement, Request


class ReadOnlyAdmin(admin.ModelAdmin):
    """Lists and details without a form: the rows are written by the services."""

    show_full_result_count = False  # counting a large table takes longer than showing its newest rows

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: object = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: object = None) -> bool:
        return False


@admin.register(Measurement)
class MeasurementAdmin(ReadOnlyAdmin):
    list_display = ["taken_at", "name", "value"]
    list_filter = ["name"]
    ordering = ["-taken_at", "-id"]


@admin.register(HourSummary)
class HourSummaryAdmin(ReadOnlyAdmin):
    list_display = ["hour", "name", "count", "minimum", "average", "maximum"]
    list_filter = ["name"]
    ordering = ["-hour", "name"]


@admin.register(Request)
class RequestAdmin(ReadOnlyAdmin):
    list_display = ["at", "status", "line", "size"]
    list_filter = ["status"]
    ordering = ["-at", "-id"]
