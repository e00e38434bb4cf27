"""What a shared history costs a call, and whether it holds: several gateways over one PostgreSQL on this machine."""

from __future__ import annotations

import asyncio
import datetime as dt
import os
import platform
import secrets
import statistics
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from benchmarks.authority.figures import Figure, table
from benchmarks.gateway import targets
from benchmarks.gateway.load import Load, run
from gateway.base.store.engine import Append, Log
from gateway.base.store.postgresql import PostgresStore
from gateway.base.store.postgresql_claim import PostgresClaim
from gateway.base.store.postgresql_connection import Server
from gateway.model.content import CallContent, ResultContent, Sighting
from tests.unit.base.store.postgresql_server import PostgresServer, running_postgresql
from tests.unit.history.recording import AGENT
from tests.unit.history.shared.races import race, reached
from tests.unit.history.shared.racing_gateway import AT_ONCE
from tests.unit.history.shared.replicas import LIMIT, PATIENCE, Replica, shown

if TYPE_CHECKING:
    from collections.abc import Sequence

PAGE: Final = targets.ROOT / "docs/benchmarks/replicas.md"
HEAD: Final = """\
# Several gateways over one PostgreSQL

    make bench ARGS=replicas                # prints the tables; exit status 1 beyond a goal
    make bench ARGS='replicas --write'      # writes this page too; some minutes, on a quiet machine
    make bench ARGS='replicas --quick'      # fewer runs

What a [shared history](../operations/postgresql.md) costs a call, and whether its limits hold.
"""
NOTES: Final = f"""\
- PostgreSQL is on the same machine, on a Unix socket, with `synchronous_commit=on`. A commit there costs what its disk takes.
- "Added" compares two gateways with the shipped policy, tokens and the journal: one with `store`, and one without.
- The CPU is that of the gateway alone. PostgreSQL shares the cores with it, and with the load.
- A race is three processes with {AT_ONCE} calls of one task at the same time, to 40 systems with a hard limit of {LIMIT}. Each call
  waits for its own reservation. One process is killed after 40 answers.
- A trial shows a credential at one gateway, and carries it at the other in the next request. It has missed if the call does not
  know where the credential was shown. Trials are at the history, without HTTP and without a search of the answer.
- A gateway renews its claim each second, and its claim ends 12 s after the last renewal. Another looks each second here."""
SIZING: Final = """\
## Sizing

A call makes one commit for its reservation, and one event of some {bytes:,} bytes in the log of its caller, with index. Calls
that wait together share a commit. Ten calls a task, and a peak of four times the mean:

| tasks a day | calls a second, mean | at the peak | cores of gateways at the peak | growth of the logs a day |
|---:|---:|---:|---:|---:|
{rows}

A core of a gateway takes {rate:,.0f} calls a second at 16 connections here. One server took {appends:,.0f} appends a second of 64
callers. The logs are not cut, so plan the disk for as long as the database is kept. Beyond one server, the key of each log
begins with a digest of its owner: the tables can be partitioned by its hash, and a call needs one partition. Neither
partitions nor a distributed database were measured.
"""
_CALLS_A_TASK: Final = 10
_PEAK: Final = 4
_KILLED_AFTER: Final = 40


@dataclass(frozen=True, slots=True)
class Added:
    """Seconds of the median call and of CPU a call, without and with the shared history."""

    load: Load
    alone: tuple[float, float]
    shared: tuple[float, float]

    def row(self) -> str:
        """Return the added time as a row of a Markdown table."""
        p50, cpu = (after - before for before, after in zip(self.alone, self.shared, strict=True))
        return (
            f"| {self.load} | {self.alone[0] * 1e3:.2f} ms | {self.shared[0] * 1e3:.2f} ms | {p50 * 1e3:.2f} ms"
            f" | {cpu * 1e6:.0f} µs |"
        )


@dataclass(frozen=True, slots=True)
class Found:
    """All that was measured. `systems` are those that each race reached, and `missed` the trials that went wrong."""

    added: tuple[Added, ...]
    figures: tuple[Figure, ...]
    systems: tuple[int, ...]
    trials: int
    missed: int
    appends: float
    call_bytes: int

    def is_within_goals(self) -> bool:
        """Return whether the limits held, and each figure reaches its goal."""
        return max(self.systems) <= LIMIT and not self.missed and all(each.is_within_goal() for each in self.figures)


