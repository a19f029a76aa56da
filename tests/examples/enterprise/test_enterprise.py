"""What the back office loads, quarantines, reconciles, and finds out about its audit log."""

import csv
import io
import json
import signal
import threading
from datetime import date, datetime
from decimal import Decimal

import openpyxl
import pytest
from django.db import connection, transaction
from django.db.models import Sum
from django.urls import reverse

from background.models import Artifact, Job, Run
from background.testing import run_host
from project.examples.enterprise import audit, etl, samples
from project.examples.enterprise import background as enterprise
from project.examples.enterprise.models import AuditEntry, AuditHead, Load, RejectedLine, Sale
from tests.processes import Process, wait_until

pytestmark = pytest.mark.django_db

HEAD = ",".join(etl.COLUMNS) + "\n"


@pytest.fixture(autouse=True)
def own_place(settings, tmp_path, db):
    settings.EXAMPLES_FOLDER = str(tmp_path)
    samples.dimensions()


def drop(content, name="sales.csv"):
    content = content.encode() if isinstance(content, str) else content
    samples.drop(etl.folder("inbox"), name, content)
    return etl.folder("inbox") / name


def line(n, store="N1", sku="TEA-1", quantity=2, amount="5.00", day="2027-01-31"):
    return f"R{n},{day},{store},{sku},{quantity},{amount}\n"


def csv_with(count, first=1):
    return HEAD + "".join(line(n) for n in range(first, first + count))


def names(folder):
    return sorted(path.name for path in etl.folder(folder).iterdir())


# ------------------------------------------------------------------------------------------------------------- files


def test_each_line_becomes_a_fact_and_the_file_goes_to_done(drain):
    drop(HEAD + line(1) + line(2, amount="-7.25", quantity=-1))
    enterprise.load_file.enqueue("sales.csv")

    (run,) = drain()

    assert run.result == {
        "file": "sales.csv", "state": "loaded", "lines": 2, "rejected": 0, "amount": "-2.25", "reason": "",
    }  # fmt: skip
    facts = Sale.objects.values_list("reference", "day", "store__name", "product__name", "quantity", "amount")
    assert list(facts.order_by("reference")) == [
        ("R1", date(2027, 1, 31), "North", "Green tea", 2, Decimal("5.00")),
        ("R2", date(2027, 1, 31), "North", "Green tea", -1, Decimal("-7.25")),
    ]
    assert (names("inbox"), names("done"), names("rejected")) == ([], [Load.objects.get().file_name], [])
    assert json.loads(AuditEntry.objects.get().detail)["amount"] == "-2.25"


def test_broken_lines_are_quarantined_with_number_and_reason_and_the_rest_goes_on():
    wrong = [
        ("R2,31.01.2027,N1,TEA-1,1,2.50\n", "day is not a date such as 2027-01-31: '31.01.2027'"),
        (line(3, store="X9"), "no store is called 'X9'"),
        (line(4, sku="X"), "no product has the SKU 'X'"),
        (line(5, quantity="one"), "quantity is not a number of pieces: 'one'"),
        (line(6, amount="5.001"), "amount is not a sum such as 12.50: '5.001'"),
        (line(7, amount="NaN"), "amount is not a sum such as 12.50: 'NaN'"),
        ("R8,2027-01-31,N1\n", "it has more or fewer values than the head"),
        (line(1), "R1 stands in line 2 already"),
        (line(" é\0"), "reference is not up to sixty of A-Z, 0-9 and ._/-: 'R é\\x00'"),
        ("web-1" + line(9)[2:], "references with WEB- are the web shop's"),
    ]
    path = drop(HEAD + line(1) + "".join(text for text, _ in wrong) + "\n" + line(20))

    load = etl.load(path)

    assert (load.state, load.lines, load.rejected, load.amount) == ("loaded", 2, 10, Decimal("10.00"))
    kept = list(RejectedLine.objects.order_by("number").values_list("number", "reason"))
    assert kept == [(number, reason) for number, (_, reason) in enumerate(wrong, 3)]
    with (etl.folder("rejected") / f"{load.file_name}.reasons.csv").open(newline="") as file:
        told = list(csv.reader(file))
    assert told[1] == ["3", wrong[0][1], "'R2 | 31.01.2027 | N1 | TEA-1 | 1 | 2.50"]
    assert len(told) == 11


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("sales.txt", HEAD, "Files are .csv or .xlsx."),
        ("sales.csv", "", "The head has no reference, day, store, sku, quantity, amount."),
        ("sales.csv", "reference,day,store,quantity\n", "The head has no sku, amount."),
        ("sales.csv", HEAD, "No line of it is a sale."),
        ("sales.csv", HEAD + "nonsense\n", "No line of it is a sale."),
        ("sales.csv", csv_with(1500).encode() + b"caf\xe9", "it is not UTF-8."),
        ("sales.csv", csv_with(1500) + '"open', "Line 1502 is not CSV: unexpected end of data."),
        ("sales.xlsx", "no workbook", "It is no workbook that can be read (BadZipFile)."),
    ],
)
def test_of_a_file_that_cannot_be_used_nothing_stays_but_the_reason(name, content, reason):
    load = etl.load(drop(content, name))

    assert load.state == "rejected"
    assert load.reason.endswith(reason)
    assert not Sale.objects.exists()
    assert (names("inbox"), names("done")) == ([], [])
    assert names("rejected") == [load.file_name, f"{load.file_name}.reasons.csv"]


