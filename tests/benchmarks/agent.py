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
    if peer.django:
        import django

        django.setup()
    make_ready(peer, keep=measure == "history")
    options = SimpleNamespace(**json.loads(os.environ["BENCH_OPTIONS"]))
    began, machine = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()), Machine(peer.servers)
    found = take(peer, options)
    print(json.dumps({"peer": name, "measure": measure, "at": began, **found, **machine.disturbance()}))


def make_ready(peer, keep):
    """Have a new database or, to keep it, the one of an earlier repeat, if nothing was left unfinished in it."""
    if peer.redis:
        peer.redis.empty()
    kept = keep and peer.store.exists()
    if kept and peer.unfinished():
        kept = False
    if peer.store and not kept:
        peer.store.create()
        rows_kept(peer).unlink(missing_ok=True)
        peer.setup()
    peer.prepare()


if __name__ == "__main__":
    main(*sys.argv[1:])
