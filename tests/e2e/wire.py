"""What the end-to-end tests speak with: raw HTTP, tokens of the development issuer, and what the gateway left behind."""

from __future__ import annotations

import http.client
import json
import ssl
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from gateway.identity import development
from gateway.record.journal.reader import Verification, verify
from tests.gateway_process import GatewayProcess

JSON = {"content-type": "application/json", "accept": "application/json, text/event-stream"}
META = {
    "io.modelcontextprotocol/protocolVersion": "2026-07-28",
    "io.modelcontextprotocol/clientInfo": {"name": "raw", "version": "1"},
    "io.modelcontextprotocol/clientCapabilities": {},
}


@dataclass(frozen=True, slots=True)
class Sent:
    """One message to post: its bytes and its own headers."""

    body: bytes
    headers: Mapping[str, str] = field(default_factory=dict[str, str])


def legacy(method: str, identifier: int | None = 7, **params: Any) -> Sent:
    """A message of the handshake era."""
    message: dict[str, Any] = {"jsonrpc": "2.0", "method": method, "params": params}
    if identifier is not None:
        message["id"] = identifier
    return Sent(json.dumps(message).encode(), {"mcp-protocol-version": "2025-11-25"})


def stateless(method: str, identifier: int = 7, **params: Any) -> Sent:
    """A request of 2026-07-28, with its routing headers."""
    meta = {**META, **params.pop("_meta", {})}
    message = {"jsonrpc": "2.0", "id": identifier, "method": method, "params": {**params, "_meta": meta}}
    headers = {"mcp-protocol-version": "2026-07-28", "mcp-method": method}
    name = params.get("name") or params.get("uri") or params.get("taskId")
    if name is not None:
        headers["mcp-name"] = name
    return Sent(json.dumps(message).encode(), headers)


def call(tool: str, era: Callable[..., Sent] = legacy, **arguments: Any) -> Sent:
    return era("tools/call", name=tool, arguments=arguments)


@dataclass(frozen=True, slots=True)
class Answer:
    """A complete answer."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        """The JSON document, or the data of the last event."""
        if not self.headers.get("content-type", "").startswith("text/event-stream"):
            return json.loads(self.body)
        data = [line.removeprefix(b"data:") for line in self.body.splitlines() if line.startswith(b"data:")]
        return json.loads(data[-1])

    @property
    def text(self) -> str:
        """The text of a tool's result."""
        return str(self.json["result"]["content"][0]["text"])

    @property
    def codes(self) -> list[str]:
        """The reason codes of a refusal, in whichever form it came."""
        document = self.json
        held = document["error"]["data"] if "error" in document else document["result"]["_meta"]
        return [reason["code"] for reason in held["io.opagate/decision"]["reasons"]]

    @property
    def decision(self) -> str:
        document = self.json
        held = document["error"]["data"] if "error" in document else document["result"]["_meta"]
        return str(held["io.opagate/decision"]["id"])


@dataclass(frozen=True, slots=True)
class Caller:
    """One client of one upstream, speaking raw HTTP. `headers` go with each request."""

    gateway: GatewayProcess
    upstream: str = "echo"
    headers: Mapping[str, str] = field(default_factory=dict[str, str])
    tls: ssl.SSLContext | None = None

    @contextmanager
    def open(
        self, method: str, sent: Sent | None = None, headers: Mapping[str, str] | None = None
    ) -> Generator[http.client.HTTPResponse]:
        """Send a request; its answer is read by the test. Leaving the block closes the connection."""
        host = self.gateway.origin.partition("://")[2]
        connection = (
            http.client.HTTPSConnection(host, timeout=300, context=self.tls)
            if self.tls
            else http.client.HTTPConnection(host, timeout=300)
        )
        fields = JSON if sent else {"accept": "text/event-stream"}
        fields = {**fields, **self.headers, **(sent.headers if sent else {}), **(headers or {})}
        try:
            connection.request(method, f"/mcp/{self.upstream}", sent.body if sent else None, fields)
            answer = connection.getresponse()
            try:
                yield answer
            finally:
                answer.close()
        finally:
            connection.close()

    def ask(self, sent: Sent | None, method: str = "POST", headers: Mapping[str, str] | None = None) -> Answer:
        """Send a request and read the whole answer."""
        with self.open(method, sent, headers) as answer:
            return Answer(answer.status, {k.lower(): v for k, v in answer.getheaders()}, answer.read())

    def call(self, tool: str, **arguments: Any) -> Answer:
        return self.ask(call(tool, **arguments))


def token(gateway: GatewayProcess, agent: str, *, ttl: float = 300, **more: Any) -> str:
    """A token of the gateway's development issuer."""
    key = development.load_key(gateway.folder / "state")
    audience = f"{gateway.origin}/mcp"
    return development.issue(key, agent=agent, audience=audience, ttl=ttl, clock=time.time, **more)


def caller(gateway: GatewayProcess, agent: str, upstream: str, **more: Any) -> Caller:
    """A client with such a token."""
    return Caller(gateway, upstream, {"authorization": f"Bearer {token(gateway, agent, **more)}"})


def page(gateway: GatewayProcess, path: str) -> tuple[int, str]:
    """Status and text of one of the gateway's own pages."""
    try:
        with urllib.request.urlopen(gateway.origin + path, timeout=300) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read().decode()


def metric(gateway: GatewayProcess, name: str, **labels: str) -> float:
    """The sum of a metric's samples that have these labels."""
    wanted = [f'{key}="{value}"' for key, value in labels.items()]
    lines = page(gateway, "/metrics")[1].splitlines()
    found = [line for line in lines if line.partition("{")[0].partition(" ")[0] == name]
    return sum(float(line.rpartition(" ")[2]) for line in found if all(label in line for label in wanted))


def entries(folder: Path, kind: str | None = None) -> list[dict[str, Any]]:
    """The journal's entries, of one kind or all, of a gateway that runs or ran in this folder."""
    files = sorted((folder / "state/journal").glob("*.jsonl"))
    lines = [line for path in files for line in path.read_bytes().splitlines(keepends=True)]
    found: list[dict[str, Any]] = [json.loads(line) for line in lines if line.endswith(b"\n")]
    return [entry for entry in found if kind is None or entry["kind"] == kind]


def verified(folder: Path) -> Verification:
    """The journal, checked with the deployment's key."""
    return verify(folder / "state/journal", key=(folder / "state/journal-key").read_bytes())


def until(holds: Callable[[], object], within: float = 300) -> None:
    """Wait for something that another process does and cannot tell of."""
    deadline = time.monotonic() + within
    while not holds():
        assert time.monotonic() < deadline, f"it did not happen within {within} s"
        time.sleep(0.02)
