"""Owns the pages that show dimensions, facts, files and the audit log; what was loaded is for reading."""

from django.contrib import admin

from project.examples.enterprise.models import AuditEntry, Load, Product, RejectedLine, Sale, Store
from project.examples.read_only import ReadOnlyAdmin

admin.site.register([Product, Store])
admin.site.register([Load, RejectedLine, AuditEntry], ReadOnlyAdmin)


@admin.register(Sale)
class SaleAdmin(ReadOnlyAdmin):
    list_filter = ["store", "product__category"]
    search_fields = ["reference"]
