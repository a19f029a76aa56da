"""Own the figures for Prometheus: hosts, queues, services, what ended and how long it took. From sums, never from history."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.utils.crypto import constant_time_compare

from background.attention import ERROR, WARNING, Glance, attention
from background.conf import get_settings
from background.models import Statistic
from background.models.queue import EVERYTHING
from background.models.statistics import EDGES, Sums
from background.scope import database_alias

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
# Classes of the histograms: two to a power of ten, from a millisecond to a day.
CLASSES = range(0, len(EDGES), 6)

Labels = Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Family:
    """One metric: its name, kind and meaning, and a value for each set of labels."""

    name: str
    kind: str
    meaning: str
    samples: Iterable[tuple[str, Labels, float]]  # what the name ends with, labels, value

    def lines(self) -> Iterator[str]:
        yield f"# HELP {self.name} {self.meaning}"
        yield f"# TYPE {self.name} {self.kind}"
        for ending, labels, value in self.samples:
            inner = ",".join(f'{key}="{_escaped(text)}"' for key, text in labels.items())
            yield f"{self.name}{ending}{{{inner}}} {value:.12g}" if inner else f"{self.name}{ending} {value:.12g}"


def is_asked_rightly(authorization: str) -> bool:
    """Tell whether a header `Authorization` bears METRICS_TOKEN; never where none is set."""
    token = get_settings().metrics_token
    return bool(token) and constant_time_compare(authorization.encode(), f"Bearer {token}".encode())


def metrics(now: datetime | None = None) -> str:
    """Return all figures in Prometheus' text format. Blocks for seven queries; raises the database's errors."""
    look = Glance(now)
    return "".join(f"{line}\n" for family in families(look) for line in family.lines())


def families(look: Glance) -> Iterator[Family]:
    yield gauge("hosts", "Hosts that gave a sign of life within HOST_TIMEOUT.", {"": len(look.live)})
    slots, used = Counter[str](), Counter[str]()
    for host in look.live:
        slots.update(host.concurrency)
        used.update(host.running)
    yield gauge("slots", "Runs that all hosts can execute at once.", slots, "executor")
    yield gauge("slots_used", "Slots in use.", used, "executor")
    yield gauge("runs_running", "Runs that hosts hold, as far as they are counted.", {"": len(look.running)})
    waiting = {name: line.count for name, line in look.lines.items()}
    yield gauge("runs_ready", "Runs that wait, of the first ten thousand.", waiting, "queue")
    ages = {name: max((look.now - line.oldest).total_seconds(), 0) for name, line in look.lines.items() if line.oldest}
    yield gauge("runs_ready_oldest_seconds", "How long the oldest of them waits.", ages, "queue")
    paused = {name: int(row.paused) for name, row in look.queues.items() if name != EVERYTHING}
    yield gauge("queue_paused", "1 for a queue that a person has paused.", paused, "queue")
    yield gauge("paused", "1 while everything is paused.", {"": int(look.everything is not None)})
    yield _services(look)
    unhealthy = Counter({one.name: 0 for one in look.services})
    unhealthy.update(one.name for one in look.services if not one.healthy)
    yield gauge("services_unhealthy", "Services that fail or miss their watchdog.", unhealthy, "service")
    found = Counter({ERROR: 0, WARNING: 0})
    found.update(one.severity for one in attention(glance=look))
    yield gauge("attention", "What needs a person's attention.", found, "severity")
    yield from _ended(look.now)


def _services(look: Glance) -> Family:
    states = Counter((one.name, one.state) for one in look.services)
    samples = [("", {"service": name, "state": state}, count) for (name, state), count in sorted(states.items())]
    return Family("background_services", "gauge", "Services on living hosts, by state.", samples)


def _ended(now: datetime) -> Iterator[Family]:
    """What ended since midnight in UTC: a counter may begin anew, and so it never reads more than a day."""
    midnight = now.replace(hour=0, minute=0, second=0, microsecond=0)
    rows = Statistic.objects.using(database_alias()).hours().overall().filter(start__gte=midnight)
    sums = rows.sums(lambda start, queue: queue)
    ended = [
        ("", {"queue": queue, "status": status}, getattr(one, status))
        for queue, one in sorted(sums.items())
        for status in ("succeeded", "failed", "cancelled")
    ]
    yield Family("background_runs_ended_total", "counter", "Runs that ended since midnight (UTC).", ended)
    yield histogram("run_wait_seconds", "From due to begun, since midnight (UTC).", sums, "waits", "waited")
    yield histogram("run_seconds", "What succeeded runs took, since midnight (UTC).", sums, "runs", "ran")


def gauge(name: str, meaning: str, values: Mapping[str, float], label: str = "") -> Family:
    samples = [("", {label: key} if label else {}, value) for key, value in sorted(values.items())]
    return Family(f"background_{name}", "gauge", meaning, samples)


def histogram(name: str, meaning: str, sums: Mapping[str, Sums], classes: str, total: str) -> Family:
    return Family(f"background_{name}", "histogram", meaning, list(_buckets(sums, classes, total)))


def _buckets(sums: Mapping[str, Sums], classes: str, total: str) -> Iterator[tuple[str, Labels, float]]:
    for queue, one in sorted(sums.items()):
        counts: Counter[int] = getattr(one, classes)
        for edge in CLASSES:
            within = sum(count for step, count in counts.items() if step <= edge)
            yield "_bucket", {"queue": queue, "le": f"{EDGES[edge]:.3g}"}, within
        yield "_bucket", {"queue": queue, "le": "+Inf"}, counts.total()
        yield "_sum", {"queue": queue}, getattr(one, total)
        yield "_count", {"queue": queue}, counts.total()


def _escaped(text: Any) -> str:
    return str(text).replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
