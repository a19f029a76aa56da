"""A person looks after services, hosts and queues."""

from datetime import timedelta

import pytest
from django.contrib.admin.models import LogEntry
from django.utils import timezone

from background.admin import queue_list
from background.conf import get_settings
from background.models import Queue, Service, ServicePause, ServiceStart
from background.models.queue import EVERYTHING
from background.models.statistics import ALL_RUNS, Statistic
from tests.admin.conftest import OPERATES, VIEWS, url


@pytest.fixture
def make_service(make_host):
    def make(name="shop.PriceFeed", host=None, **fields):
        return Service.objects.create(
            name=name, host=host or make_host(), **{"state": "running", "since": timezone.now(), **fields}
        )

    return make


@pytest.mark.parametrize(
    ("verb", "state"), [("start", "failed"), ("stop", "running"), ("restart", "running"), ("tick", "running")]
)
def test_a_wish_is_written_for_the_host_to_hear(manager, make_service, verb, state):
    service = make_service(state=state, schedule="every 1m")
    assert service.request_verb == "" and manager.get(url(f"service_{verb}", service.pk)).status_code == 200
    service.refresh_from_db()
    assert service.request_verb == ""
    page = manager.post(url(f"service_{verb}", service.pk), {"reason": "stuck"}, follow=True).content.decode()
    service.refresh_from_db()
    assert (service.request_verb, service.requested_by) == (verb, "manager") and service.requested_at
    assert "was asked" in page and "stuck" in LogEntry.objects.get().change_message


@pytest.mark.parametrize(
    ("verb", "fields", "host", "said"),
    [
        ("tick", {}, {}, "not a periodic service"), ("stop", {"state": "stopped"}, {}, "It is not running."),
        ("start", {}, {}, "It is started already."), ("restart", {"engine": True}, {}, "own machinery"),
        ("restart", {}, {"state": "stopped"}, "Its host is gone."),
        ("restart", {}, {"heartbeat_at": timezone.now() - timedelta(hours=1)}, "Its host is silent"),
    ],
)  # fmt: skip
def test_what_a_service_cannot_do_is_refused_with_the_reason(
    manager, make_service, make_host, verb, fields, host, said
):
    service = make_service(host=make_host(**host), **fields)
    assert said in manager.get(url(f"service_{verb}", service.pk)).content.decode()
    assert said in manager.post(url(f"service_{verb}", service.pk), {}, follow=True).content.decode()
    service.refresh_from_db()
    assert service.request_verb == "" and not LogEntry.objects.exists()


def test_services_of_gone_hosts_are_listed_only_when_asked_for(manager, make_service, make_host):
    here, gone = make_service(), make_service(host=make_host(state="lost"))
    shown = manager.get(url("service_changelist")).context["cl"].result_list
    assert [one.pk for one in shown] == [here.pk]
    shown = manager.get(url("service_changelist") + "?hosts=all").context["cl"].result_list
    assert {one.pk for one in shown} == {here.pk, gone.pk}


def test_the_lists_take_few_queries(manager, make_service, make_host, make_run, django_assert_max_num_queries):
    for number in range(20):
        host = make_host(f"web-{number}")
        make_service(f"shop.Service{number}", host=host, error="Traceback\nValueError: x", error_at=timezone.now())
        Queue.objects.create(name=f"queue-{number}")
        make_run(status="ready", queue=f"queue-{number}")
    for model, most in (("service", 10), ("host", 6), ("queue", 12)):
        with django_assert_max_num_queries(most):
            assert len(manager.get(url(f"{model}_changelist")).context["cl"].result_list) == 20


def test_a_host_is_asked_to_stop_and_the_page_says_what_that_means(manager, make_host, make_run):
    host = make_host()
    make_run(status="running", host=host, host_name=host.name)
    page = manager.get(url("host_stop", host.pk)).content.decode()
    assert "1 run is being executed there" in page and "last live host" in page
    manager.post(url("host_stop", host.pk), {"reason": "maintenance"})
    host.refresh_from_db()
    assert host.stop_requested_at and host.stop_requested_by == "manager"
    assert "maintenance" in LogEntry.objects.get().change_message
    assert "It is stopping already." in manager.post(url("host_stop", host.pk), {}, follow=True).content.decode()


