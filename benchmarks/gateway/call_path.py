"""The way of an allowed call: the functions, files and moves between files of one call, and its time in this process.

The gateway is the real one. For the way its client and its upstream are on loopback. For times an upstream
answers at once, without HTTP. Processor time is the least of several batches, since other programs only ever add to it.
"""

from __future__ import annotations

import asyncio
import json
import statistics
import sys
import time
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from functools import partial
from itertools import pairwise
from pathlib import Path
from random import Random
from types import FrameType
from typing import Any, Final

import uvloop

import gateway
from benchmarks.credentials.corpus import prose
from gateway import config
from gateway.app import open_gateway
from gateway.app.serving import build_edge
from gateway.composition import Gateway
from gateway.http.exchange import Exchange
from gateway.http.limits import ConcurrencyLimit
from gateway.http.server_connection import Connection, Serving
from gateway.model.wire import UpstreamReply, UpstreamRequest
from gateway.protocol.headers import group_headers
from gateway.protocol.replies import Reply

MOST_FUNCTIONS: Final = 300
MOST_FILES: Final = 40
MOST_MOVES: Final = 90
MOST_MILLISECONDS: Final = {4 * 2**10: 0.8, 200 * 2**10: 12.0}
"""Processor time of a call, by the bytes of its argument and of its answer."""
MOST_GAP: Final = 3.0
"""Milliseconds between two turns of the event loop while the largest text passes."""
SIZES: Final = (64, *MOST_MILLISECONDS)
WARM: Final = 40
"""Calls before the first that counts: expressions are compiled and caches are filled."""
COMPREHENSIONS: Final = ("<listcomp>", "<setcomp>", "<dictcomp>")
"""Functions of their own up to Python 3.11."""
_TRACED: Final = 5
_CONNECTIONS: Final = 8
_PATIENCE: Final = 60.0
_HEAD_OF_REQUEST: Final = (
    "POST /mcp/files HTTP/1.1\r\nhost: {host}\r\ncontent-type: application/json\r\n"
    "accept: application/json, text/event-stream\r\ncontent-length: {size}\r\n\r\n"
)
_SWITCH: Final = 0.0005
"""Seconds after which a thread yields, as `opagate serve` sets them."""
_PIECE: Final = 64 * 2**10
_ROOT: Final = f"{Path(gateway.__file__).parent}/"
_GRANTS: Final = 'upstreams:\n  files:\n    - {id: all, agents: ["*"], issuers: ["*"], tools: ["read_*"]}\n'
_CONFIGURATION: Final = """
identity: [{{kind: anonymous}}]
policy: {{grants: grants.yaml, engine: {{kind: embedded, deadline: 20s}}}}
telemetry: {{level: error}}
upstreams:
  files:
    url: 'http://127.0.0.1:{port}/mcp'
    audience: files
    environment: test
    tools: {{'*': {{effect: read, egress: false, sensitivity: internal}}}}
state: state
"""
_TOOL: Final = {"name": "read_file", "inputSchema": {"type": "object", "properties": {"path": {"type": "string"}}}}
_ANSWERS: Final[dict[str, Any]] = {
    "tools/call": {"content": [{"type": "text", "text": "hello " * 20}]},
    "tools/list": {"tools": [_TOOL]},
    "prompts/list": {"prompts": []},
    "initialize": {
        "protocolVersion": "2025-11-25",
        "capabilities": {"tools": {}},
        "serverInfo": {"name": "x", "version": "1"},
    },
}
_DISCOVERY: Final[dict[str, Any]] = {"supportedVersions": ["2026-07-28"], "capabilities": {"tools": {}}}
HEAD: Final = """\
## The way of a call

One allowed call of a tool that reads, with the shipped policy, history and journal. Functions are counted as the interpreter \
enters them, each resumption of a coroutine once more. The time is processor time in one process, without HTTP.

| figure | goal | measured |
|---|---|---|"""


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

    def without_comprehensions(self) -> int:
        """Return the number of entries that every version of Python has."""
        return sum(not name.endswith(COMPREHENSIONS) for _, name in self.entered)


