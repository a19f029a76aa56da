"""What `background health` finds worth a person's attention, and what it does not."""

import json
from datetime import UTC, datetime, timedelta

import pytest
from django.core.management import call_command
from django.utils import timezone

from background.attention import Glance, attention
from background.models import Host, Job, Queue, Run, Service, ServicePause, Skip
from tests.app import background as tasks

pytestmark = pytest.mark.django_db


@pytest.fixture
def host():
    return made_host("web-1:7")


def said():
    return [str(one) for one in attention()]


def codes():
    return [one.code for one in attention()]


def made_host(name, seconds=0, **fields):
    now = timezone.now()
    fields = {"state": "running", **fields}
    return Host.objects.create(
        name=name, pid=7, started_at=now, heartbeat_at=now - timedelta(seconds=seconds), **fields
    )


def ready(**fields):
    tasks.note.enqueue()
    Run.objects.update(**fields)


def test_runs_of_a_host_that_is_gone_are_counted(host):
    lost = made_host("web-2:9", 300, state="lost")
    ready(status="running", host=lost, host_name=lost.name, position=None)

    assert said() == ["1 run is held by host web-2:9, which is gone or silent."]


def test_runs_of_a_live_host_are_nothing_to_say(host):
    ready(status="running", host=host, host_name=host.name, position=None)

    assert attention() == []


def test_an_unhealthy_service_is_named(host):
    Service.objects.create(host=host, name="shop.Sync", state="running", healthy=False)

    assert said() == ["Service shop.Sync is running: misses its watchdog"]


def test_a_run_that_waits_too_long_is_told(host):
    ready(enqueued_at=timezone.now() - timedelta(minutes=11))

    (sentence,) = said()
    assert sentence.startswith("Queue default: the oldest run waits since")


@pytest.mark.parametrize("field", ["run_after", "started_at"])
def test_a_run_that_became_ready_only_now_has_not_waited(host, field):
    ready(enqueued_at=timezone.now() - timedelta(days=1), **{field: timezone.now()})

    assert attention() == []


def test_a_paused_queue_may_wait(host):
    ready(enqueued_at=timezone.now() - timedelta(days=1))
    Queue.objects.create(name="default", paused=True)

    assert attention() == []


def test_worker_processes_serve_for_their_parent():
    parent = made_host("web-1:7", works=False)
    made_host("web-1:8", parent=parent)
    ready()

    assert attention() == []


def test_a_host_that_does_not_work_serves_no_queue():
    made_host("web-1:7", works=False)
    ready()

    assert said() == ["Queue default has runs waiting and no live host serves it."]


def made_job(**fields):
    Job.objects.filter(name="app.often").delete()
    return Job.objects.create(name="nightly", task=tasks.note.module_path, schedule="0 3 * * *", **fields)


def test_a_silent_host_comes_before_a_queue_that_waits(host):
    silent = made_host("web-2:9", 60)
    ready(enqueued_at=timezone.now() - timedelta(minutes=11))

    found = attention()

    assert [one.code for one in found] == ["host_silent", "queue_waits"]
    assert (found[0].model, found[0].pk, found[0].name, found[0].severity) == ("host", silent.pk, "web-2:9", "error")
    assert found[1].severity == "warning" and found[1].model == "queue" and found[1].name == "default"


def test_a_service_in_backoff_says_when_it_starts_again(host):
    soon = timezone.now() + timedelta(seconds=38)
    Service.objects.create(
        host=host, name="shop.Feed", state="backoff", failures=4, next_start_at=soon, error="Traceback\nOSError: gone"
    )

    (sentence,) = said()
    assert sentence.startswith("Service shop.Feed failed (4 in a row), next start in 3")
    assert sentence.endswith(": OSError: gone")
    Service.objects.update(next_start_at=timezone.now() + timedelta(seconds=299))
    assert "next start in 5 min: OSError" in said()[0]


def test_a_job_that_is_late_is_named_only_where_somebody_could_run_it(host):
    made_job(next_run_at=timezone.now() - timedelta(minutes=5))

    assert codes() == ["job_late"]
    Host.objects.all().delete()
    assert codes() == ["no_host"]