def test_a_silent_host_cannot_be_stopped_from_here(manager, make_host):
    host = make_host(heartbeat_at=timezone.now() - timedelta(minutes=5))
    assert "would not hear it" in manager.post(url("host_stop", host.pk), {}, follow=True).content.decode()
    host.refresh_from_db()
    assert host.stop_requested_at is None
    assert "silent" in manager.get(url("host_changelist")).content.decode()


def test_a_host_shows_its_runs_and_services(manager, make_host, make_run, make_service):
    host = make_host()
    service = make_service(host=host)
    run = make_run(status="running", host=host, host_name=host.name, started_at=timezone.now())
    page = manager.get(url("host_change", host.pk)).content.decode()
    assert url("run_change", run.pk) in page and url("service_change", service.pk) in page and "3 of 8" in page


def test_a_queue_is_paused_and_resumed_by_id_and_by_name(operator, make_run):
    queue = Queue.objects.create(name="mail")
    operator.post(url("queue_pause", queue.pk), {"reason": "smtp is down"})
    queue.refresh_from_db()
    assert (queue.paused, queue.paused_by, queue.paused_reason) == (True, "operator", "smtp is down")
    operator.post(url("queue_resume", "mail"), {})
    queue.refresh_from_db()
    assert not queue.paused and LogEntry.objects.count() == 2


def test_a_queue_without_a_row_is_listed_and_can_be_paused(operator, make_run):
    make_run(status="ready", queue="new queue/1")
    page = operator.get(url("queue_changelist"))
    found = {one[0]: one[1:] for one in page.context["rowless"]}
    assert found["new queue/1"][:2] == ("1", "0")
    where = found["new queue/1"][2]
    assert operator.get(where).status_code == 200 and not Queue.objects.filter(name="new queue/1").exists()
    operator.post(where, {})
    assert Queue.objects.get(name="new queue/1").paused
    assert operator.get(url("queue_pause", "nowhere")).status_code == 404


def test_the_queue_list_says_what_waits_and_who_serves(operator, make_run, make_host):
    Queue.objects.create(name="mail")
    for _ in range(3):
        make_run(status="ready", queue="mail")
    page = operator.get(url("queue_changelist")).content.decode()
    assert "nobody serves it" in page and ">3<" in page
    make_host("web-9", queues=["mail"])
    assert "web-9" in operator.get(url("queue_changelist")).content.decode()


# Services


def test_a_pause_of_a_service_is_for_every_host_and_says_by_whom(manager, make_service):
    service = make_service()
    page = manager.get(url("service_pause", service.pk)).content.decode()
    assert "on every host" in page and not ServicePause.objects.exists()
    manager.post(url("service_pause", service.pk), {"reason": "feed is down"})
    pause = ServicePause.objects.get(name=service.name)
    assert (pause.paused_by, pause.paused_reason) == ("manager", "feed is down")
    page = manager.get(url("service_change", service.pk)).content.decode()
    assert "paused by manager" in page and "feed is down" in page and url("service_resume", service.pk) in page
    assert "paused by manager" in manager.get(url("service_changelist")).content.decode()
    assert "It is paused: resume it." in manager.post(url("service_tick", service.pk), {}, follow=True).content.decode()
    manager.post(url("service_resume", service.pk), {})
    assert not ServicePause.objects.exists() and LogEntry.objects.count() == 2


def test_the_machinery_is_seen_and_not_paused(manager, make_service):
    service = make_service("background.Scheduler", engine=True)
    assert url("service_pause", service.pk) not in manager.get(url("service_change", service.pk)).content.decode()
    assert "machinery" in manager.post(url("service_pause", service.pk), {}, follow=True).content.decode()
    assert not ServicePause.objects.exists()
    assert "ℹ" in manager.get(url("service_changelist")).content.decode()


