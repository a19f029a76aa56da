"""Owns the shop's pages: orders with their runs, products, and the books of warehouse and bank."""

from typing import Any

from django.contrib import admin
from django.http import HttpRequest

from background.admin import BackgroundRuns
from project.examples.read_only import ReadOnlyAdmin
from project.examples.shop.background import place
from project.examples.shop.models import Charge, Goods, Order, OrderLine, Product, Shipment


class OrderLineInline(admin.TabularInline):
    model = OrderLine
    extra = 1


@admin.register(Order)
class OrderAdmin(BackgroundRuns, admin.ModelAdmin):
    """Carts can be written and placed; what becomes of an order is told, not edited."""

    list_display = ["__str__", "email", "status", "reason", "changed_at"]
    list_filter = ["status"]
    readonly_fields = ["status", "reason", "changed_at", "reminded_at"]
    inlines = [OrderLineInline]
    ordering = ["-changed_at"]
    actions = ["place"]

    def has_change_permission(self, request: HttpRequest, obj: Order | None = None) -> bool:
        return super().has_change_permission(request, obj) and (obj is None or obj.status == Order.Status.CART)

    def has_delete_permission(self, request: HttpRequest, obj: Order | None = None) -> bool:
        return super().has_delete_permission(request, obj) and obj is not None and obj.status == Order.Status.CART

    @admin.action(description="Place the selected carts", permissions=["change"])
    def place(self, request: HttpRequest, queryset: Any) -> None:
        for order in queryset.filter(status=Order.Status.CART):
            place(order.pk)


@admin.register(Product)
class ProductAdmin(admin.ModelAdmin):
    list_display = ["sku", "name", "price", "level", "reserved", "active"]
    readonly_fields = ["reserved", "seen_at"]


@admin.register(Goods)
class GoodsAdmin(admin.ModelAdmin):
    """Change a shelf here, and see the shop follow within twenty seconds."""

    list_display = ["sku", "name", "price", "quantity", "changed_at"]


admin.site.register([Shipment, Charge], ReadOnlyAdmin)
