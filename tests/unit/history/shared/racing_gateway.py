"""A process of one gateway with a shared history: `python racing_gateway.py PLACE NAME CALLS`.

It makes calls of one caller to forty systems at random, sixteen at the same time, and writes a line for each answer.
"""

from __future__ import annotations

import asyncio
import random
import sys
import time
from typing import Final

from gateway.model.errors import HistoryError
from tests.unit.base.store.engines import open_store
from tests.unit.history.shared.replicas import Replica

AT_ONCE: Final = 16


async def race(place: str, name: str, calls: int) -> None:
    replica = Replica(name, open_store(place, time.time), time.time)
    left = iter(range(calls))

    async def call_again_and_again() -> None:
        for _ in left:
            system = f"system-{random.randrange(40)}"
            try:
                answer = "allowed" if await replica.call(system) else "refused"
            except HistoryError as error:
                answer = f"unavailable {error.message}"
            sys.stdout.write(f"{system} {answer}\n")
            sys.stdout.flush()

    await asyncio.gather(*(call_again_and_again() for _ in range(AT_ONCE)))
    await replica.log.close()
    replica.engine.close()


if __name__ == "__main__":
    asyncio.run(race(sys.argv[1], sys.argv[2], int(sys.argv[3])))
