"""A process of one gateway with a shared history: `python racing_gateway.py PLACE NAME CALLS [DEADLINE] [--blind]`.

It writes a line, and waits for one. Then it makes calls of one caller to forty systems at random, sixteen at the same time, and
writes a line of JSON for each answer.
With `--blind` its engine appends to whatever the log has, as a gateway with a defect would.
"""

from __future__ import annotations

import asyncio
import json
import random
import sys
import time
from collections.abc import Sequence
from typing import Any, Final

from gateway.base.store.engine import Append, Missing
from gateway.base.store.postgresql import PostgresStore
from gateway.base.store.postgresql_connection import Server
from gateway.model.errors import HistoryError
from tests.unit.base.store.engines import open_store
from tests.unit.history.shared.replicas import PATIENCE, Replica

AT_ONCE: Final = 16


class BlindStore(PostgresStore):
    """An engine with a defect: an append follows whatever the log has, and not the state that it was decided on."""

    async def append(self, append: Append, /) -> Missing:
        while True:
            present = {log: await self.find_version(log) for log in append.versions}
            if not await super().append(append._replace(versions=present)):
                return {}


async def race(place: str, name: str, calls: int, deadline: float, *, is_blind: bool) -> None:
    if is_blind:
        engine = BlindStore(Server(place, deadline))
    elif deadline < PATIENCE:
        engine = PostgresStore(Server(place, deadline))
    else:
        engine = open_store(place, time.time)
    replica = Replica(name, engine, time.time, patience=deadline)
    await replica.enter()
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    await asyncio.to_thread(sys.stdin.readline)
    left = iter(range(calls))

    async def call_again_and_again(client: int) -> None:
        for _ in left:
            system, begun = f"system-{random.randrange(40)}", time.monotonic_ns()
            made: dict[str, Any] = {"client": client, "system": system, "begun": begun}
            try:
                is_allowed, number = await replica.call_numbered(system)
                made |= {"answer": "allowed" if is_allowed else "refused", "number": number}
            except HistoryError as error:
                made |= {"answer": "unknown", "number": 0, "error": error.message}
            sys.stdout.write(json.dumps(made | {"ended": time.monotonic_ns()}) + "\n")
            sys.stdout.flush()

    await asyncio.gather(*map(call_again_and_again, range(AT_ONCE)))
    await replica.close()


def main(arguments: Sequence[str]) -> None:
    place, name, calls, *more = arguments
    times = [float(each) for each in more if each != "--blind"]
    asyncio.run(race(place, name, int(calls), *times or [PATIENCE], is_blind="--blind" in more))


if __name__ == "__main__":
    main(sys.argv[1:])
