"""The form of a job: typed arguments, the code's values, the preview before saving, and what a person is told."""

from datetime import UTC, datetime, timedelta

import pytest
import time_machine
from django.utils import timezone

from background.models import Job, Queue, Run
from tests.admin import tasks_for_admin as tasks
from tests.admin.conftest import url
from tests.admin.test_jobs import filled

BEFORE_SUMMER = datetime(2027, 3, 26, 12, tzinfo=UTC)


def saved(manager, job, **changes):
    response = manager.post(url("job_change", job.pk), filled(manager, job, **changes))
    if response.status_code == 200:
        return response.context["adminform"].form.errors
    job.refresh_from_db()
    return {}


# Arguments


def test_arguments_are_typed_one_by_one_and_kept_as_json(manager, make_job):
    job = make_job(kwargs={"region": "EU", "limit": 7})
    page = manager.get(url("job_change", job.pk)).content.decode()
    assert 'name="arg-region"' in page and 'type="number" name="arg-limit" value="7"' in page
    assert "Edit arguments as JSON" in page and 'name="kwargs"' in page
    assert not saved(manager, job, **{"arg-region": "US", "arg-limit": "8", "arg-day": "2027-01-02"})
    assert job.kwargs == {"region": "US", "limit": 8, "day": "2027-01-02"}


def test_what_is_left_alone_stays_to_the_functions_own_defaults(manager, make_job):
    job = make_job(kwargs={"region": "EU"})
    assert not saved(manager, job, priority="3")
    assert (job.kwargs, job.priority) == ({"region": "EU"}, 3)


def test_an_argument_may_stay_empty_until_a_run_unless_there_is_a_schedule(manager, make_job):
    job = make_job()
    assert not saved(manager, job, **{"arg-limit": "8"})
    assert job.kwargs == {"limit": 8}
    assert "region" in str(saved(manager, job, schedule="@daily")["kwargs"])


def test_a_wrong_argument_is_an_error_at_its_own_field(manager, make_job):
    job = make_job(kwargs={"region": "EU"})
    errors = saved(manager, job, **{"arg-limit": "many"})
    assert list(errors) == ["arg-limit"] and Job.objects.get(pk=job.pk).kwargs == {"region": "EU"}
    assert "arg-region" in saved(manager, job, **{"arg-region": "MARS"})


def test_the_json_counts_where_it_was_changed_and_not_the_fields(manager, make_job):
    job = make_job(kwargs={"region": "EU"})
    assert not saved(manager, job, kwargs='{"region": "US", "limit": 1}')
    assert job.kwargs == {"region": "US", "limit": 1}
    errors = saved(manager, job, kwargs='{"region": "EU"}', **{"arg-limit": "2"})
    assert "change one of the two only" in str(errors["kwargs"])
    assert Job.objects.get(pk=job.pk).kwargs == {"region": "US", "limit": 1}


def test_typed_secrets_are_kept_and_not_shown(manager, make_job):
    job = make_job(tasks.secretive, kwargs={"name": "a", "token": "hunter2", "pin": 5})
    page = manager.get(url("job_change", job.pk)).content.decode()
    assert "hunter2" not in page and 'type="password" name="arg-token"' in page
    assert not saved(manager, job, **{"arg-name": "b"})
    assert job.kwargs == {"name": "b", "token": "hunter2", "pin": 5}
    assert not saved(manager, job, **{"arg-token": "new"})
    assert job.kwargs["token"] == "new" and job.kwargs["pin"] == 5


def test_a_task_with_a_form_of_its_own_has_json_here(manager, make_job):
    page = manager.get(url("job_change", make_job(tasks.own_form).pk)).content.decode()
    assert 'name="kwargs"' in page and 'name="arg-city"' not in page


def test_who_may_not_see_arguments_does_not_wipe_them_by_saving(signed_in, make_job):
    client, job = signed_in("view_job", "change_job"), make_job(kwargs={"region": "EU"}, args=[])
    data = filled(client, job, priority="3", schedule="@daily")
    assert "kwargs" not in client.get(url("job_change", job.pk)).context["adminform"].form.fields
    assert client.post(url("job_change", job.pk), {**data, "kwargs": '{"region": "US"}'}).status_code == 302
    job.refresh_from_db()
    assert (job.kwargs, job.priority) == ({"region": "EU"}, 3)


# What the code says


