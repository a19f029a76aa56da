"""Owns what is kept: the shop's products and orders, and the books of two others, the warehouse and the bank."""

from decimal import Decimal

from django.core.mail import send_mail
from django.db import models, transaction
from django.db.models import F


class SoldOut(Exception):
    """There is not enough of a product."""


class Product(models.Model):
    """What is sold: name, price and level follow the warehouse, `reserved` is the shop's own."""

    sku = models.CharField("SKU", max_length=20, unique=True, help_text="The warehouse's name for it.")
    name = models.CharField(max_length=100, help_text="As customers see it.")
    price = models.DecimalField(max_digits=8, decimal_places=2, help_text="Of one piece.")
    level = models.IntegerField(help_text="Pieces in the warehouse, as far as the shop knows.")
    reserved = models.IntegerField(default=0, help_text="Pieces promised to orders that are not shipped yet.")
    active = models.BooleanField(default=True, help_text="Whether the warehouse still has it.")
    seen_at = models.DateTimeField(null=True, blank=True, help_text="The last synchronisation that met it.")

    def __str__(self) -> str:
        return self.name


class Order(models.Model):
    """What somebody wants; a cart until it is placed."""

    class Status(models.TextChoices):
        CART = "cart"  # somebody is still choosing
        PLACED = "placed"  # nothing is promised yet
        RESERVED = "reserved"  # the pieces are kept for it
        PAID = "paid"  # the money is there
        SHIPPED = "shipped"  # it has left the warehouse
        CANCELLED = "cancelled"  # it was undone; `reason` says why

    email = models.EmailField(help_text="Who hears of it.")
    status = models.CharField(max_length=10, choices=Status, default=Status.CART, help_text="How far it is.")
    reason = models.CharField(max_length=200, blank=True, help_text="Why it was cancelled.")
    changed_at = models.DateTimeField(auto_now=True, help_text="Last change of the cart or the status.")
    reminded_at = models.DateTimeField(null=True, blank=True, help_text="When the cart was mailed.")

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

    def sorted_lines(self) -> "models.QuerySet[OrderLine]":
        """The lines in the one order in which products are changed: else two orders could wait for each other."""
        return self.lines.select_related("product").order_by("product_id")

    # What follows is for whoever has locked the order, in a transaction of theirs.

    def move(self, status: Status, reason: str = "") -> None:
        self.status, self.reason = status, reason[:200]
        self.save()

    def hold(self) -> None:
        """Reserve all lines or none; SoldOut names the product that is short."""
        with transaction.atomic():
            for line in self.sorted_lines():
                free = Product.objects.filter(pk=line.product_id, active=True, level__gte=F("reserved") + line.quantity)
                if not free.update(reserved=F("reserved") + line.quantity):
                    raise SoldOut(f"There are not {line.quantity} of {line.product} any more.")

    def release(self, shipped: bool = False) -> None:
        """Give back what was held; `shipped`: it is no longer in the warehouse, either."""
        for line in self.sorted_lines():
            left = {"level": F("level") - line.quantity} if shipped else {}
            Product.objects.filter(pk=line.product_id).update(reserved=F("reserved") - line.quantity, **left)

    def tell(self, subject: str, text: str) -> None:
        """Mail the customer: queued in the caller's transaction where the site's mail is."""
        items = "\n".join(f"  {line}" for line in self.sorted_lines())
        send_mail(subject, f"{text}\n\n{items}\n", None, [self.email])


class OrderLine(models.Model):
    """So many pieces of one product."""

    order = models.ForeignKey(Order, models.CASCADE, related_name="lines", help_text="Whose line it is.")
    product = models.ForeignKey(Product, models.PROTECT, help_text="What is wanted.")
    quantity = models.PositiveIntegerField(help_text="Pieces.")
    price = models.DecimalField(max_digits=8, decimal_places=2, help_text="Of one piece, when it was chosen.")

    class Meta:
        constraints = [models.UniqueConstraint(fields=["order", "product"], name="shop_one_line_per_product")]

    def __str__(self) -> str:
        return f"{self.quantity} × {self.product}"


class Goods(models.Model):
    """What the warehouse has on its shelves. The shop knows it by HTTP only."""

    sku = models.CharField("SKU", max_length=20, unique=True, help_text="Its name.")
    name = models.CharField(max_length=100, help_text="What it is.")
    price = models.DecimalField(max_digits=8, decimal_places=2, help_text="Recommended price.")
    quantity = models.IntegerField(help_text="Pieces on the shelf.")
    changed_at = models.DateTimeField(auto_now=True, help_text="Last change.")

    class Meta:
        verbose_name_plural = "goods (warehouse)"

    def __str__(self) -> str:
        return self.name


class Shipment(models.Model):
    """What the warehouse has sent, once for each order."""

    number = models.CharField(max_length=20, unique=True, help_text="Of the shop's order.")
    sent_at = models.DateTimeField(auto_now_add=True, help_text="When it left.")

    class Meta:
        verbose_name_plural = "shipments (warehouse)"

    def __str__(self) -> str:
        return f"order {self.number}, sent {self.sent_at:%Y-%m-%d %H:%M}"


class Charge(models.Model):
    """What the bank has charged, once for each order, and given back."""

    number = models.CharField(max_length=20, unique=True, help_text="Of the shop's order.")
    amount = models.DecimalField(max_digits=10, decimal_places=2, help_text="Money.")
    refunded_at = models.DateTimeField(null=True, blank=True, help_text="When it was given back.")

    class Meta:
        verbose_name_plural = "charges (bank)"

    def __str__(self) -> str:
        return f"order {self.number}, {self.amount}{' given back' if self.refunded_at else ''}"
