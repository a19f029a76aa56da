"""Own how raw results become Markdown: medians with their spread, and ratios within one repeat."""

import json
import statistics
from collections import defaultdict

from tests.benchmarks.peers import find, registry

REFERENCE = "raw"
NOISY = 8  # per cent of all cores: a result that was disturbed more is marked


def read(path):
    """Return {peer: {measure: results}} without the failed ones, in the order of the registry."""
    found = defaultdict(lambda: defaultdict(list))
    for line in path.read_text().splitlines():
        result = json.loads(line)
        if "error" not in result:
            found[result["peer"]][result["measure"]].append(result)
    order = list(registry())
    return dict(sorted(found.items(), key=lambda item: order.index(item[0].partition(":")[0])))


def number(value):
    if value >= 100:
        return f"{value:,.0f}"
    return f"{value:.1f}" if value >= 10 else f"{value:.2f}".rstrip("0").rstrip(".")


def spread(values):
    """Return the median, with the least and the largest in brackets."""
    values = [value for value in values if value is not None]
    if not values:
        return ""
    middle = number(statistics.median(values))
    return middle if len(values) == 1 else f"{middle} ({number(min(values))}–{number(max(values))})"


def cell(results, key):
    marks = "†" if any(one.get("cut") for one in results) else ""
    marks += "°" if any(one["foreign_percent"] > NOISY for one in results) else ""
    text = spread([one.get(key) for one in results])
    return text + marks if text else ""


def ratios(results, reference, key="runs_per_s"):
    """Return this ÷ the reference for each repeat of a round that has both."""
    others = {(one["round"], one["repeat"]): one[key] for one in reference}
    return [one[key] / others[at] for one in results if (at := (one["round"], one["repeat"])) in others]


def grid(title, head, rows):
    rows = [row for row in rows if any(row[1:])]
    if not rows:
        return ""
    used = [place for place in range(len(head)) if any(row[place] for row in rows)]
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(
        [f"### {title}", "", *("| " + " | ".join(line[place] for place in used) + " |" for line in lines), ""]
    )


def markdown(path):
    """Return the tables for a file of results."""
    found = read(path)
    empty = found.get(REFERENCE, {}).get("drain", [])
    drains, latencies, idles, notes = [], [], [], []
    for name, of in found.items():
        drain = of["drain"]
        others = [cell(of[measure], "runs_per_s") for measure in ("job", "orm", "async", "hot", "history")]
        least = spread(ratios(of["history"], drain))
        drains.append(
            [name, str(len(drain) or ""), cell(drain, "enqueue_per_s"), cell(drain, "enqueue_many_per_s"), cell(drain, "runs_per_s"),
             spread(ratios(drain, empty)), *others, least, cell(drain, "worker_us"), cell(drain, "server_us")]
        )  # fmt: skip
        keys = ("p50_ms", "p95_ms", "p99_ms", "max_ms", "enqueue_p50_ms", "lost")
        latencies.append([name, *(cell(of["latency"], key) for key in keys)])
        keys = (
            "cpu_percent",
            "server_cpu_percent",
            "statements_per_s",
            "transactions_per_s",
            "redis_commands_per_s",
            "rss_mb",
            "pss_mb",
        )
        starts = of["idle"] + of["latency"]
        idles.append([name, *(cell(of["idle"], key) for key in keys), cell(starts, "start_s"), cell(starts, "exit_s")])
        notes.append([name, find(name).stores, find(name).config])
    columns = ["job with a row", "ORM read + write", "async", "one key, one at once", "beside history", "÷ empty"]
    parts = [
        grid(
            "Throughput, runs per second",
            ["peer", "repeats", "enqueue", "enqueue in bulk", "drain", "÷ raw loop", *columns, "worker CPU µs/run", "server CPU µs/run"],
            drains,
        ),
        grid("Enqueue to start, idle worker, ms", ["peer", "p50", "p95", "p99", "max", "enqueue itself, p50", "lost"], latencies),
        grid(
            "Idle, start, stop",
            ["peer", "CPU % of a core", "server CPU %", "statements/s", "transactions/s", "Redis commands/s", "RSS MB", "PSS MB",
             "cold start to first run, s", "SIGTERM to exit, s"],
            idles,
        ),
        grid("What is kept of a run, and how the worker ran", ["peer", "kept", "worker"], notes),
    ]  # fmt: skip
    return "\n".join(part for part in parts if part)
