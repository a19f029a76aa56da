"""Every address of the room, for every kind of person: enumerated from the URLconf, so that none can be forgotten."""

import pytest
from django.contrib import admin
from django.contrib.admin.models import LogEntry
from django.forms.models import model_to_dict
from django.urls import reverse

from background.admin import ROOMS
from background.admin.permissions import BULK, VERBS
from background.models import Host, Job, Queue, Run, Service, ServicePause
from tests.admin.conftest import MANAGES, OPERATES, VIEWS, person, url

VIEW_PAGES = {"changelist", "change", "history"}
# What each permission of the matrix opens; `None`: nobody but a superuser, or nobody at all.
OPENS = {
    ("job", "add"): "add_job", ("job", "delete"): "delete_job", ("run", "delete"): "delete_run",
    ("run", "artifact"): "view_run_output", ("run", "log"): "view_run_output", ("run", "live"): "view_run",
    ("job", "preview"): "view_job", ("job", "preview_new"): "add_job", ("job", "outcome"): "view_run",
    ("run", "bulk"): "cancel_run", ("run", "export"): "view_run",
    ("run", "live_list"): "view_run", ("run", "log_text"): "view_run_output", ("run", "error_text"): "view_run_output",
    ("run", "add"): None, ("service", "add"): None, ("service", "delete"): None, ("host", "add"): None, ("host", "delete"): None,
    ("dashboard", "run"): "run_job", ("dashboard", "status"): "view_dashboard", ("dashboard", "live"): "view_dashboard",
    ("queue", "add"): None, ("queue", "delete"): None,
    **{(model, "live_list"): f"view_{model}" for model in ("job", "service", "host", "queue")},
}  # fmt: skip
# Those that only lead to another.
LEADS_ON = {("job", "outcome")}
# Pages of a model that are about no single record.
WITHOUT_ID = {
    "run": {"export": []}, "dashboard": {"run": [], "status": [], "live": ["attention"]}, "queue": {"pause_all": [], "resume_all": []},
}  # fmt: skip
ROLES = {"nobody": [], "viewer": VIEWS, "operator": OPERATES, "manager": MANAGES}


def addresses():
    """(model, name of the page) of all addresses of the room, from the URLconf."""
    found = set()
    for model in ROOMS:
        for pattern in admin.site._registry[model].get_urls():
            if pattern.name:
                _, model_name, page = f"{pattern.name}_changelist".split("_", 2)
                found.add((model_name, page.removesuffix("_changelist")))
    return sorted(found)


def address(world, model, page):
    pk = world[model].pk
    if page == "bulk":
        return url("run_bulk") + "?verb=cancel"
    args = {"changelist": [], "live_list": [], "add": [], "preview_new": [], "artifact": [pk, world["artifact"].pk]}
    args |= WITHOUT_ID.get(model, {})
    return url(f"{model}_{page}", *args.get(page, [pk]))


def needed(model, page):
    if page in VIEW_PAGES:
        return f"view_{model}"
    if (model, page) in OPENS:
        return OPENS[model, page]
    return VERBS[f"{model}.{page}"].rpartition(".")[2]  # a page without a line in the table fails here


def actions():
    """(model, name) of every action that a list has or that Django would give it, whoever may do it."""
    return [
        (model._meta.model_name, getattr(one, "name", "") or one[1])  # a tuple until Django 6.1
        for model in ROOMS
        for one in admin.site._registry[model]._get_base_actions()
    ]


def needed_for(model, action):
    """The permission of an action; `None`: it is nobody's."""
    verb = action.removesuffix("_selected")
    if verb == "delete":
        return {"job": "background.delete_job", "run": BULK["delete"]}.get(model)
    return VERBS[f"{model}.{verb}"]  # an action without a line in the table fails here


def chosen(world, model, action):
    return {"action": action, "_selected_action": [str(world[model].pk)], "index": "0", "reason": "x"}


def state_of_all():
    return [
        sorted((str(row.pk), repr(sorted(model_to_dict(row).items(), key=str))) for row in model.objects.all())
        for model in (Host, Job, Queue, Run, Service, ServicePause)
    ]


def test_the_table_of_verbs_and_the_addresses_are_the_same_set():
    pages = {f"{model}.{page}" for model, page in addresses() if page not in VIEW_PAGES and (model, page) not in OPENS}
    assert pages == set(VERBS)


@pytest.mark.parametrize(("model", "name"), addresses())
def test_anonymous_people_are_sent_to_the_login(world, client, model, name):
    for method in (client.get, client.post):
        response = method(address(world, model, name))
        assert response.status_code == 302 and response.url.startswith(reverse("admin:login"))


@pytest.mark.parametrize("role", ROLES)
@pytest.mark.parametrize(("model", "name"), addresses())
def test_each_page_opens_for_those_who_have_its_permission_only(world, client, model, name, role):
    client.force_login(person(role, ROLES[role]))
    Job.objects.filter(pk=world["job"].pk).update(schedule="")
    before, where = state_of_all(), address(world, model, name)
    needs = needed(model, name)
    allowed = needs in ROLES[role]
    assert client.get(where).status_code == (403 if not allowed else 302 if (model, name) in LEADS_ON else 200)
    assert state_of_all() == before, "reading a page changed something"
    if not allowed:
        assert client.post(where, {"reason": "x"}).status_code in (403, 405)
        assert state_of_all() == before and not LogEntry.objects.exists()


@pytest.mark.parametrize("verb", sorted(VERBS))
def test_every_verb_by_another_method_is_refused(world, admin_client, verb):
    model, page = verb.split(".")
    before = state_of_all()
    assert admin_client.put(address(world, model, page)).status_code == 405
    assert admin_client.delete(address(world, model, page)).status_code == 405
    assert state_of_all() == before