def declared(make_job, **defaults):
    job = make_job(kwargs={"region": "EU"})
    Job.objects.filter(pk=job.pk).update(defaults={**job.declared_values(), **defaults})
    return job


def test_a_field_shows_the_codes_value_and_an_emptied_one_goes_back_to_it(manager, make_job):
    job = declared(make_job, queue="slow", priority=7)
    page = manager.get(url("job_change", job.pk)).content.decode()
    assert 'placeholder="slow"' in page and f"{url('job_reset', job.pk)}?names=queue" in page
    assert "bg-inherited" in page
    assert not saved(manager, job, queue="", priority="")
    assert (job.queue, job.priority, job.overrides) == ("slow", 7, {})


def test_the_link_beside_an_override_resets_that_one(manager, make_job):
    job = declared(make_job, queue="slow", priority=7)
    form = manager.get(url("job_reset", job.pk) + "?names=queue").context["forms"][0]
    assert form["names"].value() == ["queue"]


# The preview


def lines(client, where, **query):
    return client.get(where, query).context["preview"].lines


@pytest.fixture
def march():
    """Two days before Europe's clocks are put forward; asked for before a person signs in."""
    with time_machine.travel(BEFORE_SUMMER, tick=False):
        yield


def test_the_preview_marks_the_change_of_clocks_and_tells_both_zones(march, manager, make_job):
    job = make_job(schedule="0 3 * * *", timezone="Europe/Paris")
    with timezone.override("America/New_York"):
        found = lines(manager, url("job_preview", job.pk), schedule="30 2 * * *", timezone="Europe/Paris")
    assert len(found) == 10 and found[0].local == "Sat 27 Mar 2027 02:30 CET"
    assert found[1].local == "Sun 28 Mar 2027 03:00 CEST" and "clock skips" in found[1].note
    assert found[1].mine in ("Sat 27 Mar 2027 21:00 EDT", "Sun 28 Mar 2027 01:00 UTC")
    assert [one.change for one in found[:2]] == ["was Sat 27 Mar 2027 03:00 CET", ""], "03:00 CEST comes in both"


def test_the_page_shows_the_same_preview_without_script_also_on_errors(march, manager, make_job):
    job = make_job(kwargs={"region": "EU"}, schedule="0 3 * * *", timezone="Europe/Paris")
    page = manager.get(url("job_change", job.pk))
    assert page.context["preview"].changes is False and page.content.decode().count(" 03:00 CE") >= 10
    response = manager.post(url("job_change", job.pk), filled(manager, job, schedule="30 2 * * *", priority="999"))
    shown = response.context["preview"]
    assert shown.changes and shown.lines[1].local == "Sun 28 Mar 2027 03:00 CEST"
    assert "was Sat 27 Mar 2027 03:00 CET" in response.content.decode()


@pytest.mark.parametrize(
    ("schedule", "said"),
    [
        ("0 0 31 2 *", "Field “day of month”, character 5"), ("0 0 1--100000000 * *", "Field “day of month”, character 5"),
        ("x" * 200, "At most 120 characters"), ("x" * 5000, "schedule:"), ("61 * * * *", "Field “minute”, character 1"),
        ("at 2001-01-01T00:00:00Z", "It would not run again."), ("\x00", "schedule"), ("every 1s\u202e", ""),
    ],
)  # fmt: skip
def test_what_is_no_schedule_is_said_with_field_and_position_and_never_an_error_of_the_server(
    manager, make_job, schedule, said
):
    for where in (url("job_preview", make_job().pk), url("job_preview_new")):
        response = manager.get(where, {"schedule": schedule, "timezone": "Europe/Paris"})
        assert response.status_code == 200 and said in response.context["preview"].error
        assert "\u202e" not in response.content.decode() and "\x00" not in response.content.decode()


@pytest.mark.parametrize("query", [{"timezone": "Mars/Olympus"}, {"starts_at_0": "soon"}, {"ends_at_0": "9" * 5000}])
def test_a_wrong_zone_or_window_is_said_too(manager, make_job, query):
    response = manager.get(url("job_preview", make_job().pk), {"schedule": "@daily", **query})
    assert response.status_code == 200 and response.context["preview"].error


def test_the_preview_keeps_to_the_window(manager, make_job):
    window = {"starts_at_0": "2099-01-01", "starts_at_1": "00:00", "ends_at_0": "2099-01-03", "ends_at_1": "12:00"}
    found = lines(manager, url("job_preview_new"), schedule="0 6 * * *", timezone="UTC", **window)
    assert [one.local for one in found] == [f"{day} Jan 2099 06:00 UTC" for day in ("Thu 1", "Fri 2", "Sat 3")]


