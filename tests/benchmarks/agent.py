"""Measure one thing of one peer with that peer's packages: `agent.py PEER MEASURE`, with the options as JSON in BENCH_OPTIONS."""

import json
import os
import sys
import time
from types import SimpleNamespace

from tests.benchmarks.measures import MEASURES, rows_kept
from tests.benchmarks.peers import find
from tests.benchmarks.processes import Machine


def main(name, measure):
    suffix = "_history" if measure == "history" else ""
    os.environ.update(BENCH_PEER=name, BENCH_SUFFIX=suffix, BENCH_MARKS="/dev/null")
    peer = find(name)
    take, peer.function = MEASURES[measure]
    os.environ.update(peer.environ())
    options = SimpleNamespace(**json.loads(os.environ["BENCH_OPTIONS"]))
    made = make_database(peer, options.history if measure == "history" else None)
    if peer.django:
        import django

        django.setup()
    if made:
        peer.setup()
    peer.prepare()
    began, machine = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()), Machine(peer.servers)
    found = take(peer, options)
    print(
        json.dumps(
            {"peer": name, "measure": measure, "at": began, **found, **machine.disturbance(found["worker_cpu_s"])}
        )
    )


def make_database(peer, history):
    """Empty Redis and make a new database, unless an earlier repeat left one with that history and nothing unfinished."""
    if peer.redis:
        peer.redis.empty()
    rows = rows_kept(peer)
    has_rows = history and rows.exists() and int(rows.read_text()) == history
    if not peer.store or (has_rows and peer.store.exists() and not peer.unfinished()):
        return False
    peer.store.create()
    rows.unlink(missing_ok=True)
    return True


if __name__ == "__main__":
    main(*sys.argv[1:])
