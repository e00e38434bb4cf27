"""The cost of approvals: for calls that need none, from a click to the answer, and of many open questions.

Everything is in one process, with an upstream that answers at once. The journal, the sealed store and the desk's socket are real.
"""

from __future__ import annotations

import asyncio
import gc
import json
import os
import statistics
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Generator, Sequence
from contextlib import AbstractContextManager, asynccontextmanager, contextmanager
from dataclasses import dataclass, replace
from multiprocessing import get_context
from pathlib import Path
from typing import Any, Final

import uvloop

from benchmarks.gateway import targets
from benchmarks.gateway.measured_calls import with_upstreams
from benchmarks.gateway.ways import Upstream
from gateway import config
from gateway.authority.approvals.desk import Desk
from gateway.authority.approvals.model import ApproverRule, Question, Requester, ShownReason
from gateway.calls.composition import Gateway
from gateway.calls.pipeline.approve import CallApproval
from gateway.identity import development
from gateway.surfaces.app import open_gateway
from gateway.wire.http.exchange import Exchange
from gateway.wire.protocol.headers import group_headers
from gateway.wire.protocol.replies import Reply

MOST_MICROSECONDS: Final = 5.0
"""For a call that needs no approval."""
MOST_CLICK: Final = (20.0, 100.0)
"""Milliseconds from the click to the answer: median, and 99 of 100."""
MOST_MIB: Final = 50.0
MOST_RESTART: Final = 1.0
PENDING: Final = 10_000
PER_CALLER: Final = 5
GRANTS: Final = """
upstreams:
  free: [{id: free, agents: ["*"], issuers: ["*"], tools: [echo]}]
  held: [{id: held, agents: ["*"], issuers: ["*"], tools: [echo], approval: true}]
  other: [{id: other, agents: ["*"], issuers: ["*"], tools: [echo], approval: true}]
"""
CONFIGURATION: Final = """
identity: [{kind: development}]
policy: {grants: grants.yaml}
approvals: {hold: 30s}
telemetry: {level: error}
upstreams:
"""
UPSTREAM: Final = "  {name}: {{url: '{url}', audience: {name}, environment: bench, tools: {{'*': {{effect: read, egress: false}}}}}}\n"
ANSWER: Final = json.dumps(
    {"jsonrpc": "2.0", "id": 1, "result": {"content": [{"type": "text", "text": "x" * 64}], "resultType": "complete"}}
).encode()
HEAD: Final = """\
## What approvals cost

In one process, with an upstream that answers at once. For a call that needs no approval the figure is \
the median time in the functions that work for it only because there is a desk, of a client of 2025-11-25. "Click" is a vote over the desk's socket, until the waiting client has its answer.

| what | goal | measured |
|---|---|---|"""


@dataclass(frozen=True, slots=True)
class Costs:
    """Figures: microseconds of a call, milliseconds of a click, MiB, and seconds of a restart."""

    idle: float
    beside_questions: float
    clicks: tuple[float, ...]
    mib: float
    restart: float
    pending: int

    def table(self) -> str:
        median, late = quantile(self.clicks, 0.5), quantile(self.clicks, 0.99)
        rows = [
            ("a call that needs no approval", "≤ 5 µs", f"{self.idle:.1f} µs"),
            ("the same, its caller has 5 open questions", "≤ 5 µs", f"{self.beside_questions:.1f} µs"),
            ("click to answer, median", "≤ 20 ms", f"{median:.1f} ms"),
            (f"click to answer, 99 of 100 ({len(self.clicks)} clicks)", "≤ 100 ms", f"{late:.1f} ms"),
            (f"{self.pending:,} open questions, resident memory", "≤ 50 MiB", f"{self.mib:.1f} MiB"),
            (f"{self.pending:,} open questions, longer start", "≤ 1 s", f"{self.restart:.2f} s"),
        ]
        return "\n".join([HEAD, *(f"| {what} | {goal} | {found} |" for what, goal, found in rows)])

    def is_within_goals(self) -> bool:
        """Return whether each figure reaches its goal."""
        return (
            max(self.idle, self.beside_questions) <= MOST_MICROSECONDS
            and quantile(self.clicks, 0.5) <= MOST_CLICK[0]
            and quantile(self.clicks, 0.99) <= MOST_CLICK[1]
            and self.mib <= MOST_MIB
            and self.restart <= MOST_RESTART
        )


