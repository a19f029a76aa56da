"""The last lines that are logged in the thread of a service are kept in its row."""

import logging

import pytest

import background
from background import every
from background.execution.capture import SHORT, TAIL
from background.models import Service
from background.testing import run_host
from tests.processes import wait_until

pytestmark = pytest.mark.django_db(transaction=True)

logger = logging.getLogger("tests.talk")


class Talks(background.BackgroundService):
    def execute(self, stop):
        logger.info("soon pushed out")
        for number in range(TAIL):
            logger.warning("line %d %s", number, "x" * 1000)
        logger.debug("not heard")
        stop.wait()


class Ticks(background.PeriodicService):
    schedule = every(hours=1)
    run_at_start = True

    def tick(self, scope):
        logger.info("a tick")
        raise LookupError("nothing there")


class Awaits(background.PeriodicService):
    schedule = every(hours=1)
    run_at_start = True

    async def tick(self, scope):
        logger.info("a tick on the loop")


def log_of(service):
    return Service.objects.filter(name=service.get_name()).values_list("log", flat=True).first() or []


def test_the_last_lines_are_kept_and_each_is_short():
    with run_host(Talks):
        wait_until(lambda: len(log_of(Talks)) == TAIL and f"line {TAIL - 1} " in log_of(Talks)[-1][2])
        found = log_of(Talks)
    assert {level for _at, level, _message in found} == {"WARNING"} and {len(one) for _at, _level, one in found} == {
        SHORT
    }
    last = log_of(Talks)[-1]
    assert last[1:] == ["INFO", "tests.Talks stopped"], "the end is told as well"


def test_ticks_are_heard_and_what_the_host_says_of_them_without_the_traceback():
    with run_host(Ticks, Awaits):
        wait_until(lambda: "tick of tests.Ticks failed (1 in a row)" in [one for *_rest, one in log_of(Ticks)])
        wait_until(lambda: "a tick on the loop" in [one for *_rest, one in log_of(Awaits)])
        said = [one for *_rest, one in log_of(Ticks)]
    assert said.index("a tick") < said.index("tick of tests.Ticks failed (1 in a row)")
    assert not any("Traceback" in one for one in said) and "a tick on the loop" not in said


def test_without_captured_logs_there_is_no_tail_and_the_machinery_has_none():
    with run_host(Talks, CAPTURE_LOGS=None) as host:
        host.wait_for(lambda: host.service("tests.Talks").state == "running")
    assert log_of(Talks) == []
    assert {tuple(log) for log in Service.objects.filter(engine=True).values_list("log", flat=True)} == {()}
