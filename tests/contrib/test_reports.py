"""Reports: rows become a file of the run, whole, in constant memory, and guarded against formulas."""

import csv
import io
import subprocess
import sys
import zipfile
from datetime import UTC, datetime
from decimal import Decimal

import pytest
from django.contrib.auth.models import User
from django.core import mail
from django.db import connection
from django.db.models import F

from background import InvalidSchedule, StopRequested, registry
from background.contrib import reports
from background.contrib.reports import SQL, Rows, report
from background.exceptions import InvalidPolicy
from background.jobs import tasks
from background.models import Artifact
from background.testing import drain
from tests.app.models import Effect
from tests.processes import ROOT, environment

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def own_declarations(monkeypatch):
    monkeypatch.setattr(tasks, "DECLARED", declared := [])
    monkeypatch.setattr(registry, "DECLARED", declared)
    monkeypatch.setattr(tasks, "KNOWN", known := {})
    monkeypatch.setattr(registry, "KNOWN", known)


SOURCE = {}


def sales(kind="queryset"):
    """Sales of the week."""
    return SOURCE[kind]()


def made(source, **values):
    SOURCE["queryset"] = source
    task = report(**values)(sales)
    task.enqueue()
    (run,) = drain()
    assert run.status == "succeeded", run.errors
    return run, run.artifacts.get()


def table(artifact):
    with artifact.file.open("rb") as file:
        return list(csv.reader(io.TextIOWrapper(file, "utf-8-sig", newline="")))


def test_the_rows_of_a_queryset_become_a_file_of_the_run():
    Effect.objects.bulk_create(Effect(name=f"n{number}", note="ü") for number in range(3))

    run, artifact = made(lambda: Effect.objects.order_by("id").values_list("name", "note"))

    assert table(artifact) == [["name", "note"], ["n0", "ü"], ["n1", "ü"], ["n2", "ü"]]
    assert artifact.content_type == "text/csv; charset=utf-8"
    assert run.result["rows"] == 3 and run.result["file"] == artifact.name and run.result["bytes"] == artifact.size
    assert artifact.name.startswith("sales-20") and artifact.name.endswith(".csv")
    assert (run.progress_done, run.progress_total) == (3, 3)


@pytest.mark.parametrize(
    ("source", "head", "row"),
    [
        (lambda: User.objects.values_list("username", flat=True), ["username"], ["ana"]),
        (lambda: User.objects.values("username", "email"), ["username", "email"], ["ana", "a@example.org"]),
        (lambda: User.objects.annotate(n=F("username")).values_list("email", "n"), ["email", "n"], ["a@example.org", "ana"]),
        (lambda: User.objects.annotate(n=F("username")).values_list("n", "email"), ["n", "email"], ["ana", "a@example.org"]),
        (lambda: User.objects.values_list("email").annotate(n=F("username")), ["email", "n"], ["a@example.org", "ana"]),
        (lambda: User.objects.values("email").annotate(n=F("username")), ["email", "n"], ["a@example.org", "ana"]),
        (lambda: SQL("SELECT username, email FROM auth_user WHERE id > %s", [0]), ["username", "email"], ["ana", "a@example.org"]),
        (lambda: SQL("SELECT username FROM auth_user", columns=["who"]), ["who"], ["ana"]),
        (lambda: Rows(["a", "b"], iter([(1, None)]), total=1), ["a", "b"], ["1", ""]),
    ],
)  # fmt: skip
def test_each_kind_of_source_has_its_head(source, head, row):
    User.objects.create_user("ana", "a@example.org")
    _, artifact = made(source)
    assert table(artifact) == [head, row]


def test_a_model_gives_all_its_fields():
    User.objects.create_user("ana")
    _, artifact = made(lambda: User.objects.all())
    head, row = table(artifact)
    assert row[head.index("username")] == "ana" and "password" in head


@pytest.mark.parametrize(
    "source",
    [
        lambda: Effect.objects.none().values_list("name"),
        lambda: Effect.objects.values_list("name"),
        lambda: SQL("SELECT name FROM app_effect"),
        lambda: Rows(["name"], []),
    ],
)
def test_no_rows_are_a_head_alone(source):
    _, artifact = made(source)
    assert table(artifact) == [["name"]]


