"""What may run only so often at once does, over all hosts: by the times that the functions themselves write down."""

import random
import time

import pytest

from background.models import Run
from background.queue.enqueue import enqueue_many
from tests.chaos import background as tasks
from tests.chaos.findings import assert_all_succeeded, times, wait_for_end
from tests.chaos.hosts import Fleet
from tests.processes import wait_until

pytestmark = pytest.mark.django_db(transaction=True)

CONCURRENCY = 4


def most_at_once(lines, falls=()):
    """Return how many uses were open at the same time at most; `falls` are (pid, nanoseconds) of processes killed."""
    events = []
    for key, word, pid, at in lines:
        events.append((at, 1 if word == "began" else 0, key, pid))
    events += [(at, -1, "", pid) for pid, at in falls]
    open_uses, most = set(), 0
    for _, kind, key, pid in sorted(events, key=lambda event: event[:2]):
        if kind == 1:
            open_uses.add((pid, key))
        elif kind == 0:
            open_uses.discard((pid, key))
        else:
            open_uses = {one for one in open_uses if one[0] != pid}
        most = max(most, len(open_uses))
    return most


def begin(scale, folder):
    """Enqueue runs of one key that one, and of another that three may hold, and runs that anyone may execute."""
    numbers = range(scale(40, 600))
    enqueue_many(
        order
        for n in numbers
        for order in (
            (tasks.use_alone, [str(folder), "alone", n, 0.02], {}),
            (tasks.use_by_three, [str(folder), "three", n, 0.06], {}),
            (tasks.use_freely, [str(folder), "free", n, 0.02], {}),
        )
    )
    return len(numbers) * 3


def holders(fleet):
    """Return the places in the fleet whose hosts execute runs of the key that three may hold."""
    rows = Run.objects.running().filter(concurrency_key__contains="three")
    names = set(rows.values_list("host_name", flat=True))
    return [place for place, host in enumerate(fleet.hosts) if host.name in names]


def assert_within_limits(folder, falls=()):
    lines = times(folder)
    for key, limit in (("alone", 1), ("three", 3)):
        most = most_at_once([line for line in lines if line[0].startswith(f"{key}:")], falls)
        assert most <= limit, f"{most} runs of the key {key!r} were executed at once; allowed are {limit}"
    for pid in {line[2] for line in lines}:
        most = most_at_once([line for line in lines if line[2] == pid], falls)
        assert most <= CONCURRENCY, f"process {pid} executed {most} runs at once; its --concurrency is {CONCURRENCY}"
    return lines


def share_in_use(lines, key):
    """Return the part of the time, from the first use of a key to its last, in which somebody has used it."""
    own = [(word, at) for name, word, _, at in lines if name.startswith(f"{key}:")]
    used = sum(at if word == "ended" else -at for word, at in own)
    return used / (own[-1][1] - own[0][1])


def test_limits_of_keys_hold_over_three_hosts(scale, report, tmp_path):
    """In the long form hosts are killed on the way, with runs of the key in their hands."""
    falls, kills = [], scale(0, 5)
    with Fleet(3, "--concurrency", str(CONCURRENCY), HOST_TIMEOUT=scale(15, 3)) as fleet:
        total = begin(scale, tmp_path)
        for kill in range(1, kills + 1):
            wait_until(lambda kill=kill: Run.objects.finished().count() >= total * kill // (kills + 2), timeout=300)
            place = random.choice(wait_until(lambda: holders(fleet), timeout=60))
            pid = fleet[place].pid
            fleet.kill(place)
            falls.append((pid, time.time_ns()))
        wait_for_end(scale(90, 600), fleet)
        fleet.stop()
    assert_all_succeeded(total, fleet.output)
    lines = assert_within_limits(tmp_path, falls)
    assert len({pid for _, _, pid, _ in lines}) > 1, "only one host has executed anything"
    if not kills:
        busy = round(100 * share_in_use(lines, "alone"))
        report["one key, concurrency=1, runs of 20 ms, beside others"] = {"slot in use, per cent": busy}


def test_the_measure_finds_uses_that_overlap():
    def use(key, pid, began, ended):
        return [(key, "began", pid, began), *([(key, "ended", pid, ended)] if ended else [])]

    apart = [*use("a:1", 1, 0, 10), *use("a:2", 2, 11, 20)]
    over = [*use("a:1", 1, 0, 10), *use("a:2", 2, 9, 20)]
    killed = [*use("a:1", 1, 0, None), *use("a:2", 2, 9, 20)]
    assert most_at_once(apart) == 1
    assert most_at_once(over) == most_at_once(killed) == 2
    assert most_at_once(killed, falls=[(1, 8)]) == 1
    assert most_at_once(killed, falls=[(1, 10)]) == 2
