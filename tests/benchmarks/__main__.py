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
    return [
        peer
        for name, peer in ((name, find(name)) for name in registry())
        if Path(environment.python_of(peer.family)).exists()
    ]


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
        ready = "" if Path(environment.python_of(peer.family)).exists() else f"; needs setup {peer.family}"
        measures = [measure for measure in MEASURES if has(peer, measure)]
        print(f"{name}: {peer.config}; {', '.join(measures)}{ready}")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    kinds = parser.add_subparsers(required=True, metavar="setup|servers|list|run|table")
    of = kinds.add_parser("setup", help="install the peers, each family into an environment of its own")
    of.add_argument("families", nargs="*", metavar="FAMILY", help=", ".join(venvs.FAMILIES))
    of.set_defaults(do=lambda options: sys.exit(bool(venvs.setup(options.families))))
    of = kinds.add_parser(
        "servers", help="servers for the benchmark alone; without them, those that the environment names"
    )
    of.add_argument("verb", choices=["start", "stop"])
    of.set_defaults(do=lambda options: getattr(servers, options.verb)())
    of = kinds.add_parser("list", help="the peers, and what can be measured of each")
    of.set_defaults(do=show)
    for name, do in (("run", run), ("table", lambda options: print(table.markdown(options.results)))):
        of = kinds.add_parser(name, help=do.__doc__)
        of.add_argument(
            "--results", type=Path, default=environment.HOME / "results.jsonl", help="JSON lines; run appends to them"
        )
        of.set_defaults(do=do)
        if name == "run":
            run_flags(of)
    options = parser.parse_args()
    options.do(options)


def run_flags(of):
    of.add_argument(
        "--peers",
        help='separated by commas, with options as in "ours_postgresql:processes=2"; default: all that are set up',
    )
    of.add_argument("--measures", default="drain,latency,idle", help=", ".join(MEASURES))
    of.add_argument("--repeats", type=int, default=5)
    of.add_argument("--n", type=int, default=0, help="runs of a drain; default: each peer's own")
    of.add_argument(
        "--limit", type=float, default=60, help="seconds after which a drain is cut, and the rate so far counts"
    )
    of.add_argument("--samples", type=int, default=300, help="of the latency")
    of.add_argument("--idle", type=float, default=20, help="seconds")
    of.add_argument("--history", type=int, default=500_000, help="finished runs")
    of.add_argument(
        "--wait", type=float, default=20, help="seconds to wait for other processes to be quiet, before each measure"
    )
    for server in ("postgresql", "mariadb", "redis"):
        of.add_argument(f"--{server}", metavar="URL", action=Remember, help=f"instead of BENCH_{server.upper()}")


class Remember(argparse.Action):
    """Give a server's URL to the agents."""

    def __call__(self, parser, namespace, value, option=None):
        os.environ[f"BENCH_{self.dest.upper()}"] = value


if __name__ == "__main__":
    main()
