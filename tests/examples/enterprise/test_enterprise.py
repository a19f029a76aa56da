"""What the back office loads, quarantines, reconciles, and finds out about its audit log."""

import json
import os
import random
import signal
import threading
import time
from datetime import date, datetime
from decimal import Decimal

import pytest
from django.db import connection, transaction
from django.db.models import Sum
from django.urls import reverse
from django.utils import timezone

from background.models import Artifact, Run
from background.testing import run_host
from project.examples.enterprise import audit, etl, samples
from project.examples.enterprise import background as enterprise
from project.examples.enterprise.models import AuditEntry, AuditHead, Load, Product, RejectedLine, Sale, Store
from tests.examples.answering import answering
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

    assert run.result == {"file": "sales.csv", "lines": 2, "rejected": 0, "reason": ""}
    assert (run.progress_done, run.progress_total) == (2, 2)
    facts = Sale.objects.values_list("reference", "day", "store__name", "product__name", "quantity", "amount")
    assert list(facts.order_by("reference")) == [
        ("R1", date(2027, 1, 31), "North", "Green tea", 2, Decimal("5.00")),
        ("R2", date(2027, 1, 31), "North", "Green tea", -1, Decimal("-7.25")),
    ]
    assert (names("inbox"), names("done"), names("rejected")) == ([], [Load.objects.get().file_name], [])
    assert json.loads(AuditEntry.objects.get().detail)["lines"] == 2


def test_broken_lines_are_quarantined_with_number_and_reason_and_the_rest_goes_on():
    wrong = [
        ("R2,31.01.2027,N1,TEA-1,1,2.50\n", "day: “31.01.2027” value has an invalid date format."),
        (line(3, store="X9"), "store: “X9” is not known."),
        (line(4, sku="X"), "sku: “X” is not known."),
        (line(5, quantity="one"), "quantity: “one” value must be an integer."),
        (line(6, amount="5.001"), "amount: Ensure that there are no more than 2 decimal places."),
        (line(7, amount="NaN"), "amount: “NaN” value must be a decimal number."),
        ("R8,2027-01-31,N1\n", "line: It has more or fewer values than the head."),
        (line(1), "reference: R1 stands in the file already, or is the web shop's."),
        (line(" é\0"), "reference: These are not letters, digits and ._/- alone."),
        ("web-1" + line(9)[2:], "reference: WEB-1 stands in the file already, or is the web shop's."),
    ]
    path = drop(HEAD + line(1) + "".join(text for text, _ in wrong) + "\n" + line(20))

    load = etl.load(path)

    assert (load.reason, load.lines, load.rejected) == ("", 2, 10)
    kept = list(RejectedLine.objects.order_by("number").values_list("number", "reason"))
    assert [number for number, _ in kept] == list(range(3, 13))
    for (_, told), (_, expected) in zip(kept, wrong, strict=True):
        assert told.startswith(expected)
    assert RejectedLine.objects.get(number=3).text == "R2 | 31.01.2027 | N1 | TEA-1 | 1 | 2.50"


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("sales.csv", "", "The head has no reference, day, store, sku, quantity, amount."),
        ("sales.csv", "reference,day,store,quantity\n", "The head has no sku, amount."),
        ("sales.csv", HEAD, "No line of it is a sale."),
        ("sales.csv", HEAD + "nonsense\n", "No line of it is a sale."),
        ("sales.csv", csv_with(3).encode() + b"caf\xe9", "Behind line 0 it cannot be read: 'utf-8' codec can't decode"),
        ("sales.csv", csv_with(3) + '"open', "Behind line 4 it cannot be read: unexpected end of data"),
        ("sales.xlsx", "no workbook", "Behind line 0 it cannot be read: File is not a zip file"),
    ],
)
def test_of_a_file_that_cannot_be_used_nothing_stays_but_the_reason(name, content, reason):
    load = etl.load(drop(content, name))

    assert load.reason.startswith(reason)
    assert not Sale.objects.exists()
    assert (names("inbox"), names("done"), names("rejected")) == ([], [], [load.file_name])


