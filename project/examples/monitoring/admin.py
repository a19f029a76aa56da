"""Owns the pages that show measurements, alerts and summaries; nobody edits them."""

from django.contrib import admin
from django.http import HttpRequest

from project.examples.monitoring.models import Alert, HourSummary, Measurement


class ReadOnlyAdmin(admin.ModelAdmin):
    """Lists and details without a form: the rows are written by the monitors."""

    show_full_result_count = False  # counting a large table takes longer than showing its newest rows

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: object = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: object = None) -> bool:
        return False


@admin.register(Measurement)
class MeasurementAdmin(ReadOnlyAdmin):
    list_display = ["taken_at", "check_name", "reading", "ok", "detail"]
    list_filter = ["check_name", "ok"]
    ordering = ["-taken_at", "-id"]

    @admin.display(ordering="value")
    def reading(self, measurement: Measurement) -> str:
        return "" if measurement.value is None else f"{measurement.value:.1f} {measurement.unit}"


@admin.register(Alert)
class AlertAdmin(ReadOnlyAdmin):
    list_display = ["raised_at", "check_name", "state", "severity", "message", "cleared_at"]
    list_filter = [("cleared_at", admin.EmptyFieldListFilter), "severity", "check_name"]
    ordering = ["-raised_at"]

    @admin.display(ordering="cleared_at")
    def state(self, alert: Alert) -> str:
        return "open" if alert.is_open else "cleared"


@admin.register(HourSummary)
class HourSummaryAdmin(ReadOnlyAdmin):
    list_display = ["hour", "check_name", "count", "minimum", "average", "maximum", "failures"]
    list_filter = ["check_name"]
    ordering = ["-hour", "check_name"]
