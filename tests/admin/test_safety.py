"""What a run, a host or code says is text; secrets stay out; GET changes nothing."""

import re
from pathlib import Path

import pytest
from django.test import override_settings

import background.admin
from background.admin import redact, text
from background.models import Job, Run
from tests.admin import tasks_for_admin
from tests.admin.conftest import HOSTILE, MANAGES, OPERATES, VIEWS, person, url

FIRST_SITE = re.compile(r'(href|src|action)="/admin/')


def pages(world):
    from tests.admin.test_permissions import address, addresses

    for model, page in addresses():
        if page not in ("artifact", "export", "log_text", "error_text", "add"):
            yield address(world, model, page)
    for name in ("done", "ready", "running"):
        yield url("run_change", world[name].pk)
    for model in ("job", "run", "service", "host", "queue"):
        yield url(f"{model}_changelist") + "?q=" + "%22%3E%3Cimg+src%3Dx+onerror%3D1%3E"
    yield url("run_changelist") + "?queue=%22%3E%3Cimg+src%3Dx+onerror%3D1%3E&job=%22%3E%3Cscript%3E"
    yield url("service_changelist") + "?hosts=all"


def test_hostile_text_is_shown_literally_on_every_page(world, admin_client):
    seen = 0
    for where in pages(world):
        response = admin_client.get(where)
        if response.status_code != 200:
            continue
        page = response.content.decode()
        assert "<img src=x" not in page, where
        assert "alert(1)><script" not in page.replace("&quot;", ""), where
        for bad in ("\x1b", "\u202e"):
            at = page.find(bad)
            # The page of a deletion lists names by Django's own code: only escaped markup is asked of it.
            assert at < 0 or "/delete/" in where, (where, page[max(at - 200, 0) : at + 50])
        seen += "\\x1b[31m" in page
    assert seen > 20


def test_what_was_done_to_hostile_names_is_text_in_the_history_and_the_messages(world, admin_client):
    for verb in ("job_resume", "queue_resume", "service_restart", "host_stop"):
        response = admin_client.post(
            url(verb, world[verb.split("_")[0]].pk), {"reason": HOSTILE.replace("\x1b", "")}, follow=True
        )
        page = response.content.decode()
        assert "<img src=x" not in page and "\u202e" not in page and "&lt;img src=x" in page
        history = admin_client.get(url(f"{verb.split('_')[0]}_history", world[verb.split("_")[0]].pk)).content.decode()
        assert "<img src=x" not in history and "\u202e" not in history and "reason: &quot;&gt;&lt;img" in history


@pytest.mark.parametrize("folder", ["admin", "templates/admin/background", "static/background"])
def test_nothing_is_marked_safe_and_nothing_is_inline(folder):
    root = Path(background.admin.__file__).parent.parent / folder
    files = [one for one in root.rglob("*") if one.suffix in (".py", ".html", ".css", ".js")]
    assert files
    for one in files:
        source = one.read_text()
        for word in (
            "mark_safe",
            "|safe",
            "autoescape off",
            "innerHTML",
            "SafeString(",
            "csrf_exempt",
            "style=",
            "javascript:",
        ):
            assert word not in source, (one, word)
        assert not re.search(r"<script(?![^>]*\bsrc=)|<style|\bon\w+=[\"']", source), one


def test_links_come_from_reverse_only():
    root = Path(background.admin.__file__).parent
    for one in root.rglob("*.py"):
        assert not re.search(r"href=\"(?!\{\})", one.read_text()), one


def test_control_ansi_and_bidi_characters_become_visible():
    assert text.visible("a\x1b[31mb\u202ec\x00\x85\ufeff") == "a\\x1b[31mb\\u202ec\\x00\\x85\\ufeff"
    assert text.visible("a\nb\r") == "a\\nb\\r" and text.visible("a\n\tb\r", lines=True) == "a\n\tb\\r"
    assert text.visible("\U000e0041") == "\\U000e0041"
    assert text.visible("👩‍👩 Ünï\u00a0cödé") == "👩‍👩 Ünï\u00a0cödé"


def test_values_are_masked_by_name_in_any_case_at_any_depth():
    deep = {"a": [{"API_Key": 1, "b": {"Authorization": {"x": 2}, "ok": 3}}], "Pin": 4, "PASSWORDS": []}
    mask = redact.MASK
    assert redact.redact(deep, {"pin"}) == {
        "a": [{"API_Key": mask, "b": {"Authorization": mask, "ok": 3}}],
        "Pin": mask,
        "PASSWORDS": mask,
    }
    nested = value = {}
    for _ in range(900):
        value["x"] = value = {}
    value["token"] = "hunter2"
    assert "hunter2" not in str(redact.redact(nested))


@override_settings(BACKGROUND={"REDACT": ["Iban"]})
def test_the_words_that_hide_are_a_setting():
    assert redact.redact({"iban_no": 1, "token": 2}) == {"iban_no": redact.MASK, "token": 2}


def test_masks_are_replaced_by_what_is_stored():
    stored = {"a": [{"token": "t"}], "b": 1}
    assert redact.unmask({"a": [{"token": redact.MASK}], "b": 2}, stored) == {"a": [{"token": "t"}], "b": 2}
    with pytest.raises(ValueError):
        redact.unmask({"new_token": redact.MASK}, stored)


