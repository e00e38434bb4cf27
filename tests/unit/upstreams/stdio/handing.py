"""Leased credentials for the processes of tests, and the callers whose requests come with them."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from gateway.model.wire import Era, HandedCredential, UpstreamReply, UpstreamRequest
from gateway.upstreams.stdio import StdioUpstream
from tests.machine import find_outside
from tests.unit.upstreams.stdio.driving import ALICE, body_of, events_of, is_stream, message_of

HOLDER = (sys.executable, "-I", "-S", str(Path(__file__).with_name("holder.py")))


def lent(number: int = 1, *, terms: str = "t1", since: float | None = None) -> HandedCredential:
    fields = (("username", f"user-{number}"), ("password", f"secret-{number}"))
    return HandedCredential(f"lease-{number}", terms, number if since is None else since, "basic", fields, 2000.0)


class Caller:
    """A client in one era, whose requests come with a credential."""

    def __init__(self, upstream: StdioUpstream, era: Era = Era.STATELESS, principal: Any = ALICE) -> None:
        self.upstream = upstream
        self.era = era
        self.principal = principal
        self.session: str | None = None
        self.count = 100

    async def send(self, document: dict[str, Any], credential: HandedCredential | None) -> UpstreamReply:
        message = message_of({"jsonrpc": "2.0", **document}, self.era, None)
        return await self.upstream.send(
            UpstreamRequest("POST", (), self.principal, message=message, session=self.session, handed=credential)
        )

    async def initialize(self, credential: HandedCredential | None = None) -> None:
        reply = await self.send({"id": 0, "method": "initialize", "params": {}}, credential)
        self.session = dict(reply.headers)[b"mcp-session-id"].decode()
        await body_of(reply)
        await self.send({"method": "notifications/initialized"}, None)

    async def call(self, credential: HandedCredential | None, do: str = "tell") -> UpstreamReply:
        self.count += 1
        return await self.send(
            {"id": self.count, "method": "tools/call", "params": {"name": "x", "arguments": {"do": do}}}, credential
        )

    async def told(self, credential: HandedCredential | None, do: str = "tell") -> dict[str, Any]:
        reply = await self.call(credential, do)
        body = await body_of(reply)
        document = events_of(body)[-1][1] if is_stream(reply) else json.loads(body)
        found = document["result"]
        outside = {name: find_outside(found[name], found["room"]) for name in ("pid", "helper") if name in found}
        return {**found, **outside}