def test_texts_that_look_like_formulas_are_guarded_and_numbers_are_not():
    _, artifact = made(lambda: Rows(["a"], [["=1+1"], ["@SUM(A1)"], ["-2"], [-2], ["+49"], ["plain"]]))
    assert [row[0] for row in table(artifact)[1:]] == ["'=1+1", "'@SUM(A1)", "'-2", "-2", "'+49", "plain"]


def test_xlsx_keeps_numbers_times_and_texts(settings):
    settings.TIME_ZONE = "Europe/Paris"
    when = datetime(2027, 1, 1, 12, tzinfo=UTC)
    _, artifact = made(lambda: Rows(["n", "t", "d", "x"], [[1.5, "=1+1", when, Decimal("2.50")]]), format="xlsx")

    book = zipfile.ZipFile(artifact.file.open("rb"))
    sheet = book.read("xl/worksheets/sheet1.xml").decode()
    assert "<f>" not in sheet and "=1+1" in sheet
    assert "<v>1.5</v>" in sheet and "<v>2.50</v>" in sheet
    assert "46388.541666" in sheet  # 13:00 in Paris


def test_xlsx_goes_on_in_a_further_sheet(monkeypatch):
    monkeypatch.setattr(reports, "SHEET", 3)
    _, artifact = made(lambda: Rows(["n"], [[number] for number in range(5)]), format="xlsx")
    names = [name for name in zipfile.ZipFile(artifact.file.open("rb")).namelist() if "worksheets/sheet" in name]
    assert len(names) == 3


def test_the_link_is_mailed_and_not_the_file(settings):
    settings.BACKGROUND = {"REPORTS": {"BASE_URL": "https://shop.example.org/"}}
    run, artifact = made(lambda: Rows(["a"], [[1]]), mail_to=["boss@example.org"])
    (message,) = mail.outbox
    assert message.to == ["boss@example.org"] and message.subject == "Report: sales"
    assert f"https://shop.example.org/admin/background/run/{run.pk}/change/" in message.body
    assert artifact.name in message.body and not message.attachments


def test_a_cancelled_report_leaves_no_file(monkeypatch):
    monkeypatch.setattr(reports, "CHUNK", 2)

    class Context:
        class stop:
            @staticmethod
            def raise_if_requested():
                raise StopRequested("cancelled")

    with pytest.raises(StopRequested):
        reports.write(Context, Rows(["a"], [[1]] * 5), "a.csv", "csv")
    assert not Artifact.objects.exists()


def test_what_is_no_report_fails_with_a_sentence():
    SOURCE["queryset"] = lambda: 5
    report()(sales).enqueue()
    (run,) = drain()
    assert run.error_summary == "A report function returns a queryset, SQL or Rows, not int."


def test_another_format_is_refused_where_it_is_declared():
    with pytest.raises(InvalidPolicy, match="csv"):
        report(format="pdf")
    with pytest.raises(InvalidSchedule):
        report("0 25 * * *")(sales)


MEASURE = r"""
import re, sys
import django
django.setup()
from background import registry
from background.contrib import reports
from background.contrib.reports import Rows

class Context:
    class stop:
        raise_if_requested = staticmethod(lambda: None)
    class logger:
        info = staticmethod(lambda *args: None)
    progress = staticmethod(lambda *args: None)
    attach = staticmethod(lambda name, file, kind: None)

def export(count):
    reports.write(Context, Rows(["a", "b", "c"], ((n, f"row {n}", n / 3) for n in range(count))), "x", sys.argv[1])
    # Not ru_maxrss, which a process inherits from the one that started it.
    return int(re.search(r"VmHWM:\s+(\d+) kB", open("/proc/self/status").read())[1])

small = export(20_000)
print(export(int(sys.argv[2])) - small)
"""


@pytest.mark.slow
@pytest.mark.parametrize("format", ["csv", "xlsx"])
def test_memory_does_not_grow_with_the_number_of_rows(format):
    done = subprocess.run(
        [sys.executable, "-c", MEASURE, format, "200000"], cwd=ROOT, env=environment(), capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) < 6_000, done.stdout  # kilobytes


@pytest.mark.django_db(transaction=True)
@pytest.mark.slow
def test_a_table_is_read_in_chunks_from_the_database():
    if connection.vendor == "mysql":
        pytest.skip("MariaDB's driver fetches a result whole")
    Effect.objects.bulk_create((Effect(name="n", note="x" * 200) for _ in range(20_000)), batch_size=2000)
    _, artifact = made(lambda: Effect.objects.values_list("id", "note"))
    assert len(table(artifact)) == 20_001
