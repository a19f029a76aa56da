"""Several worker processes under one parent, as real processes: replaced, stopped, killed, and what becomes of their runs."""

import json
import os
import re
import signal
import time
from contextlib import contextmanager

import pytest
from django.db import OperationalError, connection

from background.host import processes as module
from background.host.guardian import Guardian
from background.host.processes import WorkerProcesses
from background.models import Host, Run
from background.stopping import Deadline, StopToken
from tests.app import background as tasks
from tests.app.models import Effect
from tests.host.test_database_away import Proxy, through
from tests.processes import Process, is_alive, manage, wait_until

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.slow]

QUICK = ("runbackground", "--no-services", "--no-scheduler", "--no-reload")
SETTINGS = {"HEARTBEAT_INTERVAL": 0.3, "POLL_INTERVAL": 0.1, "SHUTDOWN_TIMEOUT": 10}
Traceback = "Traceback"


def settings(**more):
    return json.dumps({**SETTINGS, **more})


@contextmanager
def workers(*flags, count=2, env=None, **more):
    """A parent with that many worker processes, once they all run."""
    env = {"BACKGROUND_TEST_SETTINGS": settings(**more), **(env or {})}
    with Process(*QUICK, "--processes", str(count), *flags, **env) as parent:
        parent.wait_for_line("services running", count=count + 1, timeout=40)
        try:
            yield parent
        finally:
            for pid in pids():
                if is_alive(pid):
                    os.kill(pid, signal.SIGCONT)


def children():
    return Host.objects.filter(parent__isnull=False).order_by("name")


def pids():
    return list(children().values_list("pid", flat=True))


def effects(name):
    return list(Effect.objects.filter(name=name).values_list("note", flat=True))


def waiting_in(count=1):
    """The pids in which `wait_for_file` has begun."""
    wait_until(lambda: len(effects("waits")) >= count)
    return [int(pid) for pid in effects("waits")]


def bad_lines(parent):
    """Return what the parent complains of; not of the jobs that other test modules declare, which pytest's process wrote."""
    lines = [line for line in parent.lines if "is declared by no live host's code" not in line]
    return [line for line in lines if "✖" in line or "▲" in line or Traceback in line]


# ---------------------------------------------------------------------------------------------------------- the place


def test_the_parent_executes_nothing_itself_and_the_flags_reach_the_children():
    tasks.where.using(queue_name="mail").enqueue()
    tasks.where.enqueue()
    with workers("--queues", "mail", "--concurrency", "3", "--name", "here") as parent:
        wait_until(lambda: effects("where"))
        assert parent.stop() == 0, parent.output
    rows = {row.name: row for row in Host.objects.all()}
    assert sorted(rows) == ["here", "here/1", "here/2"]
    assert not rows["here"].works and rows["here/1"].works
    assert [row.concurrency.get("thread") for row in children()] == [3, 3]
    assert [row.queues for row in children()] == [["mail"], ["mail"]]
    run = Run.objects.succeeded().get()
    assert (run.queue, run.host_name[:5]) == ("mail", "here/")
    assert Run.objects.ready().get().queue == "default"
    assert bad_lines(parent) == []


def test_other_settings_and_a_low_verbosity_reach_the_children(tmp_path):
    (tmp_path / "other_settings.py").write_text("from tests.settings import *\nBACKGROUND = {'CONCURRENCY': 5}\n")
    with Process(
        *QUICK, "--processes", "2", "--settings", "other_settings", "--pythonpath", str(tmp_path), "--verbosity", "0"
    ) as parent:
        wait_until(lambda: children().filter(state="running").count() == 2, timeout=40)
        assert [row.concurrency["thread"] for row in children()] == [5, 5]
        assert parent.stop() == 0, parent.output
    assert not [line for line in parent.lines if "●" in line], parent.output


@pytest.mark.parametrize(("flag", "value"), [("--drain", []), ("--max-runs", ["1"])])
def test_what_ends_after_its_work_says_that_it_is_one_process(flag, value):
    tasks.where.enqueue()
    done = manage(*QUICK, "--processes", "2", flag, *value)
    assert done.returncode == 0, done.stderr
    assert "one only: --drain and --max-runs do not share their work" in done.stdout + done.stderr
    assert (effects("where") != [], Host.objects.count()) == (True, 1)


