"""What a process that hosts services says with its exit code, and that it ends at all."""

import os
import signal
import time

import pytest

from background.models import Host, Service
from tests.processes import ROOT, Process

pytestmark = pytest.mark.django_db(transaction=True)

SERVICES = """
import asyncio
import os
import sys
import threading

import django

if __name__ == "__main__":
    django.setup()
    import background

    class Base(background.BackgroundService):
        def execute(self, stop):
            print("executes\\n", end="", flush=True)
            stop.wait()

    @background.register
    class Good(Base):
        name = "good"

    @background.register
    class Deaf(Base):
        name = "deaf"
        stop_timeout = 0.2

        def execute(self, stop):
            print("executes\\n", end="", flush=True)
            while True:
                threading.Event().wait(0.05)

    @background.register
    class AsyncDeaf(Base):
        name = "async-deaf"
        stop_timeout = 0.2

        async def execute(self, stop):
            print("executes\\n", end="", flush=True)
            while True:
                threading.Event().wait(0.05)

    @background.register
    class ToThread(Base):
        name = "to-thread"
        stop_timeout = 0.2

        async def execute(self, stop):
            await asyncio.to_thread(threading.Event().wait)

    @background.register
    class Unstartable(Base):
        name = "unstartable"

        def on_start(self):
            raise LookupError("no key")

    @background.register
    class Slow(Base):
        name = "slow"

        def on_start(self):
            print("on_start was called", flush=True)
            self.stop.wait()

    @background.register
    class Vital(Base):
        name = "vital"
        restart = "stop-host"

        def execute(self, stop):
            raise LookupError("no heart")

    @background.register
    class Untidy(Base):
        name = "untidy"

        def on_stop(self):
            raise LookupError("no broom")

    @background.register
    class Lingering(Base):
        name = "lingering"

        def on_stopping(self):
            print("lingers", flush=True)
            threading.Event().wait()

    from django.core.management import execute_from_command_line

    execute_from_command_line(sys.argv)
"""


@pytest.fixture
def process(tmp_path):
    """A function that starts a host with some of the services above."""
    (tmp_path / "manage.py").write_text(SERVICES)

    def start(*names):
        path = os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])
        flags = ("--services", ",".join(names), "--no-worker", "--no-scheduler", "--no-reload")
        return Process("runbackground", *flags, cwd=tmp_path, PYTHONPATH=path)

    return start


both = pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT], ids=lambda number: number.name)


@both
def test_a_clean_stop_ends_with_0(process, number):
    with process("good") as host:
        host.wait_for_line("services running")
        assert host.stop(number) == 0, host.output
    row = Host.objects.get()
    assert (row.state, row.exit_code, row.stop_reason) == ("stopped", 0, f"received {number.name}")
    assert "Traceback" not in host.output


@both
def test_a_signal_during_the_start_ends_with_0(process, number):
    with process("slow") as host:
        host.wait_for_line("on_start was called")
        assert host.stop(number) == 0, host.output
    assert Host.objects.get().exit_code == 0


def test_a_service_that_does_not_start_ends_with_1(process):
    with process("good", "unstartable") as host:
        assert host.wait() == 1, host.output
    assert "on_start of service unstartable failed: LookupError('no key')" in host.output
    assert Host.objects.get().exit_code == 1


def test_a_service_without_which_the_host_should_not_go_on_ends_it_with_4(process):
    with process("good", "vital") as host:
        assert host.wait() == 4, host.output
    assert "vital failed: LookupError('no heart')" in host.output
    assert Host.objects.get().exit_code == 4


def test_a_failing_stop_hook_ends_with_5(process):
    with process("good", "untidy") as host:
        host.wait_for_line("services running")
        assert host.stop() == 5, host.output
    assert "on_stop of untidy" in host.output
    assert Host.objects.get().exit_code == 5


@pytest.mark.parametrize("name", ["deaf", "async-deaf"])
def test_a_process_with_a_deaf_thread_ends_with_5_and_says_where_it_stands(process, name):
    with process("good", name) as host:
        host.wait_for_line("executes", count=2)
        host.wait_for_line("services running")
        began = time.monotonic()
        assert host.stop() == 5, host.output
        assert time.monotonic() - began < 10
    assert f"service {name} does not stop; its thread stands at:" in host.output
    assert "threading.Event().wait(0.05)" in host.output
    assert Host.objects.get().exit_code == 5
    row = Service.objects.get(name=name)
    assert (row.state, row.healthy) == ("failed", False)


def test_a_deaf_thread_does_not_keep_a_process_that_stops_for_another_reason_from_ending(process):
    with process("to-thread", "async-deaf", "vital") as host:
        assert host.wait() == 4, host.output


@both
def test_a_second_signal_ends_the_process_at_once(process, number):
    with process("lingering") as host:
        host.wait_for_line("services running")
        host.send(signal.SIGTERM)
        host.wait_for_line("lingers")
        began = time.monotonic()
        host.send(number)
        assert host.wait() == 128 + number, host.output
        assert time.monotonic() - began < 2
    assert "second signal: exit at once" in host.output


def test_a_thread_that_a_coroutine_left_behind_is_abandoned_work(process):
    with process("to-thread") as host:
        host.wait_for_line("services running")
        assert host.stop() == 5, host.output
    assert "service to-thread does not stop" in host.output
    assert Service.objects.get(name="to-thread").state == "failed"
