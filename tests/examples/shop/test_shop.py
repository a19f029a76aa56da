"""What becomes of the shop's orders, its stock and its carts, whoever is busy, away, or killed."""

import random
import signal
import time
from datetime import timedelta
from decimal import Decimal

import pytest
from django.core import mail
from django.urls import reverse
from django.utils import timezone

from background.contrib.mail.models import Message
from background.models import Job, Run
from background.testing import run_host
from project.examples.shop import background as shop
from project.examples.shop import outside, samples, warehouse
from project.examples.shop.models import Charge, Goods, Order, Product, Shipment
from tests.examples.answering import answering
from tests.processes import Process, wait_until

# The warehouse answers in a thread of its own, which sees what is committed.
pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(autouse=True)
def stocked(settings, monkeypatch, transactional_db):
    """A real warehouse with full shelves and a shop that knows them; warehouse and bank are never busy."""
    monkeypatch.setattr(warehouse, "BUSY_EVERY", 10**9)
    monkeypatch.setattr(outside, "HANGS_UP", 10**9)
    samples.fill()
    with answering(warehouse.Warehouse) as settings.SHOP_WAREHOUSE_URL:
        yield


def order(*lines, email="ana@example.org", **more):
    """Place an order: (sku, quantity), …"""
    cart = samples.fill_cart(email, dict(lines or [("mint-100", 2)]))
    shop.place(cart.pk)
    return cart


def state(order):
    order.refresh_from_db()
    return order.status


def product(sku="mint-100"):
    found = Product.objects.get(sku=sku)
    return found.level, found.reserved


def shelf(sku="mint-100"):
    return Goods.objects.get(sku=sku).quantity


def runs(task):
    return list(Run.objects.filter(task__endswith=f".{task}").order_by("enqueued_at").values_list("status", flat=True))


# -------------------------------------------------------------------------------------------------------- the way of an order


def test_an_order_is_reserved_paid_and_shipped_and_the_customer_hears_of_it(drain):
    placed = order(("mint-100", 2), ("assam-250", 1))

    assert [run.task.rpartition(".")[2] for run in drain()] == ["reserve", "pay", "ship"]

    assert state(placed) == "shipped"
    assert (product(), shelf()) == ((48, 0), 48) and shelf("assam-250") == 49
    assert Charge.objects.get().amount == Decimal("29.00") and Shipment.objects.get().number == placed.number
    (message,) = mail.outbox
    assert message.to == ["ana@example.org"] and "on its way" in message.subject and "2 × Mint" in message.body


def test_each_step_done_again_changes_nothing(drain):
    placed = order()
    drain()
    for task in (shop.reserve, shop.pay, shop.ship, shop.refund):
        task.enqueue(placed.pk)
    shop.place(placed.pk)
    assert {run.status for run in drain()} == {"succeeded"}
    assert (product(), shelf(), state(placed), len(mail.outbox)) == ((48, 0), 48, "shipped", 1)
    assert Charge.objects.count() == Shipment.objects.count() == 1


def test_what_is_not_there_any_more_is_told_and_nothing_of_the_order_is_held(drain):
    placed = order(("assam-250", 1), ("mint-100", 51))

    assert [run.task.rpartition(".")[2] for run in drain()] == ["reserve"]

    assert state(placed) == "cancelled" and placed.reason == "There are not 51 of Mint, 100 g any more."
    assert product() == product("assam-250") == (50, 0)
    assert "cancelled" in mail.outbox[0].subject


def test_a_reservation_commits_with_its_next_step_or_not_at_all(drain, monkeypatch):
    placed = order()

    def fail(task, order):
        raise RuntimeError("no queue")

    monkeypatch.setattr(shop, "step", fail)
    drain()
    assert (state(placed), product(), runs("pay")) == ("placed", (50, 0), [])


def test_a_declined_payment_gives_the_pieces_back(drain):
    placed = order(("assam-500", 41))
    drain()
    assert state(placed) == "cancelled" and "declined 1025.00" in placed.reason
    assert product("assam-500") == (50, 0) and not Charge.objects.exists()