SECRETS = {
    "name": "ana",
    "token": "hunter2-a",
    "pin": 9876543,
    "headers": {"X-Api-Key": "hunter2-b", "deep": [{"password": "hunter2-c"}]},
}


@pytest.mark.parametrize("permissions", [VIEWS, OPERATES, MANAGES])
def test_secrets_are_on_no_page(client, make_job, make_run, permissions):
    client.force_login(person("somebody", permissions))
    task = tasks_for_admin.secretive
    job = make_job(task, kwargs=SECRETS, defaults={"kwargs": {"token": "hunter2-d"}, "args": [], "queue": "other"})
    positional = make_job(task, args=["ana", "hunter2-e", 9876543])
    runs = [make_run(task, kwargs=SECRETS, job=job, job_name=job.name, result={"nested": [{"token": "hunter2-f"}]})]
    runs.append(make_run(task, args=["ana", "hunter2-e", 9876543]))
    runs.append(
        make_run("gone.task", args=["hunter2-g"], kwargs={"innocent": "hunter2-h"}, result={"innocent": "hunter2-i"})
    )
    runs.append(make_run(task, status="ready", kwargs=SECRETS))
    shown = 0
    for one in (job, positional):
        for page in ("change", "run", "history", "reset", "delete", "pause"):
            shown += _secretless(client, url(f"job_{page}", one.pk))
    for one in runs:
        for page in ("change", "again", "history", "delete", "cancel"):
            shown += _secretless(client, url(f"run_{page}", one.pk))
    _secretless(client, url("run_changelist"))
    assert shown or permissions is VIEWS


def _secretless(client, where):
    page = client.get(where).content.decode()
    assert "hunter2" not in page and "9876543" not in page, where
    return "[hidden]" in page


def test_without_the_permission_no_argument_and_no_output_is_shown(signed_in, make_job, make_run, world):
    client = signed_in("view_run", "view_job", "run_job", "change_job", "view_service")
    job = make_job(kwargs={"region": "ARGUMENT"})
    error = {
        "attempt": 1,
        "type": "ValueError",
        "message": "first line\nSECOND",
        "traceback": "Traceback FRAME",
        "at": "",
        "host": "",
    }
    run = make_run(job=job, status="failed", kwargs={"region": "ARGUMENT"}, result="RESULT", errors=[error])
    world["service"].error = "Traceback FRAME\nValueError: it broke"
    world["service"].save()
    for where in (
        url("job_change", job.pk),
        url("job_run", job.pk),
        url("job_reset", job.pk),
        url("run_change", run.pk),
        url("run_again", run.pk),
    ):
        page = client.get(where).content.decode()
        assert not any(word in page for word in ("ARGUMENT", "RESULT", "FRAME", "SECOND")), where
    page = client.get(url("run_change", run.pk)).content.decode()
    assert "needs “Can view run arguments and results”" in page and "needs “Can view run output”" in page
    assert "ValueError" in page and "first line" in page
    page = client.get(url("service_change", world["service"].pk)).content.decode()
    assert "FRAME" not in page and "ValueError: it broke" in page


def test_what_is_run_without_seeing_the_arguments_gets_the_stored_ones(signed_in, make_job):
    client = signed_in("run_job")
    job = make_job(kwargs={"region": "US", "limit": 7})
    client.post(url("job_run", job.pk), {"limit": "8", "region": "EU"})
    assert Run.objects.get().kwargs == {"region": "US", "limit": 7}


def test_files_are_downloads_and_never_pages(world, operator):
    where = url("run_artifact", world["run"].pk, world["artifact"].pk)
    response = operator.get(where)
    assert response.status_code == 200 and b"".join(response.streaming_content) == b"hello"
    assert response["Content-Disposition"].startswith("attachment") and response["X-Content-Type-Options"] == "nosniff"
    assert response["Content-Type"] == "application/octet-stream"
    assert operator.get(url("run_artifact", world["done"].pk, world["artifact"].pk)).status_code == 404
    world["artifact"].file.storage.delete(world["artifact"].file.name)
    assert operator.get(where).status_code == 404


def test_pages_are_not_cached_nor_framed(world, operator):
    for where in (url("job_run", world["job"].pk), url("run_cancel", world["ready"].pk)):
        response = operator.get(where)
        assert "no-store" in response["Cache-Control"] and response["X-Frame-Options"] == "DENY"


def test_the_room_follows_a_second_admin_site(world, client, settings):
    settings.ROOT_URLCONF = "tests.admin.two_sites"
    client.force_login(person("boss", is_superuser=True))
    for model in ("job", "run", "service", "host", "queue"):
        for where in (f"/second/background/{model}/", f"/second/background/{model}/{world[model].pk}/change/"):
            page = client.get(where).content.decode()
            assert not FIRST_SITE.search(page), where
    where = f"/second/background/job/{world['job'].pk}/resume/"
    assert not FIRST_SITE.search(client.get(where).content.decode())
    assert client.post(where, {}).url == f"/second/background/job/{world['job'].pk}/change/"
    assert Job.objects.get(pk=world["job"].pk).enabled
