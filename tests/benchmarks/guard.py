"""
Print how fast ours drains beside the raw loop, and the ratio that was stored: for CI, which shows it and never fails by it.

    python -m tests.benchmarks.guard [--store]

It needs PostgreSQL (BENCH_POSTGRESQL) and uses the Python that runs it, three times in turn, for a few seconds each.
"""

import argparse
import json
import os
import statistics
import sys
from pathlib import Path

from tests.benchmarks import environment
from tests.benchmarks.__main__ import agent
from tests.benchmarks.peers import find

STORED = Path(__file__).with_name("ratio.json")
PEERS = {"ours_postgresql": 20_000, "raw": 60_000}
REPEATS = 3
OPTIONS = {"limit": 5, "samples": 0, "idle": 0, "history": 0}


def measure():
    """Return {peer: rates}; raise RuntimeError with what went wrong."""
    rates = {name: [] for name in PEERS}
    for _ in range(REPEATS):
        for name, count in PEERS.items():
            result = agent(find(name), "drain", {**OPTIONS, "n": count})
            if "error" in result:
                raise RuntimeError(f"{name}: {' '.join(result['error'].splitlines()[-2:])}")
            rates[name].append(result["runs_per_s"])
    return rates


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--store", action="store_true", help=f"write the ratio to {STORED.name}")
    options = parser.parse_args()
    os.environ["BENCH_PYTHON"] = sys.executable
    try:
        rates = measure()
    except (OSError, RuntimeError, ValueError) as problem:
        print(f"Not measured: {problem}")
        return
    ours, raw = rates.values()
    ratio = statistics.median(mine / other for mine, other in zip(ours, raw, strict=True))
    stored = json.loads(STORED.read_text()) if STORED.exists() else {}
    before = stored.get(environment.PYTHON)
    for name, values in rates.items():
        print(f"{name}: {statistics.median(values):,.0f} runs/s ({min(values):,.0f}–{max(values):,.0f})")
    compared = f"stored: {before:.4f}, so {ratio / before:.0%} of it" if before else "none is stored for this Python"
    print(f"ours ÷ raw loop: {ratio:.4f} ({compared})")
    if options.store:
        STORED.write_text(json.dumps({**stored, environment.PYTHON: round(ratio, 4)}, indent=2) + "\n")


if __name__ == "__main__":
    main()