def test_a_queue_that_is_known_by_its_runs_alone_may_be_forgotten_while_the_processes_go_on():
    tasks.where.using(queue_name="passing").enqueue()
    with workers("--queues", "passing", count=2) as parent:
        wait_until(lambda: Run.objects.succeeded().exists())
        Run.objects.all().delete()
        os.kill(pids()[0], signal.SIGKILL)
        parent.wait_for_line("services running", count=4)
        assert parent.stop() == 0, parent.output


# -------------------------------------------------------------------------------------------------- those that die


def test_the_runs_of_a_killed_process_start_elsewhere_within_two_seconds(tmp_path):
    go = tmp_path / "go"
    with workers(HOST_TIMEOUT=60) as parent:
        tasks.wait_for_file.enqueue(str(go))
        (pid,) = waiting_in()
        killed_at = time.monotonic()
        os.kill(pid, signal.SIGKILL)
        other = next(one for one in waiting_in(2) if one != pid)
        assert time.monotonic() - killed_at < 2
        go.touch()
        wait_until(lambda: Run.objects.succeeded().exists())
        parent.wait_for_line("died with exit code -9, starts again in 0.")
        parent.wait_for_line("services running", count=4)
        assert parent.stop() == 0, parent.output
    run = Run.objects.get()
    assert (run.attempt, run.lost, effects("waited")) == (1, 1, [str(other)])
    assert Host.objects.get(pid=pid).state == "lost"
    assert not Host.objects.live().exists()


def test_a_parent_that_was_declared_lost_still_knows_its_children(tmp_path):
    with workers(HOST_TIMEOUT=60) as parent:
        tasks.wait_for_file.enqueue(str(tmp_path / "go"))
        (pid,) = waiting_in()
        Host.objects.filter(pid=parent.pid).update(state="lost")
        parent.wait_for_line("it starts afresh")
        wait_until(lambda: Host.objects.filter(pid=parent.pid, state="running").exists())
        killed_at = time.monotonic()
        os.kill(pid, signal.SIGKILL)
        waiting_in(2)
        assert time.monotonic() - killed_at < 2
        (tmp_path / "go").touch()
        parent.stop()


def test_a_process_that_ends_with_an_error_is_logged_and_started_again(tmp_path):
    with workers() as parent:
        tasks.end_process.enqueue(4)
        parent.wait_for_line("died with exit code 4, starts again in 0.")
        parent.wait_for_line("services running", count=4)
        wait_until(lambda: Run.objects.failed().exists() or Run.objects.get().lost >= 1)
        parent.stop()


def test_processes_that_cannot_start_are_tried_again_more_and_more_rarely(tmp_path):
    (tmp_path / "settings_of_parents.py").write_text(
        "import sys\nfrom tests.settings import *\nif '--child-of' in sys.argv:\n    raise SystemExit(1)\n"
    )
    env = {"DJANGO_SETTINGS_MODULE": "settings_of_parents", "PYTHONPATH": str(tmp_path)}
    with Process(*QUICK, "--processes", "2", **env) as parent:
        for number in range(1, 4):
            parent.wait_for_line("worker process 1 (pid", count=number, timeout=30)
        assert parent.stop() == 0, parent.output
    delays = [
        float(found)
        for found in re.findall(r"worker process 1 .* exit code 1, starts again in ([\d.]+) s", parent.output)
    ]
    assert delays[0] < delays[1] < delays[2] < 3
    assert Host.objects.get().exit_code == 0


# Without processes: only what the parent does about them.


class FakeProcess:
    """A worker process that the test ends as it likes."""

    made = []

    def __init__(self, parent, command):
        self.parent, self.command = parent, command
        self.started_at, self.pid = time.monotonic(), 10_000_000 + len(self.made)
        self.popen, self.returncode = self, None
        self.made.append(self)

    def poll(self):
        return self.returncode

    def wait(self, timeout=None):
        return self.returncode

    def send_signal(self, number):
        self.returncode = -number


class FakeHost:
    name, id, problems = "fake", "id", []


@pytest.fixture
def parent(monkeypatch):
    monkeypatch.setattr(module, "WorkerProcess", FakeProcess)
    monkeypatch.setattr(FakeProcess, "made", [])
    monkeypatch.setattr(Guardian, "watch", lambda self, pids: None)
    monkeypatch.setattr(FakeHost, "problems", [])

    def make(count=1, **more):
        return WorkerProcesses(FakeHost(), count, [], **more)

    return make