def quantile(values: Sequence[float], share: float) -> float:
    """Return the value that a share of the values does not exceed."""
    return sorted(values)[min(int(share * len(values)), len(values) - 1)]


def approvals(folder: Path, *, quick: bool) -> Costs:
    """Measure everything in `folder`."""
    calls, clicks, pending = (2_000, 60, PENDING) if quick else (20_000, 400, PENDING)
    with targets.direct(folder / "direct") as base:
        url = base.request.url
        idle, beside, found = uvloop.run(_measure_calls(_configure(folder / "calls", url), calls, clicks))
        empty, full = _configure(folder / "empty", url), _configure(folder / "full", url)
        mib, restart = _in_new_process(empty, full, pending)
    return Costs(idle, beside, tuple(found), mib, restart, pending)


# --- calls -------------------------------------------------------------------------------------------


@asynccontextmanager
async def _gateway(configuration: config.Configuration) -> AsyncGenerator[Gateway]:
    async with open_gateway(configuration) as gateway:
        upstream = Upstream()
        upstream.answer = ANSWER
        yield with_upstreams(gateway, dict.fromkeys(configuration.upstreams, upstream))


def _configure(folder: Path, url: str) -> config.Configuration:
    """Return the configuration of a gateway whose upstreams list their tools at `url`."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "grants.yaml").write_text(GRANTS, "utf-8")
    upstreams = "".join(UPSTREAM.format(name=name, url=url) for name in ("free", "held", "other"))
    operators = f"operators: {{accounts: [{{uid: {os.getuid()}, id: bench}}]}}"
    return config.parse(f"{operators}{CONFIGURATION}{upstreams}", base=folder)


class Agent:
    """A caller with a token of its own."""

    def __init__(self, configuration: config.Configuration, name: str) -> None:
        key = development.load_key(configuration.state)
        audience = f"{configuration.base_url}/mcp"
        token = development.issue(key, agent=name, audience=audience, ttl=7_200, clock=time.time)
        self._headers = ((b"authorization", f"Bearer {token}".encode()), (b"host", b"127.0.0.1"))
        self._base = audience

    async def call(self, gateway: Gateway, upstream: str, text: str) -> bytes:
        """Return the answer to a call."""
        params = {"name": "echo", "arguments": {"text": text}}
        body = json.dumps({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params}).encode()

        async def read() -> bytes:
            return body

        exchange = Exchange(
            "POST",
            upstream,
            f"{self._base}/{upstream}",
            self._headers,
            group_headers(self._headers),
            "127.0.0.1",
            body=read,
        )
        reply = await gateway.pipeline.handle(exchange)
        if isinstance(reply, Reply):
            return reply.body
        got = b"".join([chunk async for chunk in reply])
        await reply.close()
        return got


async def _measure_calls(
    configuration: config.Configuration, calls: int, clicks: int
) -> tuple[float, float, list[float]]:
    async with _gateway(configuration) as gateway:
        people = gateway.people
        if people is None:
            raise SystemExit("the benchmark's gateway has no desk")
        idle = await _added(gateway, Agent(configuration, "idle"), calls)
        busy = Agent(configuration, "busy")
        quick = replace(people.desk.times, hold=0.001)
        people.desk.times = quick
        for number in range(PER_CALLER):
            await busy.call(gateway, "other", f"{number}")
        beside = await _added(gateway, busy, calls)
        people.desk.times = replace(quick, hold=30.0)
        found = [
            await _click(gateway, Agent(configuration, f"clicked-{number}"), configuration) for number in range(clicks)
        ]
        return idle, beside, found


@asynccontextmanager
async def held_calls(
    folder: Path,
) -> AsyncGenerator[tuple[Callable[[range], Awaitable[None]], Callable[[], Awaitable[None]]]]:
    """Two functions: one holds further calls of other agents, the other is a call that needs no approval."""
    with targets.direct(folder / "direct") as base:
        configuration = _configure(folder / "held", base.request.url)
        async with _gateway(configuration) as gateway:
            if gateway.people is None:
                raise SystemExit("the benchmark's gateway has no desk")
            gateway.people.desk.times = replace(gateway.people.desk.times, hold=0.001)
            agent = Agent(configuration, "free")

            async def hold(numbers: range) -> None:
                for number in numbers:
                    await Agent(configuration, f"holder-{number // PER_CALLER}").call(gateway, "held", f"{number}")

            async def call() -> None:
                if await agent.call(gateway, "free", "x") != ANSWER:
                    raise SystemExit("the benchmark's call did not come to its result")

            yield hold, call


async def _added(gateway: Gateway, agent: Agent, calls: int) -> float:
    """Return the microseconds that a desk adds to a call: the median of many calls."""
    spent = Spent()
    for _ in range(100):
        await agent.call(gateway, "free", "warm")
    taken: list[int] = []
    gc.collect()
    gc.disable()
    try:
        with spent.counted():
            for _ in range(calls):
                before = spent.nanoseconds
                if await agent.call(gateway, "free", "x") != ANSWER:
                    raise SystemExit("the benchmark's call did not come to its result")
                taken.append(spent.nanoseconds - before)
    finally:
        gc.enable()
    return statistics.median(taken) / 1e3


class Spent:
    """Time in the functions that work for a call only because there is a desk."""

    def __init__(self) -> None:
        self.nanoseconds = 0

    @contextmanager
    def counted(self) -> Generator[None]:
        """Count until the block ends. Each function keeps its place, and runs as always."""
        kept = {name: getattr(CallApproval, name) for name in ("open_hold", "take_back_held_call", "_find_release")}
        try:
            for name, work in kept.items():
                setattr(CallApproval, name, self._measure(work, is_block=name == "open_hold"))
            yield
        finally:
            for name, work in kept.items():
                setattr(CallApproval, name, work)

    def _measure(self, work: Callable[..., Any], *, is_block: bool) -> Callable[..., Any]:
        """Return a method that counts the time of `work`."""

        def count(*arguments: Any) -> Any:
            return (self._entered if is_block else self._called)(work, *arguments)

        return count

    def _called(self, work: Callable[..., Any], *arguments: Any) -> Any:
        begun = time.perf_counter_ns()
        found = work(*arguments)
        self.nanoseconds += time.perf_counter_ns() - begun
        return found

    @contextmanager
    def _entered(self, work: Callable[..., AbstractContextManager[Any]], *arguments: Any) -> Generator[Any]:
        begun = time.perf_counter_ns()
        manager = work(*arguments)
        found = manager.__enter__()
        self.nanoseconds += time.perf_counter_ns() - begun
        try:
            yield found
        finally:
            begun = time.perf_counter_ns()
            manager.__exit__(None, None, None)
            self.nanoseconds += time.perf_counter_ns() - begun


async def _click(gateway: Gateway, agent: Agent, configuration: config.Configuration) -> float:
    """Return the milliseconds from the vote of a person to the answer of the waiting call."""
    people = gateway.people
    assert people is not None
    waiting = asyncio.create_task(agent.call(gateway, "held", "x"))
    reader, writer = await asyncio.open_unix_connection(configuration.state / "control.sock")

    async def ask(do: str, **fields: Any) -> Any:
        writer.write(json.dumps({"do": do, "fields": fields, "speaks_as": "bob"}).encode() + b"\n")
        return json.loads(await reader.readline())["ok"]

    question: str | None = None
    while question is None:
        await asyncio.sleep(0.002)
        question = next(
            (one["id"] for one in (await ask("approvals/list"))["questions"] if one["agent"] == _last(people.desk)),
            None,
        )
    shown = (await ask("approvals/show", id=question))["shown"]
    begun = time.perf_counter()
    await ask("approvals/vote", id=question, answer="approve", shown=shown)
    answer = await waiting
    took = (time.perf_counter() - begun) * 1e3
    writer.close()
    if answer != ANSWER:
        raise SystemExit(f"the approved call did not pass: {answer.decode()}")
    return took


def _last(desk: Desk) -> str | None:
    """Return the agent of the newest open question."""
    found = [one for one in desk.list_open() if one.state == "pending" and one.question.target == "held/echo"]
    return found[-1].question.requester.id if found else None


# --- many questions ----------------------------------------------------------------------------------


def _in_new_process(empty: config.Configuration, full: config.Configuration, pending: int) -> tuple[float, float]:
    """Return MiB and seconds of many open questions. A new process has no memory that others left."""
    context = get_context("spawn")
    ours, theirs = context.Pipe()
    measuring = context.Process(target=_measure_pending, args=(empty, full, pending, theirs))
    measuring.start()
    theirs.close()
    found = ours.recv()
    measuring.join()
    return found


def _measure_pending(empty: config.Configuration, full: config.Configuration, pending: int, pipe: Any) -> None:
    usual = uvloop.run(_start_seconds(empty))
    mib = uvloop.run(_fill(full, pending))
    pipe.send((mib, uvloop.run(_start_seconds(full, expected=pending)) - usual))


async def _start_seconds(configuration: config.Configuration, expected: int = 0) -> float:
    """Return the least time that a gateway takes to start, of three starts with all questions."""
    return min([await _started(configuration, expected) for _ in range(3)])


async def _started(configuration: config.Configuration, expected: int) -> float:
    begun = time.perf_counter()
    async with _gateway(configuration) as gateway:
        took = time.perf_counter() - begun
        if gateway.people is None or len(gateway.people.desk.list_open()) != expected:
            raise SystemExit("the questions did not survive the restart")
    return took


async def _fill(configuration: config.Configuration, pending: int) -> float:
    """Ask many questions, and return the MiB that they take."""
    async with _gateway(configuration) as gateway:
        assert gateway.people is not None
        desk = gateway.people.desk
        gc.collect()
        before = _resident()
        for number in range(pending):
            await desk.ask(_question(number, desk.now()), _description(number))
        gc.collect()
        return (_resident() - before) / 2**20


def _question(number: int, now: float) -> Question:
    """Return a question as the gateway makes it: 5 of each caller, which is the most of a task."""
    caller = f"{number // PER_CALLER:032x}"
    return Question(
        id=f"{number:024x}",
        call=f"sha256:{number:064x}",
        operation=f"sha256:{number:064x}",
        subject=f"{number:032x}",
        shown=f"sha256:{number:064x}",
        decision=f"{number:024x}",
        task="",
        target="tickets/close_ticket",
        requester=Requester(caller, f"spiffe://corp/agent/{caller}", "spiffe://corp", "ursula@corp.example"),
        rule=ApproverRule(count=2, groups=("sre",), scopes=("once", "destination")),
        reasons=(
            ShownReason(
                "approval/effect", "The call cannot be taken back.", "A person approves it.", ("/arguments/id",)
            ),
            ShownReason("approval/grant", "The grant asks for a person.", "A person approves it."),
        ),
        asked=now,
        expires=now + 3_600.0,
        values=(number, number + 1),
    )


def _description(number: int) -> dict[str, Any]:
    """Return the description of a call with 1 KB of arguments."""
    return {"arguments": {"mode": "full", "value": {"id": number, "text": "x" * 1_024}}, "audience": "tickets"}


def _resident() -> int:
    with Path("/proc/self/statm").open("rb") as found:
        return int(found.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
