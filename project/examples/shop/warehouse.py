"""Owns the warehouse: a system of others, as far as the shop knows, that answers by HTTP, pages, and is busy now and then."""

import json
from itertools import count
from urllib.parse import urlencode
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

from django.core.handlers.wsgi import WSGIRequest
from django.db import transaction
from django.db.models import Count, F, Max
from django.http import HttpRequest, HttpResponse, HttpResponseNotModified, JsonResponse
from django.utils import timezone
from django.utils.crypto import constant_time_compare, salted_hmac

from project.examples.shop.models import Goods, Shipment

PAGE = 10
# Each so many-th request is told to come again in a second.
BUSY_EVERY = 7

requests = count(1)


def token() -> str:
    return salted_hmac("project.examples.shop", "warehouse", algorithm="sha256").hexdigest()


def answer(request: HttpRequest) -> HttpResponse:
    """Answer GET /stock, a page at a time, and POST /shipments/NUMBER, which sends an order once."""
    if not constant_time_compare(request.headers.get("Authorization", ""), f"Bearer {token()}"):
        return JsonResponse({"error": "Who are you?"}, status=401)
    if next(requests) % BUSY_EVERY == 0:
        return JsonResponse({"error": "Not so fast."}, status=429, headers={"Retry-After": "1"})
    if request.method == "POST":
        return ship(request.path.rpartition("/")[2], json.loads(request.body))
    return stock(request.GET.get("after", ""), request.headers.get("If-None-Match", ""))


def stock(after: str, known: str) -> HttpResponse:
    seen = Goods.objects.aggregate(count=Count("pk"), last=Max("changed_at"))
    etag = f'"{seen["count"]}-{seen["last"].timestamp() if seen["last"] else 0}"'
    if known == etag:
        return HttpResponseNotModified(headers={"ETag": etag})
    rows = list(
        Goods.objects.filter(sku__gt=after).order_by("sku").values("sku", "name", "price", "quantity")[: PAGE + 1]
    )
    more = f"/stock?{urlencode({'after': rows[PAGE - 1]['sku']})}" if len(rows) > PAGE else None
    return JsonResponse({"count": seen["count"], "results": rows[:PAGE], "next": more}, headers={"ETag": etag})


@transaction.atomic
def ship(number: str, lines: dict[str, int]) -> HttpResponse:
    """Send an order; asked again, say that it was sent. All of it or nothing."""
    if Shipment.objects.get_or_create(number=number)[1]:
        for sku, quantity in sorted(lines.items()):
            goods = Goods.objects.filter(sku=sku, quantity__gte=quantity)
            if not goods.update(quantity=F("quantity") - quantity, changed_at=timezone.now()):
                transaction.set_rollback(True)
                return JsonResponse({"missing": sku}, status=409)
    return JsonResponse({"sent": number})


def application(environ, start_response):  # type: ignore[no-untyped-def]
    """The warehouse as a WSGI application of its own: the site's addresses and middleware have no part in it."""
    response = answer(WSGIRequest(environ))
    start_response(f"{response.status_code} {response.reason_phrase}", list(response.items()))
    return [response.content]


class Quiet(WSGIRequestHandler):
    timeout = 5  # seconds that a silent client may take

    def log_message(self, *args: object) -> None:
        pass


def server(port: int = 0) -> WSGIServer:
    """Return a server on this machine's own address, on that port if it is free, else on any."""
    try:
        return make_server("127.0.0.1", port, application, handler_class=Quiet)
    except OSError:
        return make_server("127.0.0.1", 0, application, handler_class=Quiet)
