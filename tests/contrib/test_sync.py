"""Synchronisation: rows follow a real HTTP server, over limits, failures, nonsense and kills."""

import gzip
import logging
import random
import signal
import threading
import time
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from email.utils import format_datetime

import pytest

from background import registry
from background.contrib.sync import Page, Source, SyncFailed, SyncService, fetching, service, sync
from background.contrib.sync.fetching import retry_after, shown
from background.contrib.sync.pulling import pull
from background.exceptions import InvalidPolicy, StopRequested
from background.jobs import tasks
from background.models import Checkpoint, Run
from background.stopping import StopToken
from background.testing import drain, run_host
from background.timing import Backoff
from tests.app import pulling
from tests.app.models import Effect, Pulled
from tests.contrib.api import Api, serving
from tests.processes import Process, wait_until

pytestmark = pytest.mark.django_db

HTML = (200, {"Content-Type": "text/html"}, "<!doctype html><title>Sign in</title>")


def goods(count, start=0):
    return {f"s{number:04}": {"name": f"thing {number}", "price": "1.50"} for number in range(start, start + count)}


@pytest.fixture
def api():
    api = Api(goods(7))
    with serving(api) as api.url:
        yield api


@pytest.fixture(autouse=True)
def own_declarations(monkeypatch):
    monkeypatch.setattr(tasks, "DECLARED", declared := [])
    monkeypatch.setattr(registry, "DECLARED", declared)
    monkeypatch.setattr(tasks, "KNOWN", known := {})
    monkeypatch.setattr(registry, "KNOWN", known)
    monkeypatch.setattr(fetching, "RETRY", Backoff(0, 0))
    monkeypatch.setattr(fetching, "LEAST", 0.0)


class Stock(pulling.Stock):
    def headers(self):
        return {"Authorization": "Bearer sesame"}


def make(api, **values):
    return type("Stock", (Stock,), {"url": api.url, **values})()


def pulled(source, **how):
    return pull(source, "stock", how.pop("stop", StopToken()), **how)


def counts(report):
    return (report.created, report.updated, report.deleted, report.unchanged, report.rejected)


def names():
    return sorted(Pulled.objects.values_list("sku", flat=True))


def stored():
    return Checkpoint.objects.get(name="stock").data["sync"]


# ------------------------------------------------------------------------------------------------------------- rows


def test_pages_become_rows_and_the_next_pass_writes_only_what_differs(api):
    report = pulled(make(api))
    assert counts(report) == (7, 0, 0, 0, 0) and (report.pages, report.requests) == (3, 3)
    assert names() == sorted(api.items)
    before = dict(Pulled.objects.values_list("sku", "changed_at"))

    api.items["s0002"]["price"] = "2.75"
    api.items.pop("s0006")
    api.items |= goods(1, 20)
    assert counts(pulled(make(api))) == (1, 1, 1, 5, 0)

    assert names() == sorted(api.items)
    assert Pulled.objects.get(sku="s0002").price == Decimal("2.75")
    after = dict(Pulled.objects.values_list("sku", "changed_at"))
    assert [sku for sku in before if sku in after and before[sku] != after[sku]] == ["s0002"]


def test_what_a_row_has_besides_is_left_as_it_is(api):
    owner = Effect.objects.create(name="owner")
    pulled(make(api))
    Pulled.objects.filter(sku="s0001").update(owner=owner, kept=False)
    api.items["s0001"]["name"] = "new"
    pulled(make(api))
    row = Pulled.objects.get(sku="s0001")
    assert (row.name, row.owner, row.kept) == ("new", owner, False)


def test_items_may_say_different_fields_and_come_twice(api):
    def row(self, item):
        return {"sku": item["id"], "name": item["name"], **({"price": item["price"]} if "price" in item else {})}

    pulled(make(api))
    api.items["s0000"] = {"name": "without a price"}
    api.size = 10
    twice = list(api.items.items())
    api.first = [(200, {}, {"results": [{"id": key, **values} for key, values in [*twice, *twice]]})]
    assert counts(pulled(make(api, row=row))) == (0, 1, 0, 6, 0)
    assert Pulled.objects.get(sku="s0000").price == Decimal("1.50")


