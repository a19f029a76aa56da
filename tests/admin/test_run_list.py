"""A person looks for runs: by filters, by words, in a window of time, page after page."""

import re
import uuid
from datetime import UTC, datetime, timedelta
from urllib.parse import urlencode

import pytest
from django.db import connection
from django.utils import timezone

from background.admin import search
from background.models import Queue, Run
from background.models.ids import first_id, made_at, uuid7
from tests.admin import tasks_for_admin as tasks
from tests.admin.conftest import url


def page(client, query=""):
    response = client.get(url("run_changelist") + query)
    assert response.status_code == 200, response
    return response


def listed(client, query=""):
    return [run.pk for run in page(client, query).context["cl"].result_list]


def aged(make_run, **ago):
    """A run that was made a while ago: its id tells when."""
    at = timezone.now() - timedelta(**ago)
    return make_run(id=uuid.UUID(int=first_id(at).int | uuid.uuid4().int & (1 << 62) - 1), enqueued_at=at)


def found(client, words):
    return set(listed(client, "?" + urlencode({"q": words})))


def queries_of(client, query, queries):
    with queries as captured:
        page(client, query)
    return [one["sql"].replace("`", '"') for one in captured if '"background_run"' in one["sql"].replace("`", '"')]


def test_ids_grow_with_time_so_that_a_window_is_a_bound_on_ids():
    before, made, after = timezone.now(), uuid7(), timezone.now() + timedelta(milliseconds=1)
    assert first_id(before - timedelta(milliseconds=1)) < made < first_id(after)
    at = datetime(2027, 3, 4, 5, 6, 7, 891000, tzinfo=UTC)
    assert made_at(first_id(at)) == at and first_id(at).version == 7
    assert first_id(at) < first_id(at + timedelta(microseconds=1))


def test_the_newest_are_first(operator, make_run):
    old, new = make_run(), make_run()
    assert listed(operator) == [new.pk, old.pk]


def test_the_list_shows_the_last_day_says_so_and_is_widened_by_one_click(operator, make_run):
    new, old, older = make_run(), aged(make_run, days=2), aged(make_run, days=40)
    answer = page(operator)
    assert [run.pk for run in answer.context["cl"].result_list] == [new.pk]
    assert (
        "Runs last 24 hours." in answer.content.decode()
        and '<a href="?window=7d">Show last 7 days</a>' in answer.content.decode()
    )
    assert listed(operator, "?window=7d") == [new.pk, old.pk] == listed(operator, "?window=31d")
    # Everything only where an index leads the way.
    answer = page(operator, "?window=all")
    assert [run.pk for run in answer.context["cl"].result_list] == [new.pk, old.pk]
    assert "at most 31 days are searched" in answer.content.decode()
    assert set(listed(operator, "?window=all&job=" + tasks.typed.module_path)) == {new.pk, old.pk, older.pk}
    assert listed(operator, f"?q=id:{older.pk}") == [older.pk]


def test_what_is_open_is_shown_however_old_it_is(operator, make_run):
    run = aged(lambda **fields: make_run(status="scheduled", **fields), days=50)
    assert (
        listed(operator, "?state=scheduled")
        == [run.pk]
        == listed(operator, "?state=waiting")
        == listed(operator, "?state=open")
    )
    assert listed(operator) == []


def test_from_and_to(operator, make_run):
    runs = [aged(make_run, days=days) for days in (1, 3, 5)]
    since, until = (f"{timezone.localtime() - timedelta(days=days):%Y-%m-%dT%H:%M}" for days in (4, 2))
    assert listed(operator, f"?since={since}&until={until}") == [runs[1].pk]
    assert listed(operator, "?q=since:4d+until:2d") == [runs[1].pk]
    assert listed(operator, "?since=2000-01-01") == [run.pk for run in runs]
    assert f'name="since" value="{since}"' in page(operator, f"?since={since}").content.decode()


def test_walking_by_older_and_newer_over_equal_times_shows_each_run_once(operator, make_run):
    at = timezone.now()
    for _ in range(300):
        make_run(enqueued_at=at)
    seen, link, pages = [], "", []
    while True:
        cl = page(operator, link).context["cl"]
        seen += [run.pk for run in cl.result_list]
        pages.append(link)
        link = cl.older
        if not link:
            break
    assert len(pages) == 3 and len(seen) == len(set(seen)) == 300
    back = [run.pk for run in cl.result_list]
    while link := cl.newer:
        cl = page(operator, link).context["cl"]
        back = [run.pk for run in cl.result_list] + back
    assert back == seen and not cl.newer and cl.older


def test_what_has_no_index_is_looked_for_in_steps_and_yet_found(operator, make_run, monkeypatch):
    monkeypatch.setattr("background.admin.lists.CAP", 10)
    mine = [make_run(trigger="manual")]
    for _ in range(25):
        make_run()
    mine.append(make_run(trigger="manual"))
    for _ in range(3):
        make_run()
    answer = page(operator, "?trigger=manual")
    cl, seen = answer.context["cl"], []
    assert "runs were looked through" in answer.content.decode() and cl.counted == "1+"
    for _ in range(5):
        seen += [run.pk for run in cl.result_list]
        if not cl.older:
            break
        cl = page(operator, cl.older).context["cl"]
    assert seen == [mine[1].pk, mine[0].pk]
    while cl.newer:
        cl = page(operator, cl.newer).context["cl"]
        seen += [run.pk for run in cl.result_list]
    assert seen[-1] == mine[1].pk


