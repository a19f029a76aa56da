"""A shop: orders that are reserved, paid and shipped or undone, stock that follows a warehouse, carts left behind."""

from django.apps import AppConfig


class ShopConfig(AppConfig):
    name = "project.examples.shop"
    verbose_name = "Shop"
