"""What the chaos tests look at in the end, and how they tell what is wrong: which run, its state, its errors."""

import time
from collections import Counter

from background.models import Host, Run
from tests.app.models import Effect


def story(run):
    """Tell about one run in a line."""
    errors = "; ".join(f"{one['type']}: {one['message']}" for one in run.errors[-3:])
    return (
        f"run {run.id} of {run.task.rpartition('.')[2]}{run.args} is {run.status} on {run.host_name or 'no host'}, "
        f"attempt {run.attempt}, lost {run.lost}{', ' + errors if errors else ''}"
    )


def stories(runs):
    found = [story(run) for run in runs[:20]]
    more = len(runs) - len(found)
    return "\n".join([*found, *([f"... and {more} more"] if more else [])])


def wait_for_end(timeout, fleet=None):
    """Wait until no run is open; AssertionError with those that are, and what the hosts said."""
    deadline = time.monotonic() + timeout
    while Run.objects.open().exists():
        if time.monotonic() > deadline:
            counts = Counter(Run.objects.values_list("status", flat=True))
            hosts = list(Host.objects.values_list("name", "state", "running"))
            raise AssertionError(
                f"after {timeout} s runs are still open ({dict(counts)}; hosts {hosts}):\n"
                f"{stories(list(Run.objects.open()))}\n{fleet.output[-6000:] if fleet else ''}"
            )
        time.sleep(0.1)


def assert_all_succeeded(expected, output=""):
    others = list(Run.objects.exclude(status=Run.Status.SUCCEEDED))
    assert not others, f"{len(others)} runs did not succeed:\n{stories(others)}\n{output[-6000:]}"
    assert Run.objects.succeeded().count() == expected


def assert_unburnt():
    """See that no run needed a second attempt or was lost."""
    burnt = list(Run.objects.exclude(attempt=1, lost=0))
    assert not burnt, f"{len(burnt)} runs were lost or tried again:\n{stories(burnt)}"


def effects(name):
    """Return how often each note was left under a name."""
    return Counter(Effect.objects.filter(name=name).values_list("note", flat=True))


def assert_exactly_once(name, numbers):
    found, wanted = effects(name), {str(number) for number in numbers}
    wrong = {note: found[note] for note in wanted | set(found) if found[note] != 1 or note not in wanted}
    assert not wrong, f"effects {name!r} that are not there exactly once, with their counts: {wrong}"


def assert_at_least_once(name, numbers):
    found = effects(name)
    missing = [number for number in numbers if not found[str(number)]]
    assert not missing, f"effects {name!r} that are missing: {missing}"


def times(folder):
    """Return what the functions themselves noted: (key, word, pid, nanoseconds), in the order of time."""
    lines = [line.split() for path in folder.glob("times.*") for line in path.read_text().splitlines()]
    return sorted(((key, word, int(pid), int(at)) for key, word, pid, at in lines), key=lambda line: line[3])
