"""Owns the pages that show dimensions, facts, files and the audit log; facts and log are for reading."""

from django.contrib import admin

from project.examples.enterprise.models import AuditEntry, Load, Product, RejectedLine, Sale, Store
from project.examples.read_only import ReadOnlyAdmin


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
