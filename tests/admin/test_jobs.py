"""A person starts, edits, pauses and resets jobs."""

import json

import pytest
from django.contrib.admin.models import LogEntry
from django.utils import timezone

from background.models import Job, Run
from tests.admin import tasks_for_admin as tasks
from tests.admin.conftest import url

TYPED = {
    "region": "US",
    "limit": "20",
    "ratio": "0.25",
    "amount": "2.75",
    "dry_run": "on",
    "day": "2027-01-02",
    "at": "03:04:05",
}
TYPED |= {
    "moment": "2027-01-02 03:04",
    "ref": "0191d3a0-0000-7000-8000-000000000000",
    "colour": "b",
    "note": "hi",
    "extra": '{"a": [1]}',
}
TYPED |= {"anything": "[1, 2]"}


def refused(response, field=None):
    assert response.status_code == 200 and not Run.objects.exists()
    forms = response.context["forms"]
    assert any(form.errors for form in forms)
    if field:
        assert field in forms[0].errors, forms[0].errors
    return str([form.errors for form in forms])


def test_the_form_is_typed_by_the_signature(operator, make_job):
    page = operator.get(url("job_run", make_job(kwargs={"region": "EU"}).pk)).content.decode()
    assert '<option value="EU" selected>EU</option>' in page and '<option value="r" selected>RED</option>' in page
    assert 'type="number" name="limit" value="500"' in page and 'type="checkbox" name="dry_run"' in page
    assert 'name="extra"' in page and "JSON (" in page and "list[int] | str" in page


def test_run_now_passes_what_was_typed_as_json(operator, make_job):
    job = make_job(queue="mail")
    response = operator.post(url("job_run", job.pk), {**TYPED, "reason": "ticket 4711"})
    run = Run.objects.get()
    assert response.url == url("run_change", run.pk)
    assert run.kwargs == {
        "region": "US", "limit": 20, "ratio": 0.25, "amount": "2.75", "dry_run": True, "day": "2027-01-02", "at": "03:04:05",
        "moment": "2027-01-02T03:04:00+00:00", "ref": "0191d3a0-0000-7000-8000-000000000000", "colour": "b", "note": "hi",
        "extra": {"a": [1]}, "anything": [1, 2],
    }  # fmt: skip
    assert (run.job, run.trigger, run.queue, run.triggered_by.username, run.reason) == (
        job,
        "manual",
        "mail",
        "operator",
        "ticket 4711",
    )
    assert f"#{run.short_id} is queued" in operator.get(response.url).content.decode()
    entry = LogEntry.objects.get(object_id=str(job.pk))
    assert (
        "Run now" in entry.change_message
        and "ticket 4711" in entry.change_message
        and entry.user.username == "operator"
    )
    assert LogEntry.objects.filter(object_id=str(run.pk)).exists()


def test_what_is_left_alone_keeps_the_defaults_of_the_function(operator, make_job):
    job = make_job(kwargs={"limit": 7})
    form = operator.get(url("job_run", job.pk)).context["forms"][0]
    data = {one.html_name: one.value() for one in form if one.value() not in (None, False)}
    data["extra"], data["anything"], data["region"] = "", '"x"', "EU"
    operator.post(url("job_run", job.pk), data)
    assert Run.objects.get().kwargs == {"region": "EU", "limit": 7}


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("limit", "many"), ("limit", "9" * 5000), ("ratio", "nan"), ("amount", "x"), ("day", "2027-02-30"), ("at", "25:00"),
        ("moment", "soon"), ("ref", "1"), ("colour", "green"), ("region", "MARS"), ("region", ""), ("extra", "{broken"),
        ("extra", "[" * 50_000), ("extra", "1" * 5000), ("extra", '"' + "x" * 70_000 + '"'), ("note", "a\x00b"),
    ],
)  # fmt: skip
def test_bad_values_are_errors_at_their_field(operator, make_job, field, value):
    job = make_job()
    refused(operator.post(url("job_run", job.pk), {**TYPED, field: value}), field)


@pytest.mark.parametrize("value", ["NaN", '"a\\u0000b"', '{"x": "\\ud800"}'])
def test_json_that_is_none_is_refused(operator, make_job, value):
    refused(operator.post(url("job_run", make_job().pk), {**TYPED, "extra": value}))


def test_arguments_beyond_64_kb_are_refused(operator, make_job):
    said = refused(operator.post(url("job_run", make_job().pk), {**TYPED, "note": "x" * 65_536}))
    assert "at most 65,536 are kept" in said


def test_fields_that_the_form_does_not_have_are_ignored(operator, make_job):
    operator.post(
        url("job_run", make_job(tasks.with_context).pk),
        {"count": "3", "context": "x", "priority": "100", "task": "os.system"},
    )
    run = Run.objects.get()
    assert (run.kwargs, run.queue, run.priority, run.task) == (
        {"count": 3},
        "default",
        0,
        tasks.with_context.module_path,
    )


