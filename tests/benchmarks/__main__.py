"""
Measure ours beside its peers. README.md says how, and what the figures mean.

    python -m tests.benchmarks setup [FAMILY ...]
    python -m tests.benchmarks servers start|stop
    python -m tests.benchmarks list
    python -m tests.benchmarks run [--peers a,b:processes=2] [--measures drain,latency] [--repeats 5]
    python -m tests.benchmarks table
"""

import argparse
import json
import os
import platform
import subprocess
import sys
import time
from pathlib import Path

from tests.benchmarks import environment, servers, table, venvs
from tests.benchmarks.measures import MEASURES
from tests.benchmarks.peers import find, registry
from tests.benchmarks.processes import percent_busy

NOW = time.strftime("%Y%m%d-%H%M%S")


def agent(peer, measure, options):
    """Measure one thing in the peer's environment and return the result, or what went wrong."""
    command = [environment.python_of(peer.family), "-m", "tests.benchmarks.agent", peer.name, measure]
    environ = environment.environ(BENCH_OPTIONS=json.dumps(options), PYTHONDONTWRITEBYTECODE="1")
    limit = 300 + 3 * options["limit"] + options["idle"] + options["history"] / 2000
    try:
        done = subprocess.run(command, env=environ, cwd=environment.ROOT, capture_output=True, text=True, timeout=limit)
    except subprocess.TimeoutExpired:
        return {"peer": peer.name, "measure": measure, "error": f"not done after {limit:.0f} s"}
    if done.returncode == 0:
        return json.loads(done.stdout.splitlines()[-1])
    return {"peer": peer.name, "measure": measure, "error": (done.stderr or done.stdout).strip()[-2000:]}


def wait_for_quiet(seconds):
    """Wait until hardly anything else uses the cores, for so long at most."""
    limit = time.monotonic() + seconds
    while time.monotonic() < limit and percent_busy(0.5) > 12:
        time.sleep(1)


def run(options):
    """Take the measures of the peers in turn, repeat by repeat, so that all see the machine's good and bad minutes."""
    peers = [find(name) for name in options.peers.split(",")] if options.peers else default_peers()
    given = {key: getattr(options, key) for key in ("n", "limit", "samples", "idle", "history")}
    options.results.parent.mkdir(parents=True, exist_ok=True)
    with options.results.open("a") as file:
        for repeat in range(options.repeats):
            for measure in options.measures.split(","):
                for peer in peers:
                    if not has(peer, measure):
                        continue
                    wait_for_quiet(options.wait)
                    result = {"round": NOW, "repeat": repeat, **agent(peer, measure, given), **about(peer)}
                    print(json.dumps(result), file=file, flush=True)
                    print(time.strftime("%H:%M:%S"), repeat, peer.name, measure, in_short(result), flush=True)


def default_peers():
    return [find(name) for name, peer in registry().items() if is_set_up(peer)]


def is_set_up(peer):
    return Path(environment.python_of(peer.family)).exists()


def has(peer, measure):
    if measure not in MEASURES:
        raise SystemExit(f"There is no measure {measure!r}. Known are {', '.join(MEASURES)}.")
    return MEASURES[measure][1] in peer.functions and (measure != "history" or peer.keeps_history)


def about(peer):
    """What the result depends on besides the code: processor, Python, packages."""
    if peer.family not in VERSIONS:
        VERSIONS[peer.family] = venvs.versions(peer.family) | ({"commit": commit()} if peer.family == "ours" else {})
    return {"cores": os.cpu_count(), "python": platform.python_version(), "versions": VERSIONS[peer.family]}


def commit():
    """Return the commit of this checkout, with a + where files differ from it."""
    told = subprocess.run(
        ["git", "describe", "--always", "--dirty=+"], cwd=environment.ROOT, capture_output=True, text=True
    )
    return told.stdout.strip()


VERSIONS: dict[str, dict[str, str]] = {}
SHORT = (
    "enqueue_per_s enqueue_many_per_s runs_per_s cut p50_ms p99_ms lost cpu_percent statements_per_s rss_mb start_s exit_s "
    "foreign_percent error"
).split()


def in_short(result):
    return " ".join(f"{key}={result[key]}" for key in SHORT if key in result)


def show(options):
    for name, peer in registry().items():
        ready = "" if is_set_up(peer) else f"; needs setup {peer.family}"
        measures = [measure for measure in MEASURES if has(peer, measure)]
        print(f"{name}: {peer.config}; {', '.join(measures)}{ready}")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    kinds = parser.add_subparsers(required=True, metavar="setup|servers|list|run|table")

    def kind(name, do, about):
        found = kinds.add_parser(name, help=about, description=about)
        found.set_defaults(do=do)
        return found.add_argument

    flag = kind("setup", lambda options: sys.exit(bool(venvs.setup(options.families))), "install the peers")
    flag("families", nargs="*", metavar="FAMILY", help=", ".join(venvs.FAMILIES))
    flag = kind("servers", lambda options: getattr(servers, options.verb)(), "servers for the benchmark alone")
    flag("verb", choices=["start", "stop"])
    kind("list", show, "the peers, and what can be measured of each")
    results = {"type": Path, "default": environment.HOME / "results.jsonl", "help": "JSON lines; run appends to them"}
    flag = kind("table", lambda options: print(table.markdown(options.results)), "results as Markdown")
    flag("--results", **results)
    flag = kind("run", run, "take the measures of the peers in turn, repeat by repeat")
    flag("--results", **results)
    flag("--peers", help='as "raw,ours_postgresql:processes=2"; default: all that are set up')
    flag("--measures", default="drain,latency,idle", help=", ".join(MEASURES))
    flag("--repeats", type=int, default=5)
    flag("--n", type=int, default=0, help="runs of a drain; default: each peer's own")
    flag("--limit", type=float, default=60, help="seconds after which a drain is cut; the rate so far counts")
    flag("--samples", type=int, default=300, help="of the latency")
    flag("--idle", type=float, default=20, help="seconds")
    flag("--history", type=int, default=500_000, help="finished runs")
    flag("--wait", type=float, default=20, help="seconds at most, before each, for other processes to be quiet")
    for server in ("postgresql", "mariadb", "redis"):
        flag(f"--{server}", metavar="URL", action=Remember, help=f"instead of BENCH_{server.upper()}")
    options = parser.parse_args()
    options.do(options)


class Remember(argparse.Action):
    """Give a server's URL to the agents."""

    def __call__(self, parser, namespace, value, option=None):
        os.environ[f"BENCH_{self.dest.upper()}"] = value


if __name__ == "__main__":
    main()
