"""Declares what runs in the background: the steps of an order, the stock, the warehouse, carts. Found by its name."""

import logging
from datetime import timedelta
from typing import Any

from django.conf import settings
from django.db import transaction
from django.utils import timezone

import background
from background import Backoff, Snooze, every
from background.contrib.sync import Source, sync
from project.examples.shop import orders, outside, samples, warehouse
from project.examples.shop.models import Order, Product

logger = logging.getLogger(__name__)

Status = Order.Status
ATTEMPTS = 5
# Asks somebody outside: again and again, and one run per order.
ASKING: dict[str, Any] = {
    "max_attempts": ATTEMPTS,
    "backoff": Backoff(2, 60),
    "retry_on": (ConnectionError,),
    "unique": "{order_id}",
    "timeout": 60,
    "retain": 7,
}


def step(task: Any, order: Order) -> None:
    """Set the next step in motion, in the caller's transaction: no commit, no run."""
    with background.about(order):
        task.enqueue(order.pk)


@transaction.atomic
def place(order_id: int) -> None:
    """Turn a cart into an order."""
    order = orders.locked(order_id)
    if order.status == Status.CART:
        order.move(Status.PLACED)
        step(reserve, order)


@transaction.atomic
def undo(order_id: int, reason: str) -> str:
    """Cancel an order and compensate what was done for it: the pieces at once, the money by a run of its own."""
    order = orders.locked(order_id)
    if order.status in (Status.PLACED, Status.RESERVED, Status.PAID):
        if order.status != Status.PLACED:
            orders.release(order)
            step(refund, order)  # also where it is not known whether the bank has charged
        order.move(Status.CANCELLED, reason)
        orders.tell(order, f"Your order {order.number} was cancelled", reason)
        logger.warning("order %s cancelled: %s", order.number, reason)
    return order.status


@background.job(atomic=True, max_attempts=ATTEMPTS, unique="{order_id}", retain=7)
def reserve(order_id: int) -> str:
    """Keep the pieces for an order. Atomic: pieces, status and the next run commit together, or none of them."""
    order = orders.locked(order_id)
    if order.status == Status.PLACED:
        try:
            orders.hold(order)
        except orders.SoldOut as error:
            return undo(order_id, str(error))
        order.move(Status.RESERVED)
        step(pay, order)
    return order.status


@background.job(takes_context=True, **ASKING)
def pay(context: background.RunContext, order_id: int) -> str:
    """Charge the customer, once: the bank knows the order's number. Declined: the order is undone."""
    order = Order.objects.get(pk=order_id)
    if order.status != Status.RESERVED:
        return order.status
    try:
        outside.charge(order.number, order.total)
    except outside.Declined as error:
        return undo(order_id, str(error))
    except ConnectionError:
        if context.attempt < ATTEMPTS:
            raise
        return undo(order_id, "The bank could not be reached.")
    with transaction.atomic():
        order = orders.locked(order_id)
        if order.status == Status.RESERVED:
            order.move(Status.PAID)
            step(ship, order)
    return order.status


@background.job(**ASKING)
def ship(order_id: int) -> str:
    """Let the warehouse send the order, once. If it has not got the pieces after all, the order is undone."""
    order = Order.objects.get(pk=order_id)
    if order.status != Status.PAID:
        return order.status
    try:
        outside.send(order.number, orders.wanted(order))
    except outside.Missing as error:
        return undo(order_id, str(error))
    except outside.Busy as error:
        raise Snooze("The warehouse is busy.", after=error.args[0]) from None
    with transaction.atomic():
        order = orders.locked(order_id)
        if order.status == Status.PAID:
            orders.release(order, shipped=True)
            order.move(Status.SHIPPED)
            orders.tell(order, f"Your order {order.number} is on its way", "We have sent:")
    return order.status


@background.job(**{**ASKING, "max_attempts": 20})
def refund(order_id: int) -> str:
    """Give the money of a cancelled order back, once."""
    order = Order.objects.get(pk=order_id)
    return "refunded" if outside.refund(order.number) else "nothing was charged, or it was given back before"


NEXT = {Status.PLACED: reserve, Status.RESERVED: pay, Status.PAID: ship}


@background.job(every(minutes=1), retain="100 runs")
def look_after_orders(minutes: int = 10) -> int:
    """Ask anew for the next step of orders that stand still, whatever became of its run."""
    still = Order.objects.filter(status__in=NEXT, changed_at__lt=timezone.now() - timedelta(minutes=minutes))
    for order in still[:100]:
        step(NEXT[Status(order.status)], order)
    return len(still)


@background.job(every(seconds=30), atomic=True, retain="100 runs")
def remind_of_carts(hours: int = 24) -> int:
    """Mail whoever has left a cart a day ago, once: mail and note commit together."""
    before = timezone.now() - timedelta(hours=hours)
    carts = Order.objects.select_for_update().filter(status=Status.CART, reminded_at=None, changed_at__lt=before)
    reminded = list(carts[:100])
    for cart in reminded:
        orders.tell(cart, "Your cart is waiting", "You have left something behind:")
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
        return outside.warehouse("/stock")

    def headers(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {warehouse.token()}"}

    def row(self, item: Any) -> dict[str, Any]:
        return {
            "sku": item["sku"],
            "name": item["name"],
            "price": item["price"],
            "level": item["quantity"],
            "active": True,
        }

    def remove(self, rows: Any) -> None:
        rows.update(active=False)  # orders still speak of them


@background.register
class Warehouse(background.BackgroundService):
    """Serve the warehouse on a port of this machine, so that the example has somebody to ask."""

    singleton = True

    def on_start(self) -> None:
        self.server = warehouse.server(self.checkpoint.get("port", 0))
        self.server.timeout = 0.5
        self.checkpoint.set(port=self.server.server_port)

    def execute(self, stop: background.StopToken) -> None:
        while not stop.requested:
            with self.scope():
                self.server.handle_request()

    def on_stop(self) -> None:
        if hasattr(self, "server"):
            self.server.server_close()


@background.register
class Customers(background.BackgroundService):
    """Fill the warehouse of a fresh site, order this and that, leave some carts, and end."""

    singleton = True
    depends_on = ("shop.Warehouse",)
    pace = 2.0  # seconds between two orders

    def execute(self, stop: background.StopToken) -> None:
        if not settings.EXAMPLES_SEED or self.checkpoint.get("done"):
            return
        with self.scope(), transaction.atomic():
            samples.fill_warehouse()
            Stock.task.enqueue()
        while not Product.objects.exists():
            if stop.wait(1):
                return
        for number in range(len(samples.ORDERS)):
            with self.scope(), transaction.atomic():
                if number >= self.checkpoint.get("ordered", 0):
                    place(samples.order(number).pk)
                    self.checkpoint.set(ordered=number + 1)
            if stop.wait(self.pace):
                return
        with self.scope(), transaction.atomic():
            samples.leave_carts()
            self.checkpoint.set(done=True)