def test_the_list_takes_few_queries_and_leaves_heavy_columns(
    operator, make_run, make_job, make_host, django_assert_max_num_queries
):
    job, host = make_job(), make_host()
    for _ in range(120):
        make_run(job=job, job_name=job.name, host=host, host_name=host.name, status="failed", max_attempts=2)
    make_run(status="ready")
    rows = queries_of(operator, "", django_assert_max_num_queries(10))
    assert not any("errors" in one or "kwargs" in one or "result" in one for one in rows)
    counts = [one for one in rows if "COUNT" in one]
    assert counts and all("LIMIT 10001" in one for one in counts)
    rows = queries_of(operator, "?state=failed&trigger=manual&job=" + job.name, django_assert_max_num_queries(10))
    assert rows and all("LIMIT" in one for one in rows)


@pytest.mark.parametrize(
    "words",
    [
        "",
        "state:failed",
        "queue:mail took>5",
        "state:succeeded host:a by:b",
        "id:abcd1234",
        "arg.region:EU",
        "error:X",
        "state:ready",
    ],
)
@pytest.mark.parametrize("place", ["", "&before={}", "&after={}"])
def test_no_query_of_a_list_is_without_a_bound(operator, make_run, django_assert_max_num_queries, words, place):
    run = make_run()
    rows = queries_of(operator, f"?{urlencode({'q': words})}{place.format(run.pk)}", django_assert_max_num_queries(12))
    for sql in rows:
        assert "LIMIT" in sql and "OFFSET" not in sql, sql


def test_the_count_has_an_end(operator, make_run, monkeypatch):
    monkeypatch.setattr("background.admin.lists.CAP", 3)
    monkeypatch.setattr("background.admin.run.RunAdmin.list_per_page", 2)
    for _ in range(5):
        make_run()
    shown = " ".join(page(operator).content.decode().split())
    assert (
        "Runs · last 24 hours · 3+" in shown and "all that match, more than 3…" in shown and "Select all 3" not in shown
    )


def test_filters(operator, make_run, make_job):
    job = make_job(name="digest")
    mine = make_run(job=job, job_name="digest", queue="mail", status="failed", trigger="manual", host_name="web-1:310")
    other = make_run(status="failed")
    assert (
        listed(operator, "?queue=mail")
        == [mine.pk]
        == listed(operator, "?job=digest")
        == listed(operator, "?host=web-1")
    )
    assert listed(operator, "?state=failed&trigger=manual") == [mine.pk]
    assert listed(operator, "?status__exact=failed&trigger__exact=manual") == [mine.pk]
    assert listed(operator, "?job=none") == []
    Run.objects.filter(pk=other.pk).update(finished_at=other.started_at + timedelta(minutes=2))
    assert listed(operator, "?longer=60") == [other.pk] == listed(operator, "?q=took%3E1m")
    assert operator.get(url("run_changelist") + "?triggered_by__password__startswith=a").status_code in (302, 400)
    assert operator.get(url("run_changelist") + "?before=x").status_code == 400


def test_each_word_finds_what_it_says(operator, make_run, make_job, person_with):
    ana = person_with(name="ana")
    job = make_job(name="shop.send_digest", task=tasks.guarded)
    one = make_run(
        job=job, job_name=job.name, task=tasks.guarded, queue="mail", host_name="web-1:310", status="failed", trigger="manual",
        triggered_by=ana, triggered_by_name="ana", error_type="smtplib.SMTPServerDisconnected", fingerprint="0123456789abcdef" * 2,
    )  # fmt: skip
    gone = make_run("shop.tasks.tidy", triggered_by_name="bob")
    for words in (
        f"id:{one.pk}", f"id:{one.short_id}", f"id:#{one.short_id}", "job:shop.send_digest", "job:send_digest", "job:shop.send*",
        f"job:{tasks.guarded.module_path}", "queue:mail", "host:web-1", "host:web-1:310", "state:failed", "state:failed,ready", "by:ana",
        "trigger:manual", "error:SMTPServerDisconnected", "error:smtplib.SMTPServerDisconnected", "error:SMTP*",
        "error:0123456789abcdef0123456789abcdef", 'state:"failed" queue:mail',
    ):  # fmt: skip
        assert found(operator, words) == {one.pk}, words
    for words in (
        "job:shop.tasks.tidy",
        "job:tidy",
        "job:shop.t*",
        "state:succeeded",
        "by:bob",
        "state:finished queue:default",
    ):
        assert found(operator, words) == {gone.pk}, words
    assert found(operator, "since:1h") == {one.pk, gone.pk} and found(operator, "until:1h") == set()
    assert found(operator, "error:Server") == set() == found(operator, "job:send_dig")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("digest", "Perhaps job:digest?"), ("#1a2b3c4d", "Perhaps id:1a2b3c4d?"), ("name:x", "The words are those below"),
        ("state:broken", "There is no state"), ("trigger:x", "There is no trigger"), ("took:60", "is not understood"),
        ("took>x", "is no span"),
        ("since:yesterday", "is no time"), ("since:9999-99-99", "is no time"), ("since:1000-01-01", "is no time"), ("id:xyz", "is no id"),
        ("job:a job", "Perhaps job:job?"), ('job:"a', "is not understood"), ("arg.:x", "is not understood"), ("arg.a..b:x", "is no path"),
        ("arg.token:x", "is secret"), ("arg.a.API_KEY:x", "is secret"), ("arg.pin:1", "is secret"),
    ],
)  # fmt: skip
def test_everything_else_is_refused_with_help_and_nothing_is_listed(operator, make_run, words, said):
    make_run()
    answer = page(operator, "?" + urlencode({"q": words}))
    text = answer.content.decode().replace("&quot;", '"')
    assert said in text and '<details class="bg-help" open>' in text
    assert answer.context["cl"].result_list == []