def test_positional_only_and_surplus_arguments_find_their_places(operator, make_job):
    job = make_job(tasks.shapes, args=[1, 5], kwargs={"third": 9, "more_of_it": True})
    form = operator.get(url("job_run", job.pk)).context["forms"][0]
    assert [one.value() for one in form][:2] == [1, 5]
    operator.post(
        url("job_run", job.pk), {"first": "1", "second": "2", "rest": "[3, 4]", "third": "5", "more": '{"x": 1}'}
    )
    run = Run.objects.get()
    assert (run.args, run.kwargs) == ([1, 2, 3, 4], {"third": 5, "x": 1})
    refused_ = operator.post(url("job_run", job.pk), {"first": "1", "second": "2", "rest": "{}", "third": "5"})
    assert "rest" in refused_.context["forms"][0].errors


def test_a_function_may_have_arguments_named_like_our_own_fields(operator, make_job):
    operator.post(
        url("job_run", make_job(tasks.clashing).pk), {"arg-reason": "theirs", "arg-user": "u", "reason": "ours"}
    )
    run = Run.objects.get()
    assert run.kwargs == {"reason": "theirs", "user": "u"} and run.reason == "ours"


def test_secrets_are_kept_unless_a_new_one_is_typed(operator, make_job):
    job = make_job(
        tasks.secretive, kwargs={"name": "a", "token": "old", "pin": 5, "headers": {"X-Token": "h", "ok": 1}}
    )
    page = operator.get(url("job_run", job.pk)).content.decode()
    assert 'type="password" name="token"' in page and "The stored value is used unless you type a new one." in page
    form = {"name": "b", "token": "", "pin": "", "headers": '{"X-Token": "[hidden]", "ok": 2}'}
    operator.post(url("job_run", job.pk), form)
    assert Run.objects.get().kwargs == {"name": "b", "token": "old", "pin": 5, "headers": {"X-Token": "h", "ok": 2}}
    Run.objects.all().delete()
    operator.post(url("job_run", job.pk), {**form, "token": "new", "pin": "6"})
    assert Run.objects.get().kwargs["token"] == "new" and Run.objects.get().kwargs["pin"] == 6
    Run.objects.all().delete()
    refused(operator.post(url("job_run", job.pk), {**form, "headers": '{"New-Key": "[hidden]"}'}), "headers")


def test_a_form_of_the_jobs_own_replaces_the_typed_one(operator, make_job):
    job = make_job(tasks.own_form, kwargs={"city": "Bonn", "token": "old"})
    refused(operator.post(url("job_run", job.pk), {"city": "Köln am Rhein", "token": ""}), "city")
    operator.post(url("job_run", job.pk), {"city": "Köln", "token": "", "limit": "1"})
    assert Run.objects.get().kwargs == {"city": "Köln", "token": "old"}


def test_one_address_of_the_form_makes_one_run(operator, make_job):
    job = make_job(tasks.with_context)
    link = next(tool.url for tool in operator.get(url("job_change", job.pk)).context["tools"] if "?key=" in tool.url)
    assert f'action="?{link.partition("?")[2]}"' in operator.get(link).content.decode()
    first = operator.post(link, {"count": "1"})
    again = operator.post(link, {"count": "2"}, follow=True)
    assert Run.objects.count() == 1 and again.redirect_chain[0][0] == first.url
    assert "no second one was made" in again.content.decode()
    assert LogEntry.objects.filter(object_id=str(job.pk)).count() == 1
    operator.post(url("job_run", job.pk) + "?key=other", {"count": "1"})
    assert Run.objects.count() == 2


def test_a_key_of_someone_else_means_nothing(operator, client, make_job, person_with):
    job = make_job(tasks.with_context)
    operator.post(url("job_run", job.pk) + "?key=same", {"count": "1"})
    client.force_login(person_with("run_job", name="other"))
    client.post(url("job_run", job.pk) + "?key=same", {"count": "1"})
    assert Run.objects.count() == 2


def test_an_open_run_with_the_same_unique_key_is_named(operator, make_job):
    job = make_job(tasks.unique)
    operator.post(url("job_run", job.pk), {"number": "4"})
    page = operator.post(url("job_run", job.pk), {"number": "4"}, follow=True).content.decode()
    assert Run.objects.count() == 1 and "with the same unique key is open" in page


def test_a_run_may_be_asked_for_later(operator, make_job):
    job = make_job(tasks.with_context)
    refused(operator.post(url("job_run", job.pk), {"count": "1", "run_after": "2001-01-01 10:00"}))
    response = operator.post(url("job_run", job.pk), {"count": "1", "run_after": "2099-01-01 10:00"}, follow=True)
    assert Run.objects.get().status == "scheduled" and "Due in" in response.content.decode()


