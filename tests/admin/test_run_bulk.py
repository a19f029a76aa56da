"""A person acts on many runs at once, and takes a list away as CSV."""

import csv
import io
import logging
import re
from datetime import timedelta

import pytest
from django.contrib.admin.models import CHANGE, LogEntry
from django.db import IntegrityError
from django.utils import timezone

from background.admin import sweep
from background.admin.acting import act_on
from background.exceptions import Overtaken
from background.host import Options
from background.models import Artifact, Checkpoint, Queue, Run, RunLog
from background.queue import bulk
from background.queue.cancel import cancel
from background.signals import run_finished
from background.testing import drain, run_host
from tests.admin import tasks_for_admin as tasks
from tests.admin.conftest import HOSTILE, MANAGES, OPERATES, person, url


def confirm(client, where, data, **more):
    """Follow the confirmation as a browser does: send all of its hidden fields."""
    page = client.post(where, data).content.decode()
    hidden = re.findall(r'<input type="hidden" name="(\w+)" value="([^"]*)">', page)
    fields: dict = {}
    for name, value in hidden:
        fields.setdefault(name, []).append(value)
    fields.pop("csrfmiddlewaretoken", None)
    action = re.search(r'<form method="post" action="([^"]+)"', page)[1].replace("&amp;", "&")
    return page, lambda: client.post(action, {**fields, **more}, follow=True)


def ticked(client, verb, runs, query="", **more):
    data = {"action": f"{verb}_selected", "index": "0", "_selected_action": [str(run.pk) for run in runs]}
    return confirm(client, url("run_changelist") + query, data, **more)


def matching(client, verb, query="", **more):
    return confirm(client, url("run_bulk") + query, {"action": f"{verb}_selected", "across": "1", "index": ""}, **more)


def test_ticked_runs_are_cancelled_after_a_confirmation_that_tells_what_is_passed_over(operator, make_run):
    ready, running, done = make_run(status="ready"), make_run(status="running", started_at=timezone.now()), make_run()
    page, go = ticked(operator, "cancel", [ready, running, done], "?window=7d", reason="wrong list")
    assert (
        "Cancel 2 runs" in page
        and "Passed over: 1 (ended already)" in page
        and "1 ready" in page
        and "1 running" in page
    )
    assert Run.objects.get(pk=ready.pk).status == "ready", "the question alone changed something"
    answer = go()
    assert answer.redirect_chain == [(url("run_changelist") + "?window=7d", 302)], "the filters are kept"
    assert "2 runs are cancelled or asked to stop. Passed over: 1 (ended already)." in answer.content.decode()
    ready.refresh_from_db(), running.refresh_from_db()
    assert (ready.status, ready.end_reason, ready.cancel_requested_by) == ("cancelled", "wrong list", "operator")
    assert running.status == "running" and running.cancel_requested_at
    notes = LogEntry.objects.filter(action_flag=CHANGE)
    assert {note.object_id for note in notes} == {str(ready.pk), str(running.pk)}
    assert all("wrong list" in note.change_message for note in notes)


def test_ticked_runs_are_run_again_once_however_often_the_form_is_sent(operator, make_run, make_job):
    job = make_job()
    old = [
        make_run(status="failed", job=job, job_name=job.name, kwargs={"region": "EU"}, queue="mail") for _ in range(3)
    ]
    foreign, gone, open_ = make_run(tasks.guarded), make_run("gone.task"), make_run(status="ready")
    page, go = ticked(operator, "again", [*old, foreign, gone, open_], reason="again")
    assert "Run 3 runs again" in page
    for why in ("their task needs a further permission", "no installed app declares their task", "not finished yet"):
        assert f"1 ({why})" in page
    go(), go()
    new = Run.objects.filter(rerun_of__in=old)
    assert {run.rerun_of_id for run in new} == {run.pk for run in old} and new.count() == 3 == Run.objects.filter(
        rerun_of__isnull=False
    ).count()
    assert {(run.reason, run.triggered_by_name, run.trigger, run.queue) for run in new} == {
        ("again", "operator", "manual", "mail")
    }