def test_a_death_is_not_forgotten_while_the_database_is_away(parent, monkeypatch):
    told, answers = [], [OperationalError("away"), OperationalError("away"), None]

    def release(dead):
        told.append([one.pid for one in dead])
        if error := answers.pop(0):
            raise error

    monkeypatch.setattr(module, "release_runs_of", release)
    monkeypatch.setattr(module, "PAUSE", 0.01)
    supervisor, stop = parent(), StopToken()
    supervisor.step(stop)
    (process,) = FakeProcess.made
    process.returncode = -9

    wait_until(lambda: supervisor.step(stop) and not answers)

    assert told == [[process.pid]] * 3
    wait_until(lambda: supervisor.step(stop) and not supervisor._dead)


def test_the_delay_grows_and_begins_anew_after_a_long_life(parent, monkeypatch, caplog):
    monkeypatch.setattr(module, "release_runs_of", lambda dead: None)
    supervisor, stop = parent(), StopToken()
    supervisor._backoff = module.Backoff(initial=0.5, maximum=30, jitter=0)
    for lived in (0, 0, 0, module.HEALTHY + 1, 0):
        supervisor.places[0].start_after = 0
        supervisor.step(stop)
        process = FakeProcess.made[-1]
        process.returncode = 4
        process.started_at -= lived
        supervisor.step(stop)
    assert re.findall(r"starts again in ([\d.]+) s", caplog.text) == ["0.5", "1.0", "2.0", "0.5", "1.0"]
    assert len(FakeProcess.made) == 5


def test_one_that_has_done_its_share_is_replaced_at_once(parent, monkeypatch):
    monkeypatch.setattr(module, "release_runs_of", lambda dead: None)
    supervisor, stop = parent(), StopToken()
    for made in range(1, 4):
        supervisor.step(stop)
        assert len(FakeProcess.made) == made
        FakeProcess.made[-1].returncode = 0


def test_the_first_processes_do_not_all_end_after_the_same_number_of_runs(parent, monkeypatch):
    for most, shares in ((1000, ["1000", "875", "750", "625"]), (1, ["1"] * 4)):
        FakeProcess.made.clear()
        supervisor = parent(4, max_runs=most)
        supervisor.step(StopToken())
        assert [one.command[one.command.index("--max-runs") + 1] for one in FakeProcess.made] == shares


@pytest.mark.parametrize(("code", "problems"), [(0, 0), (-15, 0), (5, 1), (4, 1), (-9, 1)])
def test_how_the_children_end_is_how_the_parent_ends(parent, monkeypatch, code, problems):
    monkeypatch.setattr(module, "release_runs_of", lambda dead: None)
    monkeypatch.setattr(FakeProcess, "send_signal", lambda self, number: setattr(self, "returncode", code))
    supervisor, stop = parent(2), StopToken()
    supervisor.step(stop)
    stop.request("test", Deadline.after(5))
    supervisor.last_step(stop)
    assert len(FakeHost.problems) == 2 * problems


# ---------------------------------------------------------------------------------------- those that did their share


def test_a_process_is_replaced_after_its_share_of_runs_without_any_error():
    with workers("--max-runs-per-process", "4", "--concurrency", "2") as parent:
        for _ in range(14):
            tasks.where.enqueue()
        wait_until(lambda: Run.objects.succeeded().count() == 14, timeout=60)
        assert parent.stop() == 0, parent.output
    of_each = [effects("where").count(pid) for pid in set(effects("where"))]
    assert max(of_each) <= 4 and len(of_each) >= 4
    assert set(Run.objects.values_list("attempt", "lost")) == {(1, 0)}
    assert "has done its share and is replaced" in parent.output
    assert bad_lines(parent) == []
    assert set(Host.objects.values_list("state", "exit_code")) == {("stopped", 0)}


def test_a_process_that_takes_too_much_memory_is_replaced_without_any_error():
    with workers("--max-memory-per-process", "250", count=2) as parent:
        tasks.eat.enqueue(200)
        parent.wait_for_line("MB of memory, more than 250")
        parent.wait_for_line("services running", count=4)
        tasks.where.enqueue()
        wait_until(lambda: effects("where"))
        assert parent.stop() == 0, parent.output
    assert "has done its share and is replaced" in parent.output
    assert bad_lines(parent) == []
    assert effects("ate")[0] not in effects("where")


