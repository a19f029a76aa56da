"""Every page of the room, with data of every kind in it."""

import pytest
from playwright.sync_api import expect

from tests.admin.conftest import HOSTILE
from tests.admin.test_permissions import address, addresses
from tests.admin.test_safety import SECRETS, pages
from tests.browser import tasks_for_browser
from tests.browser.pictures import REFUSED

# Answers that are no pages.
FILES = {"artifact", "log_text", "error_text", "export"}


@pytest.mark.themes
def test_every_page_opens_clean_with_a_title_and_one_heading(sign_in, world):
    page = sign_in()
    for model, name in addresses():
        if name not in FILES and (model, name) not in REFUSED:
            where = address(world, model, name)
            answer = page.goto(where)
            assert answer.status == 200, where
            if "x-background-fragment" in answer.headers or "html" not in answer.headers["content-type"]:  # no page
                continue
            expect(page.locator("h1").locator("visible=true"), where).to_have_count(1)
            assert page.title().partition("|")[0].strip(), where


def test_hostile_text_is_text_on_every_page_and_in_every_part_of_one(sign_in, world, complaints):
    page = sign_in(name=HOSTILE[:60])
    seen = 0
    parts = [address(world, "run", "live"), address(world, "run", "log")]
    for where in [one for one in (*pages(world), *parts) if not one.partition("?")[0].endswith((".txt", ".csv"))]:
        mark = "&" if "?" in where else "?"
        answer = page.goto(f"{where}{mark}live=%22%3E%3Cimg+src%3Dx+onerror%3Dalert(1)%3E%3Cscript%3E")
        if answer.status == 403:
            continue
        assert (
            page.evaluate(
                "document.querySelectorAll('img[src=x], script:not([src]):not([type=\"application/json\"])').length"
            )
            == 0
        ), where
        title, text = page.title(), page.locator("body").inner_text()
        assert not set("\x1b\u202e") & set(title), where
        seen += "<img src=x onerror=alert(1)><script>\\x1b[31m\\u202etxt.exe" in text
    complaints[:] = [one for one in complaints if "403 (Forbidden)" not in one]
    assert seen > 15


@pytest.mark.parametrize(
    "permissions", [[], ["view_dashboard", "view_run", "view_job", "run_job"]], ids=["superuser", "without-arguments"]
)
def test_secrets_reach_the_browser_on_no_page(sign_in, make_job, make_run, at, permissions, complaints):
    page = sign_in(*permissions, name="somebody")
    task = tasks_for_browser.secretive
    stored = {name: value for name, value in SECRETS.items() if name != "pin"} | {"name": "INNOCENT"}
    job = make_job(task, kwargs=stored)
    error = {"attempt": 1, "at": "", "host": "", "type": "ValueError", "message": "no", "traceback": "Traceback"}
    runs = [
        make_run(task, job=job, job_name=job.name, kwargs=stored, result={"nested": [{"token": "hunter2-f"}]}),
        make_run(task, job=job, job_name=job.name, kwargs=stored, status="failed", errors=[error]),
        make_run(task, job=job, job_name=job.name, kwargs=stored, status="ready"),
    ]
    places = [
        at("job_changelist"),
        at("run_changelist"),
        at("job_change", job.pk),
        at("job_run", job.pk),
        at("job_history", job.pk),
    ]
    places += [at(f"run_{name}", run.pk) for run in runs[:2] for name in ("change", "live", "again", "history")]
    places += [at("run_change", runs[2].pk), at("run_live", runs[2].pk)]
    places += [
        at("dashboard_changelist"),
        at("dashboard_status"),
        at("dashboard_live", "failures"),
        at("run_live_list"),
    ]
    places += [at(f"run_{name}", runs[1].pk) for name in ("log", "cancel")]
    files = [at("run_export") + "?window=24h", at("run_log_text", runs[1].pk), at("run_error_text", runs[1].pk)]
    for where in files:
        assert "hunter2" not in page.request.get(where).text(), where
    for where in places:
        assert "hunter2" not in page.goto(where).text(), where
        assert "hunter2" not in page.content(), where
        assert not permissions or "INNOCENT" not in page.content(), where
    complaints[:] = [one for one in complaints if "403 (Forbidden)" not in one]
