"""A host that was frozen beyond HOST_TIMEOUT: others have its runs when it goes on, and nothing that it says counts."""

import signal
import time

import pytest
from django.db import connection

from background.models import Artifact, Host, Run, RunLog
from background.queue.enqueue import enqueue_many
from tests.chaos import background as tasks
from tests.chaos.findings import assert_all_succeeded, assert_exactly_once, stories, wait_for_end
from tests.chaos.hosts import STARTED, ChaosHost
from tests.processes import wait_until

pytestmark = pytest.mark.django_db(transaction=True)

REFUSED = "is not held under this claim any more; its outcome is discarded"


def freeze_and_thaw(zombie, orders, folder):
    """Have one host begin these runs, freeze it until another has ended them, and let it go on; return its fresh row."""
    runs = enqueue_many(orders)
    wait_until(lambda: all((folder / str(run.args[1])).exists() for run in runs), timeout=60)
    (before,) = Host.objects.live()
    zombie.send(signal.SIGSTOP)
    with ChaosHost("heir") as heir:
        heir.wait_for_line(STARTED, timeout=60)
        wait_for_end(60, heir)
        (folder / "go").touch()
        zombie.send(signal.SIGCONT)
        fresh = wait_until(
            lambda: Host.objects.live().filter(name=zombie.name, pid=before.pid).exclude(id=before.id).first()
        )
        assert heir.stop() == 0, heir.output
    before.refresh_from_db()
    assert before.state == "lost", f"the frozen host's row says {before.state}"
    return fresh


def wait_for_files(folder, pattern, count, zombie):
    """Return the files by which the functions tell how they went on, when all of them are there."""
    deadline = time.monotonic() + 30
    while len(found := list(folder.glob(pattern))) < count:
        there = sorted(path.name for path in folder.iterdir())
        assert time.monotonic() < deadline, f"not {count} files {pattern} but {there}:\n{zombie.output}"
        time.sleep(0.05)
    return found


def assert_works_on(zombie, host):
    """See that the host executes runs under its new id, and ends in order with nothing left to write."""
    runs = enqueue_many((tasks.write, [f"afterwards {n}"], {}) for n in range(5))
    wait_for_end(30, zombie)
    assert zombie.stop() == 0, zombie.output
    found = Run.objects.filter(id__in=[run.id for run in runs])
    assert {run.host_id for run in found} == {host.id}, stories(list(found))


def assert_only_the_heir_is_heard(numbers):
    runs = list(Run.objects.filter(args__1__in=list(numbers)))
    wrong = [
        run for run in runs if run.result != "alive" or run.progress_message == "zombie" or run.host_name != "heir"
    ]
    assert not wrong, f"the zombie's word was taken for:\n{stories(wrong)}"
    assert len(runs) == len(numbers)
    assert not RunLog.objects.filter(message__contains="zombie").exists()
    assert not Artifact.objects.filter(name="zombie.txt").exists()


def test_what_a_zombie_says_is_refused_and_its_runs_are_told_to_stop(scale, tmp_path):
    with ChaosHost("zombie") as zombie:
        zombie.wait_for_line(STARTED, timeout=60)
        for turn in range(scale(1, 5)):
            folder = tmp_path / str(turn)
            folder.mkdir()
            speaking, listening = [f"{turn}-speaks-{n}" for n in range(3)], [f"{turn}-listens-{n}" for n in range(3)]
            orders = [
                *((tasks.speak_when_thawed, [str(folder), n], {}) for n in speaking),
                *((tasks.listen_when_thawed, [str(folder), n], {}) for n in listening),
            ]
            fresh = freeze_and_thaw(zombie, orders, folder)
            heard = wait_for_files(folder, "*.heard", 3, zombie)
            assert {path.read_text() for path in heard} == {"host-lost"}
            wait_for_files(folder, "*.refused", 3, zombie)
            assert_only_the_heir_is_heard([*speaking, *listening])
        assert_works_on(zombie, fresh)
    assert_only_the_heir_is_heard([*speaking, *listening])  # now that it has written its last words
    assert_all_succeeded(6 * scale(1, 5) + 5, zombie.output)
    assert zombie.output.count(REFUSED) >= 3 * scale(1, 5), zombie.output


def test_the_open_transactions_of_a_zombie_are_rolled_back(scale, tmp_path):
    if connection.vendor == "sqlite":
        pytest.skip("SQLite: an atomic run holds the only write lock")
    done = []
    with ChaosHost("zombie") as zombie:
        zombie.wait_for_line(STARTED, timeout=60)
        for turn in range(scale(1, 5)):
            folder = tmp_path / str(turn)
            folder.mkdir()
            in_threads, in_process = [f"{turn}-thread-{n}" for n in range(3)], f"{turn}-process"
            orders = [(tasks.book_when_thawed, [str(folder), n], {}) for n in in_threads]
            fresh = freeze_and_thaw(zombie, [*orders, (tasks.book_in_process, [str(folder), in_process], {})], folder)
            wait_for_files(folder, "*.thawed", 4, zombie)
            done += [*in_threads, in_process]
            assert_only_the_heir_is_heard([*in_threads, in_process])
        assert_works_on(zombie, fresh)
    assert_only_the_heir_is_heard(done)
    assert_exactly_once("booked", done)
