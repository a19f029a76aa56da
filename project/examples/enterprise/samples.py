"""Owns what a fresh site begins with: products and stores, files of different worth, and a web shop that can be asked."""

import io
from datetime import timedelta
from decimal import Decimal
from pathlib import Path

import openpyxl
from django.conf import settings
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.utils import timezone

import background
from project.examples.enterprise import etl
from project.examples.enterprise.models import Product, Store
from project.examples.serving import OutsideSystem

STORES = {"N1": "North", "S1": "South", "W1": "West", "WEB": "Web shop"}
PRODUCTS = {"TEA-1": "Green tea", "TEA-2": "Black tea", "CUP-1": "Cup", "POT-1": "Pot"}
BROKEN = "S1-X1,31.01.2027,S1,TEA-1,1,2.50\nS1-X2,2027-01-31,S9,TEA-1,1,2.50\nS1-X3,2027-01-31,S1,TEA-1,one,2.50\nS1-X4,2027\n"
AUDIT = """{"actor": "ana", "action": "opened the till", "store": "N1"}
{"actor": "ben", "action": "gave a discount", "store": "N1"}
{"actor": "ana", "action": "closed the till", "store": "N1"}
"""
PAGE = 20


def dimensions() -> None:
    for code, name in STORES.items():
        Store.objects.create(code=code, name=name)
    for sku, name in PRODUCTS.items():
        Product.objects.create(sku=sku, name=name, category="tea" if "TEA" in sku else "ware")


def sales(store: str, count: int) -> list[list[str]]:
    """Return so many sales of a store in the last fortnight."""
    skus, today = list(PRODUCTS), timezone.localdate()
    return [
        [f"{store}-{n}", str(today - timedelta(days=n % 14)), store, skus[n % 4], str(n % 5 + 1), f"{n % 17 + 3}.50"]
        for n in range(count)
    ]


def csv_of(rows: list[list[str]]) -> str:
    return "".join(",".join(row) + "\n" for row in [etl.COLUMNS, *rows])


def workbook(rows: list[list[str]]) -> bytes:
    book, out = openpyxl.Workbook(), io.BytesIO()
    for row in [etl.COLUMNS, *rows]:
        book.active.append(row)
    book.save(out)
    return out.getvalue()


def drop(place: Path, name: str, content: str | bytes) -> None:
    """Put a file into a folder as a careful writer does: it has its name only when it is whole."""
    part = place / f"{name}.part"
    part.write_bytes(content.encode() if isinstance(content, str) else content)
    part.rename(place / name)


@background.register
class WebShop(OutsideSystem):
    """Be the web shop whose orders are pulled, as long as the site shows samples: GET /orders in pages, and /totals."""

    def answer(self, request: HttpRequest) -> HttpResponse:
        orders = [dict(zip(etl.COLUMNS, row, strict=True)) for row in web_orders()]
        if request.path == "/totals":
            amount = sum((Decimal(one["amount"]) for one in orders), Decimal())
            quantity = sum(int(one["quantity"]) for one in orders)
            return JsonResponse({"lines": len(orders), "quantity": quantity, "amount": amount})
        start = int(request.GET.get("after", 0))
        more = str(start + PAGE) if start + PAGE < len(orders) else None
        return JsonResponse({"results": orders[start : start + PAGE], "next": more, "count": len(orders)})


def web_orders() -> list[list[str]]:
    return sales("WEB", 90) if settings.EXAMPLES_SEED else []