def test_a_limit_of_memory_below_what_the_site_needs_is_told_and_runs_are_still_executed():
    with workers("--max-memory-per-process", "5", count=1) as parent:
        parent.wait_for_line("before its first run: more than the 5 MB that it may take")
        for _ in range(3):
            tasks.where.enqueue()
        wait_until(lambda: len(effects("where")) == 3)
        parent.wait_for_line("has done its share and is replaced")
        assert parent.stop() == 0, parent.output


def test_a_process_finishes_its_long_run_before_it_is_replaced(tmp_path):
    go = tmp_path / "go"
    with workers("--max-runs-per-process", "2", count=1) as parent:
        tasks.wait_for_file.enqueue(str(go))
        (old,) = waiting_in()
        for _ in range(2):
            tasks.where.enqueue()
        wait_until(lambda: effects("where") == [str(old)])
        go.touch()
        wait_until(lambda: len(set(effects("where"))) == 2)
        assert effects("waited") == [str(old)] and not is_alive(old)
        assert parent.stop() == 0, parent.output
    assert set(Run.objects.values_list("status", "attempt", "lost")) == {("succeeded", 1, 0)}
    assert bad_lines(parent) == []


@pytest.mark.parametrize(
    "flags",
    [
        ["--max-runs-per-process", "5"],
        ["--max-memory-per-process", "500"],
        ["--processes", "2", "--max-runs-per-process", "5", "--no-worker"],
        ["--processes", "2", "--max-runs-per-process", "5", "--drain"],
    ],
)
def test_limits_per_process_need_processes(flags):
    done = manage(*QUICK, *flags)
    assert done.returncode == 1
    assert "need worker processes: add --processes" in done.stderr
    assert Traceback not in done.stderr


def test_a_share_of_nothing_is_no_share():
    done = manage(*QUICK, "--processes", "2", "--max-runs-per-process", "0")
    assert (done.returncode, "is not a whole number from 1" in done.stderr) == (1, True)


# ------------------------------------------------------------------------------------------------------------ the stop


def test_a_stop_hands_back_what_hears_of_it_and_ends_with_0():
    with workers() as parent:
        tasks.listen.enqueue()
        wait_until(lambda: effects("listens"))
        assert parent.stop() == 0, parent.output
    run = Run.objects.get()
    assert (run.status, run.attempt, run.lost) == ("ready", 0, 0)
    assert bad_lines(parent) == []


def test_work_that_a_child_had_to_abandon_makes_the_exit_code_5(tmp_path):
    with workers(SHUTDOWN_TIMEOUT=5) as parent:
        tasks.wait_for_file.enqueue(str(tmp_path / "never"))
        waiting_in()
        began = time.monotonic()
        assert parent.stop() == 5, parent.output
        assert time.monotonic() - began < 5
    assert "ended with exit code 5" in parent.output and "was killed" not in parent.output
    run = Run.objects.get()
    assert (run.status, run.attempt, run.lost) == ("ready", 0, 0)


def test_a_deaf_run_in_a_child_makes_the_exit_code_5_in_time():
    with workers(SHUTDOWN_TIMEOUT=4) as parent:
        tasks.hold_the_interpreter.enqueue()
        wait_until(lambda: effects("holds"))
        began = time.monotonic()
        assert parent.stop() == 5, parent.output
        assert time.monotonic() - began < 5
    assert "did not stop and was killed" in parent.output
    run = Run.objects.get()
    assert (run.status, run.lost) == ("ready", 1)
    assert not Host.objects.live().exists()


def test_a_child_that_was_stopped_in_the_other_sense_is_killed_in_time():
    with workers(SHUTDOWN_TIMEOUT=4) as parent:
        os.kill(pids()[0], signal.SIGSTOP)
        assert parent.stop() == 5, parent.output
    assert "worker process 1" in parent.output and "did not stop and was killed" in parent.output


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_second_signal_ends_the_children_at_once_too(number, tmp_path):
    with workers(SHUTDOWN_TIMEOUT=20) as parent:
        tasks.wait_for_file.enqueue(str(tmp_path / "never"))
        waiting_in()
        parent.send(number)
        parent.wait_for_line("stopping: received")
        began = time.monotonic()
        parent.send(number)
        assert parent.wait() == 128 + number
        wait_until(lambda: not any(is_alive(pid) for pid in pids()), timeout=1)
        assert time.monotonic() - began < 1
    assert Traceback not in parent.output


def test_a_stop_while_the_children_begin_is_clean():
    with Process(*QUICK, "--processes", "2", BACKGROUND_TEST_SETTINGS=settings()) as parent:
        parent.wait_for_line("worker process 2 started")
        assert parent.stop() == 0, parent.output
    assert Traceback not in parent.output
    assert not Host.objects.live().exists()


