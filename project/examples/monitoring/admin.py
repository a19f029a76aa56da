"""Owns the pages that show measurements, summaries and requests; nobody edits them."""

from django.contrib import admin

from project.examples.monitoring.models import HourSummary, Measurement, Request
from project.examples.read_only import ReadOnlyAdmin

admin.site.register([HourSummary, Request], ReadOnlyAdmin)


@admin.register(Measurement)
class MeasurementAdmin(ReadOnlyAdmin):
    list_filter = ["name"]
