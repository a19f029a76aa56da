"""Fragments: what the script may ask for, what it is told, and what it is never told."""

import pytest
from django.contrib.admin import AdminSite
from django.http import HttpResponse
from django.test import RequestFactory

from background.admin import live
from background.exceptions import TookTooLong
from background.models import RunLog
from tests.admin.conftest import person, url

LIVE = {"X-Background-Live": "1"}


def test_a_fragment_says_that_it_is_one_and_when_it_was_made(operator, make_run):
    response = operator.get(url("run_live", make_run(status="ready").pk), headers=LIVE)
    assert response["X-Background-Fragment"] == "1" and response["X-Background-At"].endswith(" UTC")
    assert "no-store" in response["Cache-Control"] and response["X-Frame-Options"] == "DENY"


def test_without_a_session_the_script_is_told_so_and_not_sent_to_the_login(client, make_run):
    where = url("run_live", make_run().pk)
    assert client.get(where, headers=LIVE).status_code == 401
    client.force_login(person("somebody", is_active=True))
    assert client.get(where, headers=LIVE).status_code == 403


def test_who_is_no_staff_any_more_is_told_403(client, make_run):
    user = person("former", ["view_run"])
    client.force_login(user)
    user.is_staff = False
    user.save()
    response = client.get(url("run_live", make_run().pk), headers=LIVE)
    assert response.status_code == 403 and not response.content


def test_a_site_that_asks_for_a_login_everywhere_does_not_redirect_the_script(client, make_run, settings):
    settings.MIDDLEWARE = [*settings.MIDDLEWARE, "django.contrib.auth.middleware.LoginRequiredMiddleware"]
    assert client.get(url("run_live", make_run().pk), headers=LIVE).status_code == 401


def test_what_has_not_changed_is_answered_by_304(operator, make_run):
    where = url("run_log", make_run(status="failed").pk)
    first = operator.get(where, headers=LIVE)
    again = operator.get(where, headers={**LIVE, "If-None-Match": first["ETag"]})
    assert again.status_code == 304 and again["X-Background-Fragment"] == "1" and not again.content


@pytest.mark.parametrize("wish", ["0", "1", "301", "99999999999999999999", "-5", "5.5", "²", "x", "", '"><script>'])
def test_a_wish_that_is_no_number_of_seconds_between_2_and_300_is_ignored(wish):
    assert live.every(RequestFactory().get("/", {"live": wish}), 5) == 5


@pytest.mark.parametrize("wish", [2, 10, 300])
def test_a_wish_between_2_and_300_seconds_is_heard(wish):
    assert live.every(RequestFactory().get("/", {"live": wish}), 5) == wish


def test_the_wish_in_the_address_of_a_list_is_no_filter(operator, world):
    for model in ("job", "run", "service", "host", "queue"):
        assert operator.get(url(f"{model}_changelist"), {"live": "0"}).status_code == 200


def test_a_statement_beyond_the_limit_is_answered_by_a_sentence(rf, admin_user):
    def view(request):
        raise TookTooLong

    request = rf.get("/", headers=LIVE)
    request.user = admin_user
    response = live.fragment(AdminSite(), view)(request)
    assert response.status_code == 503 and "smaller window" in response.content.decode()
    assert response["X-Background-Fragment"] == "1" and response["Content-Type"].startswith("text/plain")


def test_a_fragment_is_read_only(rf, admin_user):
    request = rf.post("/", headers=LIVE)
    request.user, request._dont_enforce_csrf_checks = admin_user, True
    assert live.fragment(AdminSite(), lambda request: HttpResponse("x"))(request).status_code == 405


def test_a_run_that_has_ended_is_told_once_with_all_that_an_end_changes(operator, make_run):
    page = operator.get(url("run_live", make_run(status="running", attempt=1).pk)).content.decode()
    assert "data-live-done" not in page and "run-rest" not in page
    page = operator.get(url("run_live", make_run(kwargs={"limit": 7}).pk)).content.decode()
    assert "data-live-done" in page and 'id="run-rest"' in page and "Run again…" in page


def test_only_the_page_of_an_open_run_is_live(operator, make_run):
    assert 'data-live="' in operator.get(url("run_change", make_run(status="ready").pk)).content.decode()
    assert 'data-live="' not in operator.get(url("run_change", make_run().pk)).content.decode()


def test_the_tail_of_a_log_has_only_what_follows_and_at_most_200_lines(operator, make_run):
    run = make_run(status="running", attempt=1)
    lines = [
        RunLog(run=run, sequence=n, created_at=run.enqueued_at, level="INFO", message=f"line {n}!")
        for n in range(1, 500)
    ]
    RunLog.objects.bulk_create(lines)
    page = operator.get(url("run_change", run.pk)).content.decode()
    assert 'data-after="499"' in page and "line 300!" in page and "line 299!" not in page
    page = operator.get(url("run_log", run.pk), {"after": 250}).content.decode()
    assert 'data-after="450"' in page and "line 251!" in page and "line 250!" not in page and "line 451!" not in page
    page = operator.get(url("run_log", run.pk), {"after": 499}).content.decode()
    assert 'data-after="499"' in page and "line " not in page
    for bad in ("x", "-1", "9" * 30):
        assert operator.get(url("run_log", run.pk), {"after": bad}).status_code == 200


def test_the_log_is_not_done_while_there_are_lines_to_fetch(operator, make_run):
    run = make_run()
    RunLog.objects.create(run=run, sequence=1, created_at=run.enqueued_at, level="INFO", message="last")
    assert "data-live-done" not in operator.get(url("run_log", run.pk)).content.decode()
    assert "data-live-done" in operator.get(url("run_log", run.pk), {"after": 1}).content.decode()