def replicas(folder: Path, *, quick: bool) -> Found:
    """Measure everything in `folder`."""
    with running_postgresql() as server:
        added = _compare(folder, server, rounds=1 if quick else 5)
        os.sched_setaffinity(0, range(os.cpu_count() or 1))
        return asyncio.run(_measure(server, added, quick=quick))


def describe(found: Found, *, quick: bool) -> str:
    """Return the tables with the date and the machine."""
    how = "with `--quick`" if quick else "all runs"
    machine = f"{platform.machine()}, {os.cpu_count()} cores, CPython {platform.python_version()}"
    rows = "\n".join(each.row() for each in found.added)
    held = (
        f"| 1,000 racing calls of a task over three gateways, one killed | ≤ {LIMIT} systems | {len(found.systems)} |"
        f" at most {max(found.systems)} |\n"
        f"| a credential seen at one gateway, carried at another | 0 missed | {found.trials:,} | {found.missed} |\n"
        f"| appends a second of one server, 64 callers | | 1 | {found.appends:,.0f} |"
    )
    return (
        f"Measured on {dt.datetime.now(dt.UTC).date()}: {machine}, {how}, load of the machine at the end"
        f" {os.getloadavg()[1]:.1f}.\n\n"
        "| connections | p50 alone | p50 with `store` | added p50 | added CPU a call |\n|---:|---:|---:|---:|---:|\n"
        f"{rows}\n\n| | goal | runs | found |\n|---|---|---:|---|\n{held}\n\n{table(found.figures)}\n\n{_size(found)}"
    )


def write(text: str) -> None:
    """Write the page."""
    PAGE.write_text(f"{HEAD}\n{text}\n{NOTES}\n", "utf-8")


def _size(found: Found) -> str:
    rate = next(1 / each.shared[1] for each in found.added if each.load.connections == 16)
    rows: list[str] = []
    for tasks in (100_000, 1_000_000, 10_000_000):
        mean = tasks * _CALLS_A_TASK / 86_400
        growth = tasks * _CALLS_A_TASK * found.call_bytes / 1e9
        rows.append(f"| {tasks:,} | {mean:,.0f} | {mean * _PEAK:,.0f} | {mean * _PEAK / rate:.1f} | {growth:,.1f} GB |")
    return SIZING.format(bytes=found.call_bytes, rows="\n".join(rows), rate=rate, appends=found.appends)


# --- whole gateways -----------------------------------------------------------------------------------


def _compare(folder: Path, server: PostgresServer, *, rounds: int) -> tuple[Added, ...]:
    """Call a gateway alone and one with a shared history in turn, so that the machine's drift hits both."""
    loads = (Load(1), Load(16), Load(64))
    times: dict[tuple[Load, str], list[tuple[float, float]]] = {}
    with targets.direct(folder / "direct") as base:
        url = base.request.url
        with (
            targets.opagate(folder / "alone", url, engine="embedded") as alone,
            targets.opagate(folder / "shared", url, engine="embedded", store=server.url) as shared,
        ):
            for target in (alone, shared):
                asyncio.run(run(target.request, load=Load(4), seconds=1.0))
            for _ in range(rounds):
                for load in loads:
                    for target in (alone, shared):
                        times.setdefault((load, target.name), []).append(_time(target, load))
            return tuple(
                Added(load, _middle(times[load, alone.name]), _middle(times[load, shared.name])) for load in loads
            )


def _time(target: targets.Target, load: Load) -> tuple[float, float]:
    before = target.cpu_seconds()
    sample = asyncio.run(run(target.request, load=load, seconds=2.0))
    if sample.failures:
        raise SystemExit(f"{target.name}: {sample.failures} of {len(sample.latencies)} answers were wrong")
    return statistics.median(sample.latencies), (target.cpu_seconds() - before) / len(sample.latencies)


def _middle(times: Sequence[tuple[float, float]]) -> tuple[float, float]:
    """Return the shortest median and the least CPU of several rounds: other work on the machine only adds."""
    return min(p50 for p50, _ in times), min(cpu for _, cpu in times)


# --- the history -------------------------------------------------------------------------------------