def test_ticked_runs_are_deleted_with_what_hangs_on_them(manager, make_run, world):
    other = make_run(rerun_of=world["run"])
    page, go = ticked(manager, "delete", [world["run"], world["ready"]])
    assert "Delete 1 run" in page and "1 (not finished yet)" in page
    go()
    assert not Run.objects.filter(pk=world["run"].pk).exists() and Run.objects.filter(pk=world["ready"].pk).exists()
    assert not Artifact.objects.exists() and not RunLog.objects.filter(run_id=world["run"].pk).exists()
    other.refresh_from_db()
    assert other.rerun_of_id is None and "Delete" in LogEntry.objects.get(object_id=str(world["run"].pk)).change_message


def test_each_verb_over_many_needs_its_permission(signed_in, client, make_run):
    run = make_run(status="ready")
    client = signed_in("view_run", "run_job", name="half")
    page = client.get(url("run_changelist")).content.decode()
    assert 'value="again_selected"' in page and "cancel_selected" not in page and "delete_selected" not in page
    assert client.get(url("run_bulk") + "?verb=again").status_code == 200
    for verb in ("cancel", "delete"):
        assert client.get(url("run_bulk") + f"?verb={verb}").status_code == 403
        data = {"verb": verb, "confirmed": "1", "_selected_action": [str(run.pk)]}
        assert client.post(url("run_bulk"), data).status_code == 403
        assert client.post(url("run_bulk"), {"verb": verb, "confirmed": "1"}).status_code == 403
    assert Run.objects.get().status == "ready" and not LogEntry.objects.exists()


def test_more_than_a_page_of_ids_or_broken_ones_are_refused(operator, make_run):
    run = make_run(status="ready")
    data = {"verb": "cancel", "confirmed": "1"}
    assert operator.post(url("run_bulk"), {**data, "_selected_action": ["x"]}).status_code == 400
    assert operator.post(url("run_bulk"), {**data, "_selected_action": [str(run.pk)] * 101}).status_code == 400
    assert operator.post(url("run_bulk") + "?q=nonsense", data, follow=True).status_code == 200
    assert operator.post(url("run_bulk"), {**data, "newest": "x"}).status_code == 400
    assert Run.objects.get().status == "ready"


def many(make_run, count=120, **fields):
    run = make_run(**fields)
    rows = [
        Run(**{one.attname: getattr(run, one.attname) for one in Run._meta.concrete_fields if one.name != "id"})
        for _ in range(count - 1)
    ]
    Run.objects.bulk_create(rows)
    return run


def test_all_that_match_become_a_run_that_counts_and_touches_nothing_newer(operator, make_run, monkeypatch):
    monkeypatch.setattr(sweep, "BATCH", 50)
    many(make_run, status="ready", queue="mail")
    many(make_run, 3, status="running", queue="mail", started_at=timezone.now(), cancel_requested_at=timezone.now())
    other = make_run(status="ready", queue="other")
    page, go = matching(operator, "cancel", "?state=open&queue=mail", reason="flooded")
    assert (
        "Cancel 120 runs" in page and "It is done by a run of its own" in page and "3 (asked to stop already)" in page
    )
    newer = make_run(status="ready", queue="mail")
    answer = go()
    assert answer.redirect_chain == [(url("run_changelist") + "?state=open&queue=mail", 302)]
    go()
    run = Run.objects.get(job_name=sweep.NAME)
    assert (run.triggered_by_name, run.reason, run.priority) == ("operator", "flooded", 100)
    assert url("run_change", run.pk) in answer.content.decode() and Run.objects.filter(status="cancelled").count() == 0
    Run.objects.filter(pk__in=[newer.pk, other.pk]).update(
        run_after=timezone.now() + timedelta(days=1), status="scheduled", position=None
    )
    ended = []
    run_finished.connect(receiver := lambda **facts: ended.append(facts["run_id"]))
    [done] = drain(queues=["background"])
    run_finished.disconnect(receiver)
    assert done.result == {"done": 120, "skipped": {"asked": 3}}
    assert done.progress_message == "done 120, skipped 3" and done.progress_done == 123
    said = "120 runs are cancelled or asked to stop. Passed over: 3 (asked to stop already)."
    assert done.logs.get().message == f"done 120, skipped 3: {said}"
    notes = LogEntry.objects.filter(object_id=str(done.pk)).order_by("pk")
    assert [(note.user.username, note.change_message.partition(";")[0]) for note in notes] == [
        ("operator", "Cancel 120 runs"), ("operator", said),
    ]  # fmt: skip
    assert (
        Run.objects.filter(status="cancelled", queue="mail", end_reason="flooded").count()
        == 120
        == len(set(ended) - {done.pk})
    )
    assert Run.objects.get(pk=newer.pk).status == "scheduled" == Run.objects.get(pk=other.pk).status
    assert not Checkpoint.objects.filter(name__startswith="bulk:").exists()


