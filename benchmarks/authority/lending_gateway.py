"""`python -m benchmarks.authority.lending_gateway gateway.yaml N`: a gateway that serves with N leases open from the start."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

import uvloop

from gateway import config
from gateway.authority.leases import Lent
from gateway.authority.lending import Authority, Purpose
from gateway.authority.model import MESSAGES, LeaseGrounds, Scope
from gateway.calls.composition import Gateway
from gateway.config import Configuration
from gateway.config.brokers import OWN
from gateway.model.caller import AuthMethod, Principal, User
from gateway.surfaces.app import open_gateway, serving

UPSTREAM: Final = "u"
OF_USER: Final = 10
"""Leases of one user."""
_AT_ONCE: Final = 200


async def run(path: Path, leases: int) -> None:
    """Serve until a signal."""

    @asynccontextmanager
    async def open_with_leases(configuration: Configuration) -> AsyncGenerator[Gateway]:
        async with open_gateway(configuration) as gateway:
            await fill(gateway, leases)
            yield gateway

    serving.open_gateway = open_with_leases
    await serving.run(config.load(path), on_ready=lambda: path.with_name("ready").touch())


def authority_of(gateway: Gateway) -> Authority:
    if gateway.authority is None:
        raise SystemExit("the benchmark's gateway lends nothing")
    return gateway.authority


async def fill(gateway: Gateway, leases: int) -> None:
    """Lend tokens of the gateway to tasks of many users."""
    for first in range(0, leases, _AT_ONCE):
        await asyncio.gather(*(lend(gateway, number) for number in range(first, min(first + _AT_ONCE, leases))))


async def lend(gateway: Gateway, number: int) -> Lent:
    """Return a lease of a task of its own."""
    user = f"user-{number // OF_USER}"
    principal = Principal(f"agent-of-{user}", "https://idp.example", AuthMethod.JWT, user=User(user))
    grounds = LeaseGrounds(
        principal, gateway.catalogue.target(UPSTREAM, "tool", "echo"), gateway.policy.status().revision
    )
    purpose = Purpose(f"{MESSAGES}{number}", principal, grounds=grounds)
    return await lend_for(authority_of(gateway), OWN, UPSTREAM, purpose, Scope(("read",)))


async def lend_for(authority: Authority, broker: str, upstream: str, purpose: Purpose, scope: Scope) -> Lent:
    """Return a lease, or end the benchmark."""
    lent = await authority.leases.lend(broker, authority.request(upstream, purpose, scope, None))
    if not isinstance(lent, Lent):
        raise SystemExit(f"no lease: {lent.reason.message}")
    return lent


if __name__ == "__main__":
    uvloop.run(run(Path(sys.argv[1]), int(sys.argv[2])))
