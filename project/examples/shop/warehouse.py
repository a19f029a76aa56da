"""Owns the warehouse: a system of others, as far as the shop knows, that answers by HTTP, pages, and is busy now and then."""

import json
from itertools import count
from urllib.parse import urlencode

from django.db import transaction
from django.db.models import Count, F, Max
from django.http import HttpRequest, HttpResponse, HttpResponseNotModified, JsonResponse
from django.utils import timezone

import background
from project.examples.serving import OutsideSystem
from project.examples.shop.models import Goods, Shipment

PAGE = 10
# Each so many-th request is told to come again in a second.
BUSY_EVERY = 7

requests = count(1)


@background.register
class Warehouse(OutsideSystem):
    """Answer GET /stock, a page at a time, and POST /shipments/NUMBER, which sends an order once."""

    def answer(self, request: HttpRequest) -> HttpResponse:
        if next(requests) % BUSY_EVERY == 0:
            return JsonResponse({"error": "Not so fast."}, status=429, headers={"Retry-After": "1"})
        if request.method == "POST":
            return ship(request.path.rpartition("/")[2], json.loads(request.body))
        return stock(request.GET.get("after", ""), request.headers.get("If-None-Match", ""))


def stock(after: str, known: str) -> HttpResponse:
    seen = Goods.objects.aggregate(count=Count("pk"), last=Max("changed_at"))
    etag = f'"{seen["count"]}-{seen["last"]}"'
    if known == etag:
        return HttpResponseNotModified(headers={"ETag": etag})
    following = Goods.objects.filter(sku__gt=after).order_by("sku")
    rows = list(following.values("sku", "name", "price", "quantity")[: PAGE + 1])
    more = f"/stock?{urlencode({'after': rows[PAGE - 1]['sku']})}" if len(rows) > PAGE else None
    return JsonResponse({"count": seen["count"], "results": rows[:PAGE], "next": more}, headers={"ETag": etag})


@transaction.atomic
def ship(number: str, lines: dict[str, int]) -> HttpResponse:
    """Send an order, all of it or nothing; asked again, say that it was sent."""
    if Shipment.objects.get_or_create(number=number)[1]:
        for sku, quantity in sorted(lines.items()):
            goods = Goods.objects.filter(sku=sku, quantity__gte=quantity)
            if not goods.update(quantity=F("quantity") - quantity, changed_at=timezone.now()):
                transaction.set_rollback(True)
                return JsonResponse({"missing": sku}, status=409)
    return JsonResponse({"sent": number})