def test_a_missed_time_is_told_in_the_zone_of_the_schedule(host):
    job = made_job(timezone="Europe/Paris", outcomes="ssm")
    at = datetime(2026, 1, 5, 2, tzinfo=UTC)
    Skip.objects.create(job=job, first=at, last=at, count=1, reason="missed")

    (found,) = attention()

    assert found.message == "Job nightly missed 2026-01-05 03:00 (Europe/Paris)." and found.at == at
    Job.objects.update(timezone="Nowhere/Land")
    assert "02:00 (UTC)" in said()[0]


def test_a_failure_streak_is_counted_from_three_on(host):
    job = made_job(outcomes="sff")
    assert codes() == []
    for outcomes, word in (("sfff", "three times"), ("sfffff", "5 times"), ("f" * 30, "30+ times")):
        Job.objects.filter(pk=job.pk).update(outcomes=outcomes)
        assert word in said()[0]


def test_a_job_whose_code_is_gone_is_named_until_somebody_pauses_it(host):
    job = made_job(orphaned=True)
    assert codes() == ["job_orphaned"]
    Job.objects.filter(pk=job.pk).update(enabled=False)
    assert codes() == []


@pytest.mark.parametrize(("offset", "expected"), [(4, []), (-4, []), (6, ["clock_off"]), (-6, ["clock_off"])])
def test_clocks_more_than_five_seconds_apart_are_told(offset, expected):
    made_host("web-1:7", clock_offset=offset)

    assert codes() == expected


@pytest.mark.parametrize(("hours", "expected"), [(23, []), (25, ["queue_paused", "service_paused", "job_paused"])])
def test_a_pause_of_more_than_a_day_is_told(host, hours, expected):
    since = timezone.now() - timedelta(hours=hours)
    Queue.objects.create(name="mail", paused=True, paused_at=since)
    ServicePause.objects.create(name="shop.Feed", paused_at=since)
    made_job(enabled=False, paused_at=since)

    assert codes() == expected


def test_that_everything_is_paused_is_told_at_once(host):
    Queue.objects.create(name="*", paused=True, paused_at=timezone.now())
    ready(enqueued_at=timezone.now() - timedelta(days=1))

    assert codes() == ["everything_paused"]


def test_the_look_is_six_queries_whatever_there_is(host, django_assert_num_queries):
    for number in range(5):
        Job.objects.create(name=f"job {number}", task="x", outcomes="fffm")
        Queue.objects.create(name=f"queue {number}")
        tasks.note.using(queue_name=f"queue {number}").enqueue()
        Service.objects.create(host=host, name=f"service {number}", state="failed")
    with django_assert_num_queries(6):
        attention()


def test_health_says_nothing_with_check_when_all_is_well(host, capsys):
    call_command("background", "health", check=True)
    assert capsys.readouterr().out == ""

    Host.objects.update(clock_offset=9)
    with pytest.raises(SystemExit) as ended:
        call_command("background", "health", check=True)
    assert ended.value.code == 1 and "9 s off" in capsys.readouterr().out


def test_health_speaks_codes_to_programs(capsys):
    silent = made_host("web-1:7", 300)
    with pytest.raises(SystemExit):
        call_command("background", "health", json=True)

    found = json.loads(capsys.readouterr().out)
    assert found["ok"] is False and [one["code"] for one in found["attention"]] == ["no_host", "host_silent"]
    assert found["attention"][1]["target"] == {"model": "host", "pk": str(silent.pk), "name": "web-1:7"}
    assert found["attention"][1]["at"] and "silent" in found["attention"][1]["message"]


def test_of_a_long_queue_only_the_first_are_looked_at(host, monkeypatch):
    monkeypatch.setattr("background.attention.COUNTED", 3)
    for number in range(6):
        tasks.note.using(queue_name="mail" if number < 2 else "default").enqueue()

    look = Glance()

    assert {name: line.count for name, line in look.lines.items()} == {"mail": 2, "default": 2}
    assert look.waiting == 4 and look.oldest <= look.now
