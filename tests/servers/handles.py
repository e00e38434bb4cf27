"""An MCP server that hands out sessions, tasks, request states and streams, and does not remember to whom: what a server
behind a gateway sees is one caller.

Run: `python -m tests.servers.handles --fd N`. Its log and `/release/<key>` are those of `tests.servers.echo`.

    initialize                       gives the session `session-1`
    GET                              an event with id 1, a replayed tools/list answer (id 2), then held: key `get`
    DELETE                           200
    tools/list                       three pages: [open_a, shut_b], [shut_c], [open_d, task, ask, odd]
    tools/call task                  a task, named by the argument `id`
    tools/call ask                   wants input, with the state named by the argument `state`; with a state: done
    tools/call odd                   a result that only the very bytes of ODD are
    tasks/*                          the id that was asked for
    subscriptions/listen             an acknowledgement, then held: key `listen`
"""

from __future__ import annotations

import json
from typing import Any

from tests.servers.echo import Echo, Exchange, JsonObject, reply, respond, text_result
from tests.servers.serving import serve

SESSION = "session-1"
PAGES = {
    None: (["open_a", "shut_b"], "two"),
    "two": (["shut_c"], "three"),
    "three": (["open_d", "task", "ask", "odd"], None),
}
ODD = (
    b'{ "jsonrpc":"2.0","result":{"structuredContent":{"z":1.0,"a":[1e2,{"k":null}],"\\u00fc":"\\ud83d\\ude00"},'
    b'"content":[{"type":"text","text":"1.0","x-vendor":{"b":2,"a":1}}],"isError":false,"resultType":"complete",'
    b'"x-unknown":[ ],"_meta":{"vendor.example/y":0.10}},"id" : 77 }'
)


class Handles(Echo):
    """The ASGI application."""

    async def respond(self, exchange: Exchange) -> None:
        if exchange.scope["method"] == "GET":
            await replay(exchange)
        elif exchange.scope["method"] == "DELETE":
            await exchange.answer(200, {})
        else:
            await answer(exchange, json.loads(exchange.body))


async def answer(exchange: Exchange, message: JsonObject) -> None:
    params: JsonObject = message.get("params") or {}
    method = str(message.get("method"))
    if method == "initialize":
        await opened(exchange, message, params)
    elif method == "tools/list":
        names, cursor = PAGES[params.get("cursor")]
        await exchange.answer(200, reply(message, listed(names, cursor)))
    elif method.startswith("tasks/"):
        await exchange.answer(200, reply(message, {"taskId": params["taskId"], "status": "working"}))
    elif method == "subscriptions/listen":
        await listened(exchange, message)
    elif method == "tools/call" and params["name"] in TOOLS:
        await TOOLS[params["name"]](exchange, message, params)
    else:
        await respond(exchange)


def listed(names: list[str], cursor: str | None) -> JsonObject:
    tools = [{"name": name, "inputSchema": {"type": "object"}} for name in names]
    page = {"tools": tools, "ttlMs": 0, "cacheScope": "public"}
    return page if cursor is None else page | {"nextCursor": cursor}


async def opened(exchange: Exchange, message: JsonObject, params: JsonObject) -> None:
    about = {"name": "opagate-handles", "version": "1"}
    result: JsonObject = {
        "protocolVersion": params["protocolVersion"],
        "capabilities": {"tools": {}},
        "serverInfo": about,
    }
    await exchange.start(200, "application/json", {"mcp-session-id": SESSION})
    await exchange.write(json.dumps({"jsonrpc": "2.0", "id": message["id"], "result": result}).encode(), more=False)


async def replay(exchange: Exchange) -> None:
    await exchange.start(200, "text/event-stream")
    await exchange.write(b"id: 1\nretry: 100\ndata: \n\n")
    replayed = json.dumps(reply({"id": 2}, listed(["open_a", "shut_b"], None))).encode()
    await exchange.write(b"id: 2\nevent: message\ndata: " + replayed + b"\n\n")
    await until_released(exchange, "get")


async def listened(exchange: Exchange, message: JsonObject) -> None:
    await exchange.start(200, "text/event-stream")
    params = {"_meta": {"io.modelcontextprotocol/subscriptionId": message["id"]}}
    await exchange.event({"jsonrpc": "2.0", "method": "notifications/subscriptions/acknowledged", "params": params})
    await until_released(exchange, "listen")


async def until_released(exchange: Exchange, key: str) -> None:
    if await exchange.until_gone_or(exchange.server.release(key)):
        await exchange.write(b"", more=False)


async def task(exchange: Exchange, message: JsonObject, params: JsonObject) -> None:
    name = params["arguments"]["id"]
    created: JsonObject = {"taskId": name, "status": "working", "ttl": None}
    result: JsonObject = {"resultType": "task", **created} if "_meta" in params else {"task": created}
    await exchange.answer(200, {"jsonrpc": "2.0", "id": message["id"], "result": result})


async def ask(exchange: Exchange, message: JsonObject, params: JsonObject) -> None:
    if "requestState" in params:
        await exchange.answer(200, text_result(message, f"resumed {params['requestState']}"))
        return
    state = params["arguments"]["state"]
    requests: JsonObject = {"a": {"method": "roots/list"}}
    result: JsonObject = {"resultType": "input_required", "inputRequests": requests, "requestState": state}
    await exchange.answer(200, {"jsonrpc": "2.0", "id": message["id"], "result": result})


async def odd(exchange: Exchange, _message: JsonObject, _params: JsonObject) -> None:
    await exchange.start(200, "application/json")
    await exchange.write(ODD, more=False)


TOOLS: dict[str, Any] = {"task": task, "ask": ask, "odd": odd}

if __name__ == "__main__":
    serve(Handles(), http="httptools")
