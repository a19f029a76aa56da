"""Owns what a fresh site begins with: products and stores, three files of different worth, and a web shop that can be asked."""

import io
import json
import os
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import date, timedelta
from decimal import Decimal
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

from django.utils import timezone

from project.examples.enterprise import etl
from project.examples.enterprise.models import Product, Store

STORES = [("N1", "North", "NO"), ("S1", "South", "IT"), ("W1", "West", "PT"), ("WEB", "Web shop", "FR")]
PRODUCTS = [
    ("TEA-1", "Green tea", "tea"),
    ("TEA-2", "Black tea", "tea"),
    ("CUP-1", "Cup", "ware"),
    ("POT-1", "Pot", "ware"),
]
PAGE = 20


def dimensions() -> None:
    """Write products and stores; those that are there stay as they are. Blocks."""
    for code, name, country in STORES:
        Store.objects.get_or_create(code=code, defaults={"name": name, "country": country})
    for sku, name, category in PRODUCTS:
        Product.objects.get_or_create(sku=sku, defaults={"name": name, "category": category})


def lines(store: str, count: int, last: date | None = None) -> Iterator[list[str]]:
    """Yield the head and so many sales of a store up to its last day (today), the same ones for the same day."""
    yield list(etl.COLUMNS)
    last = last or timezone.localdate()
    for n in range(1, count + 1):
        day = last - timedelta(days=n % 14)
        quantity = n % 5 + 1
        amount = f"{Decimal(quantity) * (n % 17 + 3) / 2:.2f}"
        yield [f"{store}-{day:%y%m%d}-{n}", day.isoformat(), store, PRODUCTS[n % 4][0], str(quantity), amount]


def csv_of(rows: Iterator[list[str]]) -> bytes:
    return "".join(",".join(row) + "\n" for row in rows).encode()


def files() -> list[tuple[str, bytes]]:
    """Return names and contents: a good file, one with broken lines, one that is none, and a workbook where it can be written."""
    broken = "S1-X1,31.01.2027,S1,TEA-1,1,2.50\nS1-X2,2027-01-31,S9,TEA-1,1,2.50\nS1-X3,2027-01-31,S1,TEA-1,one,2.50\nS1-X4,2027\n"
    found = [
        ("north.csv", csv_of(lines("N1", 300))),
        ("south.csv", csv_of(lines("S1", 120)) + broken.encode()),
        ("minutes.csv", b"Minutes of the meeting\n\nNobody came.\n"),
    ]
    if etl.openpyxl is not None:
        book, out = etl.openpyxl.Workbook(), io.BytesIO()
        for row in lines("W1", 80):
            book.active.append(row)
        book.save(out)
        found.append(("west.xlsx", out.getvalue()))
    return found


def drop(place: Path, name: str, content: bytes) -> None:
    """Put a file into a folder as a careful writer does: it has its name only when it is whole."""
    part = place / f"{name}.part"
    part.write_bytes(content)
    os.replace(part, place / name)


def audit_lines() -> bytes:
    said = [("ana", "opened the till"), ("ben", "gave a discount"), ("ana", "closed the till")]
    return "".join(
        json.dumps({"actor": actor, "action": action, "store": "N1"}) + "\n" for actor, action in said
    ).encode()


@contextmanager
def web_shop(orders: Sequence[list[str]]) -> Iterator[str]:
    """Serve orders over HTTP on a free port of this machine, in pages, and what they add up to; yields the address."""
    made = [dict(zip(etl.COLUMNS, row, strict=True)) for row in orders]

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked = urlsplit(self.path)
            body = (
                _totals(made) if asked.path == "/totals" else _page(made, parse_qs(asked.query).get("after", ["0"])[0])
            )
            data = json.dumps(body).encode()
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, *args: Any) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, name="enterprise-web-shop")
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def _page(orders: list[dict[str, str]], after: str) -> dict[str, Any]:
    start = int(after)
    more = start + PAGE < len(orders)
    return {"results": orders[start : start + PAGE], "next": str(start + PAGE) if more else None, "count": len(orders)}


def _totals(orders: list[dict[str, str]]) -> dict[str, Any]:
    amount = sum((Decimal(one["amount"]) for one in orders), Decimal(0))
    return {"lines": len(orders), "quantity": sum(int(one["quantity"]) for one in orders), "amount": str(amount)}
