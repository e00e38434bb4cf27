"""How much of a fast caller's throughput is left while other callers are given large results."""

from __future__ import annotations

import asyncio
import json
import multiprocessing
import statistics
from collections.abc import Sequence
from dataclasses import dataclass, replace
from multiprocessing.connection import Connection
from pathlib import Path

from benchmarks.gateway import targets
from benchmarks.gateway.load import Load, Request, Sample, run

HEAD = """\
## A caller beside large results

One caller with 16 connections, alone and beside four callers that each ask for texts of 1 MiB without a pause.

| | calls/s | p99 | large results/s |
|---|---:|---:|---:|"""
LARGE_CALLERS = ("large-a", "large-b", "large-c", "large-d")


@dataclass(frozen=True, slots=True)
class Share:
    """The throughput of the fast caller in calls a second, its 99th percentile in milliseconds, and large results a second."""

    fast: float
    p99: float
    large: float

    def row(self, name: str) -> str:
        """Return a row of the table."""
        return f"| {name} | {self.fast:,.0f} | {self.p99:.0f} ms | {self.large:.1f} |"


def fairness(folder: Path, *, quick: bool) -> str:
    """Return a table of the fast caller's throughput, alone and beside callers of large results."""
    rounds, seconds = (1, 2.0) if quick else (3, 5.0)
    with (
        targets.direct(folder / "direct") as base,
        targets.opagate(folder / "gateway", base.request.url, engine="embedded") as target,
    ):
        origin = target.request.url.removesuffix("/mcp/echo")
        large = [
            large_call(target.request, targets.token(folder / "gateway", origin, caller)) for caller in LARGE_CALLERS
        ]
        asyncio.run(run(target.request, load=Load(16), seconds=1.0))
        pairs = [(measure(target.request, [], seconds), measure(target.request, large, seconds)) for _ in range(rounds)]
    alone, beside = (median_of(shares) for shares in zip(*pairs, strict=True))
    return "\n".join([HEAD, alone.row("alone"), beside.row("beside four callers of 1 MiB")])


def large_call(request: Request, token: str) -> Request:
    """Return a call of the tool `page`, which answers with 1 MiB of words."""
    message = json.loads(request.body)
    message["params"] |= {"name": "page", "arguments": {"kib": 1024}}
    headers = {**dict(request.headers), "mcp-name": "page", "authorization": f"Bearer {token}"}
    return replace(request, headers=tuple(headers.items()), body=json.dumps(message).encode(), proof=b'"content"')


def measure(request: Request, large: Sequence[Request], seconds: float) -> Share:
    """Measure the fast caller in this process, and the callers of large results in another one."""
    here, there = multiprocessing.Pipe()
    beside = multiprocessing.Process(target=_ask_for_large, args=(there, large, seconds + 1))
    beside.start()
    here.recv()
    fast = asyncio.run(run(request, load=Load(16), seconds=seconds))
    results = here.recv() / (seconds + 1)
    beside.join()
    if fast.failures:
        raise SystemExit(f"{fast.failures} calls of the fast caller failed")
    latencies = sorted(fast.latencies)
    return Share(len(latencies) / fast.seconds, latencies[int(len(latencies) * 0.99)] * 1_000, results)


def median_of(shares: Sequence[Share]) -> Share:
    """Return the medians of several rounds."""
    return Share(*(statistics.median(getattr(share, name) for share in shares) for name in ("fast", "p99", "large")))


def _ask_for_large(there: Connection, large: Sequence[Request], seconds: float) -> None:
    there.send("ready")
    samples = asyncio.run(_together(large, seconds))
    if any(sample.failures for sample in samples):
        raise SystemExit("calls of large results failed")
    there.send(sum(len(sample.latencies) for sample in samples))


async def _together(large: Sequence[Request], seconds: float) -> list[Sample]:
    return await asyncio.gather(*(run(request, load=Load(1), seconds=seconds) for request in large))