def test_a_relation_may_be_named_by_its_key(api):
    owner = Effect.objects.create(name="owner")
    row = {"row": lambda self, item: {"sku": item["id"], "name": item["name"], "owner_id": str(owner.pk)}}
    assert counts(pulled(make(api, **row))) == (7, 0, 0, 0, 0)
    assert counts(pulled(make(api, **row))) == (0, 0, 0, 7, 0)
    assert set(Pulled.objects.values_list("owner", flat=True)) == {owner.pk}


def test_rows_of_the_site_itself_and_of_others_are_never_deleted(api):
    Pulled.objects.create(sku="own", name="own")
    pulled(make(api))
    pulled(make(api))
    assert "own" in names()

    Pulled.objects.filter(sku="s0000").update(kept=False)
    api.items = goods(2, 2)
    pulled(make(api, rows=lambda self: Pulled.objects.filter(kept=True)))
    assert names() == ["own", "s0000", "s0002", "s0003"]


def test_the_hook_gets_what_is_gone_once_and_may_keep_it(api):
    got = []

    def remove(self, rows):
        got.append(sorted(row.sku for row in rows))
        rows.update(kept=False)

    def row(self, item):
        return {**Stock.row(self, item), "kept": True}

    source = make(api, remove=remove, row=row)
    pulled(source)
    gone = {key: api.items.pop(key) for key in ("s0003", "s0004")}
    assert [pulled(source).deleted for _ in range(2)] == [2, 0]
    assert got == [["s0003", "s0004"]]
    api.items |= gone
    assert counts(pulled(source)) == (0, 2, 0, 5, 0)
    assert Pulled.objects.filter(kept=True).count() == 7


def test_without_a_field_for_it_nothing_is_deleted(api):
    pulled(make(api, seen=""))
    api.items = goods(1)
    assert pulled(make(api, seen="")).deleted == 0
    assert len(names()) == 7


# --------------------------------------------------------------------------------------------- what may not be deleted


def test_an_empty_answer_deletes_nothing_unless_it_may(api):
    pulled(make(api))
    api.items = {}
    with pytest.raises(SyncFailed, match="without a single item"):
        pulled(make(api))
    assert len(names()) == 7
    assert pulled(make(api, may_be_empty=True)).deleted == 7
    assert pulled(make(api)).pages == 1  # nothing was there to lose


def test_a_pass_that_breaks_off_deletes_nothing_and_is_gone_on_with(api):
    pulled(make(api))
    api.items = goods(7, 4)
    fails = [(500, {}, "")] * fetching.TRIES

    def break_off(path):
        if "after=3" in path:
            api.first, api.on_request = fails, lambda path: None

    api.on_request = break_off
    with pytest.raises(SyncFailed, match="status 500"):
        pulled(make(api))
    assert set(goods(7)) <= set(names()) and stored()["cursor"] == "/stock?after=3"

    api.asked.clear()
    report = pulled(make(api))
    assert api.paths == ["/stock?after=3", "/stock?after=6"]
    assert (report.resumed, report.pages) == (1, 3)
    assert names() == sorted(api.items)


def test_an_item_without_a_key_may_be_any_so_nothing_is_deleted(api, caplog):
    pulled(make(api))
    api.items = goods(1)
    api.first = [(200, {}, {"results": [{"id": "s0001", "name": "x", "price": 1}, {"name": "who?", "price": 1}]})]
    report = pulled(make(api))
    assert (report.rejected, report.deleted) == (1, 0) and "1 items had no sku" in report.withheld
    assert len(names()) == 7 and "KeyError: 'id'" in caplog.text
    assert pulled(make(api)).deleted == 6


