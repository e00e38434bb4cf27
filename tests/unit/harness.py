"""A whole gateway in this process: every part is real but the upstream, which is scripted and writes down what comes."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any, TypeAlias

import pytest
from msgspec import structs

from gateway import config
from gateway.calls.composition import Gateway
from gateway.identity import anonymous, development
from gateway.model.decision import Decision, Obligation, PolicyRevision, Refusal
from gateway.model.errors import GatewayError
from gateway.model.target import Target
from gateway.model.wire import Headers, JsonObject, UpstreamReply, UpstreamRequest
from gateway.surfaces import app
from gateway.surfaces.app import assembly
from gateway.upstreams.catalogue.catalogue import Catalogue, TargetType
from gateway.wire.protocol.replies import Reply
from tests.unit.exchanges import new_exchange

URL = "http://127.0.0.1:8080/mcp/files"
JSON: Headers = ((b"content-type", b"application/json"),)
VERSION = "io.modelcontextprotocol/protocolVersion"
GRANTS = """
upstreams:
  files:
    - {id: all, agents: ["*"], issuers: ["*"], tools: ["read_*", "stop_*"], resources: ["file:///*"], prompts: [hello]}
    - {id: ask, agents: ["*"], issuers: ["*"], tools: [ask_first], approval: true}
"""
READING = "{effect: read, egress: false, sensitivity: internal}"
INSTRUCTIONS = "Ask before you write."
TOOLS = ("read_file", "read_more", "stop_file", "ask_first", "hidden")
PROMPTS = ("hello", "hidden")


@dataclass(frozen=True, slots=True)
class Back:
    """What the upstream answers. A chunk that is an exception is raised in its place."""

    status: int = 200
    type: str | None = "application/json"
    chunks: tuple[bytes | BaseException, ...] = ()
    session: str | None = None
    encoding: str | None = None
    headers: Headers = ()


Script: TypeAlias = Callable[[UpstreamRequest], "Back | BaseException"]


@dataclass
class Upstream:
    """The port of an upstream that answers by script; lists and errors of the catalogue's own are answered by itself."""

    script: Script = lambda request: result(request, {"content": []})
    sent: list[UpstreamRequest] = field(default_factory=list[UpstreamRequest])
    on_send: Callable[[UpstreamRequest], None] = lambda _request: None
    closed: int = 0

    async def send(self, request: UpstreamRequest) -> UpstreamReply:
        if request.principal.issuer not in {anonymous.ISSUER, development.ISSUER}:
            return UpstreamReply(200, JSON, self._chunks(own(request).chunks), self.aclose)
        self.sent.append(request)
        self.on_send(request)
        back = self.script(request)
        if isinstance(back, BaseException):
            raise back
        headers: Headers = () if back.type is None else ((b"content-type", back.type.encode()),)
        if back.session is not None:
            headers += ((b"mcp-session-id", back.session.encode()),)
        if back.encoding is not None:
            headers += ((b"content-encoding", back.encoding.encode()),)
        return UpstreamReply(back.status, (*headers, *back.headers), self._chunks(back.chunks), self._close)

    async def _chunks(self, chunks: Sequence[bytes | BaseException]) -> AsyncIterator[bytes]:
        for chunk in chunks:
            if isinstance(chunk, BaseException):
                raise chunk
            yield chunk

    async def _close(self) -> None:
        self.closed += 1

    async def aclose(self) -> None:
        """Nothing to close."""


class Held(Upstream):
    """Holds a call until the test lets it go."""

    def __init__(self) -> None:
        super().__init__()
        self.arrived = asyncio.Event()
        self.proceed = asyncio.Event()

    async def send(self, request: UpstreamRequest) -> Any:
        reply = await super().send(request)
        if request in self.sent:
            self.arrived.set()
            await self.proceed.wait()
        return reply


def result(request: UpstreamRequest, value: Any, **more: Any) -> Back:
    identifier = request.message.id if request.message else None
    return Back(chunks=(json.dumps({"jsonrpc": "2.0", "id": identifier, "result": value}).encode(),), **more)


def own(request: UpstreamRequest) -> Back:
    """The answers to the catalogue."""
    method = request.message.method if request.message else None
    if method == "server/discover":
        offered: dict[str, Any] = {"capabilities": {"tools": {}, "prompts": {}}, "instructions": INSTRUCTIONS}
        return result(request, {"supportedVersions": ["2026-07-28"], **offered})
    if method == "prompts/list":
        return result(request, {"prompts": [{"name": name} for name in PROMPTS]})
    return result(request, {"tools": [listed(name) for name in TOOLS]})


def listed(name: str) -> dict[str, Any]:
    """A tool as the upstream lists it."""
    schema = {"type": "object", "properties": {"path": {"type": "string", "x-mcp-header": "Path"}}}
    return {"name": name, "inputSchema": schema}


