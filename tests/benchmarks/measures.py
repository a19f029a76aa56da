"""Own what is measured of one peer, in a process that has its packages; README.md says what each figure means."""

import os
import random
import time
from pathlib import Path

from tests.benchmarks import environment
from tests.benchmarks.processes import Worker, coarse_cpu, command_of, exact_cpu, memory
from tests.benchmarks.tasks import RECORD

POLL = 0.005
FIRST = 40  # seconds that the first run may take
LATER = 15  # seconds that the last of a few runs may take


class Marks:
    """The file in memory to which each run appends its number and start."""

    def __init__(self, peer):
        memory_disk = Path("/dev/shm")
        where = memory_disk if memory_disk.is_dir() else environment.folder("data")
        self.path = where / f"bench-{peer.slug}-{os.getpid()}-{time.monotonic_ns()}"
        self.path.touch()

    def __len__(self):
        return self.path.stat().st_size // RECORD.size

    def read(self):
        return list(RECORD.iter_unpack(self.path.read_bytes()))


class Running:
    """A worker of the peer and its marks, for as long as a `with`; afterwards `ended` says how it stopped."""

    def __init__(self, peer):
        self.marks, self.peer, self.ended = Marks(peer), peer, {}

    def __enter__(self):
        self.worker = Worker(self.peer, self.marks.path)
        return self

    def __exit__(self, *problem):
        self.ended = self.worker.stop()
        self.marks.path.unlink()

    def wait(self, count, seconds):
        """Return whether so many runs have begun within that time."""
        limit = time.monotonic() + seconds
        while len(self.marks) < count:
            if not self.worker.alive:
                raise SystemExit(f"The worker of {self.peer.name} ended by itself; see {self.worker.log.name}.")
            if time.monotonic() > limit:
                return False
            time.sleep(POLL)
        return True


def fill(peer, count):
    """Enqueue, first one by one (where there is a bulk call: for at most 4 s), then in bulk; return the rates."""
    began, done, rates = time.perf_counter(), 0, {}
    singles = min(count, peer.singles) if peer.enqueue_many else count
    while done < singles and not (peer.enqueue_many and time.perf_counter() - began > 4):
        peer.enqueue(done)
        done += 1
    if done >= 100:
        rates["enqueue_per_s"] = round(done / (time.perf_counter() - began), 1)
    if left := count - done:
        began = time.perf_counter()
        for first in range(done, count, peer.chunk):
            peer.enqueue_many(range(first, min(count, first + peer.chunk)))
        rates["enqueue_many_per_s"] = round(left / (time.perf_counter() - began), 1)
    return rates


def drain(peer, options):
    """Let runs wait, start the worker, and take the time from the first start until the store calls all finished."""
    count = options.n or peer.n
    found = {"n": count, **fill(peer, count)}
    if peer.store:
        peer.store.settle()
    with Running(peer) as running:
        if not running.wait(1, FIRST):
            raise SystemExit(f"No run of {peer.name} began.")
        servers = peer.servers()
        cpu, server_cpu, before = coarse_cpu(running.worker.members()), coarse_cpu(servers), len(running.marks)
        complete = running.wait(count, options.limit)
        end, left = finished(peer, time.monotonic() + options.limit) if complete else (time.monotonic_ns(), None)
        cpu = coarse_cpu(running.worker.members()) - cpu
        server_cpu = coarse_cpu(peer.servers()) - server_cpu
        records = running.marks.read()
    starts = [at for _, at in records]
    ran, seconds = len({number for number, _ in records}), (max(end, max(starts)) - min(starts)) / 1e9
    per_run = 1000 * max(1, ran - before)
    return {
        **found, **running.ended, "ran": ran, "twice": len(records) - ran, "cut": left != 0, "seconds": round(seconds, 3),
        "runs_per_s": round(ran / seconds, 1), "worker_us": round(cpu / per_run, 1), "server_us": round(server_cpu / per_run, 1),
    }  # fmt: skip


def finished(peer, limit):
    """Wait until the store calls all runs finished; return when that was known not to be so later, and how many are left."""
    while True:
        asked = time.monotonic_ns()
        left = peer.unfinished()
        if not left or time.monotonic() > limit:
            return asked, left
        time.sleep(POLL)


def history(peer, options):
    """Drain beside many finished runs, in a database that is kept for the next repeat."""
    if not rows_kept(peer).exists():
        peer.seed(options.history)
        rows_kept(peer).write_text(str(options.history))
    return {"history": options.history, **drain(peer, options)}


