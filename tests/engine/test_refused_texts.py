"""No text that is no schedule gets through the form, and none that got into a row by other ways disturbs the scheduler."""

from datetime import UTC, datetime, timedelta

import pytest

from background.admin.job_form import JobForm
from background.engine.scheduler import look, schedule_due
from background.exceptions import InvalidSchedule
from background.models import Job, Run
from background.timing import parse
from tests.app import background as tasks
from tests.timing.test_grammar import REFUSED
from tests.timing.test_schedules import WRONG

pytestmark = pytest.mark.django_db
NOON = datetime(2026, 5, 1, 12, tzinfo=UTC)


def is_refused(text):
    try:
        parse(text)
    except InvalidSchedule:
        return True
    return False


TEXTS = [
    text for text, _said in [*REFUSED, *WRONG] if isinstance(text, str) and text.strip() and is_refused(text.strip())
]


def filled(**changes):
    empty = JobForm()
    data = {name: empty.get_initial_for_field(field, name) for name, field in empty.fields.items()}
    data |= {"name": "typed", "task": tasks.note.module_path, "args": '["x"]', "kwargs": "{}", "backoff": ""}
    return JobForm({name: value for name, value in {**data, **changes}.items() if value is not None})


def test_the_form_takes_what_is_a_schedule():
    assert filled(schedule="*/5 * * * *").errors == {}


@pytest.mark.parametrize("text", TEXTS, ids=lambda text: repr(text)[:30])
def test_the_form_refuses_each_with_an_error_at_the_schedule(text):
    assert list(filled(schedule=text).errors) == ["schedule"]


def test_in_rows_they_disturb_no_other_job_and_are_not_asked_for_again():
    Job.objects.all().delete()  # of the declared jobs, which are written with the tables
    fields = {"task": tasks.note.module_path, "args": ["x"], "overlap": "allow"}
    texts = [text for text in TEXTS if len(text) <= 255 and "\0" not in text]
    assert len(texts) > 90
    Job.objects.bulk_create(Job(name=f"bad {n:03}", schedule=text, **fields) for n, text in enumerate(texts))
    Job.objects.create(name="good", schedule="every 5m", **fields)

    schedule_due(NOON)
    assert not Job.objects.filter(name__startswith="bad", schedule_error="").exists()
    assert look(NOON + timedelta(minutes=5)).due == [Job.objects.get(name="good").pk]
    schedule_due(NOON + timedelta(minutes=5))

    assert [run.job_name for run in Run.objects.all()] == ["good"]