def test_a_bank_that_hung_up_is_asked_again_and_charges_once(drain, monkeypatch):
    monkeypatch.setattr(outside, "HANGS_UP", 1)
    placed = order()
    drain()
    assert (state(placed), runs("pay")) == ("reserved", ["scheduled"])
    drain(now=timezone.now() + timedelta(minutes=5))
    assert state(placed) == "shipped" and Charge.objects.count() == 1


def test_a_bank_that_stays_away_ends_the_order_and_what_it_may_have_charged_is_given_back(drain, monkeypatch):
    charge = outside.charge

    def hang_up(order):
        charge(order)
        raise ConnectionError("hung up")

    monkeypatch.setattr(outside, "charge", hang_up)
    placed = order()
    for minutes in range(0, 60, 5):
        drain(now=timezone.now() + timedelta(minutes=minutes))
    assert state(placed) == "cancelled" and placed.reason == "The bank could not be reached."
    assert product() == (50, 0) and Charge.objects.get().refunded_at


def test_pieces_that_the_warehouse_lacks_after_all_undo_payment_and_reservation(drain):
    placed = order()
    Goods.objects.filter(sku="mint-100").update(quantity=1)
    drain()
    assert state(placed) == "cancelled" and "no mint-100 left" in placed.reason
    assert product() == (50, 0) and shelf() == 1 and not Shipment.objects.exists()
    assert Charge.objects.get().refunded_at and runs("refund") == ["succeeded"]


def test_a_busy_warehouse_is_asked_later_and_burns_no_attempt(drain, monkeypatch):
    monkeypatch.setattr(warehouse, "BUSY_EVERY", 1)
    placed = order()
    drain()
    run = Run.objects.get(task__endswith=".ship")
    assert (state(placed), run.status, run.errors) == ("paid", "scheduled", [])
    monkeypatch.setattr(warehouse, "BUSY_EVERY", 10**9)
    drain(now=timezone.now() + timedelta(minutes=1))
    assert state(placed) == "shipped"


def test_a_warehouse_whose_answer_was_lost_sends_once(drain):
    placed = order()
    drain(max_runs=2)
    outside.send(placed)  # by a host that died before it could note it
    drain()
    assert (state(placed), product(), shelf()) == ("shipped", (48, 0), 48)


def test_a_warehouse_that_was_away_gets_the_order_when_it_is_back(drain, settings):
    address, settings.SHOP_WAREHOUSE_URL = settings.SHOP_WAREHOUSE_URL, "http://127.0.0.1:1"
    placed = order()
    for hours in range(12):
        drain(now=timezone.now() + timedelta(hours=hours))
    assert (state(placed), runs("ship")) == ("paid", ["scheduled"])
    settings.SHOP_WAREHOUSE_URL = address
    drain(now=timezone.now() + timedelta(hours=24))
    assert state(placed) == "shipped"


def test_the_last_pieces_go_to_as_many_orders_as_there_are():
    Product.objects.filter(sku="mint-100").update(level=3)
    placed = [order(("mint-100", 1), email=f"a{number}@example.org") for number in range(8)]
    open_ = Order.objects.exclude(status__in=["reserved", "paid", "cancelled", "shipped"])
    with run_host() as host:
        host.wait_for(lambda: not open_.exists(), timeout=60)
    assert sorted(state(one) == "cancelled" for one in placed) == [False] * 3 + [True] * 5


# ---------------------------------------------------------------------------------------------------------------- the stock


def test_products_follow_the_warehouse_and_keep_what_is_the_shops(drain):
    Product.objects.filter(sku="mint-100").update(reserved=2)
    Product.objects.filter(sku="assam-100").delete()
    Goods.objects.filter(sku="mint-100").update(quantity=7, price=8)
    shop.Stock.task.enqueue()
    (run,) = drain()
    assert (run.result["created"], run.result["updated"], run.result["unchanged"], run.result["pages"]) == (1, 1, 22, 3)
    assert product() == (7, 2)

    shop.Stock.task.enqueue()
    (run,) = drain()
    assert run.result["not_modified"] and run.result["requests"] == 1

    Goods.objects.filter(sku="mint-100").delete()
    shop.Stock.task.enqueue()
    (run,) = drain()
    assert run.result["deleted"] == 1 and not Product.objects.get(sku="mint-100").active
    assert state(order()) == "placed" and drain() and Order.objects.get().reason.startswith("There are not 2 of Mint")