def test_a_singleton_is_listed_once_with_who_stands_by(manager, make_service, make_host):
    holder = make_service(singleton=True, host=make_host("web-1"))
    for name in ("web-2", "web-3"):
        make_service(singleton=True, host=make_host(name), state="standby")
    page = manager.get(url("service_changelist"))
    assert [one.pk for one in page.context["cl"].result_list] == [holder.pk]
    assert "holds the lease; standing by: web-2, web-3" in page.content.decode()
    assert len(manager.get(url("service_changelist") + "?state__exact=standby").context["cl"].result_list) == 2
    holder.delete()
    assert len(manager.get(url("service_changelist")).context["cl"].result_list) == 2, "nobody holds it"


def test_services_that_no_host_runs_are_listed_beneath(manager, make_service, make_host):
    make_service("shop.Removed", host=make_host(state="stopped"))
    make_service("shop.Lives")
    groups = dict(manager.get(url("service_changelist")).context["cl"].elsewhere)
    assert [one[0] for one in groups["No longer declared"]] == ["shop.Removed"]
    assert "shop.Lives" not in str(groups)


def test_a_service_tells_its_starts_and_its_day(manager, signed_in, make_service):
    now = timezone.now()
    service = make_service(restarts=2)
    common = {"name": service.name, "host": service.host, "host_name": service.host.name}
    begun = now - timedelta(hours=2)
    ended = now - timedelta(hours=1)
    error = {"reason": "failed", "error": "ValueError: secret detail"}
    ServiceStart.objects.create(restart=0, started_at=begun, ended_at=ended, **error, **common)
    ServiceStart.objects.create(restart=1, started_at=ended, **common)
    response = manager.get(url("service_change", service.pk))
    page = response.content.decode()
    assert ">1 h<" in page and "ValueError: secret detail" in page and "goes on" in page
    looks = [one.look for one in response.context["day"].cells]
    assert len(looks) == 48 and looks.count("failed") == 1 and looks[-1] == "succeeded" and looks[0] == "none"
    row = manager.get(url("service_changelist")).context["cl"].result_list[0]
    assert row.restarts_today == 1
    page = signed_in("view_service").get(url("service_change", service.pk)).content.decode()
    assert "ValueError" in page and "secret detail" not in page


# Hosts


def test_a_quiet_host_says_what_becomes_of_its_runs(manager, make_host, make_run, settings):
    quiet = make_host("web-3", heartbeat_at=timezone.now() - timedelta(seconds=get_settings().host_timeout - 5))
    for _ in range(2):
        make_run(status="running", host=quiet, host_name=quiet.name)
    page = manager.get(url("host_changelist")).content.decode()
    assert "2 runs will be rescued in" in page and "silent" in page


def test_different_versions_at_once_are_noted(manager, make_host):
    make_host("web-1", version="1f3c9")
    assert "Different versions" not in manager.get(url("host_changelist")).content.decode()
    make_host("web-2", version="0a77e")
    make_host("old", version="dead", state="stopped")
    page = manager.get(url("host_changelist")).content.decode()
    assert "1f3c9 on 1 host" in page and "0a77e on 1 host" in page and "dead on" not in page


def test_a_host_tells_its_command_and_its_clock(manager, make_host):
    host = make_host(command="manage.py runbackground --token=[hidden]", clock_offset=7.5)
    page = manager.get(url("host_change", host.pk)).content.decode()
    assert (
        "runbackground --token=[hidden]" in page and "+7.50 s against the database" in page and "bg-unhealthy" in page
    )


def test_gone_hosts_are_listed_only_when_asked_for(manager, make_host):
    make_host("web-1"), make_host("web-2", state="lost")
    for query, names in (("", {"web-1"}), ("?hosts=all", {"web-1", "web-2"}), ("?hosts=gone", {"web-2"})):
        assert {one.name for one in manager.get(url("host_changelist") + query).context["cl"].result_list} == names


def test_the_end_of_a_services_log_is_for_those_who_may_see_output(operator, signed_in, make_service):
    lines = [["2026-11-26T01:02:03+00:00", "WARNING", "no answer from the warehouse"]]
    service = make_service(log=lines)
    page = operator.get(url("service_change", service.pk)).content.decode()
    assert "no answer from the warehouse" in page and "bg-level-warning" in page and "26 Nov 01:02:03" in page
    page = operator.get(url("service_change", make_service("quiet").pk)).content.decode()
    assert "Nothing was logged since it started on this host." in page
    page = signed_in(*VIEWS, name="viewer").get(url("service_change", service.pk)).content.decode()
    assert "no answer" not in page and "needs “Can view run output”" in page


