"""The command `background`: what it shows, what it does, and what a wrong name gets."""

import io
import json
from datetime import datetime, timedelta

import pytest
from django.contrib.auth.models import Group
from django.core.management import CommandError, call_command
from django.utils import timezone

from background import catalog
from background.models import Host, Job, Queue, Run, Service
from background.testing import drain
from tests.app import background as tasks
from tests.processes import manage

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def _jobs(db):
    catalog.sync()


@pytest.fixture
def live_host():
    now = timezone.now()
    return Host.objects.create(name="web-1:7", pid=7, state="running", started_at=now, heartbeat_at=now)


def background(*arguments):
    out = io.StringIO()
    call_command("background", *arguments, stdout=out)
    return out.getvalue()


def as_json(*arguments):
    return json.loads(background(*arguments, "--json"))


def test_status_tells_hosts_runs_and_what_needs_attention(live_host):
    tasks.note.enqueue()

    assert "web-1:7" in background("status")
    facts = as_json("status")
    assert facts["hosts"] == ["web-1:7"]
    assert facts["runs"] == {"scheduled": 0, "ready": 1, "blocked": 0, "running": 0}
    assert facts["attention"] == []


@pytest.mark.parametrize("verb", ["jobs", "runs", "services", "hosts", "queues"])
def test_each_list_is_a_table_for_people_and_an_array_for_programs(verb, live_host):
    tasks.note.enqueue()
    Service.objects.create(host=live_host, name="shop.Sync", state="running")
    names = {"jobs": "app.often", "runs": "note", "services": "shop.Sync", "hosts": "web-1:7", "queues": "default"}

    assert names[verb] in background(verb)
    (first, *_) = as_json(verb)
    fields = {
        "jobs": {"name", "schedule", "timezone", "enabled", "next_run_at"},
        "runs": {"id", "job", "task", "status", "queue", "trigger", "attempt", "host"},
        "services": {"host", "name", "state", "healthy", "restarts"},
        "hosts": {"id", "name", "state", "heartbeat_at"},
        "queues": {"name", "paused", "concurrency", "waiting", "running", "served_by"},
    }
    assert fields[verb] <= set(first)


def test_runs_can_be_filtered():
    tasks.note.enqueue()
    tasks.plain.enqueue()
    drain(max_runs=1)

    assert [run["task"].rpartition(".")[2] for run in as_json("runs", "--status", "ready")] == ["plain"]
    assert [run["job_name"] for run in as_json("runs", "--job", "app.plain")] == ["app.plain"]
    assert len(as_json("runs", "--limit", "1")) == 1


def test_arguments_and_results_are_not_printed():
    tasks.note.enqueue("secret text")

    assert "secret text" not in background("runs") + json.dumps(as_json("runs"))


def test_run_triggers_a_job_with_arguments():
    assert "is ready" in background("run", "app.plain", "--kwargs", '{"number": 7}')

    run = Run.objects.get()
    assert (run.job_name, run.trigger, run.kwargs) == ("app.plain", "manual", {"number": 7})


def test_enqueue_takes_the_path_of_a_registered_task():
    background("enqueue", "tests.app.background.note", "--args", '["hello"]')

    assert Run.objects.get().args == ["hello"]


def test_cancel_and_again_find_a_run_by_the_tail_of_its_id():
    tasks.note.enqueue()
    run = Run.objects.get()

    background("cancel", run.short_id, "--reason", "not needed")
    run.refresh_from_db()
    assert (run.status, run.end_reason) == ("cancelled", "not needed")

    background("again", str(run.id))
    assert Run.objects.ready().get().rerun_of_id == run.id


def test_pause_and_resume_a_queue_and_a_job():
    background("pause", "queue", "reports", "--reason", "month end")
    assert Queue.objects.get(name="reports").paused_reason == "month end"
    background("resume", "queue", "reports")
    assert not Queue.objects.get(name="reports").paused

    background("pause", "job", "app.often")
    assert not Job.objects.get(name="app.often").enabled
    background("resume", "job", "app.often")
    assert Job.objects.get(name="app.often").enabled


def test_service_leaves_a_wish_on_every_live_host(live_host):
    row = Service.objects.create(host=live_host, name="shop.Sync", state="running")

    background("service", "shop.Sync", "restart")

    row.refresh_from_db()
    assert row.request_verb == "restart"


