"""What history and the search for credentials add to a call of 4 KB with a result of 4 KB, in tasks of different lengths.

History cannot be switched off: policy refuses what it has no facts for. So the same call takes the real way through the
gateway, in this process, in three ways: with the facts of a first call in the place of history, with history, and with
history and the search for credentials, as it always is. The upstream answers at once; the journal is on. What the ways
differ in is then all that history costs: words and their digests, the fold, the facts, the policy's work on them, and
what the journal writes of them. The earlier calls went to the same system, or in turn to it and to another.
"""

from __future__ import annotations

import gc
import json
import statistics
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import count, cycle
from pathlib import Path
from random import Random
from typing import Final

import uvloop

from benchmarks.gateway import targets
from benchmarks.gateway.measured_calls import with_upstreams
from benchmarks.gateway.targets import GRANTS
from benchmarks.gateway.ways import WAYS, Upstream, ways
from gateway import config
from gateway.calls.composition import Gateway
from gateway.history import Reservation
from gateway.identity import development
from gateway.model.call import Call
from gateway.model.caller import Credentials, Principal
from gateway.model.content import CallContent, ResultContent
from gateway.model.decision import Refusal
from gateway.model.task import Task
from gateway.model.wire import JsonObject
from gateway.surfaces.app import open_gateway
from gateway.wire.http.exchange import Exchange
from gateway.wire.protocol.headers import group_headers
from gateway.wire.protocol.replies import Reply

LENGTHS: Final = (10, 1_000, 100_000)
SIZE: Final = 4_096
KINDS: Final = {"untrusted": ("echo",), "untrusted, of two": ("echo", "other"), "trusted": ("house",)}
"""What results are called in the table → the systems of the earlier calls, the first of which is measured. What a task has
read of one system alone is not compared with what goes back to it."""
UPSTREAMS: Final = {"echo": "untrusted", "other": "untrusted", "house": "trusted"}
SEED: Final = 20_261_125
POOL: Final = 1_000
"""Different calls that the earlier calls of a task are taken from: more words than a task keeps."""
HEAD: Final = """\
## What history adds

The same call with 4 KB of arguments and a result of 4 KB through the whole gateway, in one process, with the facts of a \
first call in the place of history, with history, and with history and the search for credentials, as it always is. \
The earlier calls went to the same system, or in turn to two. Medians in milliseconds: until the caller has the last \
byte of the answer, and, as "CPU", all the work of the event loop's thread, also that of settling the call while the answer is on its way.
"""


# --- what is sent ------------------------------------------------------------------------------------


class Texts:
    """Texts as agents read and write them: JSON records of people, links, times, amounts and identifiers, part of which
    come again and part of which never do."""

    def __init__(self, random: Random) -> None:
        self._random = random
        self._words = ["".join(random.choices("aeioubcdfglmnprst", k=random.randint(2, 11))) for _ in range(3_000)]

    def one(self) -> str:
        records: list[JsonObject] = []
        while len(text := json.dumps(records)) < SIZE:
            records.append(self._record())
        return text[:SIZE]

    def _record(self) -> JsonObject:
        random, name = self._random, self._random.choice(self._words)
        return {
            "id": random.randrange(10**9),
            "title": " ".join(random.choices(self._words, k=9)),
            "author": {"login": name, "email": f"{name}@{random.choice(self._words)}.example"},
            "url": f"https://tickets.corp.example/projects/{name}/issues/{random.randrange(10**4)}",
            "created": f"2026-11-{random.randrange(10, 29)}T08:11:{random.randrange(10, 60)}Z",
            "amount": f"{random.randrange(10**5)}.{random.randrange(10, 99)}",
            "commit": f"{random.getrandbits(160):040x}",
        }


def result(text: str) -> bytes:
    content = {"content": [{"type": "text", "text": text}], "resultType": "complete"}
    return json.dumps({"jsonrpc": "2.0", "id": 1, "result": content}).encode()


# --- measuring ---------------------------------------------------------------------------------------


@dataclass(slots=True)
class Times:
    """Seconds of each call: as a clock has them, and of the thread."""

    wall: list[float] = field(default_factory=list[float])
    cpu: list[float] = field(default_factory=list[float])