def rows_kept(peer):
    """The file that says how many finished runs were written: counting millions takes longer than what is measured."""
    return environment.folder("data") / f"{peer.slug}.rows"


def latency(peer, options):
    """Enqueue to an idle, warm worker every 20 to 50 ms; take the time from before the call to the function's first line."""
    peer.enqueue(0)
    with Running(peer) as running:
        found = {"start_s": cold_start(running)}
        time.sleep(1.5)
        for i in range(1, 6):  # the paths are warm
            peer.enqueue(i)
            time.sleep(0.05)
        running.wait(6, LATER)
        pauses, sent, calls = random.Random(7), {}, []
        for i in range(1000, 1000 + options.samples):
            sent[i] = time.monotonic_ns()
            peer.enqueue(i)
            calls.append((time.monotonic_ns() - sent[i]) / 1e6)
            time.sleep(pauses.uniform(0.020, 0.050))
        running.wait(6 + options.samples, LATER)
        starts = dict(reversed(running.marks.read()))  # of each the first start
        time.sleep(1)
    delays = [(starts[i] - at) / 1e6 for i, at in sent.items() if i in starts]
    found |= {"samples": len(delays), "lost": len(sent) - len(delays), "enqueue_p50_ms": percentile(calls, 0.5)}
    ranks = {"p50_ms": 0.5, "p95_ms": 0.95, "p99_ms": 0.99, "max_ms": 1}
    return {**found, **{name: percentile(delays, rank) for name, rank in ranks.items()}, **running.ended}


def cold_start(running):
    """Seconds from the start of the process until the waiting run began."""
    if not running.wait(1, FIRST):
        raise SystemExit(f"No run of {running.peer.name} began.")
    return round((running.marks.read()[0][1] - running.worker.spawned) / 1e9, 3)


def percentile(values, rank):
    ordered = sorted(values)
    return round(ordered[min(len(ordered) - 1, int(rank * len(ordered)))], 3) if ordered else None


def idle(peer, options):
    """What a worker without work costs: one run, a rest, and then its CPU, statements and memory for a while."""
    if peer.store:
        peer.store.count_statements(True)
    peer.enqueue(0)
    with Running(peer) as running:
        found = {"start_s": cold_start(running)}
        peer.let_go()
        time.sleep(4)
        counted, members = counters(peer), running.worker.members()
        name = getattr(peer.store, "name", "")  # as in the titles of PostgreSQL's processes
        servers = [pid for pid in peer.servers() if "postgres" not in command_of(pid) or f" {name} " in command_of(pid)]
        cpu, coarse, server_cpu, began = exact_cpu(members), coarse_cpu(members), exact_cpu(servers), time.monotonic()
        time.sleep(options.idle)
        now = running.worker.members()
        same = now == members  # else the exact figure has lost those that ended
        cpu = exact_cpu(now) - cpu if same else coarse_cpu(now) - coarse
        seconds, server_cpu = time.monotonic() - began, exact_cpu(servers) - server_cpu
        resident, proportional = memory(now)
        threads = sum(len(os.listdir(f"/proc/{pid}/task")) for pid in now)
        time.sleep(1.2)  # PostgreSQL's processes tell their counts once a second
        later, seconds_counted = counters(peer), time.monotonic() - began
    if peer.store:
        peer.store.count_statements(False)
    # Less one: the question itself is a statement, too.
    rates = {f"{name}_per_s": round(max(0, later[name] - counted[name] - 1) / seconds_counted, 2) for name in counted}
    return {
        **found, **rates, **running.ended, "cpu_percent": round(cpu / 1e7 / seconds, 3),
        "server_cpu_percent": round(server_cpu / 1e7 / seconds, 3), "processes": len(now), "rss_mb": resident, "pss_mb": proportional,
        "threads": threads,
    }  # fmt: skip


def counters(peer):
    return {key: value for one in (peer.store, peer.redis) if one for key, value in one.counters().items()}


# What `run --measures` may name: what is done, with which function of the peer.
MEASURES = {
    "drain": (drain, "noop"),
    "orm": (drain, "orm"),
    "async": (drain, "coroutine"),
    "hot": (drain, "hot"),
    "job": (drain, "job"),
    "latency": (latency, "noop"),
    "idle": (idle, "noop"),
    "history": (history, "noop"),
}
