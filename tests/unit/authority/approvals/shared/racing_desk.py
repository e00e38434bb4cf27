"""A process of one gateway with a desk: `python racing_desk.py URL NAME APPROVALS`.

Several calls at once try to use each approval. It writes a line for each call that passes, before the answer would go out.
"""

from __future__ import annotations

import asyncio
import random
import sys
import time
from contextlib import AsyncExitStack
from typing import Final

from gateway.base.concurrency.background import Job
from gateway.base.store.postgresql import PostgresStore
from gateway.base.store.postgresql_claim import PostgresClaim
from gateway.base.store.postgresql_connection import Server
from tests.unit.authority.approvals.shared.desks import ReplicaDesk
from tests.unit.base.store.engines import PATIENCE

AT_ONCE: Final = 4
"""Calls that want the same approval."""


async def open_desk(stack: AsyncExitStack, url: str, name: str) -> ReplicaDesk:
    """Open the desk of a gateway with a real claim until the stack ends."""
    server = Server(url, PATIENCE, PATIENCE, PATIENCE)
    claim = PostgresClaim(server, name, [name])
    stack.push_async_callback(claim.release)
    await claim.take()
    stack.push_async_callback(Job.begin_repeating(claim.keep, "claim").stop)
    engine = PostgresStore(server, time.time, claim=claim.id)
    stack.callback(engine.close)
    opened = ReplicaDesk(engine, time.time, claim)
    stack.push_async_callback(opened.replica.log.close)
    await opened.desk.restore()
    return opened


async def race(url: str, name: str, approvals: int) -> None:
    async with AsyncExitStack() as stack:
        there = await open_desk(stack, url, name)

        async def call(identifier: str, number: int) -> None:
            decision = f"{identifier}-{name}-{number}"
            if await there.pass_once(identifier, decision):
                sys.stdout.write(f"{identifier} {decision}\n")
                sys.stdout.flush()

        order = [f"q{number}" for number in range(approvals)]
        random.shuffle(order)
        for identifier in order:
            await asyncio.gather(*(call(identifier, number) for number in range(AT_ONCE)))


if __name__ == "__main__":
    asyncio.run(race(sys.argv[1], sys.argv[2], int(sys.argv[3])))
