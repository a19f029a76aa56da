"""What a job's page tells of its past: a calendar, how long runs took, what was passed over."""

from datetime import timedelta
from urllib.parse import parse_qs, urlsplit

from django.utils import timezone

from background.models import Job, Skip
from background.models.statistics import Statistic, class_of
from tests.admin.conftest import url


def cells(page):
    return {cell.label.partition(":")[0]: cell for cell in page.context["history"]["calendar"].cells}


def named(day):
    return f"{day:%a} {day.day} {day:%b}"


def test_the_calendar_shows_each_day_by_its_worst_and_leads_to_its_runs(operator, make_job):
    job = make_job(schedule="0 3 * * *", timezone="UTC")
    now = timezone.now()
    days = [now - timedelta(days=n) for n in (1, 2, 3, 89)]
    facts = {"span": "hour", "job_id": job.pk, "queue": "default"}
    for day, ok, bad in zip(days, (1, 1, 0, 4), (0, 2, 0, 0), strict=True):
        start = day.replace(hour=3, minute=0, second=0, microsecond=0)
        Statistic.objects.create(start=start, succeeded=ok, failed=bad, runs={str(class_of(40)): ok}, **facts)
    skipped = days[2].replace(hour=3)
    Skip.objects.create(job=job, first=skipped, last=skipped, count=2, reason="missed")
    page = operator.get(url("job_change", job.pk))
    found = cells(page)
    assert [found[named(day)].look for day in days] == ["succeeded", "failed", "missed", "succeeded"]
    assert found[named(days[1])].label.endswith(": 1 succeeded, 2 failed")
    assert found[named(days[2])].label.endswith(": 2 missed")
    query = parse_qs(urlsplit(found[named(days[1])].url).query)
    assert query["job"] == [job.name] and query["since"][0].startswith(f"{days[1]:%Y-%m-%d}T00:00:00")
    text = page.content.decode()
    assert "missed" in text and 'id="bg-skips"' in text and "40 s" not in text.partition("bg-durations")[0]
    assert page.context["history"]["durations"].most > 35


def test_days_to_come_show_what_the_scheduler_will_find(operator, make_job):
    job = make_job(schedule="0 3 * * *", timezone="UTC")
    tomorrow = named(timezone.now() + timedelta(days=1))
    assert cells(operator.get(url("job_change", job.pk)))[tomorrow].label == f"{tomorrow}: 1 planned"
    Job.objects.filter(pk=job.pk).update(schedule="every 1s")
    assert cells(operator.get(url("job_change", job.pk)))[tomorrow].label == f"{tomorrow}: 25+ planned"
    Job.objects.filter(pk=job.pk).update(enabled=False)
    assert tomorrow not in cells(operator.get(url("job_change", job.pk)))


def test_a_schedule_that_cannot_be_read_does_not_keep_the_history_away(operator, make_job):
    job = make_job()
    Job.objects.filter(pk=job.pk).update(schedule="nonsense")
    assert operator.get(url("job_change", job.pk)).context["history"]["calendar"].rows == 7


def test_without_the_right_to_see_runs_there_is_no_history(signed_in, make_job):
    assert signed_in("view_job").get(url("job_change", make_job().pk)).context.get("history") is None