@pytest.mark.parametrize("fields", [{"orphaned": True}, {"task": "gone.task"}])
def test_a_job_whose_code_is_gone_says_so_and_is_not_run(operator, make_job, fields):
    job = make_job()
    Job.objects.filter(pk=job.pk).update(**fields)
    page = operator.get(url("job_change", job.pk)).content.decode()
    assert "it cannot be run" in page and "?key=" not in page
    assert "cannot be run" in operator.get(url("job_run", job.pk)).content.decode()
    operator.post(url("job_run", job.pk), TYPED)
    assert not Run.objects.exists()


def test_the_form_says_who_will_run_it(operator, make_job, make_host):
    job = make_job()
    assert "No live host serves queue" in operator.get(url("job_run", job.pk)).content.decode()
    make_host()
    assert "is served by 1 live host" in operator.get(url("job_run", job.pk)).content.decode()


def test_pausing_keeps_who_and_why_and_is_undone_by_resuming(operator, make_job):
    job = make_job(schedule="@daily")
    operator.post(url("job_pause", job.pk), {"reason": "holiday"})
    job.refresh_from_db()
    assert (job.enabled, job.paused_by, job.paused_reason) == (False, "operator", "holiday")
    page = operator.get(url("job_change", job.pk)).content.decode()
    assert "paused by operator" in page and "holiday" in page
    assert url("job_resume", job.pk) in page and url("job_pause", job.pk) not in page
    assert operator.post(url("job_pause", job.pk), {}).status_code == 302, "a second click is answered, not an error"
    operator.post(url("job_resume", job.pk), {})
    job.refresh_from_db()
    assert job.enabled and not job.paused_by
    assert LogEntry.objects.filter(object_id=str(job.pk)).count() == 2


def filled(client, job, **changes):
    form = client.get(url("job_change", job.pk)).context["adminform"].form
    data = {one.html_name: one.value() for one in form if one.value() is not None and one.value() is not False}
    for name in ("args", "kwargs", "backoff"):
        if name in form.fields:
            data[name] = json.dumps(form.initial.get(name))
    return {**data, "starts_at_0": "", "starts_at_1": "", **changes}


def test_what_an_operator_edits_is_saved_and_nothing_else(manager, make_job, monkeypatch):
    job = make_job(kwargs={"region": "EU"})
    data = filled(manager, job, schedule="*/5 * * * *", timezone="Europe/Paris", priority="5")
    from background.admin.job import JobAdmin

    save = JobAdmin.save_model

    def meanwhile(self, *args):
        Job.objects.filter(pk=job.pk).update(outcomes="sss", next_run_at="2027-01-01T00:00:00Z")
        save(self, *args)

    monkeypatch.setattr(JobAdmin, "save_model", meanwhile)
    response = manager.post(url("job_change", job.pk), data)
    assert response.status_code == 302, response.context["errors"]
    job.refresh_from_db()
    assert (job.schedule, job.timezone, job.priority, job.outcomes) == ("*/5 * * * *", "Europe/Paris", 5, "sss")
    assert job.next_run_at is not None and job.kwargs == {"region": "EU"}


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"schedule": "61 * * * *"}, "schedule"), ({"schedule": "0 0 1--100000000 * *"}, "schedule"),
        ({"schedule": "0 0 31 2 *"}, "schedule"), ({"schedule": "*" * 121}, "schedule"), ({"schedule": "every 5 parsecs"}, "schedule"),
        ({"schedule": "at 2001-01-01T00:00:00Z"}, "schedule"), ({"timezone": "Mars/Olympus"}, "timezone"),
        ({"timezone": "../../etc/passwd"}, "timezone"), ({"task": "os.system"}, "task"), ({"name": "a\u202eb"}, "name"),
        ({"kwargs": "[1]"}, "kwargs"), ({"args": "{}"}, "args"), ({"kwargs": "{"}, "kwargs"), ({"kwargs": '{"x": NaN}'}, "kwargs"),
        ({"kwargs": '{"unknown": 1}', "schedule": "@daily"}, "kwargs"), ({"backoff": '{"initial": "x"}'}, "backoff"),
        ({"retain": "for ever"}, "retain"), ({"priority": "101"}, "priority"), ({"timeout": "-1"}, "timeout"),
        ({"ends_at_0": "2027-01-01", "ends_at_1": "00:00", "starts_at_0": "2027-01-02", "starts_at_1": "00:00"}, "ends_at"),
    ],
)  # fmt: skip
def test_what_cannot_be_is_an_error_at_its_field(manager, make_job, changes, field):
    job = make_job(kwargs={"region": "EU"})
    response = manager.post(url("job_change", job.pk), filled(manager, job, **changes))
    assert response.status_code == 200
    assert field in response.context["adminform"].form.errors, response.context["adminform"].form.errors
    before = job.declared_values()
    job.refresh_from_db()
    assert job.declared_values() == before


