"""Owns what the shop asks of others. Each call bears the order's number: asked twice, they do it once."""

from decimal import Decimal

import httpx
from django.conf import settings
from django.utils import timezone

from background import Snooze
from project.examples.shop.models import Charge, Order
from project.examples.shop.warehouse import Warehouse

LIMIT = Decimal(1000)
# The bank hangs up over each so many-th order when it is asked first.
HANGS_UP = 4


class Declined(Exception):
    """The bank will not pay, however often it is asked."""


class Missing(Exception):
    """The warehouse has not got it."""


def charge(order: Order) -> None:
    """Charge the customer. ConnectionError: whether it was done is not known. (A bank in the database, for the example.)"""
    if order.total > LIMIT:
        raise Declined(f"The bank declined {order.total}: more than {LIMIT}.")
    _, is_new = Charge.objects.get_or_create(number=order.number, defaults={"amount": order.total})
    if is_new and order.pk % HANGS_UP == 0:
        raise ConnectionError("The bank hung up before it answered.")


def refund(order: Order) -> bool:
    """Give back what was charged, if anything was."""
    charged = Charge.objects.filter(number=order.number, refunded_at=None)
    return bool(charged.update(refunded_at=timezone.now()))


def warehouse() -> str:
    """Return the address of the warehouse: SHOP_WAREHOUSE_URL, or that of the example."""
    return settings.SHOP_WAREHOUSE_URL or Warehouse.address()


def send(order: Order) -> None:
    """Let the warehouse send an order. Raises Missing, Snooze while it is busy, else ConnectionError; blocks."""
    wanted = {line.product.sku: line.quantity for line in order.sorted_lines()}
    try:
        answer = httpx.post(f"{warehouse()}/shipments/{order.number}", json=wanted, timeout=10)
    except httpx.TransportError as error:
        raise ConnectionError(f"The warehouse does not answer: {error}") from error
    if answer.status_code == 409:
        raise Missing(f"The warehouse has no {answer.json()['missing']} left.")
    if answer.status_code == 429:
        raise Snooze("The warehouse is busy.", after=float(answer.headers["Retry-After"]))
    if answer.is_error:
        raise ConnectionError(f"The warehouse answered with status {answer.status_code}.")