@pytest.mark.parametrize(
    ("wrong", "why"),
    [
        ({"price": "dear"}, "price"),
        ({"name": "x" * 51}, "name"),
        ({"name": None}, "name"),
        ({"name": "a\x00b"}, "NUL"),
        ({"name": "\ud800"}, "half"),
        ({"price": "NaN"}, "price"),
    ],
)
def test_a_bad_item_is_told_of_and_neither_stops_the_others_nor_is_deleted(api, caplog, wrong, why):
    pulled(make(api))
    api.items["s0001"] |= wrong
    api.items["s0005"]["name"] = "new"
    report = pulled(make(api))
    assert counts(report) == (0, 1, 0, 5, 1) and not report.withheld
    assert len(names()) == 7 and Pulled.objects.get(sku="s0005").name == "new"
    assert why in caplog.text


def test_a_page_of_which_nothing_can_be_used_does_not_keep_the_others_back(api, caplog):
    api.items["s0006"] = {"name": "x" * 51, "price": 1}  # alone on the last page
    report = pulled(make(api))
    assert (report.created, report.rejected, report.pages) == (6, 1, 3) and "name" in caplog.text

    def nameless(path):
        if "after=3" in path:
            api.first = [(200, {}, {"results": [{"no": 1}, {"no": 2}], "next": "/stock?after=6"})]

    api.on_request = nameless
    report = pulled(make(api))
    assert (report.nameless, report.deleted, report.unchanged) == (2, 0, 3) and report.withheld
    assert len(names()) == 6


# --------------------------------------------------------------------------------------------------------- bad answers


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        (HTML, "answered with text/html, not with JSON"),
        ((200, {}, '{"results": '), "not with JSON"),
        ((200, {}, "[" * 9_000), "not with JSON"),
        ((200, {}, {"error": "no"}), "has no list 'results' but NoneType"),
        ((200, {}, {"results": {"a": 1}}), "has no list 'results' but dict"),
        ((200, {}, "17"), "has no list 'results'"),
        ((200, {}, {"results": [{"name": "a"}, 5, None]}), "none of 3 items can be used; the log tells why"),
        ((200, {}, b"x" * 20_000), "more than max_bytes=10,000"),
        ((200, {"Content-Encoding": "gzip"}, gzip.compress(b" " * 20_000)), "more than max_bytes=10,000"),
        ((401, {}, "secret page"), "are the headers"),
        ((404, {}, ""), "answered with status 404"),
        ((302, {"Location": "https://elsewhere.example/?token=1"}, ""), "has moved to https://elsewhere.example/ "),
        ((200, {}, {"results": [], "next": "https://elsewhere.example/stock"}), "at another site"),
        ((200, {}, {"results": [], "next": "http://example.org:port/"}), "no proper address"),
    ],
)
def test_an_answer_that_is_none_fails_with_a_sentence(api, answer, why):
    Pulled.objects.create(sku="s0001", name="x", seen_at=datetime(2020, 1, 1, tzinfo=UTC))
    api.first = [answer]
    with pytest.raises(SyncFailed, match=why) as caught:
        pulled(make(api, max_bytes=10_000))
    assert "token" not in str(caught.value)
    assert names() == ["s0001"]
    assert pulled(make(api)).created == 6  # and the next one is none the worse


def test_a_next_page_that_was_read_before_ends_the_pass(api):
    page = {"results": [{"id": "a", "name": "a", "price": 1}], "next": "/stock?after=3"}
    api.first = [(200, {}, page)] * 2
    with pytest.raises(SyncFailed, match="would never end"):
        pulled(make(api))
    assert len(api.asked) == 2
    assert pulled(make(api)).created == 7 and "a" not in names()


def test_pages_without_end_have_an_end(api):
    api.items = goods(50)
    with pytest.raises(SyncFailed, match="more than max_pages=4"):
        pulled(make(api, max_pages=4))
    assert len(api.asked) == 4


def test_what_does_not_answer_fails_after_some_tries(api):
    source = make(api, url="http://127.0.0.1:1/stock")
    with pytest.raises(SyncFailed, match=r"http://127.0.0.1:1/stock failed 4 times in a row, .* ConnectError"):
        pulled(source)