def workbook(*rows):
    book, out = openpyxl.Workbook(), io.BytesIO()
    for row in (etl.COLUMNS, *rows):
        book.active.append(row)
    book.save(out)
    return out.getvalue()


def test_a_workbook_is_read_as_a_spreadsheet_means_it():
    day = datetime(2027, 1, 31)
    load = etl.load(
        drop(workbook(("A1", day, "N1", "TEA-1", 3.0, 12.5), ("A2", day, "N1", "TEA-1", "x", 1)), "one.xlsx")
    )

    assert (load.lines, load.rejected) == (1, 1)
    assert (Sale.objects.get().day, Sale.objects.get().amount) == (date(2027, 1, 31), Decimal("12.50"))
    assert RejectedLine.objects.get().number == 3


def test_without_openpyxl_a_workbook_is_rejected_with_the_remedy_and_taken_when_it_is_there(monkeypatch):
    content = workbook(("A1", "2027-01-31", "N1", "TEA-1", 1, 1))
    with monkeypatch.context() as without:
        without.setattr(etl, "openpyxl", None)
        assert "pip install openpyxl" in etl.load(drop(content, "one.xlsx")).reason

    assert etl.load(drop(content, "one.xlsx")).state == "loaded"
    assert Load.objects.get().lines == Sale.objects.count() == 1


def test_semicolons_marks_and_other_orders_of_columns_are_understood():
    etl.load(drop("\N{BYTE ORDER MARK}SKU;Store;Day;Amount;Quantity;Reference;Note\nTEA-1;N1;2027-01-31;2.50;1;r1;\n"))

    assert Sale.objects.get().reference == "R1"


def test_the_same_file_again_changes_nothing_and_known_references_are_rejected():
    first = etl.load(drop(csv_with(3)))
    again = etl.load(drop(csv_with(3), "renamed.csv"))
    more = etl.load(drop(csv_with(4)))

    assert again == first
    assert (more.lines, more.rejected) == (1, 3)
    assert set(more.rejected_lines.values_list("reason", flat=True)) == {f"R{n} was loaded before" for n in (1, 2, 3)}
    assert Sale.objects.count() == 4
    assert names("inbox") == []


def test_a_load_that_was_stopped_goes_on_behind_the_last_line_committed():
    path = drop(csv_with(2500))

    def interrupt(position):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        etl.load(path, interrupt)
    half = Load.objects.get()
    assert (half.state, half.position, half.lines, Sale.objects.count()) == ("loading", 1001, 1000, 1000)
    told = []

    load = etl.load(path, told.append)

    assert told == [2001, 2501]
    assert (load.lines, load.rejected, load.amount) == (2500, 0, Decimal("12500.00"))
    assert Sale.objects.count() == 2500


def test_a_run_that_others_have_overtaken_writes_nothing_more():
    path = drop(csv_with(2500))

    def overtaken(position):
        Load.objects.update(position=2001)

    with pytest.raises(etl.LoadTakenOver):
        etl.load(path, overtaken)

    assert Sale.objects.count() == 1000
    assert path.exists()


