"""A client for stdio upstreams, and what reads the replies. For `StdioUpstream.send` alone: no HTTP in between."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from gateway.model.caller import AuthMethod, Principal
from gateway.model.wire import Disposition, Era, Headers, Kind, Message, RequestId, UpstreamReply, UpstreamRequest
from gateway.upstreams.stdio import StdioUpstream

PUPPET = (sys.executable, "-I", "-S", str(Path(__file__).with_name("puppet.py")))
ALICE = Principal("alice", "https://idp.example", AuthMethod.JWT)
BOB = Principal("bob", "https://idp.example", AuthMethod.JWT)
PROTOCOL_2025 = ((b"mcp-protocol-version", b"2025-11-25"),)


Make = Callable[..., StdioUpstream]
"""Builds an upstream: command, limits, settings."""


class Client:
    """One MCP client of an upstream."""

    def __init__(self, upstream: StdioUpstream, principal: Principal = ALICE, era: Era = Era.HANDSHAKE) -> None:
        self.upstream = upstream
        self.principal = principal
        self.era = era
        self.session: str | None = None
        self.headers: Headers = ()

    async def post(self, document: Mapping[str, Any], *, body: bytes | None = None) -> UpstreamReply:
        message = message_of(document, self.era, body)
        return await self.upstream.send(
            UpstreamRequest("POST", self.headers, self.principal, message=message, session=self.session)
        )

    async def call(self, request: RequestId, script: list[dict[str, Any]] | None = None, **meta: Any) -> UpstreamReply:
        params: dict[str, Any] = {"name": "puppet", "arguments": {"script": script}, "_meta": meta}
        return await self.post({"jsonrpc": "2.0", "id": request, "method": "tools/call", "params": params})

    async def initialize(self, script: list[dict[str, Any]] | None = None) -> UpstreamReply:
        reply = await self.post({"jsonrpc": "2.0", "id": 0, "method": "initialize", "params": {"script": script}})
        self.session = dict(reply.headers).get(b"mcp-session-id", b"").decode() or None
        return reply

    async def get(self, last_event: str | None = None) -> UpstreamReply:
        headers = (*self.headers, (b"last-event-id", last_event.encode())) if last_event else self.headers
        return await self.upstream.send(UpstreamRequest("GET", headers, self.principal, session=self.session))

    async def delete(self) -> UpstreamReply:
        return await self.upstream.send(UpstreamRequest("DELETE", self.headers, self.principal, session=self.session))


def message_of(document: Mapping[str, Any], era: Era, body: bytes | None = None) -> Message:
    method, request = document.get("method"), document.get("id")
    kind = Kind.RESPONSE if method is None else Kind.NOTIFICATION if request is None else Kind.REQUEST
    return Message(
        kind,
        era,
        Disposition.PASS,
        body if body is not None else json.dumps(document).encode(),
        method=method,
        id=request,
        params=document.get("params") or {},
    )


async def body_of(reply: UpstreamReply) -> bytes:
    return b"".join([chunk async for chunk in reply.chunks])


async def json_of(reply: UpstreamReply) -> dict[str, Any]:
    assert dict(reply.headers)[b"content-type"] == b"application/json"
    return json.loads(await body_of(reply))


def is_stream(reply: UpstreamReply) -> bool:
    return dict(reply.headers)[b"content-type"] == b"text/event-stream"


def events_of(data: bytes) -> list[tuple[str | None, Any]]:
    """Event id and message of each event; the message of a priming event is `None`."""
    found: list[tuple[str | None, Any]] = []
    for event in data.decode().split("\n\n")[:-1]:
        fields = dict(line.split(": ", 1) for line in event.split("\n"))
        found.append((fields.get("id"), json.loads(fields["data"]) if fields["data"] else None))
    return found


async def next_event(reply: UpstreamReply) -> Any:
    """The message of the next chunk, which must hold exactly one event."""
    assert is_stream(reply)
    ((_, message),) = events_of(await anext(reply.chunks))
    return message


async def until(condition: Callable[[], bool]) -> None:
    """Let real processes do their work until `condition` holds."""
    async with asyncio.timeout(300):
        while not condition():
            await asyncio.sleep(0.01)


def note(method: str = "notifications/message", **params: Any) -> dict[str, Any]:
    """A script step: say a notification."""
    return {"say": {"jsonrpc": "2.0", "method": method, "params": params}}


def result(request: RequestId, **result: Any) -> dict[str, Any]:
    """A script step: say a response."""
    return {"say": {"jsonrpc": "2.0", "id": request, "result": result}}