def bulk_run(user, verb="cancel", search=(("state", "waiting"),), **fields):
    newest = Run.objects.order_by("-id").values_list("id", flat=True).first()
    from background.queue.enqueue import enqueue

    return enqueue(
        sweep.task,
        (),
        {"verb": verb, "search": [list(one) for one in search], "newest": str(newest), "site": "admin"},
        user=user,
        **fields,
    )


def test_a_sweep_that_breaks_off_goes_on_where_it_was_and_counts_on(person_with, make_run, monkeypatch):
    monkeypatch.setattr(sweep, "BATCH", 50)
    many(make_run, status="failed", kwargs={"region": "EU"})
    run = bulk_run(person_with(*MANAGES), "again", [("state", "failed")])
    calls = []

    def breaking(*args):
        calls.append(args)
        if len(calls) == 2:
            act_on(*args)
            raise OSError("gone")
        return act_on(*args)

    monkeypatch.setattr(sweep, "act_on", breaking)
    drain(queues=["background"])
    run.refresh_from_db()
    assert run.status == "scheduled" and Run.objects.filter(rerun_of__isnull=False).count() == 50
    Run.objects.filter(pk=run.pk).update(status="ready", run_after=None, position=1)
    drain(queues=["background"])
    run.refresh_from_db()
    assert run.result == {"done": 120, "skipped": {}}
    again = Run.objects.filter(rerun_of__isnull=False)
    assert again.count() == 120 == again.values("rerun_of").distinct().count()


@pytest.mark.parametrize("is_overtaken", [False, True])
def test_many_are_run_again_by_few_statements_but_for_those_with_a_unique_key(
    person_with, make_run, django_assert_max_num_queries, monkeypatch, is_overtaken
):
    user = person_with(*MANAGES)
    plain = [make_run(status="failed", kwargs={"region": "EU"}, queue="mail") for _ in range(50)]
    one, same, other = (make_run(tasks.unique, status="failed", kwargs={"number": n}) for n in (1, 1, 2))
    if is_overtaken:  # somebody else has used one of the keys between the look and the insertion

        def refusing(*args):
            raise IntegrityError

        monkeypatch.setattr(bulk, "again_many", refusing)
    with django_assert_max_num_queries(1000 if is_overtaken else 30):
        result = act_on("again", [run.pk for run in (*plain, one, same, other)], user, "again", "key")
    assert len(result.done) == 52 and result.skipped == {"refused": 1, "open": 0, "unknown": 0, "foreign": 0}
    made = Run.objects.filter(rerun_of__isnull=False)
    assert made.count() == 52 == made.values("rerun_of").distinct().count()
    copies = (
        made.filter(rerun_of__in=plain).values_list("queue", "triggered_by_name", "reason", "kwargs__region").distinct()
    )
    assert list(copies) == [("mail", "somebody", "again", "EU")]
    assert len(act_on("again", [run.pk for run in plain], user, "again", "key").done) == 50 and made.count() == 52