def test_the_folder_hands_over_what_has_come_to_rest_once():
    service = enterprise.DropFolder()
    service.on_start()
    etl.folder("inbox").joinpath("half.csv.part").write_text(HEAD)
    etl.folder("inbox").joinpath(".hidden.csv").write_text(HEAD)
    path = drop(csv_with(1))

    def tick():
        with service.scope() as scope:
            service.tick(scope)
        return Run.objects.count()

    assert tick() == 0  # seen for the first time
    path.write_text(csv_with(2))
    assert tick() == 0  # it still grows
    assert tick() == 1
    assert list(Run.objects.values_list("args", flat=True)) == [["sales.csv"]]
    Run.objects.update(status="failed", unique_key=None)
    assert tick() == 1  # told of once
    path.write_text(csv_with(3))
    tick()
    assert tick() == 2


def test_only_files_of_the_inbox_are_loaded(drain, tmp_path):
    (tmp_path / "secret.csv").write_text(csv_with(1))
    enterprise.load_file.enqueue("../../secret.csv")

    (run,) = drain()

    assert run.result["state"] == "gone"
    assert (tmp_path / "secret.csv").exists()


@pytest.mark.slow
@pytest.mark.chaos
@pytest.mark.django_db(transaction=True)
def test_after_a_kill_in_the_midst_of_a_load_nothing_is_missing_and_nothing_doubled(settings):
    settings.EXAMPLES_FOLDER = str(settings.FOLDER / "examples")  # which processes know
    for left in [*etl.folder("inbox").iterdir(), *etl.folder("done").iterdir()]:
        left.unlink()
    flags = ["runbackground", "--services", "enterprise.DropFolder", "--no-scheduler", "--no-reload"]
    quick = {"BACKGROUND_TEST_SETTINGS": '{"HOST_TIMEOUT": 3, "HEARTBEAT_INTERVAL": 0.5, "POLL_INTERVAL": 0.2}'}
    drop(csv_with(30_000))

    kills, halves = 0, 0
    while kills < 3 and not Load.objects.filter(state="loaded").exists():
        before = Sale.objects.count()
        with Process(*flags, **quick) as host:
            wait_until(lambda before=before: Sale.objects.count() > before, timeout=60)
            host.send(signal.SIGKILL)
            host.wait()
            kills += 1
        halves += Load.objects.filter(state="loading", position__gt=0).count()
    with Process(*flags, **quick) as host:
        wait_until(lambda: names("done"), timeout=60)
        wait_until(lambda: not Run.objects.open().filter(task__contains="enterprise").exists(), timeout=30)
        assert host.stop() == 0

    assert halves > 0
    assert Load.objects.get().lines == Sale.objects.count() == 30_000
    assert Sale.objects.aggregate(all=Sum("amount"))["all"] == Load.objects.get().amount == 150_000
    assert AuditEntry.objects.count() == 1
    assert not RejectedLine.objects.exists()


# --------------------------------------------------------------------------------------------------------------- web


ORDERS = [[f"o{n}", "2027-01-31", "WEB", "CUP-1", "1", "4.00"] for n in range(45)]


def pull(settings, drain, orders):
    with samples.web_shop(orders) as address:
        settings.ENTERPRISE_SOURCE = address
        enterprise.WebSales.task.enqueue(full=True)
        (run,) = drain()
    assert run.status == "succeeded", run.errors
    return run.result


@pytest.mark.django_db(transaction=True)
def test_orders_of_the_web_shop_become_facts_and_corrections_correct_them(settings, drain):
    report = pull(settings, drain, ORDERS)
    assert (report["created"], report["pages"]) == (45, 3)
    etl.load(drop(csv_with(2)))

    corrected = [[*ORDERS[0][:5], "6.00"], [*ORDERS[1][:3], "NO-SKU", "1", "4.00"], *ORDERS[2:]]
    report = pull(settings, drain, corrected)

    assert (report["created"], report["updated"], report["rejected"]) == (0, 1, 1)
    assert Sale.objects.get(reference="WEB-O0").amount == 6
    assert Sale.objects.filter(load=None).count() == 45


# ------------------------------------------------------------------------------------------------------ reconciliation


