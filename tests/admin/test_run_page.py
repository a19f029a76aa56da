"""A person reads one run: its log line by line, its traceback, what it is about, and what became of its hosts."""

from datetime import timedelta

import pytest
from django.contrib import admin
from django.contrib.auth.admin import GroupAdmin
from django.contrib.auth.models import Group
from django.test import RequestFactory
from django.utils import timezone

import background
from background.admin import BackgroundRuns, frames
from background.admin.subject import subject_link
from background.models import Run, RunLog
from tests.admin import tasks_for_admin as tasks
from tests.admin.conftest import person, url

LIVE = {"X-Background-Live": "1"}


def shown(client, run, query=""):
    response = client.get(url("run_change", run.pk) + query)
    assert response.status_code == 200
    return response.content.decode()


@pytest.fixture
def told(make_run):
    """A run with 412 lines, every hundredth a warning, the last one long."""
    run = make_run(log_lines_dropped=7)
    now = timezone.now()
    RunLog.objects.bulk_create(
        RunLog(run=run, sequence=n, created_at=now, level="WARNING" if n % 100 == 0 else "INFO",
            message=f"customer-{n}-" + "x" * (5000 if n == 412 else 0))
        for n in range(1, 413)
    )  # fmt: skip
    return run


def test_the_newest_lines_come_first_and_older_ones_by_link(operator, told):
    page = shown(operator, told)
    assert "customer-412-" in page and "customer-213-" in page and "customer-212-" not in page
    assert '<a href="?before=213#run-log">Older lines</a>' in page and "7 further lines were not kept" in page
    page = shown(operator, told, "?before=213")
    assert "customer-212-" in page and "customer-13-" in page and "customer-12-" not in page and "Newest lines" in page
    page = shown(operator, told, "?before=13")
    assert "customer-1-" in page and "Older lines" not in page


def test_lines_are_filtered_by_level_and_by_words(operator, told):
    page = shown(operator, told, "?level=WARNING")
    assert [n for n in (100, 200, 300, 400) if f"customer-{n}-" in page] == [
        100,
        200,
        300,
        400,
    ] and "customer-412-" not in page
    page = shown(operator, told, "?find=ER-41")
    assert "customer-41-" in page and "customer-411-" in page and "customer-42-" not in page
    assert "customer-" not in shown(operator, told, "?level=ERROR") and "customer-412-" in shown(
        operator, told, "?level=nonsense&before=x"
    )


def test_a_long_line_is_cut_and_shown_whole_by_a_link(operator, told):
    assert "x" * 4097 not in (page := shown(operator, told)) and "show whole" in page
    assert "x" * 5000 in shown(operator, told, "?before=413&whole=412")


def test_the_log_is_a_file_too(operator, told, signed_in):
    answer = operator.get(url("run_log_text", told.pk))
    lines = b"".join(answer.streaming_content).decode().splitlines()
    assert len(lines) == 413 and "INFO customer-1-" in lines[0] and "7 further lines" in lines[-1]
    assert answer["Content-Disposition"].startswith("attachment") and answer["X-Content-Type-Options"] == "nosniff"
    assert signed_in("view_run", name="viewer").get(url("run_log_text", told.pk)).status_code == 403


def test_the_tail_of_a_filtered_log_is_filtered(operator, make_run):
    run = make_run(status="running", started_at=timezone.now())
    for n, level in enumerate(("INFO", "ERROR", "INFO", "ERROR"), 1):
        RunLog.objects.create(run=run, sequence=n, created_at=timezone.now(), level=level, message=f"line-{n}-")
    page = shown(operator, run, "?level=ERROR")
    assert f'data-live="{url("run_log", run.pk)}?level=ERROR"' in page and "line-3-" not in page
    answer = operator.get(url("run_log", run.pk) + "?level=ERROR&after=2", headers=LIVE).content.decode()
    assert "line-4-" in answer and "line-2-" not in answer and "line-3-" not in answer


