"""Services that must give signs of life."""

import threading

import pytest

import background
from background.engine.rescuer import Rescuer
from background.host import host as host_module
from background.models import Service
from background.testing import run_host

pytestmark = pytest.mark.django_db(transaction=True)


class Beats(background.BackgroundService):
    watchdog = 0.3

    def __init__(self):
        self.beats = threading.Event()

    def execute(self, stop):
        while not stop.wait(0.05):
            if self.beats.is_set():
                stop.beat()


class Ticks(background.PeriodicService):
    watchdog = 0.5
    schedule = background.every(hours=1)

    def tick(self, scope):
        pass


class Trusted(Beats):
    watchdog = None


def healthy(name):
    return Service.objects.filter(name=name).values_list("healthy", flat=True).first()


def test_a_service_without_a_beat_is_unhealthy_and_named_until_it_beats(caplog):
    name = "tests.Beats"
    with run_host(Beats, Trusted) as host:
        one = host.service(name)
        host.wait_for(lambda: healthy(name) is False)
        assert host.host.unready() == [name]
        assert one.state == "running"
        one.service.beats.set()
        host.wait_for(lambda: healthy(name) is True)
        assert host.host.unready() == []
        assert Service.objects.get(name=name).last_beat_at is not None
        assert healthy("tests.Trusted")
    assert f"{name} misses its watchdog" in caplog.text
    assert f"{name} is healthy again" in caplog.text


def test_a_tick_is_a_sign_of_life():
    name = "tests.Ticks"
    with run_host(Ticks) as host:
        host.wait_for(lambda: healthy(name) is False)
        host.service(name).service.tick_now()
        host.wait_for(lambda: healthy(name) is True)


def test_a_restarted_service_is_given_its_time_anew():
    with run_host(Beats) as host:
        one = host.service("tests.Beats")
        host.wait_for(lambda: one.standing.healthy is False)
        one.obey("restart", "")
        host.wait_for(lambda: one.standing.healthy and one.state == "running")
        host.wait_for(lambda: one.standing.healthy is False)


def test_an_engine_service_that_does_not_step_makes_the_host_stuck(monkeypatch):
    let_go = threading.Event()
    monkeypatch.setattr(host_module, "STUCK", 0.3)
    monkeypatch.setattr(Rescuer, "step", lambda self, stop: let_go.wait(20) and 0.05)
    with run_host() as host:
        host.wait_for(lambda: host.host.stuck() == ["background.rescuer"])
        let_go.set()
        host.wait_for(lambda: "background.rescuer" not in host.host.stuck())
    assert host.exit_code == 0
