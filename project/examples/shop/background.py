"""Declares what runs in the background: the steps of an order, the stock, carts, and sample customers. Found by its name."""

import logging
from collections.abc import Callable
from datetime import timedelta
from functools import partial
from typing import Any

from django.db import transaction
from django.utils import timezone

import background
from background import Backoff, every
from background.contrib.sync import Source, sync
from project.examples.seeding import Seed
from project.examples.shop import outside, samples
from project.examples.shop.models import Order, SoldOut

logger = logging.getLogger(__name__)

Status = Order.Status
# Asks somebody outside, for two days if need be; one run per order.
PATIENT: dict[str, Any] = {
    "max_attempts": 60,
    "backoff": Backoff(2, 3600),
    "retry_on": (ConnectionError,),
    "unique": "{order_id}",
    "timeout": 60,
    "retain": 7,
}


def locked(order_id: int) -> Order:
    return Order.objects.select_for_update().get(pk=order_id)


def step(task: Any, order: Order) -> None:
    """Set the next step in motion, in the caller's transaction: no commit, no run."""
    with background.about(order):
        task.enqueue(order.pk)


@transaction.atomic
def place(order_id: int) -> None:
    """Turn a cart into an order."""
    order = locked(order_id)
    if order.status == Status.CART:
        order.move(Status.PLACED)
        step(reserve, order)


@transaction.atomic
def undo(order_id: int, reason: str) -> str:
    """Cancel an order and compensate what was done for it: the pieces at once, the money by a run of its own."""
    order = locked(order_id)
    if order.status in (Status.PLACED, Status.RESERVED, Status.PAID):
        if order.status != Status.PLACED:
            order.release()
            step(refund, order)  # also where it is not known whether the bank has charged
        order.move(Status.CANCELLED, reason)
        order.tell(f"Your order {order.number} was cancelled", reason)
        logger.warning("order %s cancelled: %s", order.number, reason)
    return order.status


@background.job(atomic=True, max_attempts=5, unique="{order_id}", retain=7)
def reserve(order_id: int) -> str:
    """Keep the pieces for an order. Atomic: pieces, status and the next run commit together, or none of them."""
    order = locked(order_id)
    if order.status == Status.PLACED:
        try:
            order.hold()
        except SoldOut as error:
            return undo(order_id, str(error))
        order.move(Status.RESERVED)
        step(pay, order)
    return order.status


@background.job(takes_context=True, **{**PATIENT, "max_attempts": 5})
def pay(context: background.RunContext, order_id: int) -> str:
    """Charge the customer, once: the bank knows the order's number. Declined: the order is undone."""
    order = Order.objects.get(pk=order_id)
    if order.status != Status.RESERVED:
        return order.status
    try:
        outside.charge(order)
    except outside.Declined as error:
        return undo(order_id, str(error))
    except ConnectionError:
        if context.attempt < 5:
            raise
        return undo(order_id, "The bank could not be reached.")
    with transaction.atomic():
        order = locked(order_id)
        if order.status == Status.RESERVED:
            order.move(Status.PAID)
            step(ship, order)
    return order.status


@background.job(**PATIENT)
def ship(order_id: int) -> str:
    """Let the warehouse send the order, once. If it has not got the pieces after all, the order is undone."""
    order = Order.objects.get(pk=order_id)
    if order.status != Status.PAID:
        return order.status
    try:
        outside.send(order)
    except outside.Missing as error:
        return undo(order_id, str(error))
    with transaction.atomic():
        order = locked(order_id)
        if order.status == Status.PAID:
            order.release(shipped=True)
            order.move(Status.SHIPPED)
            order.tell(f"Your order {order.number} is on its way", "We have sent:")
    return order.status


@background.job(**PATIENT)
def refund(order_id: int) -> str:
    """Give the money of a cancelled order back, once."""
    given = outside.refund(Order.objects.get(pk=order_id))
    return "refunded" if given else "nothing was charged, or it was given back before"


@background.job(every(seconds=30), atomic=True, retain="100 runs")
def remind_of_carts(hours: int = 24) -> int:
    """Mail whoever has left a cart a day ago, once: mail and note commit together."""
    before = timezone.now() - timedelta(hours=hours)
    carts = Order.objects.select_for_update().filter(status=Status.CART, reminded_at=None, changed_at__lt=before)
    reminded = list(carts[:100])
    for cart in reminded:
        cart.tell("Your cart is waiting", "You have left something behind:")
    Order.objects.filter(pk__in=[cart.pk for cart in reminded]).update(reminded_at=timezone.now())
    return len(reminded)


@sync(every(seconds=20), retain="100 runs")
class Stock(Source):
    """Pull names, prices and levels from the warehouse."""

    model = "shop.Product"
    key = "sku"
    seen = "seen_at"
    whole_etag = True

    @property
    def url(self) -> str:  # type: ignore[override]
        return f"{outside.warehouse()}/stock"

    def row(self, item: Any) -> dict[str, Any]:
        known = {name: item[name] for name in ("sku", "name", "price")}
        return {**known, "level": item["quantity"], "active": True}

    def remove(self, rows: Any) -> None:
        rows.update(active=False)  # orders still speak of them


@background.register
class Customers(Seed):
    """Fill the warehouse of a fresh site, order this and that, leave some carts, and end."""

    depends_on = ("shop.Warehouse",)

    def steps(self) -> list[Callable[[], object]]:
        placed = [partial(self.order, number) for number in range(len(samples.ORDERS))]
        return [samples.fill, *placed, samples.leave_carts]

    def order(self, number: int) -> None:
        place(samples.order(number).pk)
