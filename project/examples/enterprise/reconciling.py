"""Owns the comparison of what the sources say with what the facts add up to."""

import json
from collections.abc import Iterator
from decimal import Decimal
from typing import Any, NamedTuple
from urllib.request import urlopen

from django.db.models import Count, Sum

from project.examples.enterprise import etl
from project.examples.enterprise.models import Load, Sale


class NotReconciled(Exception):
    """The facts differ from their sources."""


class Sums(NamedTuple):
    lines: int
    quantity: int
    amount: Decimal


class Difference(NamedTuple):
    """One sum that is not the same."""

    source: str
    what: str
    expected: str
    found: str

    def __str__(self) -> str:
        return f"{self.source}: {self.what} {self.expected} in the source, {self.found} in the facts"


def of_facts(**which: Any) -> Sums:
    found = Sale.objects.filter(**which).aggregate(lines=Count("pk"), quantity=Sum("quantity"), amount=Sum("amount"))
    # SQLite adds decimals up as floats, which is right to fifteen digits.
    return Sums(found["lines"], found["quantity"] or 0, round(found["amount"] or Decimal(0), 2))


def of_file(load: Load) -> Sums | None:
    """Read the file once more, without a look at the facts; None where it was taken away."""
    path = etl.folder("done") / load.file_name
    if not path.exists():
        return None
    rejected = set(load.rejected_lines.values_list("number", flat=True))
    lines = quantity = 0
    amount = Decimal(0)
    for line in etl.read(path):
        if line.number not in rejected:
            lines, quantity, amount = lines + 1, quantity + int(line.values[4]), amount + Decimal(line.values[5])
    return Sums(lines, quantity, amount)


def of_web(url: str) -> Sums:
    """Ask the HTTP source what all its sales add up to. Blocks; OSError where it does not answer."""
    with urlopen(url, timeout=10) as response:
        said = json.load(response)
    return Sums(int(said["lines"]), int(said["quantity"]), Decimal(said["amount"]))


def differences(source: str, expected: Sums, found: Sums) -> Iterator[Difference]:
    for what in Sums._fields:
        if getattr(expected, what) != getattr(found, what):
            yield Difference(source, what, str(getattr(expected, what)), str(getattr(found, what)))


def noted(load: Load, facts: Sums) -> Sums:
    """Return what was noted when the file was loaded, for one that was taken away since; nobody noted its pieces."""
    return Sums(load.lines, facts.quantity, load.amount)
