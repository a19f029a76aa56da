"""A person reads a run, cancels it, runs it again."""

from datetime import timedelta

import pytest
from django.contrib.admin.models import LogEntry
from django.utils import timezone

from background.models import Queue, Run, RunLog
from tests.admin import tasks_for_admin as tasks
from tests.admin.conftest import url


def test_a_waiting_run_is_cancelled_at_once(operator, make_run):
    run = make_run(status="ready")
    assert "A waiting run ends at once" in operator.get(url("run_cancel", run.pk)).content.decode()
    response = operator.post(url("run_cancel", run.pk), {"reason": "not needed"}, follow=True)
    run.refresh_from_db()
    assert (run.status, run.cancel_requested_by, run.end_reason) == ("cancelled", "operator", "not needed")
    assert "is cancelled" in response.content.decode()
    assert "not needed" in LogEntry.objects.get(object_id=str(run.pk)).change_message


def test_a_running_run_is_asked_to_stop(operator, make_run):
    run = make_run(status="running", started_at=timezone.now())
    response = operator.post(url("run_cancel", run.pk), {}, follow=True)
    run.refresh_from_db()
    assert run.status == "running" and run.cancel_requested_at and "was asked to stop" in response.content.decode()
    assert "It was asked to stop already." in operator.post(url("run_cancel", run.pk), {}, follow=True).content.decode()


def test_a_finished_run_is_not_cancelled(operator, make_run):
    run = make_run()
    page = operator.post(url("run_cancel", run.pk), {}, follow=True).content.decode()
    assert "It has ended already: succeeded." in page and not LogEntry.objects.exists()
    assert url("run_cancel", run.pk) not in page


def test_run_again_makes_a_linked_run_and_leaves_the_old_one(operator, make_run, make_job):
    job = make_job()
    run = make_run(
        job=job,
        job_name=job.name,
        kwargs={"region": "EU", "limit": 3},
        queue="mail",
        priority=5,
        status="failed",
        subject="shop.order:1",
    )
    page = operator.get(url("run_again", run.pk)).content.decode()
    assert '<option value="EU" selected>' in page and 'name="limit" value="3"' in page
    data = {
        "region": "US",
        "limit": "3",
        "ratio": "0.5",
        "amount": "1.50",
        "colour": "r",
        "anything": '"x"',
        "reason": "again please",
    }
    response = operator.post(url("run_again", run.pk) + "?key=k", data)
    operator.post(url("run_again", run.pk) + "?key=k", data)
    new = Run.objects.exclude(pk=run.pk).get()
    assert response.url == url("run_change", new.pk)
    assert (new.rerun_of, new.job, new.queue, new.priority, new.subject) == (run, job, "mail", 5, "shop.order:1")
    assert (new.kwargs["region"], new.kwargs["limit"], new.trigger, new.reason) == ("US", 3, "manual", "again please")
    assert "again please" in LogEntry.objects.get(object_id=str(run.pk)).change_message
    assert url("run_change", new.pk) in operator.get(url("run_change", run.pk)).content.decode()
    assert url("run_change", run.pk) in operator.get(url("run_change", new.pk)).content.decode()


@pytest.mark.parametrize("fields", [{"status": "running"}, {"task": "gone.task"}])
def test_an_open_or_unknown_run_is_not_run_again(operator, make_run, fields):
    run = make_run(**fields)
    page = operator.get(url("run_change", run.pk)).content.decode()
    assert "?key=" not in page and "not possible:" in page
    operator.post(url("run_again", run.pk), {})
    assert Run.objects.count() == 1


def test_run_again_follows_the_jobs_second_permission(operator, make_run):
    run = make_run(tasks.guarded)
    assert operator.get(url("run_again", run.pk)).status_code == 403


def test_a_run_is_read_only(manager, make_run):
    run = make_run()
    assert manager.post(url("run_change", run.pk), {"status": "failed"}).status_code == 403
    assert "_save" not in manager.get(url("run_change", run.pk)).content.decode()


def test_the_page_tells_what_happened(operator, make_run, make_host, make_job, django_assert_max_num_queries):
    host, job, now = make_host(), make_job(name="digest"), timezone.now()
    error = {
        "attempt": 1,
        "at": now.isoformat(),
        "host": "web-2",
        "type": "builtins.ValueError",
        "message": "no <b>",
        "traceback": "Trace…",
    }
    where = {"job": job, "job_name": "digest", "host": host, "host_name": host.name, "version": "1f3c9"}
    asked = {"triggered_by_name": "ana", "reason": "asked again", "kwargs": {"region": "EU"}}
    went = {"attempt": 2, "max_attempts": 2, "progress_done": 340, "progress_total": 1000}
    run = make_run(status="failed", errors=[error, {**error, "attempt": 2}], **where, **asked, **went)
    RunLog.objects.bulk_create(
        RunLog(run=run, sequence=n, created_at=now, level="INFO", message=f"line-{n}-") for n in range(1, 251)
    )
    with django_assert_max_num_queries(15):
        page = operator.get(url("run_change", run.pk)).content.decode()
    for said in (
        "attempt 2 of 2",
        "no &lt;b&gt;",
        "Trace…",
        "web-1:310",
        "1f3c9",
        "region",
        "by ana",
        "asked again",
        "340 of 1000",
    ):
        assert said in page, said
    assert "line-250-" in page and "line-51-" in page and "line-50-" not in page
    assert '<progress value="340" max="1000"' in page


def test_progress_is_a_number_to_the_browser_in_every_language(operator, make_run, settings):
    settings.LANGUAGE_CODE = "de"
    run = make_run(status="running", started_at=timezone.now(), progress_done=1234.5, progress_total=5000)
    assert '<progress value="1234.5" max="5000"' in operator.get(url("run_change", run.pk)).content.decode()


def why(client, run):
    return client.get(url("run_change", run.pk)).context["why"]


def test_why_it_is_not_running_is_one_sentence_in_the_order_of_what_matters(operator, make_run, make_host):
    run = make_run(status="ready", queue="mail", position=100)
    assert why(operator, run) == "No live host serves queue “mail”."
    host = make_host(queues=["mail"], tasks=["other.task"])
    assert "knows the task" in why(operator, run)
    host.tasks = []
    host.save()
    make_run(status="ready", queue="mail", position=50)
    assert why(operator, run) == "It waits for a free slot: 1 ahead of it."
    queue = Queue.objects.create(name="mail", concurrency=1)
    make_run(status="running", queue="mail", host=host)
    assert "runs at most 1 at once" in why(operator, run)
    Run.objects.filter(pk=run.pk).update(status="blocked", concurrency_key="k", concurrency=1, position=None)
    assert "concurrency slot" in why(operator, run)
    Run.objects.filter(pk=run.pk).update(status="scheduled", run_after=timezone.now() + timedelta(hours=1))
    assert why(operator, run).startswith("Due in ")
    queue.paused, queue.paused_by, queue.paused_at = True, "ana", timezone.now()
    queue.save()
    assert why(operator, run).startswith("Queue “mail” was paused by ana")
    make_run()
    assert why(operator, make_run()) == ""


def test_a_running_run_of_a_silent_host_says_that_it_will_be_rescued(operator, make_run, make_host):
    host = make_host(heartbeat_at=timezone.now() - timedelta(minutes=6))
    run = make_run(status="running", host=host, host_name=host.name, started_at=timezone.now())
    assert "is silent since" in why(operator, run)
