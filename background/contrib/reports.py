"""Own reports: rows of a queryset, of SQL or of any iterable, streamed into a CSV or XLSX file that is kept with the run."""

from __future__ import annotations

import csv
import functools
import io
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date, datetime, time
from decimal import Decimal
from importlib import import_module
from importlib.util import find_spec
from itertools import chain, islice
from typing import Any

from django.core.mail import send_mail
from django.db import connections, transaction
from django.db.models import Model, QuerySet
from django.urls import NoReverseMatch, reverse
from django.utils import timezone
from django.utils.translation import gettext as _

from background.conf import get_part, part
from background.exceptions import InvalidPolicy
from background.jobs.context import RunContext, current_run
from background.jobs.tasks import job
from background.timing import Schedule

# Rows read at once from the database, and between two signs of progress.
CHUNK = 2000
# What a sheet of XLSX holds; a further sheet goes on.
SHEET = 1_048_576
# A cell that begins so would be taken for a formula by a spreadsheet.
FORMULA = ("=", "+", "-", "@", "\t", "\r")

Write = Callable[[Sequence[Any]], object]

TYPES = {"csv": "text/csv; charset=utf-8", "xlsx": "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet"}


@part("REPORTS")
@dataclass(frozen=True, slots=True)
class ReportSettings:
    base_url: str = ""  # of the site, for links in mail: "https://shop.example.org"
    from_email: str | None = None  # DEFAULT_FROM_EMAIL


@dataclass(frozen=True, slots=True)
class SQL:
    """A query whose rows are the report; `columns` are the database's own names unless given."""

    text: str
    params: Sequence[Any] = ()
    columns: Sequence[str] = ()
    using: str = "default"


@dataclass(frozen=True, slots=True)
class Rows:
    """Any rows, under a head of columns; `total`, if known, is for the progress."""

    columns: Sequence[str]
    rows: Iterable[Sequence[Any]]
    total: int | None = None


def report(
    schedule: Schedule | str | None = None,
    *,
    format: str = "csv",
    mail_to: Sequence[str] = (),
    file_name: str = "",
    **policies: Any,
) -> Callable[[Callable[..., Any]], Any]:
    """Make a job of a function that returns a queryset, an `SQL` or `Rows`: its rows become a file of the run.

    `format` is "csv" or "xlsx" (which needs the package XlsxWriter). `mail_to` get a link to the run once it is there.
    `file_name` may hold strftime's codes; by default it is the function's name and the date. `policies` are those of
    `@job`; `retain` says how long run and file are kept. Raises InvalidPolicy on another format.
    """
    if format not in TYPES:
        raise InvalidPolicy(f'A report is written as "csv" or "xlsx", not {format!r}.')
    if format == "xlsx" and find_spec("xlsxwriter") is None:
        raise InvalidPolicy("A report as xlsx needs XlsxWriter: pip install XlsxWriter.")

    def declare(function: Callable[..., Any]) -> Any:
        pattern = file_name or f"{function.__name__}-%Y-%m-%d.{format}"

        @functools.wraps(function)
        def body(*args: Any, **kwargs: Any) -> dict[str, Any]:
            context = current_run()
            if context is None:
                raise RuntimeError(f"The report {function.__name__} is written by a run only: enqueue it.")
            written = write(context, function(*args, **kwargs), timezone.localtime().strftime(pattern), format)
            if mail_to:
                tell(context, function.__name__.replace("_", " "), written, mail_to)
            return written

        return job(schedule, **policies)(body)

    return declare


def write(context: RunContext, source: Any, name: str, format: str) -> dict[str, Any]:
    """Write the rows of `source` to a file of the run. Blocks; memory does not grow with the number of rows."""
    with tempfile.TemporaryFile() as file, opened(source) as (columns, rows, total):
        count = 0
        with as_csv(file) if format == "csv" else as_xlsx(file) as write_row:
            write_row(columns)
            for count, row in enumerate(rows, 1):
                write_row([plain(cell) for cell in row])
                if count % CHUNK == 0:
                    context.stop.raise_if_requested()
                    context.progress(count, total)
        context.progress(count, count)
        size = file.tell()
        file.seek(0)
        artifact = context.attach(name, file, TYPES[format])
        context.logger.info("%s: %d rows", name, count)
        return {"file": name, "rows": count, "bytes": getattr(artifact, "size", None) or size}