def test_the_preview_says_whether_it_fits_and_what_has_the_same_minute(manager, make_job):
    job = make_job(schedule="0 3 * * *", timezone="UTC")
    Job.objects.filter(pk=job.pk).update(duration_p50=41, duration_p95=90)
    make_job(name="a hourly", schedule="0 * * * *", timezone="UTC")
    make_job(name="other minute", schedule="1 * * * *", timezone="UTC")
    make_job(name="paused one", schedule="0 * * * *", timezone="UTC", enabled=False)
    notes = dict(
        reversed(one)
        for one in manager.get(url("job_preview", job.pk), {"schedule": "0 3 * * *"}).context["preview"].notes
    )
    assert "Usually takes 41 s (p95 1 min 30 s): fits into 24 h." in notes
    assert any("same minute as: a hourly" in one for one in notes)
    notes = manager.get(url("job_preview", job.pk), {"schedule": "every 30s"}).context["preview"].notes
    assert (True, "Usually takes 41 s (p95 1 min 30 s), which does not fit into 30 s; overlap is “skip”.") in notes


def test_the_preview_costs_few_queries_and_changes_nothing(manager, make_job, django_assert_max_num_queries):
    for number in range(20):
        make_job(schedule=f"{number} 3 * * *")
    job = make_job(schedule="0 3 * * *")
    before = Job.objects.values().get(pk=job.pk)
    with django_assert_max_num_queries(6):
        manager.get(url("job_preview", job.pk), {"schedule": "0 4 * * *"})
    assert Job.objects.values().get(pk=job.pk) == before


# Saving


def test_saving_says_when_it_takes_effect_and_what_is_left_alone(manager, make_job, make_run):
    job = make_job(kwargs={"region": "EU"})
    make_run(status="running", job=job, started_at=timezone.now())
    response = manager.post(url("job_change", job.pk), filled(manager, job, schedule="@daily"), follow=True)
    page = response.content.decode()
    assert "Hosts follow the new timing within two seconds. 1 open run is left as it is." in page
    page = manager.post(url("job_change", job.pk), filled(manager, job, priority="4"), follow=True).content.decode()
    assert "It counts from the next run on." in page


def test_save_and_run_now_saves_and_goes_to_the_form_for_a_run(manager, make_job):
    job = make_job(kwargs={"region": "EU"})
    page = manager.get(url("job_change", job.pk)).content.decode()
    assert 'name="_run"' in page
    response = manager.post(url("job_change", job.pk), filled(manager, job, priority="4", _run="x"))
    assert response.url.startswith(f"{url('job_run', job.pk)}?key=")
    job.refresh_from_db()
    assert job.priority == 4 and not Run.objects.exists()


# Running several


def test_several_jobs_are_run_after_a_page_that_says_which_and_why_not(operator, make_job):
    one, two = make_job(name="one", kwargs={"region": "EU"}, queue="mail"), make_job(name="two")
    gone = make_job(name="gone", kwargs={"region": "EU"})
    Job.objects.filter(pk=gone.pk).update(orphaned=True)
    ticked = {"action": "run_selected", "_selected_action": [one.pk, two.pk, gone.pk]}
    response = operator.post(url("job_changelist"), ticked)
    assert [row[0] for row in response.context["found"]] == ["gone", "one", "two"] and not Run.objects.exists()
    page = response.content.decode()
    assert "Run 1 job" in page and "mail" in page and "region" in page and "declares this job any more" in page
    sent = {**ticked, "_confirmed": "1", "key": response.context["form"]["key"].value(), "reason": "ticket 4711"}
    done = operator.post(url("job_changelist"), sent, follow=True)
    run = Run.objects.get()
    assert (run.job, run.reason, run.trigger, run.queue) == (one, "ticket 4711", "manual", "mail")
    assert "1 run is queued. 2 jobs were passed over." in done.content.decode()
    operator.post(url("job_changelist"), sent)
    assert Run.objects.count() == 1, "a second click makes no second run"


def test_a_job_with_a_permission_of_its_own_is_passed_over_in_the_bulk(operator, make_job):
    job = make_job(tasks.guarded)
    sent = {"action": "run_selected", "_selected_action": [job.pk], "_confirmed": "1", "key": "k"}
    operator.post(url("job_changelist"), sent)
    assert not Run.objects.exists()


