"""A text in each shape that the answer to a request can have.

tools/call {shape, page}    the page in that shape; `long` ends after `POST /release/<key>`, if there is a `key`
resources/read              the page that the URI names, `test://<page>`; `test://<page>/file` as a file
prompts/get {page}          the page in a message
"""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import Callable, Mapping
from typing import Final

from tests.servers.echo import Exchange, JsonObject, reply, text_result

LONG: Final = 10 * 2**20
TAIL: Final = 4_096
"""Bytes that a long answer keeps back until it is released."""


def _wrapped(text: str) -> str:
    return base64.b64encode(f"what follows is {text}".encode()).decode()


def _spelt_out(text: str) -> str:
    return "".join(f"\\u{ord(letter):04x}" for letter in text)


RESULTS: Final[Mapping[str, Callable[[str], JsonObject]]] = {
    "structured": lambda text: {"content": [], "structuredContent": {"rows": [{"value": text}]}},
    "document in a text": lambda text: {"content": [{"type": "text", "text": json.dumps({"a": {"value": text}})}]},
    "embedded text": lambda text: {
        "content": [{"type": "resource", "resource": {"uri": "test://a", "text": f"see {text} there"}}]
    },
    "embedded file": lambda text: {
        "content": [{"type": "resource", "resource": {"uri": "test://a", "blob": _wrapped(text)}}]
    },
    "link": lambda text: {
        "content": [{"type": "resource_link", "uri": "test://a", "name": "a", "description": f"with {text}"}]
    },
    "failure": lambda text: {"isError": True, "content": [{"type": "text", "text": f"no such token: {text}"}]},
    "beside the content": lambda text: {"content": [], "_meta": {"note": text}},
}
"""What is answered as JSON."""
OTHERS: Final = ("error", "event", "event before", "spelt out", "in two parts", "plain text", "long")
SHAPES: Final = (*RESULTS, *OTHERS)


async def answer(exchange: Exchange, message: JsonObject, text: str, arguments: JsonObject) -> None:
    """Answer a call with that text."""
    shape = arguments["shape"]
    if shape in RESULTS:
        await exchange.answer(200, reply(message, RESULTS[shape](text)))
    elif shape == "error":
        error = {"code": -32000, "message": "it failed", "data": {"value": text}}
        await exchange.answer(200, {"jsonrpc": "2.0", "id": message["id"], "error": error})
    elif shape == "plain text":
        await exchange.start(500, "text/plain")
        await exchange.write(f"it failed with {text}".encode(), more=False)
    elif shape.startswith("event"):
        await _events(exchange, message, text, before=shape == "event before")
    elif shape == "long":
        await _long(exchange, message, text, arguments.get("key"))
    else:
        await _parts(exchange, message, text, spelt_out=shape == "spelt out")


async def _events(exchange: Exchange, message: JsonObject, text: str, *, before: bool) -> None:
    note = {"jsonrpc": "2.0", "method": "notifications/message", "params": {"level": "info", "data": text}}
    await exchange.start(200, "text/event-stream")
    if before:
        await exchange.event(note)
    await exchange.event(text_result(message, "Done." if before else text))
    await exchange.write(b"", more=False)


async def _parts(exchange: Exchange, message: JsonObject, text: str, *, spelt_out: bool) -> None:
    """In two chunks, whose border is in the middle of the text."""
    written = _spelt_out(text) if spelt_out else text
    before, after = json.dumps(text_result(message, "#")).split("#")
    half = len(written) // 2
    await exchange.start(200, "application/json")
    await exchange.write(f"{before}it is {written[:half]}".encode())
    await asyncio.sleep(0)
    await exchange.write(f"{written[half:]} as of today{after}".encode(), more=False)


async def _long(exchange: Exchange, message: JsonObject, text: str, key: str | None) -> None:
    before, after = json.dumps(text_result(message, "#")).split("#")
    end = f" {text} {'word ' * (TAIL // 5)}{after}".encode()
    body = f"{before}{'word ' * (LONG // 5)}".encode() + end
    await exchange.start(200, "application/json", {"content-length": str(len(body))})
    await exchange.write(body[:-TAIL])
    if key is None or await exchange.until_gone_or(exchange.server.release(key)):
        await exchange.write(body[-TAIL:], more=False)


def read(message: JsonObject, page: Callable[[str], str]) -> JsonObject | None:
    """What a resource or a prompt holds."""
    params: JsonObject = message.get("params") or {}
    if message.get("method") == "prompts/get":
        text = page(params["arguments"]["page"])
        return {"messages": [{"role": "user", "content": {"type": "text", "text": text}}]}
    if message.get("method") == "resources/read":
        uri: str = params["uri"]
        name, _, kind = uri.removeprefix("test://").partition("/")
        held = {"blob": _wrapped(page(name))} if kind == "file" else {"text": page(name)}
        return {"contents": [{"uri": uri, **held}]}
    return None