def test_a_server_that_says_nothing_is_not_waited_for(api):
    over = threading.Event()
    api.on_request = lambda path: over.wait(30)
    try:
        with pytest.raises(SyncFailed, match="ReadTimeout"):
            pulled(make(api, timeout=0.05))
    finally:
        over.set()


def test_a_broken_answer_and_some_errors_are_tried_again(api):
    api.first = [(200, {"Content-Encoding": "gzip"}, b"no gzip"), (502, {}, ""), (200, {"Content-Length": 500}, "[")]
    report = pulled(make(api, timeout=0.2))
    assert (report.created, report.requests) == (7, 6)


@pytest.mark.parametrize(
    ("values", "why"),
    [
        ({"url": ""}, "needs url, model and key"),
        ({"key": "code"}, "no field named 'code'"),
        ({"seen": "changed_at"}, "must be a DateTimeField"),
        ({"seen": "name"}, "must be a DateTimeField"),
    ],
)
def test_a_source_that_cannot_work_says_what_is_missing(api, values, why):
    with pytest.raises(SyncFailed, match=why):
        pulled(make(api, **values))
    assert not api.asked


def test_without_httpx_the_error_says_what_to_install(api, monkeypatch):
    monkeypatch.setattr(fetching, "httpx", None)
    with pytest.raises(SyncFailed, match="pip install httpx"):
        pulled(make(api))


# -------------------------------------------------------------------------------------------- cursors, ETags, limits


def test_an_etag_that_covers_all_saves_the_pass(api):
    api.etag = '"one"'
    source = make(api, whole_etag=True)
    assert not pulled(source).not_modified
    report = pulled(source)
    assert report.not_modified and (report.requests, report.pages) == (1, 0)
    assert len(names()) == 7
    api.etag, api.items = '"two"', goods(6)
    assert pulled(source).deleted == 1
    assert pulled(source, full="anyway").unchanged == 6


def test_the_etag_of_the_first_of_several_pages_is_not_believed(api):
    api.etag = '"one"'
    pulled(make(api))
    assert not pulled(make(api)).not_modified
    api.size = 10
    pulled(make(api))
    assert pulled(make(api)).not_modified


def test_a_list_with_links_and_a_cursor_of_its_own_are_pages_too(api):
    item = {"name": "x", "price": 1}
    api.first = [
        (200, {"Link": f'<{api.url}?after=3>; rel="next"'}, [{"id": "a", **item}]),
        (200, {}, [{"id": "b", **item}]),
    ]
    assert pulled(make(api)).created == 2
    api.asked.clear()
    api.first = [
        (200, {}, {"data": {"rows": [{"id": "a", **item}], "cursor": "a&b=1"}}),
        (200, {}, {"data": {"rows": []}}),
    ]
    pulled(make(api, url=api.url + "?size=5", items="data.rows", next="data.cursor", cursor_param="from"))
    assert api.paths == ["/stock?size=5", "/stock?size=5&from=a%26b%3D1"]


def test_a_feed_goes_on_where_it_was_and_says_what_is_gone(api):
    def read(self, body, links):
        return Page(body["results"], body["next"], later=body.get("later", ""))

    def is_deleted(self, item):
        return item.get("gone", False)

    def row(self, item):
        return {"sku": item["id"]} if item.get("gone") else Stock.row(self, item)

    source = make(api, read=read, is_deleted=is_deleted, row=row)
    first = [{"id": key, **values} for key, values in goods(3).items()]
    api.first = [(200, {}, {"results": first, "next": None, "later": "/changes?since=1"})]
    pulled(source)
    changes = [{"id": "s0000", "gone": True}, {"id": "s0001", "name": "new", "price": 1}]
    api.first = [(200, {}, {"results": changes, "next": None, "later": "/changes?since=2"})]
    assert counts(pulled(source)) == (0, 1, 1, 0, 0)
    assert api.paths[-1] == "/changes?since=1" and names() == ["s0001", "s0002"]

    api.first = [(410, {}, "")]  # the source has forgotten
    assert pulled(source).created == 5
    assert api.paths[-4:] == ["/changes?since=2", "/stock", "/stock?after=3", "/stock?after=6"]


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({"retry-after": "7"}, 7),
        ({"retry-after": "9" * 400}, fetching.DAY),
        ({"retry-after": "soon"}, None),
        ({}, None),
        ({"retry-after": "Wed, 01 Jan 2031 10:00:30 GMT", "date": "Wed, 01 Jan 2031 10:00:00 GMT"}, 30),
        ({"retry-after": "Wed, 01 Jan 2031 10:00:30 GMT"}, 90),
        ({"retry-after": "Wed, 01 Jan 2031 09:00:00 GMT"}, 0),
        ({"retry-after": "Wed, 99 Jan 2031 10:00:30 GMT"}, None),
    ],
)
def test_retry_after_is_seconds_or_a_date(headers, seconds):
    assert retry_after(headers, lambda: datetime(2031, 1, 1, 9, 59, tzinfo=UTC)) == seconds