def test_next_lists_the_times_with_zone_and_utc():
    Job.objects.filter(name="app.often").update(schedule="30 2 * * *", timezone="Europe/Paris")

    rows = as_json("next", "app.often", "-n", "3")

    assert len(rows) == 3
    assert {row["local"][11:16] for row in rows} <= {"02:30", "03:00"}
    assert {row["timezone"] for row in rows} == {"Europe/Paris"}
    for row in rows:
        assert datetime.fromisoformat(row["scheduled_for"]) == datetime.fromisoformat(row["local"])
    assert "Europe" in background("jobs")


def test_next_says_what_an_interval_of_days_does_where_clocks_change():
    Job.objects.filter(name="app.often").update(schedule="every 1d", timezone="Europe/Paris")
    assert "such as “0 3 * * *”" in " ".join(background("next", "app.often").split())
    Job.objects.filter(name="app.often").update(schedule="every 1d", timezone="")
    assert "such as" not in background("next", "app.often")


def test_prune_deletes_what_is_old():
    tasks.note.enqueue()
    drain()
    Run.objects.update(finished_at=timezone.now() - timedelta(days=100))

    assert background("prune").strip() == "1 run deleted."
    assert not Run.objects.exists()


def test_roles_are_made_once_with_their_permissions():
    background("roles", "--create")
    background("roles", "--create")

    viewer, operator, manager = (
        set(Group.objects.get(name=f"Background {role}").permissions.values_list("codename", flat=True))
        for role in ("viewer", "operator", "manager")
    )
    assert viewer < operator < manager
    assert "run_job" in operator - viewer
    assert "stop_host" in manager - operator


def test_health_is_content_with_a_live_host_and_nothing_else_to_say(live_host):
    assert "Nothing needs attention" in background("health")


@pytest.mark.parametrize(
    ("trouble", "sentence"),
    [
        (lambda host: Host.objects.update(heartbeat_at=timezone.now() - timedelta(minutes=5)), "silent"),
        (lambda host: Host.objects.all().delete(), "No live host"),
        (
            lambda host: Service.objects.create(host=host, name="shop.Sync", state="failed", error="x\nOSError: no"),
            "OSError: no",
        ),
        (lambda host: (Host.objects.update(queues=["mail"]), tasks.note.enqueue()), "no live host serves it"),
        (lambda host: Job.objects.filter(name="app.often").update(outcomes="sfff"), "three times in a row"),
        (lambda host: Job.objects.filter(name="app.often").update(schedule_error="Field 1: no"), "cannot be scheduled"),
    ],
)
def test_health_exits_with_1_and_says_what_needs_attention(live_host, trouble, sentence):
    trouble(live_host)
    out = io.StringIO()

    with pytest.raises(SystemExit) as ended:
        call_command("background", "health", stdout=out)

    assert ended.value.code == 1
    assert sentence in out.getvalue()


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["run", "app.plian"], "There is no job 'app.plian'. Did you mean app.plain"),
        (["run", "app.plain", "--kwargs", "{"], "--kwargs is not JSON"),
        (["run", "app.plain", "--kwargs", "[1]"], "--kwargs must be an object"),
        (["enqueue", "os.system"], "There is no task 'os.system'"),
        (["cancel", "nonsense"], "There is no run 'nonsense'"),
        (["pause", "queue", "reprots"], "There is no queue 'reprots'"),
        (["service", "shop.Nope", "stop"], "There is no running service 'shop.Nope'"),
        (["next", "app.plain"], "has no schedule"),
    ],
)
def test_a_wrong_name_gets_one_clear_sentence(arguments, sentence):
    with pytest.raises(CommandError) as refused:
        background(*arguments)

    assert sentence in str(refused.value)


def test_a_finished_run_cannot_be_cancelled():
    tasks.note.enqueue()
    (run,) = drain()

    with pytest.raises(CommandError, match="succeeded already"):
        background("cancel", str(run.id))


def test_a_database_without_tables_gets_the_remedy(tmp_path):
    done = manage(
        "background", "jobs", DATABASE_URL=f"sqlite:///{tmp_path}/empty.sqlite3", BACKGROUND_TEST_DATABASE="as given"
    )

    assert done.returncode == 1
    assert "manage.py migrate" in done.stderr
    assert "Traceback" not in done.stderr


def test_hostile_text_cannot_steer_the_terminal(live_host):
    Host.objects.update(name="evil\x1b[2J\u202e")

    shown = background("hosts")

    assert "\x1b" not in shown
    assert "\\x1b[2J\\u202e" in shown