@contextmanager
def opened(source: Any) -> Iterator[tuple[Sequence[str], Iterator[Sequence[Any]], int | None]]:
    """Open rows for reading, a chunk at a time; TypeError where they are none of the kinds that are known."""
    if isinstance(source, QuerySet):
        yield *_of_queryset(source), source.count()
    elif isinstance(source, SQL):
        with transaction.atomic(using=source.using), connections[source.using].chunked_cursor() as cursor:
            cursor.execute(source.text, source.params or None)
            rows = _fetched(cursor)
            first = list(islice(rows, 1))  # PostgreSQL tells the columns of a named cursor with the first rows
            columns = list(source.columns) or [column[0] for column in cursor.description or ()]
            yield columns, chain(first, rows), None
    elif isinstance(source, Rows):
        yield source.columns, iter(source.rows), source.total
    else:
        raise TypeError(f"A report function returns a queryset, SQL or Rows, not {type(source).__name__}.")


def _of_queryset(queryset: Any) -> tuple[list[str], Iterator[Sequence[Any]]]:
    """Return the head and the rows: the columns of `values_list()` or `values()`, else all fields of the model."""
    if queryset._fields is None:
        queryset = queryset.values_list(*(one.attname for one in queryset.model._meta.concrete_fields))
    query = queryset.query
    chosen = queryset._fields or (*query.extra_select, *query.values_select)
    names = [*chosen, *(one for one in query.annotation_select if one not in chosen)]  # annotated after values_list()
    rows: Iterator[Any] = queryset.iterator(chunk_size=CHUNK)
    first = next(rows, None)
    found = chain([first], rows) if first is not None else iter(())
    if isinstance(first, dict):
        return list(first), map(list, map(dict.values, found))
    if first is not None and not isinstance(first, (tuple, list)):  # flat=True
        return names, zip(found, strict=False)
    return names, found


def _fetched(cursor: Any) -> Iterator[Sequence[Any]]:
    while rows := cursor.fetchmany(CHUNK):
        yield from rows


@contextmanager
def as_csv(file: Any) -> Iterator[Write]:
    """UTF-8 with a mark that spreadsheets know it by; texts that look like formulas are guarded by an apostrophe."""
    out = io.TextIOWrapper(file, "utf-8-sig", newline="", write_through=False)
    writer = csv.writer(out)
    try:
        yield lambda row: writer.writerow(
            [f"'{cell}" if isinstance(cell, str) and cell.startswith(FORMULA) else cell for cell in row]
        )
    finally:
        out.detach()  # flushes, and leaves the file open


class XlsxSheet:
    """Sheets of one workbook, each with the head in its first row; texts stay texts."""

    def __init__(self, book: Any) -> None:
        self._book = book
        self._sheet: Any = None
        self._head: Sequence[Any] | None = None
        self._line = SHEET
        self._formats = {
            datetime: book.add_format({"num_format": "yyyy-mm-dd hh:mm:ss"}),
            date: book.add_format({"num_format": "yyyy-mm-dd"}),
            time: book.add_format({"num_format": "hh:mm:ss"}),
        }

    def write(self, row: Sequence[Any]) -> None:
        if self._head is None:
            self._head = row
            return
        if self._line >= SHEET:
            self._open()
        self._put(row)

    def _open(self) -> None:
        self._sheet, self._line = self._book.add_worksheet(), 0
        self._put(self._head or ())

    def _put(self, row: Sequence[Any]) -> None:
        for column, cell in enumerate(row):
            if isinstance(cell, str):
                self._sheet.write_string(self._line, column, cell[:32_767])  # what a cell holds
            elif type(cell) in self._formats:
                self._sheet.write_datetime(self._line, column, cell, self._formats[type(cell)])
            elif cell is not None:
                self._sheet.write(self._line, column, cell)
        self._line += 1

    def close(self) -> None:
        if self._sheet is None:
            self._open()


@contextmanager
def as_xlsx(file: Any) -> Iterator[Write]:
    book = import_module("xlsxwriter").Workbook(file, {"constant_memory": True})
    sheet = XlsxSheet(book)
    yield sheet.write
    sheet.close()
    book.close()


def plain(cell: Any) -> Any:
    """Return what both formats can hold: instants in the current zone, all that is unknown as text."""
    if isinstance(cell, datetime):
        return timezone.make_naive(cell).replace(microsecond=0) if timezone.is_aware(cell) else cell
    if cell is None or isinstance(cell, (str, int, float, Decimal, date, time)):
        return cell
    return str(cell.pk) if isinstance(cell, Model) else str(cell)


def tell(context: RunContext, title: str, written: dict[str, Any], mail_to: Sequence[str]) -> None:
    """Mail a link to the run: whoever may see its output can download the file. Blocks."""
    conf = get_part(ReportSettings)
    try:
        link = conf.base_url.rstrip("/") + reverse("admin:background_run_change", args=[context.run_id])
    except NoReverseMatch:  # a site without admin
        link = ""
    text = _("%(file)s is ready: %(rows)d rows.") % written
    send_mail(_("Report: %(title)s") % {"title": title}, f"{text}\n\n{link}\n", conf.from_email, list(mail_to))
