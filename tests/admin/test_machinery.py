"""A person looks after services, hosts and queues."""

from datetime import timedelta

import pytest
from django.contrib.admin.models import LogEntry
from django.utils import timezone

from background.models import Queue, Service
from tests.admin.conftest import url


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
    for model, most in (("service", 6), ("host", 6), ("queue", 10)):
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
    assert [name for name, _ in page.context["rowless"]] == [
        "default",
        "new queue/1",
    ] or "new queue/1" in page.content.decode()
    where = dict(page.context["rowless"])["new queue/1"]
    assert operator.get(where).status_code == 200 and not Queue.objects.exists()
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
