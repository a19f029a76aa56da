"""Own what Linux tells of processes: who belongs together, what CPU and memory they use, and how disturbed the machine is."""

import os
import signal
import subprocess
import time
from contextlib import suppress
from pathlib import Path

from tests.benchmarks import environment

TICK = 10_000_000  # nanoseconds; what CPU times of ended processes are counted in
GONE = (OSError, ValueError, IndexError)


def stat(pid):
    """The fields of /proc/PID/stat from the third on: state, parent, group, session, ..."""
    return Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()


def stats():
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            with suppress(*GONE):
                yield int(entry), stat(entry)


def children(parent):
    return [pid for pid, fields in stats() if int(fields[1]) == parent]


def named(*names):
    found = []
    for pid, _ in stats():
        with suppress(*GONE):
            if Path(f"/proc/{pid}/comm").read_text().strip() in names:
                found.append(pid)
    return found


def command_of(pid):
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().decode(errors="replace")
    except GONE:
        return ""


def exact_cpu(pids):
    """CPU time of the living threads, nanoseconds."""
    total = 0
    for pid in pids:
        for path in Path(f"/proc/{pid}/task").glob("*/schedstat"):
            with suppress(*GONE):
                total += int(path.read_text().split()[0])
    return total


def coarse_cpu(pids):
    """CPU time with that of ended threads and of ended, awaited children, nanoseconds in steps of 10 ms."""
    total = 0
    for pid in pids:
        with suppress(*GONE):
            total += sum(int(ticks) for ticks in stat(pid)[11:15])
    return total * TICK


def memory(pids):
    """Resident and proportional megabytes: the first counts shared pages once per process."""
    sizes = {"Rss:": 0, "Pss:": 0}
    for pid in pids:
        with suppress(*GONE):
            for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
                name, *rest = line.split()
                if name in sizes:
                    sizes[name] += int(rest[0])
    return round(sizes["Rss:"] / 1024, 1), round(sizes["Pss:"] / 1024, 1)


def percent_busy(seconds):
    began = _ticks()
    time.sleep(seconds)
    total, busy, _ = (after - before for before, after in zip(began, _ticks(), strict=True))
    return 100 * busy / max(1, total)


def _ticks():
    """All, busy and stolen ticks of the machine."""
    user, nice, system, idle, wait, hard, soft, steal = map(int, Path("/proc/stat").read_text().split()[1:9])
    busy = user + nice + system + hard + soft
    return busy + idle + wait + steal, busy, steal


class Machine:
    """How much of the machine others used while something was measured."""

    def __init__(self, ours):
        self._ours = ours  # () -> pids that belong to the measurement besides this process and the worker
        self._began = self._now()

    def _now(self):
        return *_ticks(), (time.process_time_ns() + coarse_cpu(self._ours())) / TICK

    def disturbance(self, worker):
        """Return shares of all cores; `worker` is the CPU time of the worker's processes, seconds."""
        total, busy, steal, own = (after - before for before, after in zip(self._began, self._now(), strict=True))
        return {
            "foreign_percent": round(100 * max(0, busy - own - worker * 1e9 / TICK) / max(1, total), 1),
            "steal_percent": round(100 * steal / max(1, total), 1),
            "python_ms": _python_speed(),
        }


def _python_speed():
    """Milliseconds of a fixed piece of Python: how fast the core is now."""
    began, total = time.perf_counter(), 0
    for number in range(300_000):
        total += number & 7
    return round((time.perf_counter() - began) * 1000, 2)


class Worker:
    """The worker command of a peer, with all processes that come from it."""

    def __init__(self, peer, marks):
        python = environment.python_of(peer.family)
        places = {"python": python, "bin": os.path.dirname(python)}
        command = [word.format(**places) for word in peer.worker()]
        environ = environment.environ(BENCH_PEER=peer.name, BENCH_MARKS=str(marks), **peer.environ())
        environ.pop("PYTHONDONTWRITEBYTECODE", None)
        self.log = environment.folder("logs") / f"{peer.slug}.log"
        self.spawned = time.monotonic_ns()
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                command, env=environ, cwd=environment.folder("data"), stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                start_new_session=True,
            )  # fmt: skip
        self._seen = {}  # pid -> when it began: pids come again

    @property
    def alive(self):
        return self.process.poll() is None

    def members(self):
        """Return the living processes: of its session, descendants, and those once seen whose parent is gone."""
        now = {pid: fields for pid, fields in stats() if fields[0] != b"Z"}
        mine = {pid for pid, fields in now.items() if int(fields[3]) == self.process.pid}
        mine |= {pid for pid, began in self._seen.items() if pid in now and now[pid][19] == began}
        while more := {pid for pid, fields in now.items() if int(fields[1]) in mine} - mine:
            mine |= more
        self._seen = {pid: now[pid][19] for pid in mine}
        return sorted(mine)

    def stop(self, limit=15):
        """Send SIGTERM to the main process and return how long it took until all are gone."""
        cpu = coarse_cpu(self.members())
        began, killed = time.monotonic(), False
        if self.alive:
            self.process.send_signal(signal.SIGTERM)
        while self.alive or self.members():
            if time.monotonic() - began > limit:
                killed = True
                for pid in self.members():
                    with suppress(ProcessLookupError):
                        os.kill(pid, signal.SIGKILL)
            time.sleep(0.005)
        seconds = round(time.monotonic() - began, 3)
        return {"exit_s": seconds, "exit_code": self.process.returncode, "killed": killed, "worker_cpu_s": cpu / 1e9}
