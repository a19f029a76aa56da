"""Lines of a crontab become jobs where a task is known for their command."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from django.core.management import CommandError

from background.engine.scheduler import schedule_due
from background.models import Job
from tests.contrib.importing import PLAIN, imported, line, schedules

pytestmark = pytest.mark.django_db

CRONTAB = r"""
# m h dom mon dow  command
SHELL=/bin/bash
MAILTO = "ops@example.com"
PASSWORD='hunter2'
*/15 * * * *  cd /srv/shop && venv/bin/python manage.py fetch_rates >> /var/log/rates.log 2>&1
@daily  /srv/shop/venv/bin/django-admin clearsessions --settings=shop.settings
0 4 * * *  /usr/local/bin/backup --all
CRON_TZ=Asia/Tokyo
0 9 * * mon-fri  python manage.py report --day=today | mail -s report%Dear all,%see below
5 9 * * *  python manage.py fetch_rates
CRON_TZ=Mars/Olympus
5 9 * * *  python manage.py report
CRON_TZ=
@reboot  python manage.py fetch_rates
0 22-2 * * *  python manage.py fetch_rates
61 * * * *  python manage.py fetch_rates
1 2 3
"""


@pytest.fixture
def crontab(tmp_path):
    def write(text: str = CRONTAB) -> str:
        path = tmp_path / "crontab"
        path.write_text(text)
        return str(path)

    return write


MAPPED = [
    f"--map=fetch_rates={PLAIN}",
    f"--map=report --day=today={PLAIN}",
    f"--map=report={PLAIN}",
    f"--map=/usr/local/bin/backup --all={PLAIN}",
]


def test_lines_whose_command_is_mapped_become_jobs(crontab) -> None:
    said = imported("crontab", crontab(), *MAPPED)
    assert schedules() == {
        "fetch_rates": "*/15 * * * *",
        "/usr/local/bin/backup --all": "0 4 * * *",
        "report --day=today": "0 9 * * 1-5",
        "fetch_rates (5 9 * * *  python manage.py fetch_rates)": "5 9 * * *",
    }
    job = Job.objects.get(name="report --day=today")
    assert (job.task, job.timezone, job.enabled, job.defaults) == (PLAIN, "Asia/Tokyo", True, None)
    assert "without its input, after %" in line(said, "report --day=today")
    assert "4 made, 9 not carried over." in said


def test_what_cannot_be_carried_over_is_listed_with_the_reason(crontab) -> None:
    said = imported("crontab", crontab(), *MAPPED)
    assert "--map “clearsessions --settings=shop.settings=…”" in said
    assert "“Mars/Olympus” is no time zone" in said
    assert "“@reboot” has no time of day" in said
    assert "write “22-23,0-2”" in said
    assert "“61” is not between 0 and 59" in said
    assert "too few words" in line(said, "1 2 3")
    assert "give it to the host" in line(said, "MAILTO=")
    assert "hunter2" not in said, "values of settings may be secret"


def test_a_dry_run_shows_the_same_and_writes_nothing(crontab) -> None:
    said = imported("crontab", crontab(), *MAPPED, "--dry-run")
    assert "4 would be made" in said and schedules() == {}
    assert said.replace("would be made", "made").split() == imported("crontab", crontab(), *MAPPED).split()


def test_a_second_import_doubles_nothing_and_overwrites_nothing(crontab) -> None:
    imported("crontab", crontab(), *MAPPED)
    Job.objects.filter(name="fetch_rates").update(schedule="@hourly")
    before = schedules()
    said = imported("crontab", crontab("@weekly manage.py new\n" + CRONTAB), *MAPPED, f"--map=new={PLAIN}")
    assert schedules() == before | {"new": "0 0 * * 0"}
    assert "has this name already" in line(said, "fetch_rates") and "1 made" in said


def test_a_system_crontab_has_a_column_of_users(crontab) -> None:
    text = "17 * * * *  www-data  python manage.py fetch_rates\n@daily root\n"
    said = imported("crontab", crontab(text), "--system", *MAPPED, "--timezone", "Europe/Paris")
    assert schedules() == {"fetch_rates": "17 * * * *"}
    assert Job.objects.get(name="fetch_rates").timezone == "Europe/Paris"
    assert "without its user, www-data" in line(said, "fetch_rates")
    assert "too few words" in said


@pytest.mark.parametrize(
    ("line", "command"),
    [
        ("* * * * * manage.py a --b 1 2>/dev/null", "a --b 1"),
        ("* * * * * cd /x; ./manage.py a&", "a"),
        ("* * * * * django-admin a;true", "a"),
        (r"* * * * * echo 100\% done", "echo 100% done"),
        ("* * * * * true % manage.py a", "true"),
    ],
)
def test_a_command_is_named_by_what_django_runs(crontab, line: str, command: str) -> None:
    imported("crontab", crontab(line + "\n"), f"--map={command}={PLAIN}")
    assert list(schedules()) == [command]


def test_an_imported_job_is_planned_and_nothing_is_made_up(crontab) -> None:
    imported("crontab", crontab(), *MAPPED)
    now = datetime.now(UTC)
    assert schedule_due(now, Job.objects.filter(name__in=schedules())) == []
    job = Job.objects.get(name="fetch_rates")
    assert job.next_run_at > now and job.cursor == now and not job.schedule_error


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["crontab"], "Name the file"),
        (["crontab", "/nowhere/crontab"], "/nowhere/crontab cannot be read: No such file"),
        (["crontab", "/"], "/ cannot be read: Is a directory"),
        (["crontab", "x", "--map", "nothing"], "--map takes OLD=NEW"),
        (["crontab", "x", "--map", "a=os.system"], "There is no task 'os.system'"),
        (["celery-beat"], "has no table django_celery_beat"),
        (["django-q2"], "has no table django_q_schedule"),
        (["apscheduler"], "has no table django_apscheduler_djangojob"),
        (["apscheduler", "--database", "old"], "There is no database 'old'"),
        (["fcron"], "invalid choice"),
    ],
)
def test_a_wrong_word_is_told_in_one_sentence(words: list[str], said: str) -> None:
    with pytest.raises(CommandError, match=said):
        imported(*words)
