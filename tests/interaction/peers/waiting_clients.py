"""Clients of the SDKs for Python and TypeScript that make one held call, as often as they are told, and say how it went."""

from __future__ import annotations

import asyncio
import json
import shutil
import subprocess
import tempfile
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import httpx2
import mcp_types as types
import pytest
from mcp import Client, MCPError
from mcp.client import session as client_session
from mcp.client.streamable_http import streamable_http_client
from mcp_types import URL_ELICITATION_REQUIRED

from tests.conformance.run import Node

Person = Callable[[str], None]
"""Has a person answer the question at this address."""


@dataclass(frozen=True, slots=True)
class Plan:
    """Calls of a client. `opens`: it declares elicitation with forms and URLs."""

    url: str
    token: str
    era: str
    opens: bool
    tool: str = "pay"
    arguments: dict[str, Any] = field(default_factory=dict[str, Any])
    times: int = 1


@dataclass(slots=True)
class Seen:
    """Answers to a client. `opened` are the addresses that its person was shown, `forms` and `requests` the numbers of forms and of calls
    on the wire."""

    version: str | None = None
    opened: list[str] = field(default_factory=list[str])
    forms: int = 0
    requests: int = 0
    notices: list[str] = field(default_factory=list[str])
    answers: list[dict[str, Any]] = field(default_factory=list[dict[str, Any]])


def run_typescript(node: Node, parent: Path, plan: Plan, person: Person) -> Seen:
    """Run a client of the SDK for TypeScript in a new folder below `parent`."""
    folder = Path(tempfile.mkdtemp(dir=parent))
    (folder / "node_modules").symlink_to(node.modules)
    program = shutil.copy(Path(__file__).with_name("waiting.mjs"), folder)
    command = [str(node.program), str(program), json.dumps(asdict(plan))]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=pipe, text=True) as running:
        assert running.stdin is not None
        assert running.stdout is not None
        assert running.stderr is not None
        said: list[str] = []
        for line in running.stderr:
            said.append(line)
            if line.startswith("opened "):
                person(line.removeprefix("opened ").strip())
                running.stdin.write("answered\n")
                running.stdin.flush()
        printed = running.stdout.read()
    assert running.returncode == 0, "".join(said)
    return Seen(**json.loads(printed))


def run_python(plan: Plan, person: Person) -> Seen:
    """Run a client of the SDK for Python."""
    with pytest.MonkeyPatch.context() as patch:
        if plan.era != "2026-07-28":
            patch.setattr(client_session, "LATEST_HANDSHAKE_VERSION", plan.era)
        return asyncio.run(_Python(plan, person).run())


class _Python:
    def __init__(self, plan: Plan, person: Person) -> None:
        self.plan = plan
        self.person = person
        self.seen = Seen()
        self.noticed = asyncio.Event()

    async def run(self) -> Seen:
        plan = self.plan
        callbacks: dict[str, Any] = {"elicitation_callback": self.elicit, "message_handler": self.hear}
        headers = {"authorization": f"Bearer {plan.token}"}
        mode = plan.era if plan.era == "2026-07-28" else "legacy"
        async with (
            httpx2.AsyncClient(headers=headers, timeout=300, event_hooks={"request": [self.count]}) as http,
            Client(
                streamable_http_client(plan.url, http_client=http), mode=mode, **(callbacks if plan.opens else {})
            ) as client,
        ):
            self.seen.version = client.protocol_version
            for _ in range(plan.times):
                self.seen.answers.append(await self.call(client))
        return self.seen

    async def count(self, request: httpx2.Request) -> None:
        self.seen.requests += b'"tools/call"' in request.content

    async def call(self, client: Client) -> dict[str, Any]:
        try:
            result = await client.call_tool(self.plan.tool, self.plan.arguments)
        except MCPError as error:
            if error.code != URL_ELICITATION_REQUIRED:
                raise
            (elicitation,) = error.data["elicitations"]
            await self.open(elicitation["url"])
            async with asyncio.timeout(300):
                await self.noticed.wait()
            return {"elicited": elicitation["elicitationId"], "code": error.code}
        assert isinstance(result.content[0], types.TextContent)
        return {"is_error": result.is_error is True, "text": result.content[0].text}

    async def open(self, url: str) -> None:
        self.seen.opened.append(url)
        await asyncio.to_thread(self.person, url)

    async def elicit(self, _context: object, params: types.ElicitRequestParams) -> types.ElicitResult:
        if isinstance(params, types.ElicitRequestURLParams):
            await self.open(params.url)
            return types.ElicitResult(action="accept")
        self.seen.forms += 1
        fields: dict[str, Any] = params.requested_schema["properties"]
        content: dict[str, Any] = {
            name: True if field["type"] == "boolean" else "Ada" for name, field in fields.items()
        }
        return types.ElicitResult(action="accept", content=content)

    async def hear(self, message: object) -> None:
        if isinstance(message, types.ElicitCompleteNotification):
            self.seen.notices.append(message.params.elicitation_id)
            self.noticed.set()