@dataclass(frozen=True, slots=True)
class Row:
    kind: str
    length: int
    times: Mapping[str, Times]


@dataclass(frozen=True, slots=True)
class Caller:
    """Somebody with a task of its own."""

    headers: tuple[tuple[bytes, bytes], ...]
    principal: Principal


class Rig:
    """A gateway in this process, and what is sent through it."""

    def __init__(self, gateway: Gateway, configuration: config.Configuration, random: Random) -> None:
        self._upstream = Upstream()
        self.gateway = with_upstreams(gateway, dict.fromkeys(configuration.upstreams, self._upstream))
        self._configuration = configuration
        self._key = development.load_key(configuration.state)
        self._numbers = count()
        texts = Texts(random)
        self._pool = [(texts.one(), result(texts.one())) for _ in range(POOL)]
        self._random = random

    async def caller(self) -> Caller:
        """Return a caller of its own, whose token is known already. It starts a task with its first call."""
        audience = f"{self._configuration.base_url}/mcp"
        user = f"user-{next(self._numbers)}"
        token = development.issue(self._key, agent="bench", user=user, audience=audience, ttl=7_200, clock=time.time)
        credentials = Credentials("POST", f"{audience}/echo", (f"Bearer {token}",))
        principal = await self.gateway.identities.identify(credentials, "127.0.0.1")
        if isinstance(principal, Refusal):
            raise SystemExit(f"the benchmark's own token is refused: {principal.reason.code}")
        headers = (
            *((name.encode(), value.encode()) for name, value in targets.stateless_headers(token)),
            (b"host", b"127.0.0.1"),
        )
        return Caller(headers, principal)

    def task(self, caller: Caller) -> Task:
        return self.gateway.history.tasks.open_implicit(caller.principal, time.time())

    def live(self, caller: Caller, upstreams: Sequence[str], calls: int) -> None:
        """Put calls behind a task, to each of these in turn, each counted, observed and settled as the gateway does it."""
        task, history, inspector = self.task(caller), self.gateway.history, self.gateway.inspector
        targets = [self.gateway.catalogue.target(upstream, "tool", "echo") for upstream in upstreams]
        looked: list[tuple[Call, CallContent, list[ResultContent]]] = []
        for (arguments, answer), target in zip(self._pool[:calls], cycle(targets), strict=False):
            call = Call("tools/call", target, {"text": arguments})
            content, found = inspector.call(call, task, history.ledger.seen(task)), inspector.result(call, task)
            parts = [part for part in (found.feed(answer), found.finish()) if part is not None]
            looked.append((call, content, parts))
        for number in range(calls):
            call, content, parts = looked[number % len(looked)]
            name = f"behind-{next(self._numbers)}"
            history.ledger.reserve(task, name, call, content, time.time(), depth=0)
            for part in parts:
                history.ledger.observe(task, name, part)
            history.ledger.settle(task, name)

    async def one(self, gateway: Gateway, caller: Caller, upstream: str, times: Times) -> None:
        """One call, timed from the request to the last byte of its answer, and its work until it is settled."""
        arguments, answer = self._random.choice(self._pool)
        self._upstream.answer = answer
        body = targets.stateless_body({"text": arguments})

        async def read() -> bytes:
            return body

        url = f"{self._configuration.base_url}/mcp/{upstream}"
        exchange = Exchange(
            "POST", upstream, url, caller.headers, group_headers(caller.headers), "127.0.0.1", body=read
        )
        begun, begun_cpu = time.perf_counter(), time.thread_time()
        reply = await gateway.pipeline.handle(exchange)
        if isinstance(reply, Reply):
            raise SystemExit(f"the benchmark's call is refused: {reply.body.decode()}")
        got = b"".join([chunk async for chunk in reply])
        times.wall.append(time.perf_counter() - begun)
        await reply.close()
        times.cpu.append(time.thread_time() - begun_cpu)
        if got != answer:
            raise SystemExit("the benchmark's call did not come to its result")