@pytest.fixture
def reconciled(settings, drain):
    """Files and web orders that add up, and a way to reconcile them."""
    with samples.web_shop(ORDERS) as address:
        settings.ENTERPRISE_SOURCE = address
        enterprise.WebSales.task.enqueue()
        drain()
        etl.load(drop(HEAD + line(1) + line(2, amount="7.50") + "broken\n", "north.csv"))

        def reconcile():
            enterprise.reconcile.enqueue()
            return drain()[-1]

        assert reconcile().result == {"files": 1, "web": True, "differences": 0}
        yield reconcile


@pytest.mark.django_db(transaction=True)
def test_facts_that_were_altered_fail_the_reconciliation_and_are_named(reconciled):
    Sale.objects.filter(reference="R2").update(amount="7.00")
    Sale.objects.get(reference="WEB-O7").delete()

    run = reconciled()

    told = [
        "north.csv: amount 12.50 in the source, 12.00 in the facts",
        "web shop: lines 45 in the source, 44 in the facts",
        "web shop: quantity 45 in the source, 44 in the facts",
        "web shop: amount 180.00 in the source, 176.00 in the facts",
    ]
    assert run.status == "failed"
    assert run.errors[0]["message"] == f"4 differences: {'; '.join(told)}."
    assert Artifact.objects.get(run=run).file.read().decode().splitlines() == told


@pytest.mark.django_db(transaction=True)
def test_a_file_that_was_taken_away_is_compared_with_what_was_noted(reconciled):
    (etl.folder("done") / Load.objects.get().file_name).unlink()
    assert reconciled().status == "succeeded"

    Sale.objects.get(reference="R2").delete()

    assert "north.csv: lines 2 in the source, 1 in the facts" in reconciled().errors[0]["message"]


# ------------------------------------------------------------------------------------------------------------- audit


def write_log(count=6):
    audit.append(("ana", "sold", {"piece": n}) for n in range(count))


def change(number, **fields):
    AuditEntry.objects.filter(number=number).update(**fields)


def cut(*numbers):
    AuditEntry.objects.filter(number__in=numbers).delete()


def forge(number):
    """Insert an entry as somebody without the key can: the digest of another one fits nothing."""
    entry = AuditEntry.objects.get(number=number)
    entry.pk, entry.number, entry.previous = None, number + 1, entry.digest
    AuditEntry.objects.filter(number=number + 1).delete()
    entry.save()


@pytest.mark.parametrize(
    ("tamper", "told"),
    [
        (lambda: change(3, detail='{"piece": 99}'), "entry 3 was changed"),
        (lambda: change(3, actor="ben"), "entry 3 was changed"),
        (lambda: change(3, digest="0" * 64), "entry 3 was changed; entry 4 does not follow entry 3"),
        (lambda: cut(3), "entry 3 is missing"),
        (lambda: cut(2, 3, 4), "entries 2 to 4 are missing"),
        (lambda: cut(5, 6), "entries 5 to 6 are missing at the end"),
        (lambda: forge(3), "entry 4 was changed; entry 5 does not follow entry 4"),
        (lambda: (cut(2), change(5, action="gave away")), "entry 2 is missing; entry 5 was changed"),
    ],
)
def test_whatever_is_altered_in_the_audit_log_is_named(tamper, told):
    write_log()
    assert audit.verify().entries == 6

    tamper()

    with pytest.raises(audit.AuditTampered) as found:
        audit.verify()
    assert str(found.value) == f"The audit log was tampered with: {told}."


def test_an_end_that_was_cut_off_together_with_its_record_is_missed_by_the_next_run(drain):
    write_log()
    enterprise.verify_audit.enqueue()
    (good,) = drain()
    assert (good.status, good.result["entries"]) == ("succeeded", 6)
    write_log(2)
    last = AuditEntry.objects.get(number=4)
    AuditEntry.objects.filter(number__gt=4).delete()
    AuditHead.objects.update(number=4, digest=last.digest)
    enterprise.verify_audit.enqueue()

    (run,) = drain()

    assert run.errors[0]["message"] == "The audit log was tampered with: entries 5 to 6 are missing at the end."


def test_the_key_is_needed_to_write_an_entry_that_fits(settings):
    write_log()
    settings.ENTERPRISE_AUDIT_KEY = "another"

    with pytest.raises(audit.AuditTampered, match="entry 1 was changed"):
        audit.verify()


