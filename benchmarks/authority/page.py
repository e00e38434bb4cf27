"""All figures of `make bench ARGS=authority`, and the page that has them."""

from __future__ import annotations

import asyncio
import datetime as dt
import os
import platform
import time
from pathlib import Path
from typing import Final

from benchmarks.authority.figures import Figure, table
from benchmarks.authority.issuers import measure_keycloak, measure_openbao
from benchmarks.authority.lending_gateway import OF_USER, UPSTREAM, authority_of, fill, lend
from benchmarks.authority.own_tokens import SIGNALS, STREAM, configure, measure_kill, measure_own_tokens
from benchmarks.gateway import targets
from benchmarks.gateway.minting import minting
from gateway import config
from gateway.authority.lending import Authority, Purpose
from gateway.authority.model import MESSAGES, Scope
from gateway.calls.pipeline.revocation import take_token
from gateway.config.brokers import OWN
from gateway.model.caller import AuthMethod, Principal, User
from gateway.surfaces.app import open_gateway
from tests.signalling import ISSUER, Provider, account

PAGE: Final = targets.ROOT / "docs/benchmarks/authority.md"
HEAD: Final = """\
# How fast lent credentials die

    make bench ARGS=authority                # prints the table; exit status 1 beyond a goal
    make bench ARGS='authority --write'      # writes this page too; some minutes, on a quiet machine
    make bench ARGS='authority --quick'      # a few runs of each
"""
NOTES: Final = """\
- "No call can carry it": the gateway has answered. The value leaves memory before that, whatever the issuer does.
- Ends of tasks, introspection and `opagate credentials` are requests to a gateway in a process of its own.
- A signal is a push of an identity provider (RFC 8935) to the same gateway, with an event of CAEP: session revoked.
- "Signal → no call can carry": in the gateway, from the event's bytes to the refusal of its user. The record and the answer follow.
- "Proven": the issuer has answered that it knows the credential no more (introspection, or OpenBao's lookup).
- OpenBao drops roles one after the other. Its own time is measured without a gateway, with as many secrets.
- The start after kill -9 counts from the beginning of the new process.
- CPU figures are the least of several batches, since other programs only ever add to them."""


def authority(folder: Path, *, quick: bool, without: list[str]) -> list[Figure]:
    """Measure everything in `folder`. `without` names issuers to leave out."""
    leases, runs, restarts = (2_000, 20, 1) if quick else (10_000, 200, 5)
    everywhere = os.sched_getaffinity(0)
    figures: list[Figure] = []
    with targets.direct(folder / "direct") as base:
        echo = base.request.url
        figures += asyncio.run(measure_own_tokens(folder / "own", echo, leases=leases, runs=runs))
        figures.append(asyncio.run(measure_kill(folder / "killed", echo, leases=leases, runs=restarts)))
        os.sched_setaffinity(0, set(range(os.cpu_count() or 1)))
        if "openbao" not in without:
            figures += measure_openbao(folder / "bao", echo, runs=2 if quick else 10)
        if "keycloak" not in without:
            figures.append(measure_keycloak(folder / "keycloak", echo, runs=3 if quick else 20))
        os.sched_setaffinity(0, everywhere)
        path = configure(folder / "signals", echo, signals=[STREAM])
        figures.insert(3, asyncio.run(_measure_signal(path, leases, runs)))
        found = asyncio.run(_measure_cached(config.load(configure(folder / "cached", echo)), leases))
        figures.append(Figure("CPU of a call whose lease is open already", (found,), "µs", 2e-6))
    figures.append(Figure("CPU that `bind: call` adds to a call", (minting().mint / 1e6,), "µs", 60e-6))
    return figures


async def _measure_signal(path: Path, leases: int, runs: int) -> Figure:
    """Measure from an event in the gateway's hands until no call of its user is let through, beside open leases."""
    provider, took = Provider(), list[float]()
    provider.write_keys(path.parent)
    async with open_gateway(config.load(path)) as gateway:
        await fill(gateway, leases)
        (source,), receiver, register = gateway.signals.sources, gateway.signals.receiver, gateway.signals.register
        if receiver is None:
            raise SystemExit("the benchmark's gateway receives no signals")
        for number in range(min(runs, leases // OF_USER)):
            user = f"user-{number}"
            caller = Principal(f"agent-of-{user}", ISSUER, AuthMethod.JWT, user=User(user), issued=time.time() - 60)
            token = provider.event(account(user), aud=SIGNALS)
            begun = time.perf_counter()
            taking = asyncio.create_task(take_token(receiver, source, token, time.time))
            while not register.is_ended(caller):  # noqa: ASYNC110 - an event would take a turn more
                await asyncio.sleep(0)
            took.append(time.perf_counter() - begun)
            if await taking is not None:
                raise SystemExit("the event was refused")
    return Figure(f"signal → no call can carry a lease of its user ({leases:,} open leases)", tuple(took), "ms", 0.01)


async def _measure_cached(configuration: config.Configuration, leases: int) -> float:
    """Return the seconds of CPU for a lease that is open, beside others."""
    async with open_gateway(configuration) as gateway:
        parts = authority_of(gateway)
        for number in range(min(leases, 1_000)):
            await lend(gateway, number)
        return min([await _batch(parts) for _ in range(9)])


async def _batch(parts: Authority, calls: int = 5_000) -> float:
    principal = Principal("agent-of-user-0", "https://idp.example", AuthMethod.JWT, user=User("user-0"))
    request = parts.request(UPSTREAM, Purpose(f"{MESSAGES}0", principal), Scope(("read",)), None)
    lend_again = parts.leases.lend
    begun = time.process_time()
    for _ in range(calls):
        await lend_again(OWN, request)
    return (time.process_time() - begun) / calls


def describe(figures: list[Figure], *, quick: bool) -> str:
    """Return the table with the date and the machine."""
    how = "a few runs of each" if quick else "all runs"
    machine = f"{platform.machine()}, {os.cpu_count()} cores, CPython {platform.python_version()}"
    load = f"load of the machine at the end {os.getloadavg()[1]:.1f}"
    return f"Measured on {dt.datetime.now(dt.UTC).date()}: {machine}, {how}, {load}.\n\n{table(figures)}"


def write(text: str) -> None:
    """Write the page."""
    PAGE.write_text(f"{HEAD}\n{text}\n\n{NOTES}\n", "utf-8")
