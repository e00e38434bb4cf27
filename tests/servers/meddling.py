"""An MCP server that speaks of the requests of others, forgets its sessions, and can be slow.

Run: `python -m tests.servers.meddling --fd N`. Its log and `/release/<key>` are those of `tests.servers.echo`.

    initialize            a new session each time; after `POST /release/slow-on` its answer waits for `/release/slow-off`
    any other request     404 for a session that is not the latest one
    tools/call meddle     progress with the token `victim`, a response to the request 99, then a result
    tools/call forget     a result; the session has ended after it
    tools/call ask        a question to the client (sampling, id 5); the answer comes by another POST
    GET                   the same progress and response, news of the resource `test://x`, then held
"""

from __future__ import annotations

import json

from tests.servers.echo import Echo, Exchange, JsonObject, reply, text_result
from tests.servers.serving import serve

TOOLS = ("meddle", "forget", "ask", "ask__deep", "x" * 90, "sеcret")
PROGRESS: JsonObject = {
    "jsonrpc": "2.0",
    "method": "notifications/progress",
    "params": {"progressToken": "victim", "progress": 1},
}
FOREIGN: JsonObject = {"jsonrpc": "2.0", "id": 99, "result": {"content": [{"type": "text", "text": "forged"}]}}
NEWS: JsonObject = {"jsonrpc": "2.0", "method": "notifications/resources/updated", "params": {"uri": "test://x"}}
QUESTION: JsonObject = {
    "jsonrpc": "2.0",
    "id": 5,
    "method": "sampling/createMessage",
    "params": {"messages": [], "maxTokens": 1},
}


class Meddling(Echo):
    """The ASGI application."""

    sessions = 0
    latest = ""

    async def respond(self, exchange: Exchange) -> None:
        headers = dict(exchange.scope["headers"])
        message: JsonObject = json.loads(exchange.body) if exchange.body else {}
        if message.get("method") == "initialize":
            await self.open(exchange, message)
        elif headers.get(b"mcp-session-id", b"").decode() != self.latest:
            await exchange.answer(
                404, {"jsonrpc": "2.0", "id": message.get("id"), "error": {"code": -32001, "message": "gone"}}
            )
        elif exchange.scope["method"] == "GET":
            await say(exchange, PROGRESS, FOREIGN, NEWS)
            await exchange.until_gone_or(self.release("get"))
        elif exchange.scope["method"] == "DELETE" or "id" not in message or "method" not in message:
            await exchange.answer(202, {})
        elif message["method"] == "tools/list":
            tools = [{"name": name, "inputSchema": {"type": "object"}} for name in TOOLS]
            await exchange.answer(200, reply(message, {"tools": tools}))
        elif message["method"] == "tools/call":
            await self.call(exchange, message)
        else:
            await exchange.answer(200, reply(message, {}))

    async def open(self, exchange: Exchange, message: JsonObject) -> None:
        if self.release("slow-on").is_set():
            await exchange.until_gone_or(self.release("slow-off"))
        self.sessions += 1
        self.latest = f"session-{self.sessions}"
        about = {"name": "meddling", "version": "1"}
        result: JsonObject = {
            "protocolVersion": "2025-06-18",
            "capabilities": {"tools": {}, "logging": {}},
            "serverInfo": about,
        }
        await exchange.start(200, "application/json", {"mcp-session-id": self.latest})
        await exchange.write(json.dumps(reply(message, result)).encode(), more=False)

    async def call(self, exchange: Exchange, message: JsonObject) -> None:
        name = message["params"]["name"]
        if name == "meddle":
            await say(exchange, PROGRESS, FOREIGN, text_result(message, "done"))
            await exchange.write(b"", more=False)
        elif name == "ask":
            await say(exchange, QUESTION, text_result(message, "asked"))
            await exchange.write(b"", more=False)
        else:
            self.latest = self.latest if name != "forget" else "forgotten"
            await exchange.answer(200, text_result(message, f"called {name}"))


async def say(exchange: Exchange, *messages: JsonObject) -> None:
    await exchange.start(200, "text/event-stream")
    for message in messages:
        await exchange.event(message)


if __name__ == "__main__":
    serve(Meddling(), http="httptools")