async def _measure(server: PostgresServer, added: tuple[Added, ...], *, quick: bool) -> Found:
    runs, trials = (2, 500) if quick else (20, 10_000)
    # No other call is made meanwhile, so the log of this caller has these calls alone.
    cold, call_bytes = await _read_cold(await _open_schema(server), runs=3 if quick else 10)
    systems = [await _race(await _open_schema(server)) for _ in range(runs)]
    missed = await _carry(await _open_schema(server), trials)
    appends = await _append(await _open_schema(server), seconds=2.0 if quick else 10.0)
    taken = [await _take_over(await _open_schema(server)) for _ in range(1 if quick else 3)]
    figures = (
        Figure("a gateway meets a task of 1,000 calls → it knows the task", tuple(cold), "ms"),
        Figure("last renewal of a gateway that ended → another has closed its open call", tuple(taken), "s", 15.0),
    )
    return Found(added, figures, tuple(systems), trials, missed, appends, call_bytes)


async def _open_schema(server: PostgresServer) -> str:
    name = f"bench_{secrets.token_hex(6)}"
    await server.execute(f"create schema {name}")
    return f"{server.url}&search_path={name}"


def _open(url: str) -> PostgresStore:
    return PostgresStore(Server(url, PATIENCE, PATIENCE, PATIENCE))


async def _race(url: str) -> int:
    """Return the number of systems that racing calls of a task reached."""
    commands = [[url, name, "334"] for name in "abc"]
    return len(reached(await race(commands, kill_after=_KILLED_AFTER)))


async def _carry(url: str, trials: int) -> int:
    """Show a credential at one gateway, and carry it at the other. Return how often the other did not know it."""
    pair = [Replica(name, _open(url), time.time) for name in "ab"]
    missed = 0
    for number in range(trials):
        here, there = pair[number % 2], pair[(number + 1) % 2]
        secret = f"secret-{secrets.token_hex(8)}"
        await here.call("vault", shows=shown(secret))
        carried = CallContent(sightings=(Sighting(secret, "jwt", "/x"),))
        call, task, counted = await there.reserve("mail", carried)
        missed += [fact.origin.audience for fact in counted.facts.credentials or ()] != ["vault"]
        there.history.ledger.release(task, call, denied=False)
    await _close(*pair)
    return missed


async def _read_cold(url: str, *, runs: int) -> tuple[list[float], int]:
    """Return the seconds until new gateways know a task of 1,000 calls, and the bytes of a call in the database."""
    writer = Replica("a", _open(url), time.time)
    for number in range(1000):
        await writer.call(f"system-{number % 4}", shows=ResultContent(tokens=frozenset({number})))
    await writer.log.confirm(AGENT.key)
    took: list[float] = []
    for number in range(runs):
        reader = Replica(f"reader-{number}", _open(url), time.time)
        await reader.engine.read("kind", "id")  # opens the connection
        begun = time.perf_counter()
        await reader.log.catch_up(AGENT.key)
        took.append(time.perf_counter() - begun)
        await _close(reader)
    connection = await PostgresServer.connect(url)
    size = await connection.fetchval("select pg_total_relation_size('opagate_events')")
    await connection.close()
    await _close(writer)
    return took, round(size / 1000)


async def _append(url: str, *, seconds: float) -> float:
    """Return how many events of 600 bytes one server takes a second from 64 callers."""
    store, made, end = _open(url), 0, time.monotonic() + seconds
    await store.find_version(Log(b"o" * 16, "history"))

    async def append(log: Log) -> None:
        nonlocal made
        version = 0
        while time.monotonic() < end:
            await store.append(Append({log: version}, [(log, b"x" * 600)]))
            version += 1
            made += 1

    begun = time.monotonic()
    await asyncio.gather(*(append(Log(secrets.token_bytes(16), "history")) for _ in range(64)))
    store.close()
    return made / (time.monotonic() - begun)


async def _take_over(url: str) -> float:
    """Return the seconds from the last renewal of one gateway's claim until another has closed its open call."""
    claims = [PostgresClaim(Server(url), name, [name]) for name in "ab"]
    for claim in claims:
        await claim.take()
    dead, survivor = (Replica(claim.id, _open(url), time.time) for claim in claims)
    _, task, _ = await dead.reserve("github")
    survivor.living = {claim.id for claim in claims}
    await claims[0].renew()
    begun = time.monotonic()
    await survivor.enter()
    while True:
        await claims[1].renew()
        survivor.living = set(await claims[1].list_living())
        await survivor.log.close_lost_calls()
        if not (await survivor.facts(task))["in_flight"]:
            break
        await asyncio.sleep(1.0)
    took = time.monotonic() - begun
    await _close(dead, survivor)
    for claim in claims:
        await claim.release()
    return took


async def _close(*opened: Replica) -> None:
    for replica in opened:
        await replica.log.close()
        replica.engine.close()