def test_two_hosts_with_one_sweep_do_nothing_twice(person_with, make_run):
    many(make_run, 5, status="failed", kwargs={"region": "EU"})
    run = bulk_run(person_with(*MANAGES), "again", [("state", "failed")])
    rows = Run.objects.filter(id__lt=run.pk)
    first, second = (sweep._Sweep(run, "again", [[("state", "failed")]], rows) for _ in range(2))
    first.step()
    with pytest.raises(Overtaken):
        second.step()
    assert Run.objects.filter(rerun_of__isnull=False).count() == 5


def test_a_sweep_stops_between_batches_when_it_is_cancelled(person_with, make_run, monkeypatch):
    monkeypatch.setattr(sweep, "BATCH", 50)
    many(make_run, status="ready", queue="mail")
    run = bulk_run(person_with(*MANAGES), search=[("state", "ready")])

    def then_cancel(*args):
        result = act_on(*args)
        stop.request("cancelled")
        return result

    monkeypatch.setattr(sweep, "act_on", then_cancel)
    from types import SimpleNamespace

    from background.exceptions import StopRequested
    from background.stopping import StopToken

    stop = StopToken()
    with pytest.raises(StopRequested):
        facts = {"run_id": run.pk, "stop": stop, "progress": lambda *args: None, "logger": logging.getLogger("test")}
        sweep.bulk(SimpleNamespace(**facts), **run.kwargs)
    assert Run.objects.filter(status="cancelled").count() == 50
    assert LogEntry.objects.get(object_id=str(run.pk)).change_message.startswith("50 runs are cancelled")
    assert cancel(run) and not Checkpoint.objects.exists()


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.django_db(transaction=True)
def test_twenty_five_thousand_are_run_again_by_a_host_also_after_a_first_try_was_cancelled(client, make_run):
    foreign, mine, mail = 97, 25_000, {"status": "failed", "queue": "mail", "kwargs": {"region": "EU"}}
    client.force_login(person("operator", OPERATES))
    many(make_run, foreign, task=tasks.guarded, **{**mail, "kwargs": {}})
    many(make_run, mine - foreign, **mail)
    where = "?state=failed&queue=mail&window=all"
    page, first = matching(client, "again", where, reason="the feed is back")
    assert "Run 10,000+ runs again" in page and "10,000 failed" in page
    page, second = matching(client, "again", where, reason="once more")
    newer = make_run(**mail)

    with run_host(options=Options(queues=("background",))) as host:
        first()
        run = Run.objects.get(job_name=sweep.NAME)
        host.wait_for(lambda: Run.objects.get(pk=run.pk).progress_done, 120)
        assert client.post(url("run_cancel", run.pk), {"reason": "wrong button"}).status_code == 302
        host.wait_for(lambda: Run.objects.get(pk=run.pk).is_finished, 120)
        run.refresh_from_db()
        broken_off = Run.objects.filter(reason="the feed is back", rerun_of__isnull=False).count()
        assert run.status == "cancelled" and 0 < broken_off < mine - foreign
        assert run.logs.get().message.startswith(f"done {broken_off:,}, skipped ")

        answer = second()
        assert answer.redirect_chain == [(url("run_changelist") + where, 302)], "the filters are kept"
        done = Run.objects.filter(job_name=sweep.NAME).latest("id")
        host.wait_for(lambda: Run.objects.get(pk=done.pk).is_finished, 600)

    done.refresh_from_db()
    assert (done.status, done.result) == ("succeeded", {"done": mine - foreign, "skipped": {"foreign": foreign}})
    said = "24,903 runs are run again. Passed over: 97 (their task needs a further permission)."
    assert done.progress_message == "done 24,903, skipped 97" and done.logs.get().message.endswith(said)
    assert LogEntry.objects.filter(object_id=str(done.pk)).latest("pk").change_message == said
    made = Run.objects.filter(reason="once more", rerun_of__isnull=False)
    assert made.count() == mine - foreign == made.values("rerun_of").distinct().count()
    assert (
        not Run.objects.filter(rerun_of=newer).exists()
        and not Checkpoint.objects.filter(name__startswith="bulk:").exists()
    )


