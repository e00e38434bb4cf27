"""A lean MCP echo server in raw ASGI, both eras, that keeps nothing: what the targets stand in front of.

`python -m benchmarks.gateway.echo PORT`. Tools: `echo {text}`; `big {mib}`, a text of that many MiB that is
streamed as it is made; and `page {kib}`, that many KiB of words.
"""

from __future__ import annotations

import sys
from functools import cache
from itertools import islice, product
from typing import Any
from uuid import uuid4

import msgspec
import uvicorn

TOOLS = [
    {
        "name": name,
        "description": name,
        "inputSchema": {"type": "object", "properties": {argument: {"type": kind}}},
    }
    for name, argument, kind in (("echo", "text", "string"), ("big", "mib", "integer"), ("page", "kib", "integer"))
]
SERVER = {"name": "echo", "version": "1"}
CACHING: dict[str, Any] = {"ttlMs": 0, "cacheScope": "public"}
JSON = [(b"content-type", b"application/json")]
EVENTS = [(b"content-type", b"text/event-stream")]
CHUNK = b"x" * 65536
SYLLABLES = ("ba", "ke", "li", "mo", "nu", "ra", "se", "ti")


@cache
def words(kib: int) -> str:
    """Return a text of that many KiB, of words that never come again."""
    made = islice(map("".join, product(SYLLABLES, repeat=6)), kib * 80)
    return " ".join(made)[: kib * 1024]


def result(method: str, params: dict[str, Any]) -> dict[str, Any]:
    stateless = "_meta" in params and "io.modelcontextprotocol/protocolVersion" in params["_meta"]
    complete = {"resultType": "complete"} if stateless else {}
    if method == "initialize":
        version = params["protocolVersion"]
        return {"protocolVersion": version, "capabilities": {"tools": {}}, "serverInfo": SERVER}
    if method == "server/discover":
        offer: dict[str, Any] = {
            "supportedVersions": ["2026-07-28"],
            "capabilities": {"tools": {}},
            "serverInfo": SERVER,
        }
        return complete | offer | CACHING
    if method == "tools/list":
        return complete | {"tools": TOOLS} | (CACHING if stateless else {})
    if method == "tools/call":
        arguments = params["arguments"]
        text = words(arguments["kib"]) if params["name"] == "page" else arguments["text"]
        return complete | {"content": [{"type": "text", "text": text}]}
    return complete


async def app(scope: dict[str, Any], receive: Any, send: Any) -> None:
    if scope["method"] == "GET":
        await send({"type": "http.response.start", "status": 200, "headers": EVENTS})
        await send({"type": "http.response.body", "body": b": open\n\n", "more_body": True})
        while (await receive())["type"] != "http.disconnect":
            pass
        return
    if scope["method"] != "POST":
        await send({"type": "http.response.start", "status": 405, "headers": []})
        await send({"type": "http.response.body", "body": b""})
        return
    body, more = b"", True
    while more:
        message = await receive()
        body, more = body + message["body"], message["more_body"]
    request = msgspec.json.decode(body)
    if "id" not in request:
        await send({"type": "http.response.start", "status": 202, "headers": []})
        await send({"type": "http.response.body", "body": b""})
    elif request["method"] == "tools/call" and request["params"]["name"] == "big":
        await stream_big(request["id"], request["params"]["arguments"]["mib"], send)
    else:
        session = [(b"mcp-session-id", uuid4().hex.encode())] if request["method"] == "initialize" else []
        await send({"type": "http.response.start", "status": 200, "headers": JSON + session})
        answer = {"jsonrpc": "2.0", "id": request["id"], "result": result(request["method"], request["params"])}
        await send({"type": "http.response.body", "body": msgspec.json.encode(answer)})


async def stream_big(identifier: Any, mib: int, send: Any) -> None:
    head = b'{"jsonrpc":"2.0","id":%s,"result":{"resultType":"complete","content":[{"type":"text","text":"'
    await send({"type": "http.response.start", "status": 200, "headers": JSON})
    await send({"type": "http.response.body", "body": head % msgspec.json.encode(identifier), "more_body": True})
    for _ in range(mib * 16):
        await send({"type": "http.response.body", "body": CHUNK, "more_body": True})
    await send({"type": "http.response.body", "body": b'"}]}}'})


if __name__ == "__main__":
    uvicorn.run(app, host="127.0.0.1", port=int(sys.argv[1]), log_level="error", ws="none", lifespan="off")
