"""Owns what the shop asks of others. Each call bears the order's number: asked twice, they do it once."""

import json
from decimal import Decimal
from http.client import HTTPException
from urllib.error import HTTPError
from urllib.request import Request, urlopen

from django.conf import settings
from django.utils import timezone

from background import Snooze
from background.models import Checkpoint
from project.examples.shop.models import Charge
from project.examples.shop.warehouse import token

LIMIT = Decimal(1000)
# The bank hangs up over each so many-th order when it is asked first.
HANGS_UP = 4


class Declined(Exception):
    """The bank will not pay, however often it is asked."""


class Missing(Exception):
    """The warehouse has not got it."""


class Busy(Exception):
    """The warehouse asks to come again in `args[0]` seconds."""


def charge(number: str, amount: Decimal) -> None:
    """Charge the customer. ConnectionError: whether it was done is not known. (A bank in the database, for the example.)"""
    if amount > LIMIT:
        raise Declined(f"The bank declined {amount}: more than {LIMIT}.")
    is_new = Charge.objects.get_or_create(number=number, defaults={"amount": amount})[1]
    if is_new and int(number) % HANGS_UP == 0:
        raise ConnectionError("The bank hung up before it answered.")


def refund(number: str) -> bool:
    """Give back what was charged, if anything was."""
    return bool(Charge.objects.filter(number=number, refunded_at=None).update(refunded_at=timezone.now()))


def warehouse(path: str) -> str:
    """Return an address of the warehouse: SHOP_WAREHOUSE_URL, or that of the example; Snooze until that is there. Blocks for a query."""
    if base := getattr(settings, "SHOP_WAREHOUSE_URL", ""):
        return f"{base}{path}"
    served = Checkpoint.objects.filter(name="shop.Warehouse").first()
    if served is None:
        raise Snooze("The service shop.Warehouse has not been started yet.", after=20)
    return f"http://127.0.0.1:{served.data['port']}{path}"


def send(number: str, lines: dict[str, int]) -> None:
    """Let the warehouse send an order. Raises Missing, Busy and ConnectionError; blocks."""
    request = Request(warehouse(f"/shipments/{number}"), json.dumps(lines).encode(), method="POST")
    request.add_header("Authorization", f"Bearer {token()}")
    try:
        with urlopen(request, timeout=10) as response:
            response.read()
    except HTTPError as error:
        with error:
            if error.code == 409:
                raise Missing(f"The warehouse has no {json.load(error)['missing']} left.") from None
            if error.code in (429, 503):
                raise Busy(float(error.headers.get("Retry-After", "5"))) from None
            raise ConnectionError(f"The warehouse answered with status {error.code}.") from None
    except (OSError, HTTPException) as error:
        raise ConnectionError(f"The warehouse does not answer: {error}") from error