@pytest.mark.parametrize("verb", sorted(VERBS))
def test_every_verb_needs_a_csrf_token(world, verb):
    from django.test import Client

    client = Client(enforce_csrf_checks=True)
    client.force_login(person("boss", is_superuser=True))
    model, page = verb.split(".")
    before = state_of_all()
    assert client.post(address(world, model, page), {"reason": "x"}).status_code == 403
    assert state_of_all() == before


@pytest.mark.parametrize("verb", sorted(verb for verb in VERBS if not verb.endswith("_all")))
def test_what_is_not_there_and_what_is_not_yours_answer_alike(world, admin_client, verb, monkeypatch):
    model, page = verb.split(".")
    missing = {"job": 10**9, "service": 10**9, "queue": 10**9}.get(model, "0191d3a0-0000-7000-8000-000000000000")
    answers = [admin_client.post(url(verb.replace(".", "_"), missing))]
    room = next(
        room for model_, room in admin.site._registry.items() if model_._meta.label_lower == f"background.{model}"
    )
    original = type(room).get_queryset
    monkeypatch.setattr(type(room), "get_queryset", lambda self, request: original(self, request).none())
    if model == "queue":
        Run.objects.update(queue="other"), Job.objects.update(queue="other")
    answers.append(admin_client.post(address(world, model, page)))
    assert [one.status_code for one in answers] == [404, 404]


@pytest.mark.parametrize(("model", "action"), actions())
def test_no_action_of_a_list_is_done_for_anonymous_people(world, client, model, action):
    before = state_of_all()
    response = client.post(url(f"{model}_changelist"), chosen(world, model, action))
    assert response.status_code == 302 and response.url.startswith(reverse("admin:login"))
    assert state_of_all() == before and not LogEntry.objects.exists()


@pytest.mark.parametrize("role", ROLES)
@pytest.mark.parametrize(("model", "action"), actions())
def test_each_action_of_a_list_is_for_those_who_have_its_permission_only(world, client, model, action, role):
    client.force_login(person(role, ROLES[role]))
    before, where, needs = state_of_all(), url(f"{model}_changelist"), needed_for(model, action)
    allowed = needs is not None and needs.removeprefix("background.") in ROLES[role]
    offered = f'<option value="{action}"' in client.get(where).content.decode()
    response = client.post(where, chosen(world, model, action))
    assert offered == allowed
    if allowed:
        assert response.status_code in (200, 302)
    else:
        assert response.status_code in (403, 405)
        assert state_of_all() == before and not LogEntry.objects.exists()


def test_an_operator_sees_the_buttons_and_a_viewer_sees_none(world, client):
    client.force_login(person("viewer", VIEWS))
    for model in ("job", "run", "service", "host", "queue"):
        text = client.get(url(f"{model}_change", world[model].pk)).content.decode()
        for verb in VERBS:
            if verb.startswith(f"{model}.") and not verb.endswith("_all"):
                assert url(verb.replace(".", "_"), world[model].pk) not in text
    client.force_login(person("operator", OPERATES))
    assert url("run_again", world["run"].pk) in client.get(url("run_change", world["run"].pk)).content.decode()
    assert url("queue_resume", world["queue"].pk) in client.get(url("queue_change", world["queue"].pk)).content.decode()


def test_the_permission_of_a_task_is_needed_as_well(client, make_job, make_run):
    from tests.admin.tasks_for_admin import guarded

    job, run = make_job(guarded), make_run(guarded)
    client.force_login(person("manager", MANAGES))
    for where in (
        url("job_run", job.pk),
        url("job_delete", job.pk),
        url("run_again", run.pk),
        url("job_reset", job.pk),
    ):
        assert client.get(where).status_code == 403
        assert client.post(where, {}).status_code == 403
    assert client.post(url("job_change", job.pk), {"name": "x"}).status_code == 403
    assert url("job_run", job.pk) not in client.get(url("job_change", job.pk)).content.decode()
    assert guarded.module_path not in client.get(url("job_add")).content.decode()
    client.force_login(person("boss", [*MANAGES, "auth.change_group"]))
    assert client.get(url("job_run", job.pk)).status_code == 200
    assert guarded.module_path in client.get(url("job_add")).content.decode()


def test_the_bulk_deletion_of_jobs_asks_for_the_permission_of_each_task(client, make_job):
    from tests.admin.tasks_for_admin import guarded

    job = make_job(guarded)
    client.force_login(person("manager", MANAGES))
    client.post(url("job_changelist"), {"action": "delete_selected", "_selected_action": [job.pk], "post": "yes"})
    assert Job.objects.filter(pk=job.pk).exists()


def test_a_declared_job_is_not_deleted_because_it_would_come_back(manager, make_job):
    job = make_job(defaults={"queue": "default"})
    assert manager.post(url("job_delete", job.pk), {"post": "yes"}).status_code == 403
    Job.objects.filter(pk=job.pk).update(orphaned=True)
    assert manager.post(url("job_delete", job.pk), {"post": "yes"}).status_code == 302
    assert not Job.objects.filter(pk=job.pk).exists()


def test_only_finished_runs_are_deleted_and_their_files_with_them(manager, world):
    assert manager.post(url("run_delete", world["running"].pk), {"post": "yes"}).status_code == 403
    file = world["artifact"].file
    assert manager.post(url("run_delete", world["run"].pk), {"post": "yes"}).status_code == 302
    assert not Run.objects.filter(pk=world["run"].pk).exists() and not file.storage.exists(file.name)
