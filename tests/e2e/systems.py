"""A gateway before many systems, and an agent that works in one task of it: what history is tested with.

Three server processes play the systems. What arrives at any of them is looked at after each call.
"""

from __future__ import annotations

import asyncio
import json
import secrets
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import httpx2
from joserfc import jwt
from mcp.client import Client
from mcp.client.streamable_http import streamable_http_client
from mcp.types import CallToolResult

from gateway.identity import development
from tests.e2e.wire import Answer, Caller, Sent, call, legacy, token
from tests.gateway_process import GatewayProcess
from tests.servers.echo import Recorder
from tests.servers.serving import running

HEADERS: Final = "X-Page, X-Show, X-Hold, X-Note, X-Device, User-Agent"
"""Headers by which a test tells a system what to do, or that it fills with words."""
LABELS: Final = """
      read: {effect: read, egress: false, sensitivity: internal}
      confidential: {effect: read, egress: false, sensitivity: confidential}
      write: {effect: write, egress: false, sensitivity: internal, roles: {/body: content}}
      send: {effect: write, egress: true, sensitivity: internal, roles: {/to: destination, /cc: destination, \
/bcc: destination, /body: content}}
      post: {effect: write, egress: true, sensitivity: internal}
      use: {effect: write, egress: false, sensitivity: internal, roles: {/token: credential}}
      push: {effect: write, egress: true, sensitivity: internal, roles: {/token: credential}}
      mint: {effect: mint, egress: false, sensitivity: internal, roles: {/token: credential}}
      login: {effect: write, egress: false, sensitivity: internal}
      pay: {effect: write, egress: true, sensitivity: internal, roles: {/to: destination, /amount: amount}}
      run: {effect: exec, egress: false, sensitivity: internal, roles: {/command: command}}
      fetch: {effect: read, egress: true, sensitivity: internal, roles: {/url: destination}}
      hold: {effect: read, egress: false, sensitivity: internal}
"""
SYSTEMS: Final[Mapping[str, str]] = {
    **dict.fromkeys(("crm", "billing", "chat", "files", "search", "tickets", "vault"), "environment: test"),
    "mail": "environment: test, trust: trusted",
    "wiki": "environment: test, trust: trusted",
    "acme": "environment: test, tenant: acme",
    "globex": "environment: test, tenant: globex",
    "staging": "environment: staging",
    "initech": "environment: test, tenant: initech",
    "demo": "environment: demo",
    "hub": "environment: test, aggregates: [crm,billing]",
    "proxy": "environment: test, aggregates: []",
}
"""Name → what is declared of it. Each is an audience of its own."""


_WHO_IS_ASKED: Final = {"approval/unavailable", "approval/pending"}
"""Codes that say whether there is a person for a question, and not why it is asked."""


@dataclass(frozen=True, slots=True)
class Arrived:
    """A call that reached a system."""

    system: str
    tool: str
    arguments: Mapping[str, Any]
    authorized: bool
    """Whether it came with an `Authorization` header."""


@dataclass(frozen=True, slots=True)
class Servers:
    """The processes that play the systems."""

    recorders: tuple[Recorder, ...]

    def of(self, system: str) -> Recorder:
        return self.recorders[list(SYSTEMS).index(system) % len(self.recorders)]

    def take(self) -> list[Arrived]:
        """The calls that arrived anywhere since the last time."""
        records = [record for recorder in self.recorders for record in recorder.take()]
        return [
            _arrived(record) for record in records if record["event"] == "request" and "tools/call" in record["body"]
        ]

    def config(self, policy: Path, more: str = "") -> str:
        """A configuration with all systems, for tokens of the development issuer."""
        lines = ["identity: [{kind: development}]"]
        lines += [f"policy: {{engine: {{kind: embedded, deadline: 5s}}, path: '{policy}'}}", "upstreams:"]
        for name, declared in SYSTEMS.items():
            lines += [
                f"  {name}:",
                f"    url: '{self.of(name).origin}/mcp?system={name}'",
                f"    audience: {name}",
                f"    headers: [{HEADERS}]",
            ]
            lines += [*(f"    {part}" for part in declared.split(", ")), f"    tools:{LABELS}"]
        return "\n".join(lines) + f"\n{more}\n"