@pytest.mark.parametrize("permissions", [["view_run", "run_job"], None])
def test_a_sweep_made_by_somebody_without_the_permission_does_nothing(person_with, make_run, permissions):
    make_run(status="ready", queue="mail")
    run = bulk_run(None if permissions is None else person_with(*permissions))
    drain(queues=["background"])
    run.refresh_from_db()
    assert run.status == "failed" and "NotAllowed" in run.error_type and Run.objects.get(queue="mail").status == "ready"


def test_a_sweep_sees_no_more_than_the_page(person_with, make_run, monkeypatch):
    from background.admin.run import RunAdmin

    many(make_run, 3, status="ready", queue="mail"), many(make_run, 3, status="ready", queue="hidden")
    original = RunAdmin.get_queryset
    monkeypatch.setattr(RunAdmin, "get_queryset", lambda self, request: original(self, request).exclude(queue="hidden"))
    bulk_run(person_with(*MANAGES), search=[("state", "ready")])
    drain(queues=["background"])
    assert (
        Run.objects.filter(status="cancelled").count()
        == 3
        == Run.objects.filter(queue="hidden", status="ready").count()
    )


def test_a_queue_offers_to_cancel_what_waits(operator, make_run):
    queue = Queue.objects.create(name="mail")
    make_run(status="ready", queue="mail"), make_run(status="scheduled", queue="mail"), make_run(status="ready")
    page = operator.get(url("queue_change", queue.pk)).content.decode()
    where = url("run_bulk") + "?verb=cancel&state=waiting&queue=mail"
    assert where.replace("&", "&amp;") in page and "Cancel 2 runs" in operator.get(where).content.decode()
    assert Run.objects.filter(status="cancelled").count() == 0


# CSV


def exported(client, query=""):
    answer = client.get(url("run_export") + query)
    assert (
        answer.status_code == 200
        and answer["Content-Disposition"].startswith("attachment")
        and answer["X-Content-Type-Options"] == "nosniff"
    )
    return list(csv.DictReader(io.StringIO(b"".join(answer.streaming_content).decode())))


def test_the_export_has_the_rows_of_the_list_in_codes(operator, make_run, settings):
    settings.LANGUAGE_CODE = "de"
    mine = make_run(
        status="failed",
        kwargs={"region": "EU", "token": "hunter2"},
        error_type="builtins.OSError",
        triggered_by_name="ana",
    )
    make_run()
    [row] = exported(operator, "?state=failed")
    assert (row["id"], row["state"], row["took"], row["by"], row["error_type"]) == (
        str(mine.pk),
        "failed",
        "3.000",
        "ana",
        "builtins.OSError",
    )
    assert row["enqueued_at"] == mine.enqueued_at.isoformat()
    assert '"region": "EU"' in row["arguments"] and "hunter2" not in row["arguments"]
    assert len(exported(operator)) == 2


def test_the_export_has_an_end_and_walks_by_pages(operator, make_run, monkeypatch):
    many(make_run, 30)
    monkeypatch.setattr("background.admin.export.BATCH", 7)
    assert len({row["id"] for row in exported(operator)}) == 30
    monkeypatch.setattr("background.admin.export.MOST", 17)
    assert len(exported(operator)) == 17


def test_no_cell_is_a_formula_and_arguments_need_their_permission(signed_in, make_run):
    make_run(
        queue="=1+1", host_name="@x", reason="-2", triggered_by_name="\t=1", job_name=HOSTILE, kwargs={"region": "EU"}
    )
    [row] = exported(signed_in("view_run"))
    assert (row["queue"], row["host"], row["reason"], row["by"]) == ("'=1+1", "'@x", "'-2", "\\t=1")
    assert "arguments" not in row and "\x1b" not in row["job"] and row["job"].startswith('"><img')


def test_a_list_that_is_not_understood_is_not_exported(operator, make_run):
    make_run()
    answer = operator.get(url("run_export") + "?q=nonsense", follow=True)
    assert "is not understood" in answer.content.decode()
