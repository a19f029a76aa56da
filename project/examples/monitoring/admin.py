"""Owns the pages that show measurements, summaries and requests; nobody edits them."""

from django.contrib import admin

from project.examples.monitoring.models import HourSummary, Measurement, Request
from project.examples.read_only import ReadOnlyAdmin


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
