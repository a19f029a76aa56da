"""The loop to compare with: claim a batch, call its functions, complete the batch. `raw.py BATCH`, PostgreSQL in PGDSN."""

import os
import signal
import sys

import psycopg

from tests.benchmarks.tasks import mark

CLAIM = """
    UPDATE job SET state = 1, started = now(), worker = %s FROM (
        SELECT id FROM job WHERE state = 0 AND run_at <= now() ORDER BY priority DESC, run_at, id FOR UPDATE SKIP LOCKED LIMIT %s
    ) one WHERE job.id = one.id RETURNING job.id, args
"""
FINISH = "UPDATE job SET state = 2, finished = now() WHERE id = ANY(%s)"


def work(batch):
    connection = psycopg.connect(os.environ["PGDSN"], autocommit=True)
    connection.execute("LISTEN job")
    while True:
        claimed = connection.execute(CLAIM, (str(os.getpid()), batch)).fetchall()
        for _, args in claimed:
            mark(args["i"])
        if claimed:
            connection.execute(FINISH, ([id for id, _ in claimed],))
        else:
            for _ in connection.notifies(timeout=5, stop_after=1):
                pass


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda *_: sys.exit())
    work(int(sys.argv[1]))