# --------------------------------------------------------------------------------------------------------- carts and admin


def test_carts_that_were_left_are_mailed_once_and_the_mail_commits_with_the_note(drain, settings):
    if hasattr(mail, "mailers"):
        settings.MAILERS = {
            "default": {"BACKEND": "background.contrib.mail.QueuedEmailBackend", "OPTIONS": {"using": "x"}}
        }
    else:
        settings.EMAIL_BACKEND = "background.contrib.mail.QueuedEmailBackend"
    samples.leave_carts()
    samples.fill_cart("new@example.org", {"mint-100": 1})
    for _ in range(2):
        shop.remind_of_carts.enqueue()
    assert [run.result for run in drain(["default"])] == [2, 0]
    assert sorted(message.to[0] for message in Message.objects.all()) == ["ida@example.org", "joe@example.org"]
    assert Order.objects.exclude(reminded_at=None).count() == 2
    assert set(runs("send")) == {"ready"}


def test_the_admin_places_carts_and_shows_the_runs_of_an_order(admin_client, drain):
    cart = samples.fill_cart("ana@example.org", {"mint-100": 1})
    page = reverse("admin:shop_order_changelist")
    admin_client.post(page, {"action": "place", "_selected_action": [cart.pk]})
    drain()
    assert state(cart) == "shipped"
    found = admin_client.get(reverse("admin:shop_order_change", args=[cart.pk])).content.decode()
    assert all(word in found for word in ("shop.reserve", "shop.pay", "shop.ship"))
    assert "lines-0-quantity" not in found  # what was reserved is not edited
    assert admin_client.post(reverse("admin:shop_order_delete", args=[cart.pk]), {"post": "yes"}).status_code == 403


@pytest.mark.parametrize("model", ["product", "goods", "shipment", "charge"])
def test_the_admin_shows_the_books(admin_client, drain, model):
    order()
    drain()
    assert admin_client.get(reverse(f"admin:shop_{model}_changelist")).status_code == 200


def test_each_schedule_is_a_row():
    rows = dict(Job.objects.filter(name__startswith="shop.").exclude(schedule="").values_list("name", "schedule"))
    assert rows == {
        "shop.Stock": "every 20s",
        "shop.remind_of_carts": "every 30s",
    }


# --------------------------------------------------------------------------------------------------------------------- hosts


@pytest.mark.slow
def test_a_fresh_site_fills_itself_and_every_order_comes_to_an_end(settings, monkeypatch):
    settings.SHOP_WAREHOUSE_URL = ""
    settings.EXAMPLES_SEED = True
    Product.objects.all().delete()
    Goods.objects.all().delete()
    monkeypatch.setattr(shop.Customers, "pace", 0.1)
    with run_host(warehouse.Warehouse, shop.Customers) as host:
        ended = Order.objects.filter(status__in=["shipped", "cancelled"])
        host.wait_for(lambda: ended.count() == len(samples.ORDERS), timeout=60)
        host.wait_for(lambda: Order.objects.filter(status="cart").count() == 2, timeout=30)
    assert not Product.objects.exclude(reserved=0).exists()


@pytest.mark.chaos
@pytest.mark.timeout(300)
def test_over_kills_every_order_is_charged_and_sent_once():
    quick = '{"HEARTBEAT_INTERVAL": 0.2, "HOST_TIMEOUT": 2, "MAX_LOST": 9, "CONCURRENCY": 2}'
    placed = [order(("mint-100", 1)) for _ in range(20)]
    ended = Order.objects.filter(status__in=["shipped", "cancelled"])
    for _ in range(2):
        before = ended.count()
        with Process("runbackground", BACKGROUND_TEST_SETTINGS=quick) as process:
            wait_until(lambda before=before: ended.count() > before, timeout=60)
            time.sleep(random.uniform(0, 0.2))  # anywhere in the midst of its work
            process.send(signal.SIGKILL)
            process.wait()
    with Process("runbackground", BACKGROUND_TEST_SETTINGS=quick) as process:
        wait_until(lambda: ended.count() == len(placed), timeout=150)
        assert process.stop() == 0, process.output
    assert {state(one) for one in placed} == {"shipped"}
    assert Charge.objects.count() == Shipment.objects.count() == 20
    assert (product(), shelf()) == ((30, 0), 30)
