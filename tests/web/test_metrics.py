"""Figures for Prometheus: who gets them, what they say, and that they are read from sums."""

import json
import re
import socket
import urllib.error
import urllib.request
from datetime import UTC, datetime, timedelta

import pytest
from django.contrib.auth.models import Permission, User
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from background.models import Queue, Statistic
from background.models.statistics import ALL_RUNS, EDGES, class_of
from background.testing import drain, run_host
from background.web import metrics
from tests.app import background as tasks
from tests.processes import Process

pytestmark = pytest.mark.django_db

PATH = "/health/metrics"
NOON = datetime(2027, 5, 4, 12, tzinfo=UTC)


def parsed(text):
    """The samples by name and labels; AssertionError where a line is none of the format."""
    found, described = {}, set()
    for line in text.splitlines():
        if line.startswith("# "):
            described.add(re.fullmatch(r"# (?:HELP|TYPE) (background_\w+) .+", line)[1])
            continue
        name, labels, value = re.fullmatch(r"(\w+)(?:\{(.*)\})? (\S+)", line).groups()
        assert name in described or name.rpartition("_")[0] in described, line
        pairs = re.findall(r'(\w+)="((?:[^"\\]|\\.)*)"', labels or "")
        found[name, tuple(text for _, text in pairs)] = float(value)
    return found


def test_who_bears_the_token_gets_figures_and_nobody_else(client, settings):
    settings.BACKGROUND = {"METRICS_TOKEN": "of Prometheus"}
    assert client.get(PATH, headers={"Authorization": "Bearer of Prometheus"}).status_code == 200
    for wrong in ("Bearer of somebody", "Bearer ", "of Prometheus", "Bearer öf Prometheus", ""):
        answer = client.get(PATH, headers={"Authorization": wrong})
        assert (answer.status_code, answer["WWW-Authenticate"]) == (401, "Bearer"), wrong
        assert b"background_" not in answer.content
    assert client.post(PATH, headers={"Authorization": "Bearer of Prometheus"}).status_code == 405


def test_without_a_token_only_staff_that_may_view_runs_gets_figures(client):
    assert client.get(PATH, headers={"Authorization": "Bearer "}).status_code == 401
    user = User.objects.create_user("ana", is_staff=True)
    client.force_login(user)
    assert client.get(PATH).status_code == 401
    user.user_permissions.add(Permission.objects.get(codename="view_run"))
    answer = client.get(PATH)
    assert (answer.status_code, answer["Content-Type"]) == (200, "text/plain; version=0.0.4; charset=utf-8")


def test_what_waits_what_ended_and_what_needs_attention_is_told(django_capture_on_commit_callbacks):
    now = timezone.now()
    with django_capture_on_commit_callbacks(execute=True):  # sums are written then
        tasks.note.enqueue("done")
        drain()
    tasks.note.using(queue_name="mail").enqueue("waits")
    Queue.objects.create(name='odd "name"\\\n', paused=True)

    found = parsed(metrics.metrics(now))

    assert found["background_runs_ready", ("mail",)] == 1
    assert found["background_runs_ready_oldest_seconds", ("mail",)] >= 0
    assert found["background_runs_ended_total", ("default", "succeeded")] == 1
    assert found["background_runs_ended_total", ("default", "failed")] == 0
    assert found["background_queue_paused", (r"odd \"name\"\\\n",)] == 1
    assert found["background_hosts", ()] == 0
    assert found["background_attention", ("error",)] == 1  # no host lives


def test_histograms_grow_from_class_to_class_and_hold_what_the_sums_hold():
    spans = [0.0005, 0.02, 0.02, 5, 400_000]
    histogram = {}
    for seconds in spans:
        histogram[str(class_of(seconds))] = histogram.get(str(class_of(seconds)), 0) + 1
    Statistic.objects.create(
        span="hour", start=NOON, job_id=ALL_RUNS, queue="mail", succeeded=5, ran=sum(spans), runs=histogram
    )

    found = parsed(metrics.metrics(NOON))

    buckets = [(float(key[1][1]), value) for key, value in found.items() if key[0] == "background_run_seconds_bucket"]
    assert [value for _, value in buckets] == sorted(value for _, value in buckets)
    for edge, value in buckets:
        assert value == sum(span <= edge for span in spans), edge
    assert found["background_run_seconds_count", ("mail",)] == 5
    assert found["background_run_seconds_sum", ("mail",)] == pytest.approx(sum(spans))
    assert len(buckets) == len(EDGES) // 6 + 2


def test_what_ended_yesterday_is_not_counted():
    for hours in (13, 12):
        Statistic.objects.create(
            span="hour", start=NOON - timedelta(hours=hours), job_id=ALL_RUNS, queue="mail", succeeded=hours
        )
    assert parsed(metrics.metrics(NOON))["background_runs_ended_total", ("mail", "succeeded")] == 12


def test_a_scrape_asks_few_questions_and_none_of_history():
    tasks.note.enqueue("done")
    drain()
    with CaptureQueriesContext(connection) as queries:
        metrics.metrics()
    assert len(queries) == 7


@pytest.mark.django_db(transaction=True)
def test_hosts_slots_and_services_are_counted():
    with run_host(tasks.Lone, CONCURRENCY=3) as host:
        host.wait_for(lambda: parsed(metrics.metrics()).get(("background_services", ("app.Lone", "running"))) == 1)
        found = parsed(metrics.metrics())
    assert found["background_hosts", ()] == 1
    assert found["background_slots", ("thread",)] == 3
    assert found["background_services_unhealthy", ("app.Lone",)] == 0


@pytest.mark.django_db(transaction=True)
@pytest.mark.slow
@pytest.mark.parametrize("token", ["", "s3cr3t-of-the-figures"])
def test_a_host_tells_them_on_its_own_address_and_asks_for_the_token_if_there_is_one(token):
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    flags = ("runbackground", "--no-services", "--no-reload", "--health", f"127.0.0.1:{port}")
    with Process(*flags, BACKGROUND_TEST_SETTINGS=json.dumps({"METRICS_TOKEN": token})) as host:
        host.wait_for_line("services running")
        asked = urllib.request.Request(f"http://127.0.0.1:{port}/metrics", headers={"Authorization": f"Bearer {token}"})
        with urllib.request.urlopen(asked, timeout=10) as answer:
            assert answer.headers["Content-Type"].startswith("text/plain; version=0.0.4")
            assert parsed(answer.read().decode())["background_hosts", ()] == 1
        if token:
            with pytest.raises(urllib.error.HTTPError, match="401"):
                urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10)
        assert host.stop() == 0, host.output
    assert "s3cr3t" not in host.output
