"""Own how raw results become Markdown: medians with their spread, and ratios within one repeat."""

import json
import statistics
from collections import defaultdict

from tests.benchmarks.peers import find, registry

REFERENCE = "raw"
NOISY = 8  # per cent of all cores: a cell with a result that others disturbed more is marked

RATES = {
    "job": "declared job",
    "orm": "ORM read + write",
    "async": "async",
    "hot": "one key",
    "history": "beside history",
}
TABLES = {  # title: {column: (measures, key)}
    "Throughput, runs per second": {
        "enqueue": (["drain"], "enqueue_per_s"),
        "enqueue in bulk": (["drain"], "enqueue_many_per_s"),
        "drain": (["drain"], "runs_per_s"),
        "÷ raw loop": (["drain"], "ratio"),
        **{column: ([measure], "runs_per_s") for measure, column in RATES.items()},
        "÷ without history": (["history"], "ratio"),
        "worker CPU µs/run": (["drain"], "worker_us"),
        "server CPU µs/run": (["drain"], "server_us"),
    },
    "Enqueue to start, idle worker, ms": {
        **{rank: (["latency"], f"{rank}_ms") for rank in ("p50", "p95", "p99", "max")},
        "enqueue itself, p50": (["latency"], "enqueue_p50_ms"),
        "lost": (["latency"], "lost"),
    },
    "Idle, start, stop": {
        "CPU % of a core": (["idle"], "cpu_percent"),
        "server CPU %": (["idle"], "server_cpu_percent"),
        "statements/s": (["idle"], "statements_per_s"),
        "transactions/s": (["idle"], "transactions_per_s"),
        "Redis commands/s": (["idle"], "redis_commands_per_s"),
        "resident MB": (["idle"], "rss_mb"),
        "proportional MB": (["idle"], "pss_mb"),
        "cold start to first run, s": (["idle", "latency"], "start_s"),
        "SIGTERM to exit, s": (["idle", "latency"], "exit_s"),
    },
}


def markdown(path):
    """Return the tables for a file of results."""
    found = read(path)
    parts = [
        grid(
            title,
            ["peer", *columns],
            [[name, *(cell(of, *what) for what in columns.values())] for name, of in found.items()],
        )
        for title, columns in TABLES.items()
    ]
    notes = [[name, find(name).stores, find(name).config] for name in found]
    return "\n".join([*parts, grid("What is kept of a run, and how the worker ran", ["peer", "kept", "worker"], notes)])


def read(path):
    """Return {peer: {measure: results}} without the failed ones, in the order of the registry."""
    found = defaultdict(lambda: defaultdict(list))
    for line in path.read_text().splitlines():
        result = json.loads(line)
        if "error" not in result:
            found[result["peer"]][result["measure"]].append(result)
    for of in found.values():
        compare(of["drain"], found[REFERENCE]["drain"])
        compare(of["history"], of["drain"])
    order = list(registry())
    return dict(sorted(found.items(), key=lambda item: order.index(item[0].partition(":")[0])))


def compare(results, others):
    """Give each result its rate ÷ that of the other one of the same repeat."""
    rates = {(one["round"], one["repeat"]): one["runs_per_s"] for one in others}
    for one in results:
        if other := rates.get((one["round"], one["repeat"])):
            one["ratio"] = one["runs_per_s"] / other


def cell(of, measures, key):
    results = [one for measure in measures for one in of[measure] if one.get(key) is not None]
    marks = "†" if any(one.get("cut") for one in results) else ""
    marks += "°" if any(one["foreign_percent"] > NOISY for one in results) else ""
    return spread([one[key] for one in results]) + marks


def spread(values):
    """Return the median, with the least and the largest in brackets."""
    if len(values) < 2:
        return "".join(map(number, values))
    return f"{number(statistics.median(values))} ({number(min(values))}–{number(max(values))})"


def number(value):
    if value >= 100:
        return f"{value:,.0f}"
    return f"{value:.1f}" if value >= 10 else f"{value:.3f}".rstrip("0").rstrip(".")


def grid(title, head, rows):
    """Return a table without the rows and columns that have nothing."""
    rows = [row for row in rows if any(row[1:])]
    used = [place for place in range(len(head)) if any(row[place] for row in rows)]
    lines = ["| " + " | ".join(row[place] for place in used) + " |" for row in [head, ["---"] * len(head), *rows]]
    return "\n".join([f"### {title}", "", *lines, ""]) if rows else ""
