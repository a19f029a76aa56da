"""Owns the goods, orders and carts with which a fresh site begins; some of the orders go wrong on purpose."""

from datetime import timedelta
from decimal import Decimal

from django.utils import timezone

from project.examples.shop import orders
from project.examples.shop.models import Goods, Order

KINDS = ["Assam", "Darjeeling", "Earl Grey", "Genmaicha", "Lapsang", "Mint", "Oolong", "Rooibos", "Sencha"]
SIZES = [("100", "tin of 100 g", "7.50"), ("250", "bag of 250 g", "14.00"), ("500", "box of 500 g", "25.00")]

# Who orders what. The fourth is more than the bank pays, the sixth more than there is, the seventh was stolen meanwhile.
ORDERS: list[tuple[str, dict[str, int]]] = [
    ("ana@example.org", {"mint-100": 2}),
    ("ben@example.org", {"assam-250": 1, "sencha-100": 3}),
    ("cleo@example.org", {"rooibos-500": 1}),
    ("dev@example.org", {"darjeeling-500": 45}),
    ("eva@example.org", {"oolong-100": 2, "lapsang-100": 1}),
    ("finn@example.org", {"sencha-500": 100}),
    ("gil@example.org", {"earl-grey-250": 2}),
    ("hana@example.org", {"genmaicha-250": 4}),
]
STOLEN = 6


def fill_warehouse() -> None:
    """Put fifty pieces of everything on the shelves."""
    for kind in KINDS:
        for size, words, price in SIZES:
            sku = f"{kind.lower().replace(' ', '-')}-{size}"
            Goods.objects.get_or_create(
                sku=sku, defaults={"name": f"{kind}, {words}", "price": Decimal(price), "quantity": 50}
            )


def order(number: int) -> Order:
    """Return the cart of a sample order."""
    email, wanted = ORDERS[number]
    if number == STOLEN:  # the shop does not know yet: it sells what is not there
        Goods.objects.filter(sku__in=wanted).update(quantity=0)
    return orders.fill_cart(email, wanted)


def leave_carts() -> None:
    """Leave two carts, as of the day before yesterday."""
    for email, wanted in (("ida@example.org", {"mint-250": 1}), ("joe@example.org", {"assam-100": 5})):
        cart = orders.fill_cart(email, wanted)
        Order.objects.filter(pk=cart.pk).update(changed_at=timezone.now() - timedelta(days=2))