def test_workbooks_and_what_spreadsheets_write_as_csv_are_understood():
    day = datetime(2027, 1, 31)
    rows = [("A1", day, "N1", "TEA-1", 3, 12.5), ("A2", day, "N1", "TEA-1", "x", 1)]
    load = etl.load(drop(samples.workbook(rows), "one.xlsx"))

    assert (load.lines, load.rejected) == (1, 1)
    assert (Sale.objects.get().day, Sale.objects.get().amount) == (date(2027, 1, 31), Decimal("12.50"))
    assert RejectedLine.objects.get().number == 3
    etl.load(drop("\N{BYTE ORDER MARK}SKU;Store;Day;Amount;Quantity;Reference;Note\nTEA-1;N1;2027-01-31;2.50;1;r1;\n"))
    assert Sale.objects.filter(reference="R1").exists()


def test_a_file_that_was_rejected_is_tried_anew_as_what_it_lacked_may_be_there_by_now():
    assert etl.load(drop(HEAD + line(1, store="N9"))).reason == "No line of it is a sale."
    Store.objects.create(code="N9", name="New")

    assert etl.load(drop(HEAD + line(1, store="N9"))).lines == 1
    assert Load.objects.get().reason == "" and not RejectedLine.objects.exists()


def test_the_same_file_again_changes_nothing_and_known_references_are_rejected():
    first = etl.load(drop(csv_with(3)))
    again = etl.load(drop(csv_with(3), "renamed.csv"))
    more = etl.load(drop(csv_with(4)))

    assert again == first
    assert (more.lines, more.rejected) == (1, 3)
    told = set(more.rejectedline_set.values_list("reason", flat=True))
    assert told == {f"reference: R{n} was loaded before." for n in (1, 2, 3)}
    assert Sale.objects.count() == 4
    assert names("inbox") == []


def test_the_folder_hands_over_what_has_come_to_rest_once():
    service = enterprise.DropFolder()
    service.on_start()
    etl.folder("inbox").joinpath("half.csv.part").write_text(HEAD)
    etl.folder("inbox").joinpath(".hidden.csv").write_text(HEAD)
    path = drop(csv_with(1))

    def tick(age=0):
        os.utime(path, (time.time() - age, time.time() - age))
        with service.scope() as scope:
            service.tick(scope)
        return Run.objects.count()

    assert tick() == 0  # it may still grow
    assert tick(age=60) == 1
    assert list(Run.objects.values_list("args", flat=True)) == [["sales.csv"]]
    Run.objects.update(status="failed", unique_key=None)
    service.tick(None)
    assert Run.objects.count() == 1  # told of once
    assert tick(age=30) == 2


def test_a_file_that_may_not_be_read_is_told_of_once_and_out_of_the_way(drain, monkeypatch):
    drop(csv_with(1))
    monkeypatch.setattr(etl.Path, "read_bytes", deny)  # root may read everything
    enterprise.load_file.enqueue("sales.csv")

    (run,) = drain()

    assert (run.status, run.attempt) == ("failed", 1) and "Permission denied" in run.errors[0]["message"]
    assert (names("inbox"), names("rejected")) == ([], ["sales.csv"])


def deny(path):
    raise PermissionError(13, "Permission denied", str(path))


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
    quick = {
        "BACKGROUND_TEST_SETTINGS": '{"HOST_TIMEOUT": 3, "HEARTBEAT_INTERVAL": 0.5, "POLL_INTERVAL": 0.2, "MAX_LOST": 9}'
    }
    drop(csv_with(30_000))

    running = Run.objects.filter(task__endswith="load_file", status="running")
    halves = 0
    for _ in range(3):
        with Process(*flags, **quick) as host:
            wait_until(lambda: running.exists() or names("done"), timeout=60)
            time.sleep(random.uniform(0, 0.5))  # anywhere in the midst of its work
            host.send(signal.SIGKILL)
            host.wait()
            halves += running.exists()
    with Process(*flags, **quick) as host:
        wait_until(lambda: names("done"), timeout=60)
        wait_until(lambda: not Run.objects.open().filter(task__contains="enterprise").exists(), timeout=30)
        assert host.stop() == 0

    assert halves > 0
    assert Load.objects.get().lines == Sale.objects.count() == 30_000
    assert Sale.objects.aggregate(all=Sum("amount"))["all"] == 150_000
    assert AuditEntry.objects.count() == 1
    assert not RejectedLine.objects.exists()


