"""Owns how an order changes: what it holds, what it gives back. Callers lock it and bring the transaction."""

from collections.abc import Mapping

from django.core.mail import send_mail
from django.db import transaction
from django.db.models import F

from project.examples.shop.models import Order, OrderLine, Product


class SoldOut(Exception):
    """There is not enough of a product."""


@transaction.atomic
def fill_cart(email: str, wanted: Mapping[str, int]) -> Order:
    """Return a new cart with so many pieces of each SKU; Product.DoesNotExist."""
    cart = Order.objects.create(email=email)
    for sku, quantity in wanted.items():
        product = Product.objects.get(sku=sku)
        OrderLine.objects.create(order=cart, product=product, quantity=quantity, price=product.price)
    return cart


def locked(order_id: int) -> Order:
    return Order.objects.select_for_update().get(pk=order_id)


def lines(order: Order) -> list[OrderLine]:
    """Return the lines in the one order in which products are changed: else two orders could wait for each other."""
    return list(order.lines.select_related("product").order_by("product_id"))


def wanted(order: Order) -> dict[str, int]:
    found: dict[str, int] = {}
    for line in lines(order):
        found[line.product.sku] = found.get(line.product.sku, 0) + line.quantity
    return found


def hold(order: Order) -> None:
    """Reserve all lines or none; SoldOut names the product that is short."""
    with transaction.atomic():
        for line in lines(order):
            free = Product.objects.filter(pk=line.product_id, active=True, level__gte=F("reserved") + line.quantity)
            if not free.update(reserved=F("reserved") + line.quantity):
                raise SoldOut(f"There are not {line.quantity} of {line.product} any more.")


def release(order: Order, shipped: bool = False) -> None:
    """Give back what the order held; `shipped`: it is no longer in the warehouse, either."""
    for line in lines(order):
        left = {"level": F("level") - line.quantity} if shipped else {}
        Product.objects.filter(pk=line.product_id).update(reserved=F("reserved") - line.quantity, **left)


def tell(order: Order, subject: str, text: str) -> None:
    """Mail the customer: queued in the caller's transaction where the site's mail is."""
    items = "\n".join(f"  {line.quantity} × {line.product}" for line in lines(order))
    send_mail(subject, f"{text}\n\n{items}\n", None, [order.email])
