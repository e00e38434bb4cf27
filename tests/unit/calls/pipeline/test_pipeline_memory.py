"""What a caller sends is not kept when its request has ended, wherever in it that stands."""

from __future__ import annotations

import gc
import json
import tracemalloc
from collections.abc import Callable
from secrets import token_hex
from typing import Any, TypeAlias

import pytest

from tests.unit.harness import Bench, call, message, modern

SIZE = 100_000
"""Characters of each text, about: long, and yet short enough for all of it to be looked through."""
TIMES = 10
Request: TypeAlias = tuple[bytes, *tuple[tuple[bytes, bytes], ...]]


def named(text: str) -> Request:
    body, *headers = modern("tools/call", name="read_file", arguments={"path": "a"})
    changed: dict[str, Any] = json.loads(body)
    changed["params"]["_meta"] |= {text: text, "io.modelcontextprotocol/clientInfo": {"name": text, "version": text}}
    return json.dumps(changed).encode(), *headers


PLACES: dict[str, Callable[[str], Request]] = {
    "the name of an argument": lambda text: (call(**{"path": "a", text: "b"}),),
    "the name of an argument in another": lambda text: (call(path={"a": [{text: "b"}]}),),
    "an argument": lambda text: (call(path=text),),
    "an argument of a credential's name": lambda text: (call(path="a", password=text),),
    "the name of a tool": lambda text: (call(text),),
    "the name of a prompt": lambda text: (message("prompts/get", name=text),),
    "the address of a resource": lambda text: (message("resources/read", uri=f"file:///{text}"),),
    "the id of a request": lambda text: (message("tools/call", text, name="read_file", arguments={}),),
    "a method": lambda text: (message(text),),
    "a cursor": lambda text: (message("tools/list", cursor=text),),
    "what a client says of itself": named,
    "a header's name": lambda text: (call(path="a"), (f"x-{text}".encode(), b"1")),
    "a header": lambda text: (call(path="a"), (b"user-agent", text.encode())),
    "a token": lambda text: (call(path="a"), (b"authorization", f"Bearer {text}".encode())),
    "a session": lambda text: (call(path="a"), (b"mcp-session-id", text.encode())),
    "a task": lambda text: (call(path="a"), (b"opagate-task", text.encode())),
    "a completion": lambda text: (
        message(
            "completion/complete", ref={"type": "ref/prompt", "name": "hello"}, argument={"name": text, "value": text}
        ),
    ),
}


@pytest.mark.parametrize("place", PLACES)
async def test_what_a_caller_sends_is_not_kept(there: Bench, place: str):
    async def send() -> None:
        text = token_hex(8) + "-word" * (SIZE // 5)
        await there.ask(*PLACES[place](text))
        there.upstream.sent.clear()

    for _ in range(2):
        await send()
    tracemalloc.start()
    try:
        for _ in range(TIMES):
            await send()
        gc.collect()
        kept, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    assert kept < TIMES * SIZE / 4
