"""When hosts are judged: not right after nobody could speak."""

from datetime import timedelta
from types import SimpleNamespace

import pytest

from background.engine import rescuer as module
from background.engine.rescuer import Rescuer
from background.models import Host
from background.stopping import StopToken
from tests.queue.helpers import host

pytestmark = pytest.mark.django_db


@pytest.fixture
def rescuer(monkeypatch):
    """A rescuer whose patience is measured by `rescuer.time`, in seconds."""
    one = Rescuer(SimpleNamespace(id=None, name="one"))
    one.time = 100.0
    monkeypatch.setattr(module, "elapsed", lambda: one.time)
    return one


def look(rescuer):
    """Look once; returns the hosts that are lost by then."""
    rescuer.step(StopToken())
    return [row.name for row in Host.objects.filter(state="lost")]


def be_away(rescuer, seconds):
    """Have the database's clock go on by so much since the last look, and since everybody's last word."""
    rescuer._looked_at -= timedelta(seconds=seconds)
    for row in Host.objects.live():
        Host.objects.filter(id=row.id).update(heartbeat_at=row.heartbeat_at - timedelta(seconds=seconds))


def test_a_host_that_is_silent_at_the_first_look_or_between_looks_is_lost_at_once(rescuer):
    host("silent", silent=60)
    assert look(rescuer) == ["silent"]
    host("silent too", silent=16)
    assert look(rescuer) == ["silent", "silent too"]


def test_hosts_that_could_not_speak_while_nobody_looked_get_time_to_do_so(rescuer):
    alive, dead = host("alive"), host("dead")
    assert look(rescuer) == []
    be_away(rescuer, 60)

    assert look(rescuer) == []
    rescuer.time += 4  # less than the time between two heartbeats and what a host needs to find the database again
    assert look(rescuer) == []

    Host.objects.filter(id=alive.id).update(heartbeat_at=rescuer._looked_at)
    rescuer.time += 2
    assert look(rescuer) == [dead.name]


def test_a_clock_that_is_set_back_far_is_no_sign_of_silence_either(rescuer):
    row = host("alive")
    look(rescuer)
    be_away(rescuer, -3600)
    assert look(rescuer) == []
    Host.objects.filter(id=row.id).update(heartbeat_at=rescuer._looked_at)
    rescuer.time += 6
    assert look(rescuer) == []


def test_a_look_that_is_a_little_late_changes_nothing(rescuer):
    row = host("silent", silent=10)
    look(rescuer)
    be_away(rescuer, 6)
    assert look(rescuer) == [row.name]


def test_where_each_look_is_long_after_the_one_before_hosts_are_judged_all_the_same(rescuer):
    row = host("dead")
    look(rescuer)
    be_away(rescuer, 20)
    assert look(rescuer) == []
    rescuer.time += 20
    be_away(rescuer, 20)
    assert look(rescuer) == [row.name]
