"""What @job and schedule() take and refuse."""

from datetime import UTC, datetime

import pytest

from background import cron, every, job, schedule
from background.exceptions import InvalidPolicy, InvalidSchedule
from background.jobs.tasks import DECLARED, KNOWN
from tests.app import background as tasks


@pytest.fixture(autouse=True)
def undo():
    known, declared = dict(KNOWN), list(DECLARED)
    yield
    KNOWN.clear()
    KNOWN.update(known)
    DECLARED[:] = declared


def function():
    pass


@pytest.mark.parametrize("seconds", [0.01, 0.5, 0.999])
def test_an_interval_below_a_second_is_refused_for_jobs(seconds):
    with pytest.raises(InvalidSchedule, match="1 second"):
        job(every(seconds=seconds), name="quick")(function)
    with pytest.raises(InvalidSchedule, match="1 second"):
        schedule(tasks.note, every(seconds=seconds), name="quick")


@pytest.mark.parametrize("text", ["0 0 30 2 *", "0 0 31 4 *"])
def test_a_schedule_that_never_comes_is_refused(text):
    with pytest.raises(InvalidSchedule):
        job(text, name="never")(function)


def test_an_empty_zone_is_none():
    job("0 3 * * *", name="a", timezone="")(function)
    job(cron("0 3 * * *"), name="b", timezone="")(function)

    assert [one.values()["timezone"] for one in DECLARED[-2:]] == ["", ""]


def test_a_zone_is_taken_for_texts_and_objects():
    job("0 3 * * *", name="a", timezone="Europe/Paris")(function)
    job(cron("0 3 * * *"), name="b", timezone="Europe/Paris")(function)

    assert [one.values()["timezone"] for one in DECLARED[-2:]] == ["Europe/Paris"] * 2


def test_a_past_instant_may_stay_in_the_code():
    job("at 2020-01-01T00:00:00Z", name="past")(function)

    assert DECLARED[-1].schedule.next(datetime.now(UTC)) is None


@pytest.mark.parametrize(
    "policies",
    [{"overlap": "never"}, {"max_attempts": 0}, {"timeout": 0}, {"jitter": -1}, {"retain": "much"}, {"colour": 1}],
    ids=str,
)
def test_a_policy_that_does_not_fit_is_refused_by_name(policies):
    with pytest.raises(InvalidPolicy, match=next(iter(policies))):
        job(name="bad", **policies)(function)
