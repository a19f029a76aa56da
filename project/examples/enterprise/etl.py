"""Owns the way of a file: from the inbox through its lines into facts, then to done/ or rejected/."""

import csv
import hashlib
import io
from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any, NamedTuple
from zipfile import BadZipFile

import openpyxl
from django.conf import settings
from django.core.exceptions import ValidationError
from django.db import transaction

from project.examples.enterprise import audit
from project.examples.enterprise.models import Load, Product, RejectedLine, Sale, Store

COLUMNS = ["reference", "day", "store", "sku", "quantity", "amount"]
# How the references of the web shop begin: both ways meet in one table.
WEB = "WEB-"
# What codecs, csv, zip, XML and openpyxl raise on files that are none.
BROKEN = (ValueError, csv.Error, BadZipFile, EOFError, KeyError, SyntaxError)


class Line(NamedTuple):
    number: int  # in the file, the head being line 1
    values: dict[str, str]  # by the names in the head
    text: str


class Unusable(Exception):
    """Nothing of a file can be used; the message says why."""


def folder(name: str) -> Path:
    """Return the folder "inbox", "done", "rejected" or "audit", made where it is not there."""
    place = Path(settings.EXAMPLES_FOLDER) / "sales" / name
    place.mkdir(parents=True, exist_ok=True)
    return place


def rows(name: str, content: bytes) -> Iterator[tuple[int, Iterable[Any]]]:
    """Yield the rows of a file with their numbers; Unusable where it is none."""
    number = 0
    try:
        if name.lower().endswith(".xlsx"):
            book = openpyxl.load_workbook(io.BytesIO(content), read_only=True, data_only=True)
            yield from enumerate(book.worksheets[0].iter_rows(values_only=True), 1)
        else:
            text = content.decode("utf-8-sig")
            delimiter = max(",;", key=text.partition("\n")[0].count)
            reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
            for cells in reader:
                number = reader.line_num
                yield number, cells
    except BROKEN as error:
        raise Unusable(f"Behind line {number} it cannot be read: {error}") from error


def lines(name: str, content: bytes) -> Iterator[Line]:
    """Yield the lines that are not empty."""
    found = rows(name, content)
    head = [text(cell).lower() for cell in next(found, (1, []))[1]]
    if missing := [column for column in COLUMNS if column not in head]:
        raise Unusable(f"The head has no {', '.join(missing)}.")
    for number, cells in found:
        values = [text(cell) for cell in cells]
        while len(values) > len(head) and not values[-1]:
            values.pop()
        if any(values):
            # In a line of another length values may have slipped by a column: then none is what it seems.
            known = dict(zip(head, values, strict=True)) if len(values) == len(head) else {}
            yield Line(number, known, " | ".join(values).replace("\0", "\N{REPLACEMENT CHARACTER}"))


def text(cell: Any) -> str:
    if isinstance(cell, datetime):
        cell = cell.date()
    return "" if cell is None else str(cell).strip()


class Facts:
    """Knows stores and products, and makes facts of what files and the web shop say."""

    def __init__(self) -> None:
        self.stores = dict(Store.objects.values_list("code", "pk"))
        self.products = dict(Product.objects.values_list("sku", "pk"))

    def sale(self, values: Mapping[str, str]) -> Sale:
        """Return the fact that these values say; ValidationError says why they say none."""
        if not values:
            raise ValidationError({"line": "It has more or fewer values than the head."})
        for name, known in (("store", self.stores), ("sku", self.products)):
            if values[name] not in known:
                raise ValidationError({name: f"“{values[name]:.40}” is not known."})
        store, product = self.stores[values["store"]], self.products[values["sku"]]
        said = {name: values[name] for name in ("day", "quantity", "amount")}
        sale = Sale(reference=values["reference"].upper(), store_id=store, product_id=product, **said)
        sale.clean_fields(exclude=["store", "product", "load"])
        return sale


def load(path: Path, track: Callable[[list[Line]], Iterable[Line]] = iter) -> Load:
    """Load a file, then move it. Blocks.

    All of it is one transaction, and known by its content: whoever was killed is followed by somebody who begins anew, or
    finds that it was done. What was rejected is tried anew, too: what it lacked may be there by now.
    """
    content = path.read_bytes()
    checksum = hashlib.sha256(content).hexdigest()
    load = Load.objects.filter(checksum=checksum, reason="").first()
    if load is None:
        load = Load(name=path.name[-50:], checksum=checksum)
        sales, rejected = judge(load, content, track)
        load.lines, load.rejected = len(sales), len(rejected)
        with transaction.atomic():
            Load.objects.filter(checksum=checksum).delete()
            load.save()
            Sale.objects.bulk_create(sales, batch_size=1000)
            RejectedLine.objects.bulk_create(rejected, batch_size=1000)
            said = {name: getattr(load, name) for name in ("name", "checksum", "lines", "rejected", "reason")}
            audit.append([("etl", "rejected" if load.reason else "loaded", said)])
    path.rename(folder("rejected" if load.reason else "done") / load.file_name)
    return load


def judge(load: Load, content: bytes, track: Any) -> tuple[list[Sale], list[RejectedLine]]:
    """Return the facts of a file, and its lines that are none; where there are no facts, the load is told why."""
    sales: dict[str, tuple[Line, Sale]] = {}
    rejected = []

    def reject(line: Line, reason: str) -> None:
        rejected.append(RejectedLine(load=load, number=line.number, reason=reason[:200], text=line.text[:200]))

    try:
        facts = Facts()
        for line in track(list(lines(load.name, content))):
            try:
                sale = facts.sale(line.values)
            except ValidationError as error:
                reject(line, "; ".join(f"{name}: {' '.join(said)}" for name, said in error.message_dict.items()))
                continue
            if sale.reference in sales or sale.reference.startswith(WEB):
                reject(line, f"reference: {sale.reference} stands in the file already, or is the web shop's.")
            else:
                sale.load = load
                sales[sale.reference] = line, sale
    except Unusable as error:
        load.reason = str(error)[:200]
        return [], []
    for known in Sale.objects.in_bulk(list(sales), field_name="reference"):
        reject(sales.pop(known)[0], f"reference: {known} was loaded before.")
    if not sales:
        load.reason = "No line of it is a sale."
    return [sale for _, sale in sales.values()], rejected