@pytest.mark.slow
def test_the_source_is_given_the_time_that_it_asks_for(api):
    later = format_datetime(datetime.now(UTC) + timedelta(seconds=3), True)  # the server tells its own `Date`
    api.first = [(503, {"Retry-After": later}, ""), (429, {"Retry-After": "1"}, "")]
    started = time.monotonic()
    report = pulled(make(api))
    assert time.monotonic() - started >= 2 and report.waited >= 2
    assert (report.created, report.requests) == (7, 5)


def test_who_is_always_busy_is_given_up(api):
    api.first = [(429, {"Retry-After": "0"}, "")] * 99
    with pytest.raises(SyncFailed, match="20 times in a row, the last time with status 429"):
        pulled(make(api))


def test_a_wait_ends_with_the_stop_and_the_next_pass_goes_on(api):
    def wait_long(path):
        if "after=3" in path:
            api.first, api.on_request = [(429, {"Retry-After": "3600"}, "")], lambda path: None
            threading.Timer(0.1, stop.request).start()

    stop, api.on_request = StopToken(), wait_long
    with pytest.raises(StopRequested):
        pulled(make(api), stop=stop)
    assert len(names()) == 3
    assert pulled(make(api)).resumed == 1
    assert len(names()) == 7


def test_requests_are_not_quicker_than_agreed(api):
    began = time.monotonic()
    report = pulled(make(api, per_minute=600))
    assert report.requests == 3
    assert time.monotonic() - began >= 0.2  # however long each of them takes


def test_an_old_pass_is_begun_anew(api):
    api.first = [
        (200, {}, {"results": [{"id": "a", "name": "a", "price": 1}], "next": "/stock?after=3"}),
        (404, {}, ""),
    ]
    with pytest.raises(SyncFailed):
        pulled(make(api))
    api.asked.clear()
    pulled(make(api, resume_seconds=-1))
    assert api.paths[0] == "/stock" and "a" not in names()


def test_two_hosts_cannot_both_go_on(api):
    def read(self, body, links):
        pulled(make(api))  # this one was frozen while the other did it all
        return Source.read(self, body, links)

    with pytest.raises(SyncFailed, match="another host has gone on"):
        pulled(make(api, read=read))
    assert len(names()) == 7


def test_secrets_are_in_no_log(api, caplog):
    api.first = [(429, {"Retry-After": "0"}, "")]
    with caplog.at_level(logging.INFO):
        pulled(make(api, url=api.url + "?api_key=sesame"))
    assert api.asked[0][1]["Authorization"] == "Bearer sesame"
    assert "status 429" in caplog.text and "sesame" not in caplog.text
    assert shown("https://ana:sesame@example.org/a?key=sesame#x") == "https://example.org/a"


# ------------------------------------------------------------------------------------------------------ job and service


def test_a_run_pulls_once_and_its_result_is_the_report(api):
    source = sync("*/5 * * * *")(type(make(api)))
    assert registry.jobs()["tests.Stock"].task.concurrency == 1
    source.task.enqueue()
    (run,) = drain()
    assert run.status == "succeeded", run.errors
    assert run.result | {"created": 7, "pages": 3, "requests": 3, "withheld": ""} == run.result
    assert (run.progress_done, run.progress_total, run.progress_message) == (7, 7, "page 3")
    assert run.logs.last().message.startswith("7 created, 0 updated, 0 deleted")


