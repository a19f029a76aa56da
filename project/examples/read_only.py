"""Owns the pages of rows that are written by jobs and services: for reading alone."""

from django.contrib import admin
from django.http import HttpRequest

from background.admin.read_only import ReadOnly


class ReadOnlyAdmin(ReadOnly, admin.ModelAdmin):
    """Lists all fields, the newest rows first, and details without a form."""

    ordering = ["-id"]
    show_full_result_count = False  # counting a large table takes longer than showing its newest rows

    def get_list_display(self, request: HttpRequest) -> list[str]:
        return [field.name for field in self.model._meta.concrete_fields if field.name != "id"]

    def get_list_select_related(self, request: HttpRequest) -> list[str]:
        return [field.name for field in self.model._meta.concrete_fields if field.many_to_one]
