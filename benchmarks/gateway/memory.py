"""Memory of the gateway: with many open sessions, over many calls, while a large result streams, and at the most that
declared tasks may cost."""

from __future__ import annotations

import asyncio
import json
import urllib.request
from pathlib import Path
from urllib.parse import urlsplit

from benchmarks.gateway import targets
from benchmarks.gateway.declarations import declarations
from benchmarks.gateway.load import Load, Request, run

HEAD = """\
## Memory

Resident memory of the gateway process, in MiB, and what its journal takes. The callers that declare tasks declare the largest
ones that they may, for a day, until no caller with a task has room.

| what | before | after | journal |
|---|---:|---:|---:|"""


def memory(folder: Path, *, quick: bool) -> str:
    """Return a table of the resident memory of the gateway process."""
    sessions, calls, mib = (50, 5_000, 10) if quick else (1_000, 100_000, 100)
    with (
        targets.direct(folder / "direct") as base,
        targets.opagate(folder / "gateway", base.request.url, engine="embedded") as target,
    ):
        asyncio.run(run(target.request, load=Load(16), seconds=1.0))
        start = target.resident_mib()
        with_sessions, opened = asyncio.run(_with_sessions(target, sessions))
        before = target.resident_mib()
        done = 0
        while done < calls:
            done += len(asyncio.run(run(target.request, load=Load(16), seconds=2.0)).latencies)
        after = target.resident_mib()
        peak = _stream(target, mib)
        declared = declarations(folder / "declarations", base.request.url, quick=quick)
    return "\n".join(
        [
            HEAD,
            f"| {opened:,} open sessions | {start:.0f} | {with_sessions:.0f} | |",
            f"| {done:,} calls | {before:.0f} | {after:.0f} | |",
            f"| a result of {mib} MiB streams through | {after:.0f} | {peak:.0f} | |",
            *(cost.row() for cost in declared),
        ]
    )


async def _with_sessions(target: targets.Target, count: int) -> tuple[float, int]:
    opened = await _open_sessions(target.request, count)
    resident = target.resident_mib()
    for writer in opened:
        writer.close()
    return resident, len(opened)


async def _open_sessions(request: Request, count: int) -> list[asyncio.StreamWriter]:
    """Sessions of the older wire: each with a decided call, so that it is a task, and with its stream open."""
    parts = urlsplit(request.url)
    token = dict(request.headers)["authorization"]
    opened: list[asyncio.StreamWriter] = []
    for number in range(count):
        reader, writer = await asyncio.open_connection(parts.hostname, parts.port)
        head = f"host: {parts.netloc}\r\nauthorization: {token}\r\naccept: application/json, text/event-stream\r\n"
        opening = {
            "protocolVersion": "2025-11-25",
            "capabilities": {},
            "clientInfo": {"name": f"s{number}", "version": "1"},
        }
        answer = await _ask((reader, writer), parts.path, head, "initialize", opening)
        head += f"mcp-session-id: {answer['mcp-session-id']}\r\nmcp-protocol-version: 2025-11-25\r\n"
        await _ask((reader, writer), parts.path, head, "tools/call", {"name": "echo", "arguments": {"text": "x"}})
        writer.write(f"GET {parts.path} HTTP/1.1\r\n{head}\r\n".encode())
        lead = await reader.readuntil(b"\r\n\r\n")
        if b" 200 " not in lead:
            raise SystemExit(f"a stream was answered with {lead.splitlines()[0].decode()}")
        opened.append(writer)
    return opened


async def _ask(
    stream: tuple[asyncio.StreamReader, asyncio.StreamWriter], path: str, head: str, method: str, params: object
) -> dict[str, str]:
    """One request on a connection; the answer's headers. Its body is read and thrown away."""
    reader, writer = stream
    body = json.dumps({"jsonrpc": "2.0", "id": 1, "method": method, "params": params}).encode()
    lead = f"POST {path} HTTP/1.1\r\n{head}content-type: application/json\r\ncontent-length: {len(body)}\r\n\r\n"
    writer.write(lead.encode() + body)
    lines = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
    if " 200 " not in lines[0]:
        raise SystemExit(f"{method} was answered with {lines[0]}")
    answer = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines[1:])}
    if (length := answer.get("content-length")) is not None:
        await reader.readexactly(int(length))
    else:
        await reader.readuntil(b"0\r\n\r\n")
    return answer


def _stream(target: targets.Target, mib: int) -> float:
    """The highest resident memory seen while a large result passes."""
    call = json.loads(target.request.body)
    call["params"]["name"] = "big"
    call["params"]["arguments"] = {"mib": mib}
    headers = {name: ("big" if name == "mcp-name" else value) for name, value in target.request.headers}
    peak = target.resident_mib()
    with urllib.request.urlopen(
        urllib.request.Request(target.request.url, json.dumps(call).encode(), headers)
    ) as answer:
        while answer.read(2**20):
            peak = max(peak, target.resident_mib())
    return peak