# --------------------------------------------------------------------------------------------------------------- web


ORDERS = [[f"o{n}", "2027-01-31", "WEB", "CUP-1", "1", "4.00"] for n in range(45)]


@pytest.fixture
def pull(settings, drain, monkeypatch):
    """A web shop, and a way to have its orders pulled."""
    with answering(samples.WebShop) as settings.ENTERPRISE_SOURCE:

        def pull_orders(orders=ORDERS):
            monkeypatch.setattr(samples, "web_orders", lambda: orders)
            enterprise.WebSales.task.enqueue(full=True)
            (run,) = drain()
            assert run.status == "succeeded", run.errors
            return run.result

        yield pull_orders


@pytest.mark.django_db(transaction=True)
def test_orders_of_the_web_shop_become_facts_and_corrections_correct_them(pull):
    report = pull()
    assert (report["created"], report["pages"]) == (45, 3)
    etl.load(drop(csv_with(2)))

    corrected = [[*ORDERS[0][:5], "6.00"], [*ORDERS[1][:3], "NO-SKU", "1", "4.00"], *ORDERS[2:]]
    report = pull(corrected)

    assert (report["created"], report["updated"], report["rejected"]) == (0, 1, 1)
    assert Sale.objects.get(reference="WEB-O0").amount == 6
    assert Sale.objects.filter(load=None).count() == 45


# ------------------------------------------------------------------------------------------------------ reconciliation


@pytest.fixture
def reconciled(pull, drain):
    """Files and web orders that add up, and a way to reconcile them."""
    pull()
    etl.load(drop(HEAD + line(1) + line(2, amount="7.50") + "broken\n", "north.csv"))

    def reconcile():
        enterprise.reconcile.enqueue()
        return drain()[-1]

    assert reconcile().result == {"files": 1, "gone": 0, "differences": 0}
    return reconcile


@pytest.mark.django_db(transaction=True)
def test_facts_that_were_altered_fail_the_reconciliation_and_are_named(reconciled):
    Sale.objects.filter(reference="R2").update(amount="7.00")
    Sale.objects.get(reference="WEB-O7").delete()

    run = reconciled()

    told = [
        "web shop: lines 45 in the source, 44 in the facts",
        "web shop: quantity 45 in the source, 44 in the facts",
        "web shop: amount 180.00 in the source, 176.00 in the facts",
        "north.csv: amount 12.50 in the source, 12.00 in the facts",
    ]
    assert run.status == "failed"
    assert run.errors[0]["message"] == f"4 differences: {'; '.join(told)}."
    assert Artifact.objects.get(run=run).file.read().decode().splitlines() == told

    (etl.folder("done") / Load.objects.get().file_name).unlink()  # what was taken away cannot be compared
    assert "3 differences: web shop" in reconciled().errors[0]["message"]


# ------------------------------------------------------------------------------------------------------------- audit


def write_log(count=6):
    audit.append(("ana", "sold", {"piece": n}) for n in range(count))


def change(number, **fields):
    AuditEntry.objects.filter(number=number).update(**fields)


def cut(*numbers):
    AuditEntry.objects.filter(number__in=numbers).delete()


def forge():
    """Put an entry into the place of another as somebody without the key can: the digest of a third one fits nothing."""
    cut(4)
    entry = AuditEntry.objects.get(number=3)
    entry.pk, entry.number = None, 4
    entry.save()


@pytest.mark.parametrize(
    ("tamper", "told"),
    [
        (lambda: change(3, detail='{"piece": 99}'), "Entry 3 of the audit log is not what was written, or not where."),
        (lambda: change(3, actor="ben"), "Entry 3 of the audit log is not what was written, or not where."),
        (lambda: change(3, digest="0" * 64), "Entry 3 of the audit log is not what was written, or not where."),
        (lambda: cut(3), "Entry 3 of the audit log is missing."),
        (lambda: cut(5, 6), "Entry 5 of the audit log and all behind it are missing."),
        (forge, "Entry 4 of the audit log is not what was written, or not where."),
    ],
)
def test_whatever_is_altered_in_the_audit_log_is_named(tamper, told):
    write_log()
    assert audit.verify().number == 6

    tamper()

    with pytest.raises(audit.AuditTampered) as found:
        audit.verify()
    assert str(found.value) == told


