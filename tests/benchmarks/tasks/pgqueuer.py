"""The function as an entry point of pgqueuer; the worker starts here."""

import os
from contextlib import asynccontextmanager

import asyncpg
from pgqueuer import PgQueuer
from pgqueuer.db import AsyncpgDriver

from tests.benchmarks import tasks


@asynccontextmanager
async def main():
    connection = await asyncpg.connect(os.environ["PGDSN"])
    queue = PgQueuer(AsyncpgDriver(connection))

    @queue.entrypoint("noop")
    async def noop(job):
        tasks.mark(int(job.payload))

    yield queue
    await connection.close()