@contextmanager
def servers(folder: Path, count: int = 3) -> Generator[Servers]:
    with ExitStack() as stack:
        processes = [stack.enter_context(running("tests.e2e.desk", folder / f"desk-{n}.log")) for n in range(count)]
        yield Servers(tuple(Recorder(process.origin) for process in processes))


def _arrived(record: Mapping[str, Any]) -> Arrived:
    params = json.loads(record["body"])["params"]
    (system,) = urllib.parse.parse_qs(record["query"])["system"]
    authorized = any(name == "authorization" for name, _ in record["headers"])
    return Arrived(system, params["name"], params.get("arguments") or {}, authorized)


@dataclass(frozen=True, slots=True)
class Agent:
    """One token, so one implicit task; or a declared task of it, which `headers` name."""

    gateway: GatewayProcess
    servers: Servers
    headers: Mapping[str, str]
    era: Callable[..., Sent] = legacy

    def call(self, system: str, tool: str, **arguments: Any) -> Answer:
        """One call, whatever becomes of it."""
        return Caller(self.gateway, system, self.headers).ask(call(tool, self.era, **arguments))

    def passes(self, system: str, tool: str, **arguments: Any) -> None:
        """A call that is answered by its system, and arrived there as it was sent, and nowhere else."""
        self.servers.take()
        answer = self.call(system, tool, **arguments)
        assert "isError" not in answer.json["result"], answer.body
        assert self.servers.take() == [Arrived(system, tool, arguments, authorized=False)]

    def denied(self, codes: Sequence[str], system: str, tool: str, **arguments: Any) -> Answer:
        """A call that is refused, whoever would approve, for exactly these reasons, and that arrived nowhere."""
        return self._refused("deny", codes, system, tool, arguments)

    def asked(self, codes: Sequence[str], system: str, tool: str, **arguments: Any) -> Answer:
        """A call that waits for a person, for exactly these reasons, and that arrived nowhere."""
        return self._refused("ask", codes, system, tool, arguments)

    def held(self, codes: Sequence[str], system: str, tool: str, **arguments: Any) -> Answer:
        """A call that waits for a person, for these reasons and perhaps others, and that arrived nowhere."""
        return self._refused("ask", codes, system, tool, arguments, others=True)

    def _refused(
        self,
        effect: str,
        codes: Sequence[str],
        system: str,
        tool: str,
        arguments: Mapping[str, Any],
        *,
        others: bool = False,
    ) -> Answer:
        self.servers.take()
        answer = self.call(system, tool, **arguments)
        assert self.servers.take() == []
        decision = answer.json["result"]["_meta"]["io.opagate/decision"]
        reasons = [reason for reason in decision["reasons"] if reason["code"] not in _WHO_IS_ASKED]
        found = {reason["code"] for reason in reasons}
        assert (decision["effect"], found & {*codes} if others else found) == (effect, {*codes}), answer.body
        assert answer.json["result"]["isError"] is True
        shown = (f"[{reasons[0]['code']}]", reasons[0]["message"], reasons[0]["remedy"])
        assert all(part in answer.text for part in shown), answer.text
        return answer

    def reads(self, *systems: str) -> None:
        """Touch systems, one after the other."""
        for system in systems:
            self.passes(system, "read")

    def declare(self, **declared: Any) -> Agent:
        """The same caller, in a task that it declares."""
        status, task = self.tasks("", **declared)
        assert status == 201, task
        return self.within(task["id"])

    def session(self, system: str) -> Agent:
        """The same caller in a session of a system, as clients of the older wire have."""
        asked = legacy(
            "initialize", protocolVersion="2025-11-25", capabilities={}, clientInfo={"name": "c", "version": "1"}
        )
        opened = Caller(self.gateway, system, self.headers).ask(asked)
        headers = {**self.headers, "mcp-session-id": opened.headers["mcp-session-id"]}
        return Agent(self.gateway, self.servers, headers)

    def within(self, task: str) -> Agent:
        return replace(self, headers={**self.headers, "opagate-task": task})

    @property
    def task(self) -> str:
        return self.headers["opagate-task"]

    def tasks(self, path: str, method: str = "POST", **body: Any) -> tuple[int, Any]:
        """Status and document of `/tasks<path>`."""
        headers = {"authorization": self.headers["authorization"], "content-type": "application/json"}
        request = urllib.request.Request(
            f"{self.gateway.origin}/tasks{path}",
            json.dumps(body).encode() if method == "POST" else None,
            headers,
            method=method,
        )
        try:
            with urllib.request.urlopen(request, timeout=300) as answer:
                return answer.status, json.load(answer)
        except urllib.error.HTTPError as error:
            with error:
                return error.code, json.load(error)


