"""The life of a lent credential: of a call, of a thief, and of the server's refusal after the end of the task.

The thief stands on the wire between the gateway and a demo server, reads the credential of each request, and tries it itself.
"""

from __future__ import annotations

import asyncio
import base64
import json
import re
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, cast
from urllib.parse import urlsplit

import httpx2

from gateway.surfaces.demo.agent import Attempt, AttemptResult, make

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Iterable

    from gateway.model.wire import JsonObject


_BEARER: Final = re.compile(rb"\r\nauthorization: *bearer +([!-~]+)\r\n", re.IGNORECASE)
_HEAD: Final = 16_384
"""Bytes of a request that are searched for a credential."""
_TIMEOUT_SECONDS: Final = 10.0
_REVISION: Final = "2026-07-28"


class Thief:
    """A relay to an MCP server with a memory of passing credentials."""

    def __init__(self) -> None:
        self._server = ""
        self._stolen: dict[str, str] = {}

    def stolen(self, task: str) -> str | None:
        """Return the last passed credential of a task."""
        return self._stolen.get(task)

    async def call(self, credential: str, tool: str, arguments: JsonObject) -> tuple[int, Any]:
        """Call a tool past the gateway. Return the HTTP status, and the text of the result or the document of the refusal."""
        meta = {
            "io.modelcontextprotocol/protocolVersion": _REVISION,
            "io.modelcontextprotocol/clientInfo": {"name": "thief", "version": "1"},
            "io.modelcontextprotocol/clientCapabilities": {},
        }
        params = {"name": tool, "arguments": dict(arguments), "_meta": meta}
        headers = {
            "authorization": f"Bearer {credential}",
            "accept": "application/json, text/event-stream",
            "mcp-protocol-version": _REVISION,
            "mcp-method": "tools/call",
            "mcp-name": tool,
        }
        message = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params}
        async with httpx2.AsyncClient(timeout=_TIMEOUT_SECONDS) as http:
            answer = await http.post(self._server, json=message, headers=headers)
        return answer.status_code, _read(answer.text)

    @asynccontextmanager
    async def before(self, server: str) -> AsyncGenerator[str]:
        """Relay to a server until the block ends. Gives the URL of the relay."""
        self._server = server
        connections: set[asyncio.Task[None]] = set()

        def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            connection = asyncio.create_task(self._relay(reader, writer))
            connections.add(connection)
            connection.add_done_callback(connections.discard)

        listening = await asyncio.start_server(accept, "127.0.0.1", 0)
        try:
            port = listening.sockets[0].getsockname()[1]
            yield f"http://127.0.0.1:{port}{urlsplit(server).path}"
        finally:
            listening.close()
            left = list(connections)
            for connection in left:
                connection.cancel()
            if left:
                await asyncio.wait(left)

    async def _relay(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Carry a connection of the gateway to the server and back."""
        address = urlsplit(self._server)
        with suppress(OSError):
            upstream, onward = await asyncio.open_connection(address.hostname, address.port)
            await asyncio.gather(self._listen(reader, onward), _copy(upstream, writer))

    async def _listen(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        seen = b""
        while data := await reader.read(_HEAD):
            seen = (seen + data)[-2 * _HEAD :]
            for found in _BEARER.findall(seen):
                self._stolen[_task_of(found)] = found.decode("ascii")
            writer.write(data)
            await writer.drain()
        writer.close()


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(_HEAD):
        writer.write(data)
        await writer.drain()
    writer.close()


def _task_of(token: bytes) -> str:
    payload = token.split(b".")[1]
    claims = cast("dict[str, Any]", json.loads(base64.urlsafe_b64decode(payload + b"=" * (-len(payload) % 4))))
    return str(claims.get("task"))


def _read(text: str) -> Any:
    """Return the JSON document of an answer, also one in an event stream."""
    events = [line.removeprefix("data:") for line in text.splitlines() if line.startswith("data:")]
    return json.loads(events[-1] if events else text)


UPSTREAM: Final = "tickets"
"""The demo server with a credential of the task, and not of each call."""
_TOOL: Final = "read_ticket"
_ARGUMENTS: Final = {"ticket": "T-1041"}
_LENT: Final = Attempt(
    UPSTREAM, "Read a ticket in a task of its own, with a credential lent to this task", _TOOL, _ARGUMENTS
)
_STOLEN: Final = Attempt(
    UPSTREAM, "Past the gateway: a thief on the wire has that credential, and uses it", _TOOL, _ARGUMENTS, by="thief"
)
_ENDED: Final = Attempt(
    UPSTREAM, "The task has ended: the server refuses the same credential", _TOOL, _ARGUMENTS, "refused", by="thief"
)
_WITHIN_SECONDS: Final = 5.0
_PAUSE_SECONDS: Final = 0.05


@dataclass(slots=True)
class LentTask:
    """The task opened by the tour. `id` is empty before."""

    id: str = ""


async def lease_tour(endpoint: str, token: str, thief: Thief, task: LentTask) -> AsyncIterator[AttemptResult]:
    """Go through the life of a lease. Raises `httpx2.HTTPError` and `MCPError` if the gateway cannot be spoken to."""
    async with httpx2.AsyncClient(base_url=endpoint, headers={"Authorization": f"Bearer {token}"}) as http:
        opened = await http.post("/tasks", json={"goal": "Read ticket T-1041", "expires_in": 300})
        opened.raise_for_status()
        task.id = opened.json()["id"]
        yield await make(endpoint, token, _LENT, {"Opagate-Task": opened.json()["token"]})
        credential = thief.stolen(task.id) or ""
        yield await _steal(thief, credential, _STOLEN)
        (await http.post(f"/tasks/{task.id}/complete")).raise_for_status()
        yield await _try_until_refused(thief, credential)


async def _try_until_refused(thief: Thief, credential: str) -> AttemptResult:
    """Try until the server refuses. The server asks the gateway about a credential once a second."""
    step = await _steal(thief, credential, _ENDED)
    for _ in range(int(_WITHIN_SECONDS / _PAUSE_SECONDS)):
        if step.outcome == "refused":
            break
        await asyncio.sleep(_PAUSE_SECONDS)
        step = await _steal(thief, credential, _ENDED)
    return step


async def _steal(thief: Thief, credential: str, attempt: Attempt) -> AttemptResult:
    status, document = await thief.call(credential, _TOOL, _ARGUMENTS)
    if status == 200:
        return AttemptResult(attempt, "allowed", str(document["result"]["content"][0]["text"]))
    return AttemptResult(attempt, "refused", str(document.get("error_description")), (str(document.get("code")),))


def proof_of(entries: Iterable[JsonObject], task: str) -> dict[str, Any] | None:
    """Return the journal entry with the proof of the end of a task's lease."""
    proven = (
        dict(entry)
        for entry in entries
        if (entry.get("kind"), entry.get("event"), entry.get("task")) == ("lease", "revoked", task)
    )
    return next(proven, None)