def test_several_jobs_are_paused_and_resumed(operator, make_job):
    jobs = [make_job(schedule="@daily") for _ in range(3)]
    ticked = {"_selected_action": [one.pk for one in jobs]}
    operator.post(url("job_changelist"), {"action": "pause_selected", **ticked})
    assert Job.objects.filter(enabled=False, paused_by="operator").count() == 3
    operator.post(url("job_changelist"), {"action": "resume_selected", **ticked})
    assert Job.objects.filter(enabled=True, pk__in=ticked["_selected_action"]).count() == 3


@pytest.mark.parametrize("action", ["run_selected", "pause_selected", "resume_selected"])
def test_an_action_without_its_permission_does_nothing(signed_in, make_job, action):
    client, job = (
        signed_in("view_job", "change_job"),
        make_job(kwargs={"region": "EU"}, enabled=action != "resume_selected"),
    )
    page = client.get(url("job_changelist")).content.decode()
    assert f'value="{action}"' not in page
    sent = {"action": action, "_selected_action": [job.pk], "_confirmed": "1", "key": "k"}
    client.post(url("job_changelist"), sent)
    assert not Run.objects.exists() and Job.objects.get(pk=job.pk).enabled == job.enabled


# Run now


def test_the_queue_and_the_time_of_a_run_are_chosen(operator, make_job):
    Queue.objects.create(name="slow")
    job = make_job(tasks.with_context)
    sent = {"count": "1", "when": "at", "run_after": "2099-01-01 10:00", "zone": "Europe/Paris", "queue": "slow"}
    operator.post(url("job_run", job.pk), sent)
    run = Run.objects.get()
    assert (run.queue, run.status) == ("slow", "scheduled")
    assert run.run_after == datetime(2099, 1, 1, 9, tzinfo=UTC)


@pytest.mark.parametrize(
    ("sent", "field"),
    [
        ({"queue": "evil"}, "queue"), ({"when": "at"}, "run_after"), ({"when": "at", "run_after": "soon"}, "run_after"),
        ({"when": "at", "run_after": "2001-01-01 10:00"}, "run_after"), ({"zone": "Mars"}, "zone"), ({"when": "never"}, "when"),
        ({"when": "at", "run_after": "2099-03-29 02:30", "zone": "Europe/Paris"}, "run_after"),
    ],
)  # fmt: skip
def test_a_time_or_queue_that_cannot_be_is_an_error_at_its_field(operator, make_job, sent, field):
    response = operator.post(url("job_run", make_job(tasks.with_context).pk), {"count": "1", **sent})
    assert not Run.objects.exists() and field in response.context["forms"][-1].errors


def test_now_means_now_whatever_stands_in_the_field_for_the_time(operator, make_job):
    sent = {"count": "1", "when": "now", "run_after": "2099-01-01 10:00"}
    operator.post(url("job_run", make_job(tasks.with_context).pk), sent)
    assert Run.objects.get().run_after is None


def test_the_form_tells_what_is_open_and_paused(operator, make_job, make_run, make_host):
    make_host(tasks=["other.task"])
    job = make_job(tasks.with_context)
    started = timezone.now() - timedelta(minutes=2)
    run = make_run(tasks.with_context, status="running", job=job, started_at=started)
    Queue.objects.create(name="default", paused=True)
    page = operator.get(url("job_run", job.pk)).content.decode()
    assert f"A run of this job is open: #{run.short_id}, running since 2 min." in page
    assert "starts beside it" in page and "This queue is paused" in page and "None of them knows this task" in page


# The list


@pytest.mark.parametrize(
    ("query", "names"),
    [
        ("state=active", ["a"]), ("state=manual", ["m"]), ("state=paused", ["p"]), ("state=orphaned", ["o"]),
        ("state=failing", ["m"]), ("queue=mail", ["p"]), ("timezone=Europe/Paris", ["a"]),
        (f"task={tasks.secretive.module_path}", ["o"]),
    ],
)  # fmt: skip
def test_the_list_is_filtered(operator, make_job, query, names):
    make_job(name="a", schedule="@daily", timezone="Europe/Paris")
    make_job(name="m", outcomes="sf")
    make_job(name="p", enabled=False, queue="mail")
    make_job(tasks.secretive, name="o", orphaned=True)
    found = operator.get(f"{url('job_changelist')}?{query}").context["cl"].result_list
    assert [one.name for one in found if one.name in "ampo"] == names