@pytest.mark.django_db(transaction=True)
def test_many_may_append_at_once():
    def work():
        for _ in range(5):
            with transaction.atomic():
                audit.append([("ana", "sold", 1), ("ana", "sold", 2)])
        connection.close()

    threads = [threading.Thread(target=work) for _ in range(4)]
    for one in threads:
        one.start()
    for one in threads:
        one.join()

    assert audit.verify().entries == 40


@pytest.mark.django_db(transaction=True)
def test_lines_of_the_applications_logs_are_chained_in_their_order(caplog):
    log = etl.folder("audit") / "desk.log"
    log.write_bytes(samples.audit_lines() + b'{"who": "nobody"}\n')

    with run_host(enterprise.AuditTrail) as host:
        host.wait_for(lambda: AuditEntry.objects.count() == 3)
        with log.open("a") as file:
            file.write('{"actor": "cy", "action": "left", "door": 4}\n')
        host.wait_for(lambda: AuditEntry.objects.count() == 4)

    entries = AuditEntry.objects.order_by("number").values_list("actor", "action", "detail")
    assert list(entries)[2:] == [("ana", "closed the till", '{"store": "N1"}'), ("cy", "left", '{"door": 4}')]
    assert audit.verify().entries == 4
    assert "1 lines could not be read" in caplog.text


# -------------------------------------------------------------------------------------------- report, host and admin


def test_the_report_adds_sales_up_by_day_store_and_category(drain):
    today = samples.timezone.localdate()
    etl.load(drop(HEAD + "".join(line(n, day=today, sku=sku) for n, sku in enumerate(["TEA-1", "TEA-2", "CUP-1"]))))
    enterprise.sales.enqueue()

    (run,) = drain()

    rows = Artifact.objects.get(run=run).file.read().decode("utf-8-sig").splitlines()
    assert rows[0] == "day,store__name,product__category,pieces,revenue"
    *words, revenue = zip(*(row.split(",") for row in sorted(rows[1:])), strict=True)
    assert list(zip(*words, strict=True)) == [(str(today), "North", "tea", "4"), (str(today), "North", "ware", "2")]
    assert [Decimal(one) for one in revenue] == [10, 5]


@pytest.mark.slow
@pytest.mark.django_db(transaction=True)
def test_a_fresh_site_shows_loads_web_orders_checks_and_a_report_by_itself(settings, monkeypatch):
    settings.EXAMPLES_SEED = True
    monkeypatch.setattr(enterprise.Branches, "pace", 0.1)
    monkeypatch.setattr(enterprise.Branches, "patience", 600)
    services = [enterprise.DropFolder, enterprise.WebShop, enterprise.AuditTrail, enterprise.Branches]

    with run_host(*services) as host:
        host.wait_for(lambda: Run.objects.filter(task__endswith=".reconcile").finished().exists(), timeout=60)
        host.wait_for(lambda: not Run.objects.open().filter(task__contains="enterprise").exists(), timeout=30)
        host.wait_for(lambda: AuditEntry.objects.count() == 7, timeout=30)

    failed = Run.objects.failed().filter(task__contains="enterprise")
    assert not failed, [run.errors for run in failed]
    states = dict(Load.objects.values_list("name", "state"))
    assert states == {
        "north.csv": "loaded", "south.csv": "loaded", "minutes.csv": "rejected", "west.xlsx": "loaded",
    }  # fmt: skip
    assert Sale.objects.filter(load=None).count() == 90
    assert Artifact.objects.count() == 1


@pytest.mark.parametrize("model", ["product", "store", "load", "rejectedline", "sale", "auditentry"])
def test_the_admin_shows_the_rows_and_lets_nobody_edit_what_was_loaded(admin_client, model):
    etl.load(drop(csv_with(1) + "broken\n"))

    assert admin_client.get(reverse(f"admin:enterprise_{model}_changelist")).status_code == 200
    may_add = model in ("product", "store")
    assert admin_client.get(reverse(f"admin:enterprise_{model}_add")).status_code == (200 if may_add else 403)


def test_each_job_has_a_row_with_its_schedule():
    assert dict(Job.objects.filter(name__startswith="enterprise.").values_list("name", "schedule")) == {
        "enterprise.load_file": "",
        "enterprise.WebSales": "50 0 * * *",
        "enterprise.verify_audit": "45 1 * * *",
        "enterprise.reconcile": "15 1 * * *",
        "enterprise.sales": "30 1 * * *",
    }