@dataclass(frozen=True, slots=True)
class SdkAgent(Agent):
    """The same with the client of the SDK, a new one for each call."""

    def call(self, system: str, tool: str, **arguments: Any) -> Answer:
        result = asyncio.run(self._called(system, tool, arguments))
        return Answer(
            200, {}, json.dumps({"result": result.model_dump(mode="json", by_alias=True, exclude_unset=True)}).encode()
        )

    async def _called(self, system: str, tool: str, arguments: dict[str, Any]) -> CallToolResult:
        async with (
            httpx2.AsyncClient(headers=dict(self.headers), verify=False, timeout=300) as http,
            Client(streamable_http_client(self.gateway.mcp(system), http_client=http)) as client,
        ):
            return await client.call_tool(tool, arguments)


def agent(gateway: GatewayProcess, servers: Servers, name: str | None = None, **more: Any) -> Agent:
    """An agent with a fresh token: its implicit task has done nothing yet. Without a name it is somebody new, whose
    other tasks have been shown nothing either."""
    named = name or f"agent-{secrets.token_hex(4)}"
    return Agent(gateway, servers, {"authorization": f"Bearer {token(gateway, named, **more)}"})


def delegated(gateway: GatewayProcess, servers: Servers, links: int) -> Agent:
    """An agent that acts for a user through so many hands (RFC 8693 section 4.1)."""
    act: dict[str, Any] = {}
    for number in range(links, 0, -1):
        act = {"sub": f"agent-{number}", "iss": development.ISSUER, **({"act": act} if act else {})}
    now = int(time.time())
    claims = {"iss": development.ISSUER, "sub": "ada", "aud": f"{gateway.origin}/mcp", "iat": now, "exp": now + 300}
    claims |= {"jti": f"chain-{links}-{time.monotonic_ns()}", "act": act}
    key = development.load_key(gateway.folder / "state")
    header = {"alg": development.ALGORITHM, "typ": "at+jwt"}
    made = jwt.encode(header, claims, key, algorithms=[development.ALGORITHM])
    return Agent(gateway, servers, {"authorization": f"Bearer {made}"})


def with_sdk(caller: Agent) -> SdkAgent:
    return SdkAgent(caller.gateway, caller.servers, caller.headers)


def many(domain: str, count: int, first: int = 0) -> list[str]:
    """So many addresses."""
    return [f"person{number}@{domain}" for number in range(first, first + count)]


def spellings(address: str) -> Iterator[str]:
    """One mail address as eight texts."""
    local, _, domain = address.partition("@")
    yield from (address, address.upper(), f"  {address} ", f"Somebody <{address}>", f"mailto:{address}")
    yield from (f"{local}@{domain.title()}", f"<{address}>", f"{local}@{domain}.")
