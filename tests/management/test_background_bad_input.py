"""The command `background` given what is wrong: one sentence with the nearest right names, exit code 1, and nothing done."""

import io
from datetime import timedelta

import pytest
from django.core.management import CommandError, call_command
from django.utils import timezone

from background import catalog
from background.models import Host, Job, Queue, Run, Service
from tests.app import background as tasks
from tests.processes import manage


def background(*arguments):
    out = io.StringIO()
    call_command("background", *arguments, stdout=out)
    return out.getvalue()


def refusal(*arguments):
    with pytest.raises(CommandError) as refused:
        background(*arguments)
    assert refused.value.returncode == 1
    return str(refused.value)


@pytest.fixture
def jobs(db):
    catalog.sync()


@pytest.fixture
def host(db):
    now = timezone.now()
    return Host.objects.create(name="web-1:7", pid=7, state="running", started_at=now, heartbeat_at=now)


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ([], "Say what to do: status, jobs"),
        (["stauts"], "There is no verb 'stauts'. Did you mean status"),
        (["runs", "--status", "faild"], "There is no status 'faild'. Did you mean failed"),
        (["runs", "--limit", "-3"], "'-3' is not a whole number from 1"),
        (["runs", "--limit", "many"], "'many' is not a whole number from 1"),
        (["runs", "--nonsense"], "--nonsense"),
        (["next"], "NAME"),
        (["next", "app.often", "-n", "0"], "'0' is not a whole number from 1 to 1000"),
        (["service", "shop.Sync", "restrat"], "Did you mean restart"),
        (["pause", "qeue", "mail"], "There is no kind 'qeue'. Did you mean queue"),
        (["run", "app.plain", "--wait", "soon"], "'soon' is not a number of seconds"),
        (["run", "app.plain", "--wait", "nan"], "'nan' is not a number of seconds"),
    ],
)
def test_a_wrong_command_line_is_told_in_one_sentence_with_exit_code_1(arguments, sentence, capsys):
    from background.management.commands.background import Command

    with pytest.raises(SystemExit) as ended:
        Command().run_from_argv(["manage.py", "background", *arguments])

    written = capsys.readouterr()
    assert ended.value.code == 1
    assert sentence in written.err
    assert "usage" not in written.err
    assert len(written.err.splitlines()) == 1
    assert written.out == ""


@pytest.mark.django_db
def test_a_wrong_verb_in_a_real_process_ends_with_1_and_no_traceback():
    done = manage("background", "stauts")

    assert (done.returncode, done.stdout) == (1, "")
    assert "Did you mean status" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["runs", "--job", "app.plian"], "There is no job 'app.plian'. Did you mean app.plain"),
        (["runs", "--queue", "reprots"], "There is no queue 'reprots'. Did you mean reports"),
        (["runs", "--id", "ffffffff"], "There is no run 'ffffffff'"),
        (["resume", "queue", "reprots"], "Did you mean reports"),
        (["resume", "job", "app.ofen"], "Did you mean app.often"),
        (["again", "00000000-0000-0000-0000-000000000000"], "There is no run"),
        (["cancel", "a"], "There is no run 'a'"),
        (["roles"], "Add --create"),
        (["enqueue", "tests.app.background.note", "--args", "{}"], "--args must be an array"),
        (["enqueue", "tests.app.background.note", "--args", '["\\u0000"]'], "NUL"),
        (["run", "app.plain", "--kwargs", '{"number": NaN}'], "must be JSON"),
    ],
)
def test_an_unknown_thing_is_named_with_the_nearest_known(arguments, sentence, jobs):
    assert sentence in refusal(*arguments)
    assert not Run.objects.exists()
    assert not Queue.objects.exists()


@pytest.mark.parametrize(
    "arguments", ['{"nope": 1}', '{"user": "bob"}', '{"self": 1}', '{"_queue": "x"}', '{"reason": "y"}']
)
def test_arguments_that_the_function_does_not_take_are_refused_before_a_run_is_made(arguments, jobs):
    assert "do not fit app.plain(number=1, word='one')" in refusal("run", "app.plain", "--kwargs", arguments)
    assert not Run.objects.exists()


def test_too_many_positional_arguments_are_refused(jobs):
    assert "too many positional arguments" in refusal("enqueue", "tests.app.background.note", "--args", "[1, 2]")
    assert not Run.objects.exists()


def test_a_job_whose_task_no_app_declares_is_not_run(db):
    Job.objects.create(name="old", task="shop.gone")

    assert "shop.gone" in refusal("run", "old")


def test_a_tail_that_fits_two_runs_asks_for_the_whole_id(db):
    for first in "12":
        Run.objects.create(id=f"0000000{first}-0000-7000-8000-0000deadbeef", task="x", enqueued_at=timezone.now())

    assert "is the tail of 2 runs" in refusal("cancel", "deadbeef")


def test_a_run_that_is_not_finished_is_not_run_again(db):
    tasks.note.enqueue()

    assert "only a finished run" in refusal("again", Run.objects.get().short_id)
    assert Run.objects.count() == 1


def test_the_machinery_of_a_host_takes_no_wishes(host):
    row = Service.objects.create(host=host, name="heartbeat", engine=True, state="running")

    assert "the host's own machinery" in refusal("service", "heartbeat", "stop")
    row.refresh_from_db()
    assert row.request_verb == ""


def test_a_service_without_schedule_has_no_tick(host):
    Service.objects.create(host=host, name="shop.Sync", state="running")

    assert "is not periodic" in refusal("service", "shop.Sync", "tick")


def test_a_service_on_a_silent_host_hears_nothing(host):
    Service.objects.create(host=host, name="shop.Sync", state="running")
    Host.objects.update(heartbeat_at=timezone.now() - timedelta(minutes=5))

    assert "silent" in refusal("service", "shop.Sync", "stop")


def test_a_schedule_that_cannot_be_read_is_named(db):
    Job.objects.create(name="odd", task="x", schedule="61 * * * *")

    assert "61" in refusal("next", "odd")


def test_names_from_the_database_cannot_steer_the_terminal_through_an_error(db):
    Job.objects.create(name="evil\x1b[2J\u202e", task="x")

    said = refusal("run", "evil")
    assert "\x1b" not in said
    assert "\\x1b[2J" in said


@pytest.mark.django_db
@pytest.mark.parametrize("verb", ["status", "runs", "health", "queues", "prune"])
def test_missing_tables_are_told_on_stderr_alone(verb, tmp_path):
    done = manage(
        "background", verb, DATABASE_URL=f"sqlite:///{tmp_path}/empty.sqlite3", BACKGROUND_TEST_DATABASE="given"
    )

    assert (done.returncode, done.stdout) == (1, "")
    assert "Tables are missing or not up to date" in done.stderr
    assert "Traceback" not in done.stderr