def test_a_longer_schedule_of_the_code_does_not_keep_from_editing(manager, make_job):
    long = ",".join(str(one) for one in range(60)) + " * * * *"
    job = make_job(kwargs={"region": "EU"}, schedule=long)
    assert manager.post(url("job_change", job.pk), filled(manager, job, priority="3")).status_code == 302
    assert Job.objects.get(pk=job.pk).schedule == long


def test_the_next_ten_times_are_listed_also_on_a_form_error(manager, make_job):
    job = make_job(schedule="30 2 * * *", timezone="Europe/Paris")
    page = manager.get(url("job_change", job.pk)).content.decode()
    assert page.count("02:30 CE") + page.count("03:00 CE") == 10
    page = manager.post(
        url("job_change", job.pk), filled(manager, job, schedule="0 5 * * *", priority="999")
    ).content.decode()
    assert page.count(" 05:00 CE") == 10


def test_saving_keeps_masked_secrets(manager, make_job):
    stored = {"name": "a", "token": "old", "headers": {"api_key": "k", "x": [{"password": "p"}]}}
    job = make_job(tasks.secretive, kwargs=stored)
    data = filled(manager, job, priority="2")
    assert "old" not in data["kwargs"]
    assert manager.post(url("job_change", job.pk), data).status_code == 302
    job.refresh_from_db()
    assert job.kwargs == stored and job.priority == 2
    data["kwargs"] = data["kwargs"].replace('"a"', '"b"')
    manager.post(url("job_change", job.pk), data)
    job.refresh_from_db()
    assert job.kwargs == {**stored, "name": "b"}


def test_unsetting_enabled_in_the_form_is_a_pause_by_that_person(manager, make_job):
    job = make_job(kwargs={"region": "EU"})
    data = filled(manager, job)
    data.pop("enabled")
    manager.post(url("job_change", job.pk), data)
    job.refresh_from_db()
    assert not job.enabled and job.paused_by == "manager"


def test_overrides_stand_beside_the_codes_value_and_are_reset_by_post(manager, make_job):
    job = make_job(kwargs={"region": "EU"})
    Job.objects.filter(pk=job.pk).update(
        defaults={**job.declared_values(), "queue": "slow", "priority": 7, "enabled": True}, enabled=False
    )
    page = manager.get(url("job_change", job.pk)).content.decode()
    assert "Overridden; the code says: slow." in page and url("job_reset", job.pk) in page
    assert 'name="name"' not in page and 'name="task"' not in page, "code finds its job by the name"
    where = url("job_reset", job.pk)
    assert "default → slow" in manager.get(where).content.decode()
    manager.post(where, {"names": ["priority", "enabled"], "reason": "tidy"})
    job.refresh_from_db()
    assert (job.queue, job.priority, job.enabled) == ("default", 7, True)
    assert manager.post(where, {"names": ["defaults"]}).status_code == 200, "only listed fields"
    entry = LogEntry.objects.get(object_id=str(job.pk))
    assert "priority, enabled" in entry.change_message and "tidy" in entry.change_message


def test_a_job_is_made_by_hand_from_a_registered_task(manager, db):
    page = manager.get(url("job_add")).content.decode()
    assert tasks.typed.module_path in page
    data = {
        "name": "mine",
        "task": tasks.with_context.module_path,
        "schedule": "@daily",
        "enabled": "on",
        "queue": "default",
        "priority": "0",
    }
    data |= {
        "jitter": "0",
        "overlap": "skip",
        "misfire": "once",
        "misfire_grace": "300",
        "misfire_limit": "100",
        "max_attempts": "1",
        "on_lost": "retry",
    }
    response = manager.post(url("job_add"), {**data, "cursor_0": "2001-01-01", "orphaned": "on"})
    assert response.status_code == 302, response.context["errors"]
    job = Job.objects.get(name="mine")
    assert (job.task, job.kwargs, job.args, job.orphaned, job.cursor) == (
        tasks.with_context.module_path,
        {},
        [],
        False,
        None,
    )


def test_the_list_takes_few_queries_however_long(manager, make_job, django_assert_max_num_queries):
    for _ in range(30):
        make_job(schedule="0 3 * * *", outcomes="ssfm", next_run_at=timezone.now())
    with django_assert_max_num_queries(10):
        page = manager.get(url("job_changelist")).content.decode()
    assert "1 of the last 4 failed" in page