async def measure(rig: Rig, lengths: tuple[int, ...], samples: int) -> list[Row]:
    """Each way in turn, call by call, so that the machine's drift hits all alike. A task is measured for a tenth of its
    length at most, then another takes its place."""
    rows: list[Row] = []
    for kind, upstreams in KINDS.items():
        upstream, idle = upstreams[0], await rig.caller()
        gateways = ways(rig.gateway, _first(rig, idle, upstream))
        for length in lengths:
            times = {way: Times() for way in WAYS}
            left = samples
            while left > 0:
                callers = {way: await rig.caller() for way in WAYS}
                for way in WAYS[1:]:
                    rig.live(callers[way], upstreams, length)
                for way in WAYS:
                    # Nobody's first call is measured: it would find the processor's caches full of other things.
                    await rig.one(gateways[way], idle, upstream, Times())
                for _ in range(min(left, max(1, length // 10))):
                    for way in WAYS:
                        await rig.one(gateways[way], callers[way], upstream, times[way])
                    left -= 1
            rows.append(Row(kind, length, times))
    return rows


def _first(rig: Rig, caller: Caller, upstream: str) -> Reservation:
    """What history says of the first call of a task."""
    history, task = rig.gateway.history, rig.task(caller)
    call = Call("tools/call", rig.gateway.catalogue.target(upstream, "tool", "echo"), {"text": "x"})
    reservation = history.ledger.reserve(task, "first", call, CallContent(), time.time(), depth=0)
    history.ledger.release(task, "first", denied=False)
    return reservation


# --- the table ---------------------------------------------------------------------------------------


def table(rows: list[Row]) -> str:
    lines = [
        "| results | calls before | without | with history | added | added CPU | with credentials too | added | added CPU |",
        "|---|---:|---:|---:|---:|---:|---:|---:|---:|",
    ]
    lines += [f"| {row.kind} | {row.length:,} | {' | '.join(_cells(row.times))} |" for row in rows]
    return "\n".join(lines)


def _cells(times: Mapping[str, Times]) -> Iterator[str]:
    wall = {way: statistics.median(found.wall) * 1_000 for way, found in times.items()}
    cpu = {way: statistics.median(found.cpu) * 1_000 for way, found in times.items()}
    yield f"{wall['neither']:.2f}"
    for way in WAYS[1:]:
        yield from (f"{value:.2f}" for value in (wall[way], wall[way] - wall["neither"], cpu[way] - cpu["neither"]))


def history(folder: Path, *, quick: bool) -> str:
    """The section of the page about history."""
    lengths, samples = (LENGTHS[:2], 40) if quick else (LENGTHS, 400)
    rows = uvloop.run(run(folder, lengths, samples))
    return f"{HEAD}\n{table(rows)}"


async def run(folder: Path, lengths: tuple[int, ...], samples: int) -> list[Row]:
    """Start a gateway in this process, and measure. Lists of tools come from the real echo server."""
    with targets.direct(folder / "upstream") as base:
        configuration = configured(folder, base.request.url)
        async with open_gateway(configuration) as gateway:
            for upstream in configuration.upstreams:
                await gateway.catalogue.ensure(upstream)
            rig = Rig(gateway, configuration, Random(SEED))
            gc.collect()
            gc.freeze()
            try:
                return await measure(rig, lengths, samples)
            finally:
                gc.unfreeze()


def configured(folder: Path, url: str) -> config.Configuration:
    """Upstreams at the same address, one of which is trusted."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "grants.yaml").write_text("upstreams:\n" + "".join(map(_grants, UPSTREAMS)))
    tools = "{'*': {effect: read, egress: false, roles: {/text: content}}}"
    upstreams = "".join(
        f"  {name}: {{url: '{url}', audience: {name}, trust: {trust}, environment: bench, tenant: bench, tools: {tools}}}\n"
        for name, trust in UPSTREAMS.items()
    )
    text = f"identity: [{{kind: development}}]\npolicy: {{grants: grants.yaml}}\ntelemetry: {{level: warning}}\nupstreams:\n{upstreams}"
    return config.parse(text, base=folder)


def _grants(upstream: str) -> str:
    granted = GRANTS.partition("upstreams:\n")[2]
    return granted.replace("echo:", f"{upstream}:", 1).replace("id: benchmark", f"id: {upstream}")