def test_arguments_are_searched_by_path_and_value_in_the_jobs_own_terms(operator, make_run, make_job):
    job = make_job(name="digest")
    named = make_run(
        kwargs={"region": "EU", "limit": 500, "extra": {"city": "Bonn"}, "dry_run": True}, job=job, job_name="digest"
    )
    placed = make_run(args=["EU"], job=job, job_name="digest")
    text = make_run(kwargs={"limit": "500", "contains": "x"})
    gone = make_run("gone.task", kwargs={"region": "EU"})
    assert found(operator, "arg.region:EU") == {named.pk} and gone.pk not in found(operator, "arg.region:EU")
    assert found(operator, "arg.region:EU job:digest") == {named.pk, placed.pk}
    assert found(operator, "arg.0:EU") == {placed.pk}
    assert found(operator, "arg.limit:500") == {named.pk, text.pk} and found(operator, "arg.dry_run:true") == {named.pk}
    assert found(operator, "arg.extra.city:Bonn") == {named.pk} and found(operator, "arg.contains:x") == {text.pk}
    assert found(operator, "arg.region:US") == set() == found(operator, "arg.0.1:EU")


def test_arguments_are_searched_only_by_those_who_may_see_them(signed_in, make_run):
    make_run(kwargs={"region": "EU"})
    answer = page(signed_in("view_run"), "?q=arg.region:EU")
    assert "Searching in arguments needs" in answer.content.decode() and answer.context["cl"].result_list == []


def test_a_row_shows_progress_attempts_times_and_why_it_waits(operator, make_run, make_host):
    now = timezone.now()
    make_run(status="running", started_at=now, progress_done=68, progress_total=100, host_name="web-2:4411")
    make_run(status="failed", attempt=2, max_attempts=3, triggered_by_name="ana", trigger="manual")
    make_run(trigger="schedule", scheduled_for=now.replace(hour=14, minute=0))
    make_run(status="ready", queue="feeds")
    make_host(queues=["mail"])
    Queue.objects.create(name="mail", paused=True, paused_by="ana", paused_at=now)
    make_run(status="ready", queue="mail")
    shown = page(operator).content.decode()
    for words in (
        "running 68%",
        "failed 2/3",
        "schedule",
        "14:00",
        "No live host serves queue “feeds”.",
        "was paused by ana",
        "web-2:4411",
    ):
        assert words in shown, words
    assert re.search(r'<td class="field-by">.*?ana</td>', shown)


def test_terms_are_read_with_quotes_and_escapes():
    assert search.parse('job:"a \\"b\\": c"  took>5m') == [("job", 'a "b": c'), ("took", "5m")]
    assert search.parse("") == []


@pytest.mark.parametrize(
    "words", ["state:failed", "job:digest", "queue:mail", "state:ready", "fault", "", "state:succeeded took>5"]
)
def test_each_list_is_read_by_an_index(operator, make_run, make_job, django_assert_max_num_queries, words):
    if connection.vendor != "postgresql":
        pytest.skip("plans are asserted on PostgreSQL")
    job = make_job(name="digest")
    rows = [
        Run(task="t", status=("failed" if i % 50 == 7 else "succeeded"), queue=("default", "mail")[i % 20 == 0],
            enqueued_at=timezone.now(), job=job if i % 10 == 0 else None, fingerprint="ab" * 8 if i % 50 == 7 else "")
        for i in range(20_000)
    ]  # fmt: skip
    Run.objects.bulk_create(rows, batch_size=1000)
    with connection.cursor() as cursor:
        cursor.execute("ANALYZE background_run")
    words = "error:" + "ab" * 8 if words == "fault" else words
    for sql in queries_of(operator, f"?{urlencode({'q': words})}", django_assert_max_num_queries(12)):
        with connection.cursor() as cursor:
            cursor.execute("EXPLAIN " + sql)
            plan = "\n".join(line for (line,) in cursor.fetchall())
        # A count ends at its LIMIT, so over a table as small as this one it may as well read the rows.
        assert "COUNT(*)" in sql or "Seq Scan on background_run" not in plan, plan