TRACEBACK = """Traceback (most recent call last):
  File "/venv/lib/python3.11/site-packages/django/db/utils.py", line 105, in _execute
    return self.cursor.execute(sql)
           ^^^^^^^^^^^^^^^^^^^^^^^^
  File "/srv/shop/tasks.py", line 7, in send
    smtp(<b>)
  File "/usr/lib/python3.11/smtplib.py", line 3, in connect
    raise
  File "<frozen runpy>", line 198, in x

The above exception was the direct cause of the following exception:

Traceback (most recent call last):
  File "/srv/shop/tasks.py", line 9, in send
    raise ValueError
ValueError: no
"""


def test_a_traceback_shows_our_code_and_all_frames_behind_it(operator, make_run):
    own = frames.own_frames(TRACEBACK)
    assert "site-packages" not in own and "smtplib.py" not in own and own.count("/srv/shop/tasks.py") == 2
    assert "… 1 frame of libraries" in own and "… 2 frames of libraries" in own and own.endswith("ValueError: no")
    assert (
        frames.own_frames("") == "" == frames.own_frames('Traceback\n  File "/srv/a.py", line 1, in x\n    y\nE: z\n')
    )
    error = {
        "attempt": 1,
        "at": timezone.now().isoformat(),
        "host": "web-2",
        "type": "builtins.ValueError",
        "message": "no",
        "traceback": TRACEBACK,
    }
    run = make_run(status="failed", errors=[error])
    page = shown(operator, run)
    assert "Traceback: our code" in page and "All frames" in page and "smtp(&lt;b&gt;)" in page
    assert 'data-copy="#run-traceback-1"' in page and 'href="../errors.txt"' in page
    text = b"".join(operator.get(url("run_error_text", run.pk)).streaming_content).decode()
    assert "site-packages" in text and "builtins.ValueError: no" in text and "web-2" in text


def test_attempts_are_told_in_a_line(operator, make_run):
    now = timezone.now()
    errors = [
        {
            "attempt": n,
            "at": now.isoformat(),
            "host": f"web-{n}",
            "type": "builtins.TimeoutError",
            "message": "m",
            "traceback": "",
        }
        for n in (1, 2)
    ]
    run = make_run(
        status="scheduled",
        errors=errors,
        attempt=2,
        max_attempts=3,
        run_after=now + timedelta(minutes=4),
        host_name="web-2",
    )
    line = shown(operator, run).partition('<p class="bg-attempts">')[2].partition("</p>")[0]
    assert line.count("TimeoutError") == 2 and "web-1" in line and "web-2" in line and "◷" in line


def test_a_rescued_and_a_released_run_say_so_in_one_line(operator, make_run):
    started = timezone.now()
    assert "It was rescued from host “web-2”, which was lost in attempt 1 (1 in all)." in shown(
        operator, make_run(status="ready", lost=1, host_name="web-2", started_at=started)
    )
    assert "It was rescued from lost hosts: 2 so far" in shown(operator, make_run(lost=2, host_name="web-3"))
    released = make_run(status="ready", host_name="web-2", started_at=started)
    assert "Host “web-2” stopped and handed it back in attempt 1, which does not count." in shown(operator, released)
    error = {
        "attempt": 1,
        "at": (started + timedelta(seconds=1)).isoformat(),
        "host": "web-2",
        "type": "E",
        "message": "m",
    }
    tried = make_run(status="ready", host_name="web-2", started_at=started, errors=[error], attempt=1)
    assert "handed it back" not in shown(operator, tried)


def test_arguments_are_copied_as_json_without_secrets_and_long_ones_are_folded(operator, make_run):
    run = make_run(tasks.secretive, kwargs={"name": "n" * 3000, "token": "hunter2", "headers": {"big": 2**70}})
    page = shown(operator, run)
    assert 'id="run-arguments-json"' in page and str(2**70) in page and "hunter2" not in page
    assert "Show all 3000 characters" in page


# What it is about


class GroupWithRuns(BackgroundRuns, GroupAdmin):
    pass


def request_of(user):
    request = RequestFactory().get("/")
    request.user = user
    return request


def test_runs_are_linked_to_what_was_said_when_they_were_enqueued(make_job, operator, db):
    group = Group.objects.create(name="Order <5531>")
    with background.about(group):
        result = tasks.with_context.enqueue(count=2)
        [many] = background.enqueue_many([(tasks.with_context, (), {})])
    outside = tasks.with_context.enqueue()
    assert Run.objects.get(pk=result.id).subject == f"auth.group:{group.pk}" == Run.objects.get(pk=many.pk).subject
    assert Run.objects.get(pk=outside.id).subject == ""
    with pytest.raises(ValueError, match="not saved yet"), background.about(Group()):
        pass