def test_a_long_wait_leaves_the_slot_and_a_full_run_stays_one(api, monkeypatch):
    monkeypatch.setattr(service, "LONGEST", 5)
    source = sync()(type(make(api)))
    pulled(make(api))

    def wait_long(path):
        if "after=3" in path:
            api.first, api.on_request = [(429, {"Retry-After": "60"}, "")], lambda path: None

    api.on_request = wait_long
    source.task.enqueue(full=True)
    (run,) = drain()
    assert run.status == "scheduled" and run.run_after > datetime.now(UTC) + timedelta(seconds=50)
    api.asked.clear()
    (run,) = drain(now=run.run_after)
    assert run.result["resumed"] == 1 and api.paths[0] == "/stock?after=3"


def test_a_run_that_fails_says_why(api):
    source = sync()(type(make(api)))
    api.first = [HTML]
    source.task.enqueue()
    (run,) = drain()
    assert run.status == "failed" and "answered with text/html" in run.error_summary


def test_one_transaction_around_all_pages_is_refused():
    with pytest.raises(InvalidPolicy, match="page by page"):
        sync(atomic=True)


@pytest.mark.django_db(transaction=True)
def test_a_service_pulls_at_its_start_and_stops_in_the_midst_of_a_wait(api):
    reports = []

    class StockService(SyncService):
        source = type(make(api))

        def on_report(self, report):
            reports.append(report)

    with run_host(StockService) as host:
        host.wait_for(lambda: reports)
        api.first = [(429, {"Retry-After": "3600"}, "")]
        asked = len(api.asked)
        host.service(StockService.get_name()).service.tick_now()
        host.wait_for(lambda: len(api.asked) > asked)
    assert host.exit_code == 0 and reports[0].created == 7
    assert len(names()) == 7


@pytest.mark.django_db(transaction=True)
@pytest.mark.chaos
@pytest.mark.timeout(300)
def test_over_kills_data_and_cursor_agree_and_no_item_is_lost_or_doubled(api, monkeypatch):
    monkeypatch.setenv("PULL_URL", api.url)
    api.items, api.size = goods(1500), 10
    Pulled.objects.create(sku="gone", name="gone", seen_at=datetime(2020, 1, 1, tzinfo=UTC))
    api.on_request = lambda path: time.sleep(0.01)
    quick = (
        '{"DISCOVER": ["background", "tasks", "pulling"], "HEARTBEAT_INTERVAL": 0.2, "HOST_TIMEOUT": 2, "MAX_LOST": 9}'
    )
    task = sync(concurrency=None)(pulling.Stock).task
    run_id = task.enqueue().id

    def host():
        return Process("runbackground", BACKGROUND_TEST_SETTINGS=quick)

    for _ in range(3):
        before = Pulled.objects.count()
        with host() as process:
            wait_until(lambda before=before: Pulled.objects.count() > before, timeout=60)
            time.sleep(random.uniform(0, 0.2))  # anywhere in the midst of its work
            process.send(signal.SIGKILL)
            process.wait()
        state = Checkpoint.objects.get(name="app.Stock").data["sync"]
        assert 0 < Pulled.objects.count() - 1 == state["report"]["created"] == int(state["cursor"].rpartition("=")[2])
        api.asked.clear()
    with host() as process:
        wait_until(lambda: Run.objects.get(id=run_id).status in ("succeeded", "failed"), timeout=90)
        assert process.stop() == 0, process.output
    run = Run.objects.get(id=run_id)
    assert run.status == "succeeded", run.errors
    assert api.paths[0] == state["cursor"]
    assert counts_of(run) == (1500, 0, 1, 0) and run.result["resumed"] >= 3
    assert names() == sorted(api.items)


def counts_of(run):
    return tuple(run.result[name] for name in ("created", "updated", "deleted", "unchanged"))
