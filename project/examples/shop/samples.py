"""Owns the goods, orders and carts with which a fresh site begins; some of the orders go wrong on purpose."""

from collections.abc import Mapping
from datetime import timedelta

from django.utils import timezone

from project.examples.shop.models import Goods, Order, OrderLine, Product

TEAS = ["Assam", "Darjeeling", "Genmaicha", "Lapsang", "Mint", "Oolong", "Rooibos", "Sencha"]
SIZES = {100: "7.50", 250: "14.00", 500: "25.00"}  # grams, and the price

# Who orders what. The fourth is more than the bank pays, the sixth more than there is, the seventh was stolen meanwhile.
ORDERS: list[tuple[str, dict[str, int]]] = [
    ("ana@example.org", {"mint-100": 2}),
    ("ben@example.org", {"assam-250": 1, "sencha-100": 3}),
    ("cleo@example.org", {"rooibos-500": 1}),
    ("dev@example.org", {"darjeeling-500": 45}),
    ("eva@example.org", {"oolong-100": 2, "lapsang-100": 1}),
    ("finn@example.org", {"sencha-500": 100}),
    ("gil@example.org", {"assam-100": 2}),
    ("hana@example.org", {"genmaicha-250": 4}),
]
STOLEN = "assam-100"


def fill() -> None:
    """Put fifty pieces of everything on the shelves, and into the shop."""
    for tea in TEAS:
        for grams, price in SIZES.items():
            what = {"sku": f"{tea.lower()}-{grams}", "name": f"{tea}, {grams} g", "price": price}
            Goods.objects.create(**what, quantity=50)
            Product.objects.create(**what, level=50)


def fill_cart(email: str, wanted: Mapping[str, int]) -> Order:
    """Return a new cart with so many pieces of each SKU; Product.DoesNotExist."""
    cart = Order.objects.create(email=email)
    for sku, quantity in wanted.items():
        product = Product.objects.get(sku=sku)
        OrderLine.objects.create(order=cart, product=product, quantity=quantity, price=product.price)
    return cart


def order(number: int) -> Order:
    """Return the cart of a sample order."""
    email, wanted = ORDERS[number]
    if STOLEN in wanted:  # the shop does not know yet: it sells what is not there
        Goods.objects.filter(sku=STOLEN).update(quantity=0)
    return fill_cart(email, wanted)


def leave_carts() -> None:
    """Leave two carts, as of the day before yesterday."""
    carts = [fill_cart("ida@example.org", {"mint-500": 1}), fill_cart("joe@example.org", {"assam-500": 5})]
    Order.objects.filter(pk__in=[cart.pk for cart in carts]).update(changed_at=timezone.now() - timedelta(days=2))