def test_the_page_links_to_the_object_for_those_who_may_see_it(make_run, client, person_with):
    group = Group.objects.create(name="Order <5531>")
    run = make_run(subject=f"auth.group:{group.pk}")
    where = f'<a href="/admin/auth/group/{group.pk}/change/">'
    client.force_login(person("half", ["view_run"]))
    assert where not in shown(client, run) and f"auth.group:{group.pk}" in shown(client, run)
    client.force_login(person("whole", ["view_run", "auth.view_group"]))
    assert where + "group Order &lt;5531&gt;</a>" in shown(client, run)
    for subject in ("auth.group:99999", "auth.group:x", "no.model:1", "nothing", "auth.permission:1", "a.b.c:1", ":"):
        assert subject_link(admin.site, request_of(person(f"p{subject}", is_superuser=True)), subject) == subject


def test_an_objects_page_shows_its_runs(make_run, client):
    group, other = Group.objects.create(name="a"), Group.objects.create(name="b")
    mine = make_run(subject=f"auth.group:{group.pk}", status="failed", job_name="<b>")
    make_run(subject=f"auth.group:{other.pk}")
    room = GroupWithRuns(Group, admin.site)
    boss = person("boss", is_superuser=True)
    assert "background_runs" in room.get_readonly_fields(request_of(boss), group)
    page = room.change_view(request_of(boss), str(group.pk)).render().content.decode()
    assert (
        url("run_change", mine.pk) in page
        and "&lt;b&gt;" in page
        and "failed" in page
        and page.count("/background/run/") >= 1
    )
    assert len(Run.objects.filter(subject=f"auth.group:{group.pk}")) == 1 and f"#{mine.short_id}" in page
    half = person("half", ["auth.change_group"])
    assert all(
        "background_runs" not in options["fields"] for _name, options in room.get_fieldsets(request_of(half), group)
    )
    assert room.background_runs(Group.objects.create(name="c")) == "none"


# The list, while it is open


def live_part(client, query):
    answer = client.get(url("run_live_list") + query, headers=LIVE)
    assert answer.status_code == 200 and answer["X-Background-Fragment"] == "1"
    return answer.content.decode()


def test_the_open_list_is_told_of_newer_runs_and_of_its_open_ones(operator, make_run):
    running = make_run(status="running", started_at=timezone.now(), progress_done=1, progress_total=4)
    done = make_run()
    cl = operator.get(url("run_changelist")).context["cl"]
    query = "?" + cl.live_query
    assert running.pk.hex in query and f"ids={running.pk.hex}&than={done.pk.hex}" in query
    assert "new run" not in live_part(operator, query)
    for _ in range(12):
        make_run(queue="mail")
    Run.objects.filter(pk=running.pk).update(progress_done=3)
    answer = live_part(operator, query)
    assert "12 new runs – show" in answer and f'id="bg-state-{running.pk}"' in answer and "75%" in answer
    assert f"bg-state-{done.pk}" not in answer
    cl = operator.get(url("run_changelist") + "?queue=other").context["cl"]
    assert "new run" not in live_part(operator, "?" + cl.live_query)
    older = operator.get(url("run_changelist") + f"?before={done.pk}").context["cl"]
    assert "than=" not in older.live_query


def test_the_open_list_counts_what_matches_only_and_asks_little(operator, make_run, django_assert_max_num_queries):
    run = make_run(trigger="manual")
    cl = operator.get(url("run_changelist") + "?trigger=manual").context["cl"]
    query = "?" + cl.live_query
    make_run(), make_run(trigger="manual")
    with django_assert_max_num_queries(12):  # four of them are the limit of time and its transaction
        answer = live_part(operator, query)
    assert "1 new run – show" in answer and f"{url('run_changelist')}?trigger=manual" in answer
    assert operator.get(url("run_live_list") + "?ids=x", headers=LIVE).status_code == 400
    assert operator.get(url("run_changelist") + f"?live=0&before={run.pk}").status_code == 200