def test_an_end_that_was_cut_off_together_with_its_record_is_missed_by_the_next_run(drain):
    write_log()
    enterprise.verify_audit.enqueue()
    (good,) = drain()
    assert (good.status, good.result["number"]) == ("succeeded", 6)
    write_log(2)
    last = AuditEntry.objects.get(number=4)
    AuditEntry.objects.filter(number__gt=4).delete()
    AuditHead.objects.update(number=4, digest=last.digest)
    enterprise.verify_audit.enqueue()

    (run,) = drain()

    assert run.errors[0]["message"] == "Entry 5 of the audit log and all behind it are missing."


def test_the_key_is_needed_to_write_an_entry_that_fits(settings):
    write_log()
    settings.ENTERPRISE_AUDIT_KEY = "another"

    with pytest.raises(audit.AuditTampered, match="Entry 1 "):
        audit.verify()


@pytest.mark.django_db(transaction=True)
def test_many_may_append_at_once():
    write_log(1)  # several that begin a log at once would be a deadlock to MariaDB, which is tried again

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

    assert audit.verify().number == 41


@pytest.mark.django_db(transaction=True)
def test_lines_of_the_applications_logs_are_chained_in_their_order(caplog):
    log = etl.folder("audit") / "desk.log"
    log.write_bytes(samples.AUDIT.encode() + b'{"who": "nobody"}\n')

    with run_host(enterprise.AuditTrail) as host:
        host.wait_for(lambda: AuditEntry.objects.count() == 3)
        with log.open("a") as file:
            file.write('{"actor": "cy", "action": "left", "door": 4}\n')
        host.wait_for(lambda: AuditEntry.objects.count() == 4)

    entries = AuditEntry.objects.order_by("number").values_list("actor", "action", "detail")
    assert list(entries)[2:] == [("ana", "closed the till", '{"store": "N1"}'), ("cy", "left", '{"door": 4}')]
    assert audit.verify().number == 4
    assert "1 lines could not be read" in caplog.text


# -------------------------------------------------------------------------------------------- report, host and admin


def test_the_report_adds_sales_up_by_day_store_and_category(drain):
    today = timezone.localdate()
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
    Store.objects.all().delete()
    Product.objects.all().delete()
    monkeypatch.setattr(enterprise.Branches, "pace", 0.1)
    monkeypatch.setattr(enterprise.Branches, "patience", 3)
    services = [enterprise.DropFolder, samples.WebShop, enterprise.AuditTrail, enterprise.Branches]

    with run_host(*services) as host:
        host.wait_for(lambda: Run.objects.filter(task__endswith=".reconcile").finished().exists(), timeout=60)
        host.wait_for(lambda: not Run.objects.open().filter(task__contains="enterprise").exists(), timeout=30)
        host.wait_for(lambda: AuditEntry.objects.count() == 7, timeout=30)

    failed = Run.objects.failed().filter(task__contains="enterprise")
    assert not failed, [run.errors for run in failed]
    counts = {load.name: (load.lines, load.rejected) for load in Load.objects.all()}
    assert counts == {"north.csv": (300, 0), "south.csv": (120, 4), "minutes.csv": (0, 0), "west.xlsx": (80, 0)}
    assert Sale.objects.filter(load=None).count() == 90
    assert Artifact.objects.count() == 1


@pytest.mark.parametrize("model", ["product", "store", "load", "rejectedline", "sale", "auditentry"])
def test_the_admin_shows_the_rows_and_lets_nobody_edit_what_was_loaded(admin_client, model):
    etl.load(drop(csv_with(1) + "broken\n"))

    assert admin_client.get(reverse(f"admin:enterprise_{model}_changelist")).status_code == 200
    may_add = model in ("product", "store")
    assert admin_client.get(reverse(f"admin:enterprise_{model}_add")).status_code == (200 if may_add else 403)
