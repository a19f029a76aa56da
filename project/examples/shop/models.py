"""Owns what is kept: the shop's products and orders, and the books of two others, the warehouse and the bank."""

from decimal import Decimal

from django.db import models


class Product(models.Model):
    """What is sold: name, price and level follow the warehouse, `reserved` is the shop's own."""

    sku = models.CharField("SKU", max_length=20, unique=True, help_text="The warehouse's name for it.")
    name = models.CharField("name", max_length=100, help_text="As customers see it.")
    price = models.DecimalField("price", max_digits=8, decimal_places=2, help_text="Of one piece.")
    level = models.IntegerField("level", help_text="Pieces in the warehouse, as far as the shop knows.")
    reserved = models.IntegerField(
        "reserved", default=0, help_text="Pieces promised to orders that are not shipped yet."
    )
    active = models.BooleanField("active", default=True, help_text="Whether the warehouse still has it.")
    seen_at = models.DateTimeField("seen at", null=True, blank=True, help_text="The last synchronisation that met it.")

    def __str__(self) -> str:
        return self.name


class Order(models.Model):
    """What somebody wants; a cart until it is placed."""

    class Status(models.TextChoices):
        # Somebody is still choosing.
        CART = "cart"
        # Nothing is promised yet.
        PLACED = "placed"
        # The pieces are kept for it.
        RESERVED = "reserved"
        # The money is there.
        PAID = "paid"
        # It has left the warehouse.
        SHIPPED = "shipped"
        # It was undone; `reason` says why.
        CANCELLED = "cancelled"

    email = models.EmailField("email", help_text="Who hears of it.")
    status = models.CharField(
        "status", max_length=10, choices=Status.choices, default=Status.CART, help_text="How far it is."
    )
    reason = models.CharField("reason", max_length=200, blank=True, help_text="Why it was cancelled.")
    changed_at = models.DateTimeField("changed at", auto_now=True, help_text="Last change of the cart or the status.")
    reminded_at = models.DateTimeField("reminded at", null=True, blank=True, help_text="When the cart was mailed.")

    class Meta:
        indexes = [models.Index(fields=["status", "changed_at"], name="shop_by_status")]

    def __str__(self) -> str:
        return f"order {self.number}"

    @property
    def number(self) -> str:
        """The name under which bank and warehouse know it, however often they are asked."""
        return f"{self.pk:06}"

    @property
    def total(self) -> Decimal:
        return sum((line.quantity * line.price for line in self.lines.all()), Decimal())

    def move(self, status: Status, reason: str = "") -> None:
        self.status, self.reason = status, reason[:200]
        self.save()


class OrderLine(models.Model):
    """So many pieces of one product."""

    order = models.ForeignKey(
        Order, models.CASCADE, related_name="lines", verbose_name="order", help_text="Whose line it is."
    )
    product = models.ForeignKey(Product, models.PROTECT, verbose_name="product", help_text="What is wanted.")
    quantity = models.PositiveIntegerField("quantity", help_text="Pieces.")
    price = models.DecimalField("price", max_digits=8, decimal_places=2, help_text="Of one piece, when it was chosen.")

    def __str__(self) -> str:
        return f"{self.quantity} × {self.product}"


class Goods(models.Model):
    """What the warehouse has on its shelves. The shop knows it by HTTP only."""

    sku = models.CharField("SKU", max_length=20, unique=True, help_text="Its name.")
    name = models.CharField("name", max_length=100, help_text="What it is.")
    price = models.DecimalField("price", max_digits=8, decimal_places=2, help_text="Recommended price.")
    quantity = models.IntegerField("quantity", help_text="Pieces on the shelf.")
    changed_at = models.DateTimeField("changed at", auto_now=True, help_text="Last change.")

    class Meta:
        verbose_name_plural = "goods (warehouse)"

    def __str__(self) -> str:
        return self.name


class Shipment(models.Model):
    """What the warehouse has sent, once for each order."""

    number = models.CharField("number", max_length=20, unique=True, help_text="Of the shop's order.")
    sent_at = models.DateTimeField("sent at", auto_now_add=True, help_text="When it left.")

    class Meta:
        verbose_name_plural = "shipments (warehouse)"

    def __str__(self) -> str:
        return self.number


class Charge(models.Model):
    """What the bank has charged, once for each order, and given back."""

    number = models.CharField("number", max_length=20, unique=True, help_text="Of the shop's order.")
    amount = models.DecimalField("amount", max_digits=10, decimal_places=2, help_text="Money.")
    refunded_at = models.DateTimeField("refunded at", null=True, blank=True, help_text="When it was given back.")

    class Meta:
        verbose_name_plural = "charges (bank)"

    def __str__(self) -> str:
        return self.number
