"""What a system of the desk says otherwise than in the answer to a call: results of tasks of the protocol, streams,
completions, lists, and messages of its own.

    initialize                                                 gives a session
    tools/call {later: ID, page}                               makes the task ID, whose result is the page
    tasks/get, tasks/result, tasks/cancel, tasks/list          of such a task
    completion/complete                                        the page that the argument's value names
    GET with `x-show`, subscriptions/listen                    what the header `x-show` says, and then nothing until
                                                               `POST /release/<x-hold>`, if there is such a header

`x-show` is `<kind>:<page>`: `log`, `sampling`, `elicitation`, `updated`, `progress` or `status` are messages of that
kind, `answer/<id>` is the response to a request, `ended/<id>` tells of a task that has ended, and `large` is a log message of
2 MB with the page at its end.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Callable, Mapping
from typing import Any, Final

from tests.servers.echo import Exchange, JsonObject, reply

_STATELESS: Final = "io.modelcontextprotocol/protocolVersion"
LARGE: Final = 2 * 10**6


def header(exchange: Exchange, name: str) -> str | None:
    fields = {key.decode(): value.decode() for key, value in exchange.scope["headers"]}
    return fields.get(name)


def _call(method: str, **params: Any) -> JsonObject:
    return {"jsonrpc": "2.0", "method": method, "params": params}


_MESSAGES: Final[Mapping[str, Callable[[str], JsonObject]]] = {
    "log": lambda text: _call("notifications/message", level="info", data=text),
    "large": lambda text: _call("notifications/message", level="info", data="word " * (LARGE // 5) + text),
    "progress": lambda text: _call("notifications/progress", progressToken=1, progress=1, message=text),
    "updated": lambda text: _call("notifications/resources/updated", uri="test://page", title=text),
    "changed": lambda text: _call("notifications/tools/list_changed", note=text),
    "sampling": lambda text: (
        _call(
            "sampling/createMessage",
            messages=[{"role": "user", "content": {"type": "text", "text": text}}],
            maxTokens=9,
        )
        | {"id": "question"}
    ),
    "elicitation": lambda text: (
        _call("elicitation/create", message=text, requestedSchema={"type": "object", "properties": {}})
        | {"id": "question"}
    ),
    "status": lambda text: _call("notifications/tasks/status", taskId="nobody", status="working", statusMessage=text),
}


def message(show: str, page: Callable[[str], str]) -> JsonObject:
    kind, _, name = show.partition(":")
    if kind.startswith("answer/"):
        return answered({"id": json.loads(kind.removeprefix("answer/"))}, page(name))
    if kind.startswith("ended/"):
        result = {"content": [{"type": "text", "text": page(name)}]}
        return _call("notifications/tasks", taskId=kind.removeprefix("ended/"), status="completed", result=result)
    return _MESSAGES[kind](page(name))


def answered(request: JsonObject, text: str) -> JsonObject:
    return reply(request, {"content": [{"type": "text", "text": text}]})


class Tasks:
    """The tasks of one process: their results."""

    def __init__(self, page: Callable[[str], str]) -> None:
        self._page = page
        self._later: dict[str, str] = {}

    def made(self, request: JsonObject, params: JsonObject) -> JsonObject:
        name = params["arguments"]["later"]
        self._later[name] = params["arguments"].get("page", "none")
        task = {"taskId": name, "status": "working", "ttl": None}
        stateless = _STATELESS in params.get("_meta", {})
        return reply(request, {"resultType": "task", **task} if stateless else {"task": task})

    def answer(self, request: JsonObject, method: str, params: JsonObject) -> JsonObject:
        if method == "tasks/list":
            return reply(request, {"tasks": [self._status(name) for name in self._later]})
        name = params["taskId"]
        if method == "tasks/result":
            return answered(request, self._page(self._later[name]))
        if method == "tasks/get" and _STATELESS in params.get("_meta", {}):
            result = {"content": [{"type": "text", "text": self._page(self._later[name])}]}
            return reply(request, {"taskId": name, "status": "completed", "result": result})
        return reply(request, self._status(name))

    def _status(self, name: str) -> JsonObject:
        return {"taskId": name, "status": "completed", "statusMessage": self._page(self._later[name])}


CAPABILITIES: Final[JsonObject] = {"tools": {}, "prompts": {}, "completions": {}}


async def opened(exchange: Exchange, request: JsonObject, params: JsonObject, instructions: str) -> None:
    """Answer `initialize`."""
    result: JsonObject = {
        "protocolVersion": params["protocolVersion"],
        "capabilities": CAPABILITIES,
        "serverInfo": {"name": "desk", "version": "1"},
        "instructions": instructions,
    }
    await exchange.start(200, "application/json", {"mcp-session-id": f"session-{secrets.token_hex(4)}"})
    await exchange.write(json.dumps(reply(request, result)).encode(), more=False)


async def stream(exchange: Exchange, page: Callable[[str], str], first: JsonObject | None = None) -> None:
    """Show what is to be shown, each in an event of its own."""
    await exchange.start(200, "text/event-stream")
    await exchange.write(b"id: 1\nretry: 100\ndata: \n\n")
    if first is not None:
        await exchange.event(first)
    for show in (header(exchange, "x-show") or "").split():
        await exchange.event(message(show, page))
    held = header(exchange, "x-hold")
    if held is None or await exchange.until_gone_or(exchange.server.release(held)):
        await exchange.write(b"", more=False)