@dataclass
class Bench:
    """A gateway, its upstream, and the folder of its state."""

    gateway: Gateway
    upstream: Upstream
    folder: Path
    configuration: config.Configuration

    async def ask(self, body: bytes | Refusal | None, *headers: tuple[bytes, bytes], **changes: Any) -> Answer:
        """Handle one request and read the whole answer."""

        async def read() -> bytes | Refusal:
            return body or b""

        method = "POST" if body is not None else "GET"
        fields: dict[str, Any] = {"method": method, "upstream": "files", "url": URL, "client_ip": "127.0.0.1"}
        exchange = new_exchange(headers=headers, body=read, **(fields | changes))
        return await read_out(await self.gateway.pipeline.handle(exchange))

    def entries(self, kind: str) -> list[dict[str, Any]]:
        """Return the entries of a kind, those of this turn too."""
        self.gateway.journal.flush()
        lines = (
            line
            for path in sorted((self.folder / "state/journal").glob("*.jsonl"))
            for line in path.read_text().splitlines()
        )
        return [entry for entry in map(json.loads, lines) if entry["kind"] == kind]


@dataclass(frozen=True, slots=True)
class Answer:
    status: int
    headers: Headers
    body: bytes
    broken: GatewayError | None = None

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def codes(self) -> list[str]:
        held = self.json["error"]["data"] if "error" in self.json else self.json["result"]["_meta"]
        return [reason["code"] for reason in held["io.opagate/decision"]["reasons"]]


async def read_out(answer: Any) -> Answer:
    if isinstance(answer, Reply):
        return Answer(answer.status, answer.headers, answer.body)
    chunks: list[bytes] = []
    broken: GatewayError | None = None
    try:
        async for chunk in answer:
            chunks.append(chunk)  # noqa: PERF401 - what came before an error counts
    except GatewayError as error:
        broken = error
    finally:
        await answer.close()
    return Answer(answer.status, answer.headers, b"".join(chunks), broken)


@asynccontextmanager
async def bench(
    folder: Path,
    upstream: Upstream | None = None,
    more: str = "",
    labels: str = READING,
    *,
    identity: str = "{kind: anonymous}",
    policy: str = "",
    grants: str = GRANTS,
    site: str = "headers: [X-Note]\n    additional_arguments: pass",
) -> AsyncGenerator[Bench]:
    """A gateway for anonymous callers, started and stopped. `more` is configuration beside what is here, `labels` are
    those of every tool. `policy` has more settings of the policy, with a comma at the end, and `site` one of the upstream."""
    port = upstream or Upstream()
    (folder / "grants.yaml").write_text(grants, "utf-8")
    text = (
        f"identity: [{identity}]\n"
        f"policy: {{{policy} grants: grants.yaml, engine: {{kind: embedded, deadline: 20s}}}}\n"
        "upstreams:\n  files:\n    url: http://127.0.0.1:9/mcp\n    audience: files\n    environment: test\n"
        f"    {site}\n    tools:\n"
        f"      '*': {labels}\n"
        "state: state\n" + more
    )
    configuration = config.parse(text, base=folder)

    def transports(
        configured: config.Configuration, _clock: Callable[[], float], _conceal: object
    ) -> dict[str, Upstream]:
        return dict.fromkeys(configured.upstreams, port)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(assembly, "upstream_transports", transports)
        async with app.open_gateway(configuration) as gateway:
            yield Bench(gateway, port, folder, configuration)


def answering(there: Bench, value: Any, **more: Any) -> None:
    """Have the upstream answer that."""
    there.upstream.script = lambda request: result(request, value, **more)


def allow(*obligations: Obligation) -> Decision:
    return Decision("allow", (), obligations, PolicyRevision("test", "1"))


def deciding(there: Bench, decision: Decision, monkeypatch: pytest.MonkeyPatch) -> list[JsonObject]:
    """Have policy decide that. Gives what it is asked."""
    asked: list[JsonObject] = []

    async def decide(document: JsonObject) -> Decision:
        asked.append(document)
        return decision

    monkeypatch.setattr(there.gateway.policy, "decide", decide)
    return asked


def retarget(
    monkeypatch: pytest.MonkeyPatch, catalogue: Catalogue, found: Callable[[str, TargetType, str], Target]
) -> None:
    """Have the target of each call be what `found` returns."""
    kinds: tuple[TargetType, ...] = ("tool", "prompt")
    for upstream, sorts in catalogue.definitions.items():
        for kind in kinds:
            known = sorts[kind]
            targets = {name: found(upstream, kind, name) for name in known.targets}
            monkeypatch.setitem(sorts, kind, structs.replace(known, targets=targets))
    monkeypatch.setattr(catalogue, "target", found)


def message(method: str, identifier: Any = 7, **params: Any) -> bytes:
    return json.dumps({"jsonrpc": "2.0", "id": identifier, "method": method, "params": params}).encode()


def call(name: str = "read_file", **arguments: Any) -> bytes:
    return message("tools/call", name=name, arguments=arguments)


def modern(
    method: str, *, meta: JsonObject = MappingProxyType({}), **params: Any
) -> tuple[bytes, *tuple[tuple[bytes, bytes], ...]]:
    """Body and headers of a request of the stateless era."""
    body = message(method, **params, _meta={VERSION: "2026-07-28", **meta})
    headers = [(b"mcp-protocol-version", b"2026-07-28"), (b"mcp-method", method.encode())]
    if name := params.get("name") or params.get("taskId"):
        headers.append((b"mcp-name", str(name).encode()))
    return body, *headers
