"""Owns the way of a file: from the inbox through its lines into facts, then to done/ or rejected/."""

import csv
import hashlib
import io
import os
import re
import zlib
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from dataclasses import dataclass, field
from datetime import date, datetime
from decimal import Decimal, InvalidOperation
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple
from zipfile import BadZipFile

from django.conf import settings
from django.db import transaction

from project.examples.enterprise import audit
from project.examples.enterprise.models import Load, Product, RejectedLine, Sale, Store

try:
    import openpyxl
    from openpyxl.utils.exceptions import InvalidFileException
except ImportError:  # an extra
    openpyxl = None

COLUMNS = ("reference", "day", "store", "sku", "quantity", "amount")
BATCH = 1000
LARGEST = Decimal(10) ** 10
# How the references of the HTTP source begin: both ways meet in one table.
WEB = "WEB-"
# Nothing that one database would take for the same as another, and the next one not.
REFERENCE = re.compile(r"[A-Za-z0-9._/-]{1,60}")


class Line(NamedTuple):
    """A line: its number, its values in the order of COLUMNS (none where it has more or fewer than the head), and its text."""

    number: int
    values: list[str]
    text: str


Tell = Callable[[int], object]


class Unusable(Exception):
    """Nothing of a file can be used; the message says why."""


def folder(name: str) -> Path:
    """Return the folder "inbox", "done", "rejected" or "audit", made where it is not there."""
    place = Path(settings.EXAMPLES_FOLDER) / "sales" / name
    place.mkdir(parents=True, exist_ok=True)
    return place


class LoadTakenOver(Exception):
    """Another run goes on with this file."""


# ------------------------------------------------------------------------------------------------------------ reading


def read(path: Path) -> Iterator[Line]:
    """Yield the lines that are not empty; Unusable where the file is none."""
    suffix = path.suffix.lower()
    if suffix not in (".csv", ".xlsx"):
        raise Unusable("Files are .csv or .xlsx.")
    lines = _csv(path) if suffix == ".csv" else _xlsx(path)
    _, head = next(lines, (1, []))
    names = [_text(cell).lower() for cell in head]
    if missing := [name for name in COLUMNS if name not in names]:
        raise Unusable(f"The head has no {', '.join(missing)}.")
    places = [names.index(name) for name in COLUMNS]
    for number, cells in lines:
        texts = [_text(cell) for cell in cells]
        while len(texts) > len(names) and not texts[-1]:
            texts.pop()
        if any(texts):
            # In a line of another length values may have slipped by a column: then none is what it seems.
            values = [texts[place] for place in places] if len(texts) == len(names) else []
            yield Line(number, values, " | ".join(texts).replace("\0", "\N{REPLACEMENT CHARACTER}"))


def _csv(path: Path) -> Iterator[tuple[int, list[Any]]]:
    with path.open("rb") as raw:
        first = raw.readline(10_000)
        raw.seek(0)
        delimiter = ";" if first.count(b";") > first.count(b",") else ","
        reader = csv.reader(io.TextIOWrapper(raw, "utf-8-sig", newline=""), delimiter=delimiter, strict=True)
        try:
            for cells in reader:
                yield reader.line_num, list(cells)
        except UnicodeDecodeError as error:
            raise Unusable(f"Behind line {reader.line_num} it is not UTF-8.") from error
        except csv.Error as error:
            raise Unusable(f"Line {reader.line_num} is not CSV: {error}.") from error


def _xlsx(path: Path) -> Iterator[tuple[int, list[Any]]]:
    if openpyxl is None:
        raise Unusable("XLSX needs openpyxl: pip install openpyxl, then drop the file again.")
    try:
        book = openpyxl.load_workbook(path, read_only=True, data_only=True)
        with closing(book):
            for number, cells in enumerate(book.worksheets[0].iter_rows(values_only=True), 1):
                yield number, list(cells)
    # What zip, XML and openpyxl itself raise on files that are none.
    except (BadZipFile, EOFError, KeyError, ValueError, SyntaxError, zlib.error, InvalidFileException) as error:
        raise Unusable(f"It is no workbook that can be read ({type(error).__name__}).") from error


# ------------------------------------------------------------------------------------------------------------ judging


@dataclass
class Dimensions:
    """The keys of stores and products."""

    stores: dict[str, int] = field(default_factory=lambda: dict(Store.objects.values_list("code", "pk")))
    products: dict[str, int] = field(default_factory=lambda: dict(Product.objects.values_list("sku", "pk")))

    def sale(self, values: list[str]) -> Sale:
        """Return the fact that a line says; ValueError says why it is none."""
        if not values:
            raise ValueError("it has more or fewer values than the head")
        if values[0].upper().startswith(WEB):
            raise ValueError(f"references with {WEB} are the web shop's")
        return self.fact(*values)

    def fact(self, reference: str, day: str, store: str, sku: str, quantity: str, amount: str) -> Sale:
        """Return the fact that these values say; ValueError says why they say none."""
        if not REFERENCE.fullmatch(reference):
            raise ValueError(f"reference is not up to sixty of A-Z, 0-9 and ._/-: {reference!r:.80}")
        if store not in self.stores:
            raise ValueError(f"no store is called {store!r:.50}")
        if sku not in self.products:
            raise ValueError(f"no product has the SKU {sku!r:.50}")
        return Sale(
            reference=reference.upper(),
            day=_day(day),
            store_id=self.stores[store],
            product_id=self.products[sku],
            quantity=_quantity(quantity),
            amount=_amount(amount),
        )