# Queues


def test_everything_is_paused_and_resumed_at_once(manager, signed_in):
    page = manager.get(url("queue_changelist")).content.decode()
    assert url("queue_pause_all") in page and url("queue_resume_all") not in page
    manager.post(url("queue_pause_all"), {"reason": "incident"})
    row = Queue.objects.get(name=EVERYTHING)
    assert (row.paused, row.paused_by, row.paused_reason) == (True, "manager", "incident")
    page = manager.get(url("queue_changelist")).content.decode()
    assert "Everything is paused by manager" in page and "incident" in page and url("queue_resume_all") in page
    assert "paused already" in manager.post(url("queue_pause_all"), {}, follow=True).content.decode()
    manager.post(url("queue_resume_all"), {})
    row.refresh_from_db()
    assert not row.paused and LogEntry.objects.filter(object_id=str(row.pk)).count() == 2
    assert EVERYTHING not in [one.name for one in manager.get(url("queue_changelist")).context["cl"].result_list]
    assert signed_in(*OPERATES).get(url("queue_pause_all")).status_code == 403


def test_a_queue_tells_its_oldest_its_pace_and_its_failures(operator, make_run):
    now = timezone.now()
    Queue.objects.create(name="mail")
    make_run(status="ready", queue="mail", enqueued_at=now - timedelta(minutes=20), position=1)
    make_run(status="ready", queue="mail", enqueued_at=now, position=2)
    make_run(status="blocked", queue="mail")
    make_run(status="running", queue="mail")
    sums = {"queue": "mail", "job_id": ALL_RUNS}
    Statistic.objects.create(span="minute", start=now - timedelta(minutes=2), succeeded=30, **sums)
    Statistic.objects.create(span="hour", start=now - timedelta(hours=2), succeeded=997, failed=3, **sums)
    mail = next(one for one in operator.get(url("queue_changelist")).context["cl"].result_list if one.name == "mail")
    assert (mail.load.waiting, mail.load.running) == (3, 1)
    page = operator.get(url("queue_changelist")).content.decode()
    assert " 20 min<" in page and " 3.0<" in page and ">0.3 %</a>" in page


def test_what_waits_is_counted_per_queue_also_beyond_the_cap(operator, make_run, monkeypatch):
    monkeypatch.setattr(queue_list, "CAP", 5)
    for name, count in (("big", 8), ("small", 2)):
        Queue.objects.create(name=name)
        for number in range(count):
            make_run(status="ready", queue=name, position=number if name == "big" else 100 + number)
    rows = {one.name: one for one in operator.get(url("queue_changelist")).context["cl"].result_list}
    assert queue_list.counted(rows["big"].load.waiting) == "5+" and rows["small"].load.waiting == 2


# Lists that live


@pytest.mark.parametrize("model", ["service", "host", "queue", "job"])
def test_a_list_is_refreshed_by_its_own_view(manager, world, model, client):
    page = manager.get(url(f"{model}_changelist")).content.decode()
    assert f'data-live="{url(f"{model}_live_list")}"' in page
    answer = manager.get(url(f"{model}_live_list"), headers={"X-Background-Live": "1"})
    part = answer.content.decode()
    assert answer["X-Background-Fragment"] == "1" and '<table id="result_list">' in part and "<html" not in part
    again = manager.get(url(f"{model}_live_list"), headers={"X-Background-Live": "1", "If-None-Match": answer["ETag"]})
    assert again.status_code in (200, 304)
    filtered = manager.get(url(f"{model}_live_list") + "?q=nothing").content.decode() if model != "queue" else ""
    assert "result_list" not in filtered
    assert manager.get(url(f"{model}_live_list") + "?nonsense__x=1").status_code == 404
    client.logout()
    assert client.get(url(f"{model}_live_list"), headers={"X-Background-Live": "1"}).status_code == 401
