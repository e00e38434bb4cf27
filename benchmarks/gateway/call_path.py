"""The way of a call: the functions, files and moves between files of one call, and its time in this process.

Five calls are measured. The cheapest has no token and no history. The call that users make has a signed token, people who
approve, a task that has read untrusted and confidential data, and a URL, a mail address and an amount in its arguments. The others are the
same call with a lent credential, the same call to a tool without a grant, and a write without a grant.

The gateway is the real one. For the way its client and its upstream are on loopback. For times an upstream
answers at once, without HTTP. Processor time is the least of several batches, since other programs only ever add to it.
"""

from __future__ import annotations

import asyncio
import statistics
import sys
import time
from collections.abc import Awaitable, Callable, Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from pathlib import Path
from types import FrameType
from typing import Final

import uvloop

import gateway
from benchmarks.gateway.measured_calls import (
    CHEAPEST,
    INVOICE,
    KINDS,
    LENT,
    OF_USERS,
    REFUSED,
    SHORT_PATH,
    Kind,
    open_client,
    require_expected,
    size_of_body,
)
from gateway.surfaces.app.serving import build_edge
from gateway.wire.http.limits import ConnectionPlaces
from gateway.wire.http.server_connection import Connection, Serving

MOST_FUNCTIONS: Final = 500
MOST_FILES: Final = 60
MOST_MOVES: Final = 250
MOST_TIMES: Final = 1.6
"""Processor time of a call, in that of the cheapest call."""
MOST_TIMES_REFUSED: Final = 1.2
"""Processor time of a refused call, in that of the same call allowed."""
MOST_MILLISECONDS: Final = {4 * 2**10: 0.8, 200 * 2**10: 12.0}
"""Processor time of a call, by the bytes of its argument and of its answer."""
MOST_GAP: Final = 3.0
"""Milliseconds between two turns of the event loop while the largest text passes."""
SIZES: Final = (64, *MOST_MILLISECONDS)
WARM: Final = 40
"""Calls before the first that counts: expressions are compiled and caches are filled."""
COMPREHENSIONS: Final = ("<listcomp>", "<setcomp>", "<dictcomp>")
"""Functions of their own up to Python 3.11."""
BY_CHANCE: Final = "_grams_at"
"""The function that the filter of grams enters by chance: the keys of one gateway in seven or so let a gram of a text through."""
_TRACED: Final = 20
_CONNECTIONS: Final = 8
_PATIENCE: Final = 60.0
_SWITCH: Final = 0.0005
"""Seconds after which a thread yields, as `opagate up` sets them."""
_ROOT: Final = f"{Path(gateway.__file__).parent}/"
HEAD: Final = """\
## The way of a call

One call of a tool, with the shipped policy, history and journal. The cheapest call has no token and no history. The call of users \
has a signed token, people who approve, a task that has read untrusted and confidential data, and a URL, a mail address and an amount in \
its arguments. Functions are counted as the interpreter enters them, each resumption of a coroutine once more. The time is processor time \
in one process, without HTTP.

| figure | goal | measured |
|---|---|---|"""


_COMPARED: Final = (
    (OF_USERS, CHEAPEST, MOST_TIMES),
    (LENT, CHEAPEST, MOST_TIMES),
    (REFUSED, OF_USERS, MOST_TIMES_REFUSED),
)
"""Pairs of calls, with the goal for the processor time of the first in that of the second."""


@dataclass(frozen=True, slots=True)
class Way:
    """The functions that a call enters, each with its file."""

    entered: tuple[tuple[str, str], ...]

    @property
    def files(self) -> int:
        return len({file for file, _ in self.entered})

    @property
    def moves(self) -> int:
        """Return the number of entries from another file."""
        files = [file for file, _ in self.entered]
        return sum(one != other for one, other in pairwise(files))

    def count_certain(self) -> int:
        """Return the number of entries that every version of Python and every key of a gateway has."""
        return sum(not name.endswith((*COMPREHENSIONS, BY_CHANCE)) for _, name in self.entered)


@dataclass(frozen=True, slots=True)
class Figures:
    """The ways and milliseconds of calls by their kind, milliseconds of the cheapest call by the size of its text, and the longest gap
    in milliseconds."""

    ways: dict[Kind, Way]
    calls: dict[Kind, float]
    processor: dict[int, float]
    wall: dict[int, float]
    gap: float

    def rows(self) -> list[tuple[str, float | None, float, str]]:
        """Return what was measured, its goal, its figure and its unit."""
        rows: list[tuple[str, float | None, float, str]] = []
        for kind in KINDS:
            way = self.ways[kind]
            rows += [
                (f"{kind.name}: functions entered", MOST_FUNCTIONS, len(way.entered), ""),
                (f"{kind.name}: files entered", MOST_FILES, way.files, ""),
                (f"{kind.name}: moves between files", MOST_MOVES, way.moves, ""),
                (f"{kind.name}: processor", None, self.calls[kind], " ms"),
            ]
        for kind, other, goal in _COMPARED:
            times = self.calls[kind] / self.calls[other]
            rows.append((f"{kind.name} / {other.name}: processor", goal, times, " times"))
        return [
            *rows,
            *(
                (
                    f"argument and answer of {size:,} B each: processor",
                    MOST_MILLISECONDS.get(size),
                    self.processor[size],
                    " ms",
                )
                for size in SIZES
            ),
            *(
                (f"argument and answer of {size:,} B each: until the answer", None, self.wall[size], " ms")
                for size in SIZES
            ),
            (f"longest gap of the loop, {SIZES[-1]:,} B", MOST_GAP, self.gap, " ms"),
        ]

    def table(self) -> str:
        """Return the figures as Markdown."""
        rows = [
            f"| {name} | {'' if goal is None else f'≤ {goal:g}{unit}'} | {found:,.{2 if unit else 0}f}{unit} |"
            for name, goal, found, unit in self.rows()
        ]
        return "\n".join([HEAD, *rows])

    def is_within_goals(self) -> bool:
        """Return whether each figure reaches its goal."""
        return all(goal is None or found <= goal for _, goal, found, _ in self.rows())