@dataclass(frozen=True, slots=True)
class Figures:
    """The way of a call, milliseconds by the size of its text, and the longest gap in milliseconds."""

    way: Way
    processor: dict[int, float]
    wall: dict[int, float]
    gap: float

    def rows(self) -> list[tuple[str, float | None, float, str]]:
        """Return what was measured, its goal, its figure and its unit."""
        return [
            ("functions entered", MOST_FUNCTIONS, len(self.way.entered), ""),
            ("files entered", MOST_FILES, self.way.files, ""),
            ("moves between files", MOST_MOVES, self.way.moves, ""),
            *((f"{size:,} B, processor", MOST_MILLISECONDS.get(size), self.processor[size], " ms") for size in SIZES),
            *((f"{size:,} B, until the answer", None, self.wall[size], " ms") for size in SIZES),
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
    way = await walk(folder / "way")
    processor: dict[int, float] = {}
    wall: dict[int, float] = {}
    async with _started(folder / "times") as (started, configuration):
        for size in SIZES:
            call, calls = _prepared(started, configuration.base_url, size), max(4, min(200, 400_000 // size))
            processor[size], wall[size] = await _time(call, calls, batches)
        gap = statistics.median(
            [await _longest_gap(_prepared(started, configuration.base_url, SIZES[-1])) for _ in range(3 * batches)]
        )
    return Figures(way, processor, wall, gap)


# --- the way -----------------------------------------------------------------------------------------


async def walk(folder: Path) -> Way:
    """Return the way of a call from the client's connection to the upstream and back, when caches are warm: the shortest of
    some calls, since other work of the event loop may come between."""
    loop = asyncio.get_running_loop()
    async with _started(folder) as (started, configuration):
        edge = build_edge(configuration, started, is_draining=lambda: False)
        serving = Serving(edge, ConcurrencyLimit(_CONNECTIONS), _PATIENCE)
        server = await loop.create_server(lambda: Connection(serving), "127.0.0.1", 0)
        async with server:
            reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
            body = _call("/etc/motd")
            request = _HEAD_OF_REQUEST.format(host=configuration.listen, size=len(body)).encode() + body
            for _ in range(WARM):
                await _ask(reader, writer, request)
            ways = [await _traced(partial(_ask, reader, writer, request)) for _ in range(_TRACED)]
            writer.close()
            await writer.wait_closed()
        return min(ways, key=lambda way: len(way.entered))


async def _ask(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, request: bytes) -> int:
    """Return the status of the answer to a request."""
    writer.write(request)
    head = await reader.readuntil(b"\r\n\r\n")
    await reader.readexactly(_size_of_body(head))
    return int(head.split(b" ", 2)[1])


def _size_of_body(head: bytes) -> int:
    return int(head.lower().partition(b"content-length:")[2].split(b"\r\n", 1)[0] or 0)


async def _traced(call: Callable[[], Awaitable[int]]) -> Way:
    entered: list[tuple[str, str]] = []

    def note(frame: FrameType, event: str, _argument: object) -> None:
        code = frame.f_code
        if event == "call" and code.co_filename.startswith(_ROOT):
            entered.append((code.co_filename.removeprefix(_ROOT), code.co_qualname))

    sys.setprofile(note)
    try:
        status = await call()
    finally:
        sys.setprofile(None)
    if status != 200:
        raise SystemExit(f"the call was answered with {status}: its way says nothing")
    return Way(tuple(entered))


# --- times -------------------------------------------------------------------------------------------


class _Upstream:
    """An upstream that answers each call with the same text, at once."""

    def __init__(self, text: str) -> None:
        result = {"content": [{"type": "text", "text": text}]}
        self._answer = json.dumps({"jsonrpc": "2.0", "id": 7, "result": result}).encode()

    async def send(self, _request: UpstreamRequest) -> UpstreamReply:
        return UpstreamReply(200, ((b"content-type", b"application/json"),), self._chunks(), self._close)

    async def _chunks(self) -> AsyncIterator[bytes]:
        for start in range(0, len(self._answer), _PIECE):
            yield self._answer[start : start + _PIECE]

    async def _close(self) -> None:
        """Close nothing."""


def _prepared(started: Gateway, url: str, size: int) -> Callable[[], Awaitable[None]]:
    """Return a call whose argument and answer have so many bytes of prose."""
    text = _prose(size)
    body = _call(text)
    there = replace(started, upstreams=dict.fromkeys(started.upstreams, _Upstream(text)))
    headers = ((b"host", b"127.0.0.1"), (b"content-type", b"application/json"))

    async def read() -> bytes:
        return body

    async def call() -> None:
        exchange = Exchange(
            "POST", "files", f"{url}/mcp/files", headers, group_headers(headers), "127.0.0.1", body=read
        )
        reply = await there.pipeline.handle(exchange)
        if isinstance(reply, Reply):
            raise SystemExit(f"the call was answered with {reply.status}: {reply.body.decode()}")
        async for _ in reply:
            pass
        await reply.close()

    return call


def _prose(size: int) -> str:
    random, parts, left = Random(size), list[str](), size
    while left > 0:
        parts.append(prose(random))
        left -= len(parts[-1]) + 1
    return " ".join(parts)[:size]


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


# --- the gateway and its upstream --------------------------------------------------------------------


@asynccontextmanager
async def _started(folder: Path) -> AsyncGenerator[tuple[Gateway, config.Configuration]]:
    """A gateway in `folder` with an upstream on loopback, and its configuration."""
    _write_grants(folder)
    server = await asyncio.start_server(_answer_requests, "127.0.0.1", 0)
    async with server:
        port = server.sockets[0].getsockname()[1]
        configuration = config.parse(_CONFIGURATION.format(port=port), base=folder)
        async with open_gateway(configuration) as started:
            yield started, configuration


def _write_grants(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "grants.yaml").write_text(_GRANTS, "utf-8")


async def _answer_requests(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Answer MCP requests on one connection until it is closed."""
    try:
        while True:
            head = await reader.readuntil(b"\r\n\r\n")
            message = json.loads(await reader.readexactly(_size_of_body(head)))
            if "id" not in message:
                writer.write(b"HTTP/1.1 202 Accepted\r\ncontent-length: 0\r\n\r\n")
                continue
            result = _ANSWERS.get(message["method"], _DISCOVERY)
            body = json.dumps({"jsonrpc": "2.0", "id": message["id"], "result": result}).encode()
            head = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n" % len(body)
            writer.write(head + body)
    except (asyncio.IncompleteReadError, ConnectionError):
        writer.close()


def _call(path: str) -> bytes:
    params = {"name": "read_file", "arguments": {"path": path}}
    return json.dumps({"jsonrpc": "2.0", "id": 7, "method": "tools/call", "params": params}).encode()