def test_a_delay_before_stopping_is_waited_for_once():
    with workers(DRAIN_DELAY=5) as parent:
        began = time.monotonic()
        assert parent.stop() == 0, parent.output
        assert 5 < time.monotonic() - began < 10  # the parent's and its children's, one after the other, would be more


# -------------------------------------------------------------------------------------------------- without a parent


def test_children_whose_parent_was_killed_end_within_two_seconds_whatever_they_do():
    with workers() as parent:
        tasks.hold_the_interpreter.enqueue()
        (holding,) = wait_until(lambda: effects("holds"))
        (other,) = set(pids()) - {int(holding)}
        os.kill(other, signal.SIGSTOP)
        parent.send(signal.SIGKILL)
        parent.popen.wait(5)
        wait_until(lambda: not is_alive(other) and not is_alive(int(holding)), timeout=2.3)


def test_children_whose_parent_was_killed_hand_their_runs_back(tmp_path):
    with workers() as parent:
        tasks.wait_for_file.enqueue(str(tmp_path / "never"))
        waiting_in()
        parent.send(signal.SIGKILL)
        parent.popen.wait(5)
        wait_until(lambda: not any(is_alive(pid) for pid in pids()), timeout=2.3)
    run = Run.objects.get()
    assert (run.status, run.attempt, run.lost) == ("ready", 0, 0)


def test_a_guardian_that_was_killed_itself_is_replaced_and_ends_with_the_others():
    guardian = Guardian()
    guardian.watch([10_000_000])
    first = guardian._shell
    first.kill()
    first.wait()
    guardian.watch([10_000_001])
    assert guardian._shell is not first
    began = time.monotonic()
    guardian.close()
    assert time.monotonic() - began < 1


# -------------------------------------------------------------------------------------------- databases and reloading


proxied = pytest.mark.skipif(connection.vendor != "postgresql", reason="the proxy speaks to PostgreSQL only")


@proxied
def test_a_process_killed_while_the_database_is_away_is_released_when_it_is_back(tmp_path):
    proxy = Proxy()
    proxy.open()
    try:
        with workers(HOST_TIMEOUT=60, env={"DATABASE_URL": through(proxy)}) as parent:
            tasks.wait_for_file.enqueue(str(tmp_path / "go"))
            (pid,) = waiting_in()
            proxy.close()
            parent.wait_for_line("the host waits for the database")
            os.kill(pid, signal.SIGKILL)
            parent.wait_for_line("died with exit code -9")
            proxy.open()
            opened_at = time.monotonic()
            waiting_in(2)
            assert time.monotonic() - opened_at < 5
            (tmp_path / "go").touch()
            parent.stop()
    finally:
        proxy.close()


@proxied
def test_the_children_hear_of_a_stop_at_once_while_the_database_is_away():
    proxy = Proxy()
    proxy.open()
    try:
        with workers(SHUTDOWN_TIMEOUT=6, env={"DATABASE_URL": through(proxy)}) as parent:
            proxy.close()
            parent.wait_for_line("the host waits for the database")
            began = time.monotonic()
            parent.stop()
            assert time.monotonic() - began < 7
            assert not any(is_alive(pid) for pid in pids())
    finally:
        proxy.close()
    assert Traceback not in parent.output


def test_changed_code_restarts_the_parent_and_its_children_and_ctrl_c_ends_them_all(tmp_path):
    watched = tmp_path / "watched_module.py"
    watched.write_text("VALUE = 1\n")
    env = {"PYTHONPATH": str(tmp_path), "BACKGROUND_TEST_IMPORT": "watched_module"}
    with Process("runbackground", "--no-services", "--reload", "--processes", "2", **env) as parent:
        parent.wait_for_line("services running", count=3, timeout=40)
        first = pids()
        stat = watched.stat()
        os.utime(watched, (stat.st_atime, stat.st_mtime + 10))
        parent.wait_for_line("services running", count=6, timeout=40)
        assert not any(is_alive(pid) for pid in first)
        second = set(pids()) - set(first)
        assert len(second) == 2
        parent.press_ctrl_c()
        assert parent.wait() == 0, parent.output
        assert not any(is_alive(pid) for pid in second)
    assert Traceback not in parent.output
    assert set(Host.objects.exclude(exit_code=3).values_list("exit_code", flat=True)) == {0}
