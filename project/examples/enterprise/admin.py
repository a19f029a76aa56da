"""Owns the pages that show dimensions, facts, files and the audit log; facts and log are for reading."""

from django.contrib import admin
from django.http import HttpRequest

from project.examples.enterprise.models import AuditEntry, Load, Product, RejectedLine, Sale, Store


class ReadOnlyAdmin(admin.ModelAdmin):
    """Lists and details without a form: the rows are written by jobs."""

    show_full_result_count = False

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: object = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: object = None) -> bool:
        return False


@admin.register(Product)
class ProductAdmin(admin.ModelAdmin):
    list_display = ["sku", "name", "category"]
    list_filter = ["category"]


@admin.register(Store)
class StoreAdmin(admin.ModelAdmin):
    list_display = ["code", "name", "country"]


@admin.register(Load)
class LoadAdmin(ReadOnlyAdmin):
    list_display = ["loaded_at", "name", "state", "lines", "rejected", "amount", "reason"]
    list_filter = ["state"]
    ordering = ["-loaded_at"]


@admin.register(RejectedLine)
class RejectedLineAdmin(ReadOnlyAdmin):
    list_display = ["load", "number", "reason", "text"]
    list_select_related = ["load"]
    ordering = ["-load", "number"]


@admin.register(Sale)
class SaleAdmin(ReadOnlyAdmin):
    list_display = ["reference", "day", "store", "product", "quantity", "amount", "load"]
    list_filter = ["store", "product__category"]
    list_select_related = ["store", "product", "load"]
    search_fields = ["reference"]
    ordering = ["-day", "reference"]


@admin.register(AuditEntry)
class AuditEntryAdmin(ReadOnlyAdmin):
    list_display = ["number", "at", "actor", "action", "detail"]
    search_fields = ["actor", "action"]
    ordering = ["-number"]
