"""A small MCP server in raw ASGI that records every request and misbehaves when it is asked to.

Run: `python -m tests.servers.echo --fd N`, where N is a listening socket. It speaks both eras at `/mcp`, without
sessions. What it received is read at `/log`, outside MCP; `Recorder` does that for tests.

Tools (all arguments optional):

    echo {text}                      that text
    big {mib, sse}                   a text of N MiB in 64 KiB chunks, as JSON or as one server-sent event
    stream {events}                  N progress notifications, then a result, on an event stream
    hold {key}                       one notification, then nothing until `POST /release/<key>`; then the result
    silent {}                        accepts the request and never answers
    die {after}                      N notifications, half an event, and the connection breaks
    wrong_id {}                      a well-formed result with another id
    garbage {}                       200, application/json, and no JSON
    status {code, headers, body}     that HTTP answer, whatever it is
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import json
import urllib.request
from collections import deque
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeAlias, cast

from tests.servers.serving import serve

if TYPE_CHECKING:
    from starlette.types import Receive, Scope, Send

JsonObject: TypeAlias = dict[str, Any]
CHUNK = 64 * 1024
KEPT_BODY = 64 * 1024
VERSIONS = ["2025-03-26", "2025-06-18", "2025-11-25", "2026-07-28"]
TOOLS = ("echo", "big", "stream", "hold", "silent", "die", "wrong_id", "garbage", "status")


@dataclass
class Log:
    """What arrived, in order, and a way to wait for something to arrive. `event` of a record is `request` or
    `disconnect` (the peer went away before the answer was complete)."""

    records: deque[JsonObject] = field(default_factory=lambda: deque[JsonObject](maxlen=10_000))
    changed: asyncio.Condition = field(default_factory=asyncio.Condition)

    async def add(self, record: JsonObject) -> None:
        async with self.changed:
            self.records.append(record)
            self.changed.notify_all()

    async def wait(self, event: str, text: str, within: float) -> JsonObject | None:
        """The first record of that event whose body contains `text`, or `None` if none came in time."""

        def found() -> JsonObject | None:
            wanted = (r for r in self.records if r["event"] == event and text in r["body"])
            return next(wanted, None)

        async with self.changed:
            try:
                await asyncio.wait_for(self.changed.wait_for(lambda: found() is not None), within)
            except TimeoutError:
                return None
            return found()


@dataclass
class Exchange:
    """One request and the means to answer it."""

    server: Echo
    scope: Scope
    receive: Receive
    send: Send
    body: bytes

    async def start(self, status: int, content_type: str, headers: Mapping[str, str] | None = None) -> None:
        fields = {"content-type": content_type} | dict(headers or {})
        raw = [(name.lower().encode(), value.encode()) for name, value in fields.items()]
        await self.send({"type": "http.response.start", "status": status, "headers": raw})

    async def write(self, data: bytes, *, more: bool = True) -> None:
        await self.send({"type": "http.response.body", "body": data, "more_body": more})

    async def answer(self, status: int, value: object) -> None:
        await self.start(status, "application/json")
        await self.write(json.dumps(value).encode(), more=False)

    async def event(self, message: JsonObject) -> None:
        await self.write(b"event: message\ndata: " + json.dumps(message).encode() + b"\n\n")

    async def gone(self) -> None:
        """Returns when the peer has closed the connection."""
        while (await self.receive())["type"] != "http.disconnect":
            pass

    async def until_gone_or(self, event: asyncio.Event | None) -> bool:
        """Wait for the event; `False`, and a record, if the peer went away first."""
        gone = asyncio.ensure_future(self.gone())
        waits = [gone] if event is None else [gone, asyncio.ensure_future(event.wait())]
        _, pending = await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        for task in pending:
            task.cancel()
        if gone.done() and not gone.cancelled():
            await self.server.log.add({"event": "disconnect", "body": self.body.decode("utf-8", "replace")})
            return False
        return True


Behaviour: TypeAlias = Callable[[Exchange, JsonObject, JsonObject], Awaitable[None]]


@dataclass
class Echo:
    """The ASGI application."""

    log: Log = field(default_factory=Log)
    released: dict[str, asyncio.Event] = field(default_factory=dict[str, asyncio.Event])

    def release(self, key: str) -> asyncio.Event:
        return self.released.setdefault(key, asyncio.Event())

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            for kind in ("startup", "shutdown"):
                await receive()
                await send({"type": f"lifespan.{kind}.complete"})
            return
        exchange = Exchange(self, scope, receive, send, await _read(receive))
        path: str = scope["path"]
        if path.startswith(("/log", "/release/")):
            await self.control(exchange, path)
        else:
            await self.log.add(_record(scope, exchange.body))
            await self.respond(exchange)

    async def respond(self, exchange: Exchange) -> None:
        await respond(exchange)

    async def control(self, exchange: Exchange, path: str) -> None:
        if path.startswith("/release/"):
            self.release(path.removeprefix("/release/")).set()
            await exchange.answer(200, {})
        elif path == "/log/wait":
            wanted = json.loads(exchange.body)
            await exchange.answer(200, await self.log.wait(wanted["event"], wanted["text"], wanted["within"]))
        else:
            await exchange.answer(200, list(self.log.records))
            if exchange.scope["method"] == "DELETE":
                self.log.records.clear()


async def _read(receive: Receive) -> bytes:
    parts: list[bytes] = []
    more = True
    while more:
        message = await receive()
        parts.append(message.get("body", b""))
        more = message.get("more_body", False)
    return b"".join(parts)


def _record(scope: Scope, body: bytes) -> JsonObject:
    return {
        "event": "request",
        "method": scope["method"],
        "path": scope["path"],
        "query": scope["query_string"].decode("latin-1"),
        "headers": [[name.decode("latin-1"), value.decode("latin-1")] for name, value in scope["headers"]],
        "body": body[:KEPT_BODY].decode("utf-8", "replace"),
        "base64": base64.b64encode(body[:KEPT_BODY]).decode(),
        "size": len(body),
        "sha256": hashlib.sha256(body).hexdigest(),
    }


# --- MCP -------------------------------------------------------------------------------------------


async def respond(exchange: Exchange) -> None:
    """Answer one MCP request."""
    if exchange.scope["method"] != "POST" or exchange.scope["path"] != "/mcp":
        await exchange.answer(405 if exchange.scope["path"] == "/mcp" else 404, {})
        return
    message: JsonObject = json.loads(exchange.body)
    method = message.get("method")
    params = cast("JsonObject", message.get("params") or {})
    if "id" not in message:
        await exchange.start(202, "application/json")
        await exchange.write(b"", more=False)
    elif method == "tools/call" and params.get("name") in BEHAVIOURS:
        await BEHAVIOURS[params["name"]](exchange, message, params.get("arguments") or {})
    elif (result := plain_result(method, params)) is not None:
        await exchange.answer(200, reply(message, result))
    else:
        error = {"code": -32601, "message": f"there is no method {method!r}"}
        await exchange.answer(404, {"jsonrpc": "2.0", "id": message["id"], "error": error})


def plain_result(method: str | None, params: JsonObject) -> JsonObject | None:
    """The results that need nothing but the request. `None` for what this server does not have."""
    capabilities: JsonObject = {"tools": {}}
    about = {"name": "opagate-echo", "version": "1.0.0"}
    fresh = {"ttlMs": 0, "cacheScope": "private"}
    match method:
        case "initialize":
            asked = params.get("protocolVersion")
            version = asked if asked in VERSIONS[:-1] else VERSIONS[-2]
            return {"protocolVersion": version, "capabilities": capabilities, "serverInfo": about}
        case "server/discover":
            return {"supportedVersions": VERSIONS, "capabilities": capabilities, "serverInfo": about} | fresh
        case "ping":
            return {}
        case "tools/list":
            return {"tools": [{"name": name, "inputSchema": {"type": "object"}} for name in TOOLS]} | fresh
        case _:
            return None


def reply(message: JsonObject, result: JsonObject) -> JsonObject:
    return {"jsonrpc": "2.0", "id": message["id"], "result": result | {"resultType": "complete"}}


def text_result(message: JsonObject, text: str) -> JsonObject:
    return reply(message, {"content": [{"type": "text", "text": text}]})


def progress(message: JsonObject, number: int) -> JsonObject:
    params = cast("JsonObject", message.get("params") or {})
    token = cast("JsonObject", params.get("_meta") or {}).get("progressToken", message["id"])
    notification = {"progressToken": token, "progress": number}
    return {"jsonrpc": "2.0", "method": "notifications/progress", "params": notification}


async def echo(exchange: Exchange, message: JsonObject, arguments: JsonObject) -> None:
    await exchange.answer(200, text_result(message, str(arguments.get("text", ""))))


async def big(exchange: Exchange, message: JsonObject, arguments: JsonObject) -> None:
    before, after = json.dumps(text_result(message, "#")).encode().split(b"#")
    sse = bool(arguments.get("sse"))
    await exchange.start(200, "text/event-stream" if sse else "application/json")
    await exchange.write((b"event: message\ndata: " if sse else b"") + before)
    for _ in range(int(arguments.get("mib", 1)) * 2**20 // CHUNK):
        await exchange.write(b"x" * CHUNK)
    await exchange.write(after + (b"\n\n" if sse else b""), more=False)


async def stream(exchange: Exchange, message: JsonObject, arguments: JsonObject) -> None:
    await exchange.start(200, "text/event-stream")
    for number in range(int(arguments.get("events", 3))):
        await exchange.event(progress(message, number + 1))
    await exchange.event(text_result(message, "streamed"))
    await exchange.write(b"", more=False)


async def hold(exchange: Exchange, message: JsonObject, arguments: JsonObject) -> None:
    await exchange.start(200, "text/event-stream")
    await exchange.event(progress(message, 1))
    if await exchange.until_gone_or(exchange.server.release(str(arguments.get("key", "")))):
        await exchange.event(text_result(message, "released"))
        await exchange.write(b"", more=False)


async def silent(exchange: Exchange, message: JsonObject, arguments: JsonObject) -> None:
    await exchange.until_gone_or(None)


async def die(exchange: Exchange, message: JsonObject, arguments: JsonObject) -> None:
    await exchange.start(200, "text/event-stream")
    for number in range(int(arguments.get("after", 1))):
        await exchange.event(progress(message, number + 1))
    await exchange.write(b'event: message\ndata: {"jsonrpc": "2.0", "id"')
    # Returning without the last chunk makes uvicorn break the connection.


async def wrong_id(exchange: Exchange, message: JsonObject, arguments: JsonObject) -> None:
    await exchange.answer(200, text_result(message | {"id": f"not-{message['id']}"}, "for somebody else"))


async def garbage(exchange: Exchange, message: JsonObject, arguments: JsonObject) -> None:
    await exchange.start(200, "application/json")
    await exchange.write(b"<html>this is not JSON</html>", more=False)


async def status(exchange: Exchange, message: JsonObject, arguments: JsonObject) -> None:
    await exchange.start(int(arguments.get("code", 500)), "text/plain", arguments.get("headers"))
    await exchange.write(str(arguments.get("body", "")).encode(), more=False)


BEHAVIOURS: Mapping[str, Behaviour] = {
    "echo": echo,
    "big": big,
    "stream": stream,
    "hold": hold,
    "silent": silent,
    "die": die,
    "wrong_id": wrong_id,
    "garbage": garbage,
    "status": status,
}


# --- for tests -------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Recorder:
    """Reads the log of a running echo server, given its origin. Blocking; every answer comes from loopback."""

    origin: str

    def requests(self) -> list[JsonObject]:
        """What arrived and has not been taken, oldest first: method, path, headers, body, base64, size, sha256."""
        return [record for record in self._ask("GET", "/log") if record["event"] == "request"]

    def take(self) -> list[JsonObject]:
        """Everything recorded, which is then forgotten."""
        return self._ask("DELETE", "/log")

    def wait(self, event: str, text: str = "", within: float = 10) -> JsonObject:
        """The first `request` or `disconnect` whose body contains `text`; an error if none comes in time."""
        found = self._ask("POST", "/log/wait", {"event": event, "text": text, "within": within})
        assert found is not None, f"no {event} with {text!r} in its body reached the server within {within} s"
        return found

    def release(self, key: str) -> None:
        """Let the `hold` calls with that key answer, now and later; so use a key once."""
        self._ask("POST", f"/release/{key}")

    def _ask(self, method: str, path: str, value: object = None) -> Any:
        request = urllib.request.Request(self.origin + path, json.dumps(value).encode(), method=method)
        with urllib.request.urlopen(request, timeout=300) as answer:
            return json.load(answer)


if __name__ == "__main__":
    serve(Echo(), http="httptools")