def _text(value: Any) -> str:
    if isinstance(value, datetime):
        return value.date().isoformat()
    if isinstance(value, float) and value.is_integer():  # a spreadsheet knows no integers
        value = int(value)
    return "" if value is None else str(value).strip()


def _day(text: str) -> date:
    with suppress(ValueError):
        if (day := date.fromisoformat(text)).year >= 1900:
            return day
    raise ValueError(f"day is not a date such as 2027-01-31: {text!r:.50}")


def _quantity(text: str) -> int:
    with suppress(ValueError):
        if 0 < abs(quantity := int(text[:20])) < 1_000_000:
            return quantity
    raise ValueError(f"quantity is not a number of pieces: {text!r:.50}")


def _amount(text: str) -> Decimal:
    with suppress(InvalidOperation):
        amount = Decimal(text)
        if amount.is_finite() and abs(amount) < LARGEST and amount == round(amount, 2):
            return amount
    raise ValueError(f"amount is not a sum such as 12.50: {text!r:.50}")


# ------------------------------------------------------------------------------------------------------------ loading


def load(path: Path, tell: Tell = lambda position: None) -> Load:
    """Load a file, or what is left of it, then move it. Blocks.

    One that was loaded before is only moved; one that was rejected is tried anew: what it lacked may be there by now.

    A thousand lines and the place behind them are one transaction: no lock is held for long, and whoever was killed is
    followed by somebody who goes on from there.
    """
    with path.open("rb") as file:
        checksum = hashlib.file_digest(file, "sha256").hexdigest()
    load, _ = Load.objects.get_or_create(checksum=checksum, defaults={"name": path.name[:180]})
    if load.state == Load.State.REJECTED:
        _forget(load)
    if load.state == Load.State.LOADING:
        try:
            _lines(path, load, tell)
            _finish(load, "" if load.lines else "No line of it is a sale.")
        except Unusable as error:
            _finish(load, str(error)[:250])
    _settle(path, load)
    return load


@transaction.atomic
def _forget(load: Load) -> None:
    load.rejected_lines.all().delete()
    load.state, load.position, load.rejected = Load.State.LOADING, 0, 0
    load.save()


def _lines(path: Path, load: Load, tell: Tell) -> None:
    dimensions = Dimensions()
    lines = (line for line in read(path) if line.number > load.position)
    while batch := list(islice(lines, BATCH)):
        with transaction.atomic():
            _mine(load)
            _batch(batch, load, dimensions)
            load.position = batch[-1].number
            load.save()
        tell(load.position)


def _mine(load: Load) -> None:
    """Lock the load; LoadTakenOver if somebody else went on with it, whom this process, frozen for long, has not heard of."""
    if Load.objects.select_for_update().get(pk=load.pk).position != load.position:
        raise LoadTakenOver(f"{load} is being loaded by another run.")


def _batch(batch: list[Line], load: Load, dimensions: Dimensions) -> None:
    sales: dict[str, tuple[Line, Sale]] = {}
    rejected: list[tuple[Line, str]] = []
    for line in batch:
        try:
            sale = dimensions.sale(line.values)
        except ValueError as error:
            rejected.append((line, str(error)))
            continue
        if sale.reference in sales:
            rejected.append((line, f"{sale.reference} stands in line {sales[sale.reference][0].number} already"))
        else:
            sales[sale.reference] = line, sale
    for known in Sale.objects.filter(reference__in=list(sales)).values_list("reference", flat=True):
        rejected.append((sales.pop(known)[0], f"{known} was loaded before"))
    for _, sale in sales.values():
        sale.load = load
        load.amount += sale.amount
    Sale.objects.bulk_create((sale for _, sale in sales.values()), batch_size=BATCH)
    RejectedLine.objects.bulk_create(
        RejectedLine(load=load, number=line.number, reason=reason[:250], text=line.text[:500])
        for line, reason in rejected
    )
    load.lines += len(sales)
    load.rejected += len(rejected)


@transaction.atomic
def _finish(load: Load, reason: str) -> None:
    """Say what became of the file; of one that is rejected nothing stays among the facts."""
    _mine(load)
    load.reason, load.state = reason, Load.State.REJECTED if reason else Load.State.LOADED
    if reason:
        load.sale_set.all().delete()
        load.lines, load.amount = 0, Decimal(0)
    load.save()
    said = {"file": load.name, "checksum": load.checksum, "lines": load.lines, "rejected": load.rejected}
    audit.append([("etl", load.state, {**said, "amount": str(load.amount)})])


def _settle(path: Path, load: Load) -> None:
    """Move the file to where it belongs, and put the reasons of what was rejected beside it. May be done again."""
    place = folder("done" if load.state == Load.State.LOADED else "rejected")
    if load.reason or load.rejected:
        with (folder("rejected") / f"{load.file_name}.reasons.csv").open("w", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(["line", "reason", "text"])
            if load.reason:
                writer.writerow(["", load.reason, ""])
            rows = load.rejected_lines.order_by("number")
            # An apostrophe before what a spreadsheet would take for a formula: these texts are strangers'.
            writer.writerows((row.number, row.reason, f"'{row.text}") for row in rows.iterator())
    os.replace(path, place / load.file_name)
