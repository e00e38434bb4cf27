"""An upstream of which every byte is written down: what a real server cannot be made to send."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from gateway.model.errors import UpstreamError
from gateway.model.wire import UpstreamReply, UpstreamRequest

Answer: TypeAlias = tuple[int, str, bytes]
"""Status, content type, body."""


def tool(name: str, description: str = "Does it.", **fields: Any) -> bytes:
    return json.dumps({"name": name, "description": description, "inputSchema": {"type": "object"}, **fields}).encode()


def result(request: UpstreamRequest, **fields: Any) -> Answer:
    return 200, "application/json", json.dumps({"jsonrpc": "2.0", "id": identifier(request), "result": fields}).encode()


def error(request: UpstreamRequest, code: int, status: int = 400, data: Any = None) -> Answer:
    body = {"jsonrpc": "2.0", "id": identifier(request), "error": {"code": code, "message": "no", "data": data}}
    return status, "application/json", json.dumps(body).encode()


def prompt(name: str, description: str = "Greets.", **fields: Any) -> bytes:
    return json.dumps({"name": name, "description": description, **fields}).encode()


def page(request: UpstreamRequest, items: Sequence[bytes], cursor: str | None = None, kind: str = "tools") -> Answer:
    rest = f',"nextCursor":{json.dumps(cursor)}' if cursor else ""
    body = f'{{"jsonrpc":"2.0","id":{identifier(request)},"result":{{"{kind}":[{b",".join(items).decode()}]{rest}}}}}'
    return 200, "application/json", body.encode()


def identifier(request: UpstreamRequest) -> Any:
    assert request.message is not None
    return request.message.id


def method(request: UpstreamRequest) -> str:
    return (request.message.method or "") if request.message else request.method


@dataclass
class Scripted:
    """Answers by a function of the request, or raises what it gives."""

    answer: Callable[[UpstreamRequest], Answer | UpstreamError]
    session: str | None = None
    chunk: int = 7
    requests: list[UpstreamRequest] = field(default_factory=list[UpstreamRequest])
    closed: int = 0

    async def send(self, request: UpstreamRequest) -> UpstreamReply:
        self.requests.append(request)
        answer = self.answer(request)
        if isinstance(answer, UpstreamError):
            raise answer
        status, kind, body = answer
        headers = ((b"content-type", kind.encode()),)
        if self.session is not None and method(request) == "initialize":
            headers += ((b"mcp-session-id", self.session.encode()),)
        return UpstreamReply(status, headers, self._chunks(body), self._close)

    @property
    def methods(self) -> list[str]:
        return [method(request) for request in self.requests]

    async def _chunks(self, body: bytes) -> AsyncIterator[bytes]:
        for start in range(0, len(body), self.chunk):
            yield body[start : start + self.chunk]

    async def _close(self) -> None:
        self.closed += 1


def stateless(
    tools: Callable[[], Sequence[bytes]],
    said: Callable[[], object] = lambda: None,
    prompts: Callable[[], Sequence[bytes] | None] = lambda: None,
) -> Scripted:
    """A server of the stateless era with one page of tools, what it says of itself, and perhaps a page of prompts."""

    def answer(request: UpstreamRequest) -> Answer | UpstreamError:
        named = prompts()
        if method(request) == "server/discover":
            offered: dict[str, Any] = {"tools": {}} if named is None else {"tools": {}, "prompts": {}}
            return result(request, supportedVersions=["2026-07-28"], capabilities=offered, instructions=said())
        if method(request) == "prompts/list":
            return error(request, -32603) if named is None else page(request, named, kind="prompts")
        return page(request, tools())

    return Scripted(answer)
