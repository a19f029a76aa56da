"""Owns the comparison of what the sources say with what the facts add up to."""

from decimal import Decimal
from typing import NamedTuple

import httpx
from django.db.models import Count, QuerySet, Sum

from project.examples.enterprise import etl
from project.examples.enterprise.models import Load, Sale


class NotReconciled(Exception):
    """The facts differ from their sources."""


class Sums(NamedTuple):
    lines: int
    quantity: int
    amount: Decimal


def of_facts(sales: QuerySet[Sale]) -> Sums:
    found = sales.aggregate(lines=Count("pk"), quantity=Sum("quantity", default=0), amount=Sum("amount", default=0))
    # SQLite adds decimals up as floats, which is right to fifteen digits.
    return Sums(found["lines"], found["quantity"], round(Decimal(found["amount"]), 2))


def of_file(load: Load) -> Sums | None:
    """Read the file once more, without a look at the facts; None where it was taken away."""
    path = etl.folder("done") / load.file_name
    if not path.exists():
        return None
    rejected = set(load.rejectedline_set.values_list("number", flat=True))
    lines = [line.values for line in etl.lines(load.name, path.read_bytes()) if line.number not in rejected]
    return Sums(len(lines), sum(int(one["quantity"]) for one in lines), sum(Decimal(one["amount"]) for one in lines))


def of_web(url: str) -> Sums:
    """Ask the web shop what all its orders add up to. Blocks; httpx.HTTPError where it does not answer."""
    said = httpx.get(f"{url}/totals", timeout=10).raise_for_status().json()
    return Sums(said["lines"], said["quantity"], Decimal(said["amount"]))


def differences(source: str, expected: Sums, found: Sums) -> list[str]:
    return [
        f"{source}: {what} {there} in the source, {here} in the facts"
        for what, there, here in zip(Sums._fields, expected, found, strict=True)
        if there != here
    ]