def call_path(folder: Path, *, quick: bool = False) -> Figures:
    """Measure everything in `folder`."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(_SWITCH)
    try:
        return uvloop.run(_measure(folder, batches=3 if quick else 9))
    finally:
        sys.setswitchinterval(before)


async def _measure(folder: Path, *, batches: int) -> Figures:
    ways = {kind: await walk(folder / f"way-{number}", kind) for number, kind in enumerate(KINDS)}
    async with AsyncExitStack() as stack:
        clients = [
            await stack.enter_async_context(open_client(folder / f"times-{number}", kind))
            for number, kind in enumerate(KINDS)
        ]
        calls = await _compare({client.kind: await client.prepare() for client in clients}, batches)
        processor: dict[int, float] = {}
        wall: dict[int, float] = {}
        for size in SIZES:
            call, number = await clients[0].prepare(size), max(4, min(200, 400_000 // size))
            processor[size], wall[size] = await _time(call, number, batches)
        call = await clients[0].prepare(SIZES[-1])
        gap = statistics.median([await _longest_gap(call) for _ in range(3 * batches)])
    return Figures(ways, calls, processor, wall, gap)


async def _compare(calls: Mapping[Kind, Callable[[], Awaitable[None]]], batches: int) -> dict[Kind, float]:
    """Return the milliseconds of processor time of each kind of call. Their batches take turns: a busy machine slows all of them."""
    found: dict[Kind, list[float]] = {kind: [] for kind in calls}
    for _ in range(3 * batches):
        for kind, call in calls.items():
            found[kind].append((await _time(call, 50, 1))[0])
    return {kind: min(times) for kind, times in found.items()}


# --- the way -----------------------------------------------------------------------------------------


async def walk(folder: Path, kind: Kind = CHEAPEST) -> Way:
    """Return the way of a call from the client's connection to the upstream and back, when caches are warm: the shortest of
    some calls, since other work of the event loop may come between."""
    loop = asyncio.get_running_loop()
    async with open_client(folder, kind) as client:
        edge = build_edge(client.configuration, client.gateway, is_draining=lambda: False)
        serving = Serving(edge, ConnectionPlaces(_CONNECTIONS, _CONNECTIONS), _PATIENCE)
        server = await loop.create_server(lambda: Connection(serving), "127.0.0.1", 0)
        async with server:
            reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
            ask = partial(_ask, reader, writer)
            if kind.is_known:
                await ask(client.request("mail", "read_letter", {"path": "inbox"}))
            request = client.request("files", kind.tool, INVOICE if kind.is_known else {"path": SHORT_PATH})
            for _ in range(WARM):
                await ask(request)
            ways = [await _traced(partial(ask, request), is_allowed=kind.is_allowed) for _ in range(_TRACED)]
            writer.close()
            await writer.wait_closed()
        return min(ways, key=lambda way: len(way.entered))


async def _ask(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, request: bytes) -> bytes:
    """Return the body of the answer to a request."""
    writer.write(request)
    head = await reader.readuntil(b"\r\n\r\n")
    return await reader.readexactly(size_of_body(head))


async def _traced(call: Callable[[], Awaitable[bytes]], *, is_allowed: bool) -> Way:
    entered: list[tuple[str, str]] = []

    def note(frame: FrameType, event: str, _argument: object) -> None:
        code = frame.f_code
        if event == "call" and code.co_filename.startswith(_ROOT):
            entered.append((code.co_filename.removeprefix(_ROOT), code.co_qualname))

    sys.setprofile(note)
    try:
        body = await call()
    finally:
        sys.setprofile(None)
    require_expected(body, is_allowed=is_allowed)
    return Way(tuple(entered))


# --- times -------------------------------------------------------------------------------------------


async def _time(call: Callable[[], Awaitable[None]], calls: int, batches: int) -> tuple[float, float]:
    """Return milliseconds of a call: processor time in the best batch, and time until the answer in the median batch."""
    processor: list[float] = []
    wall: list[float] = []
    for _ in range(batches):
        begun, began = time.perf_counter(), time.process_time()
        for _ in range(calls):
            await call()
        processor.append((time.process_time() - began) / calls * 1e3)
        wall.append((time.perf_counter() - begun) / calls * 1e3)
    return min(processor), statistics.median(wall)


async def _longest_gap(call: Callable[[], Awaitable[None]]) -> float:
    """Return the longest time between two turns of the event loop while a call passes, in milliseconds."""
    longest, is_over = 0.0, False

    async def watch() -> None:
        nonlocal longest
        last = time.perf_counter()
        while not is_over:
            await asyncio.sleep(0)
            now = time.perf_counter()
            longest, last = max(longest, now - last), now

    watching = asyncio.create_task(watch())
    await asyncio.sleep(0)
    await call()
    is_over = True
    await watching
    return longest * 1e3
