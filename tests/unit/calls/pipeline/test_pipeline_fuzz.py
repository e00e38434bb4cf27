"""No input of a caller, and no answer of an upstream, makes a call pass without an allow that is on record."""

from __future__ import annotations

import asyncio
import json
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gateway.model.wire import Disposition, UpstreamRequest
from tests.requirements import requirement
from tests.unit.harness import TOOLS, VERSION, Back, Bench, Upstream, bench, call

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)
METHODS = ("tools/call", "resources/read", "prompts/get", "tools/list", "tasks/get", "initialize", "ping", "x")
NAMES = st.sampled_from((*TOOLS, "file:///a", "hello", "", "read_file\u200b", "../hidden")) | st.text(max_size=6)


@st.composite
def messages(draw: st.DrawFn) -> bytes:
    """Near to a message of MCP: fields that are there, missing, of another type, or given twice."""
    params: dict[str, Any] = {
        "name": draw(NAMES),
        "uri": draw(NAMES),
        "taskId": draw(st.sampled_from(["t", ""])),
        "arguments": draw(JSON | st.dictionaries(st.text(max_size=4), JSON, max_size=3)),
        "requestState": draw(JSON),
        "_meta": draw(st.sampled_from([{}, {VERSION: "2026-07-28"}, {VERSION: "2025-11-25"}, {VERSION: 1}, None])),
    }
    kept = draw(st.sets(st.sampled_from(sorted(params))))
    whole: dict[str, Any] = {
        "jsonrpc": draw(st.sampled_from(["2.0", "2.0", "2.0", 2])),
        "id": draw(st.integers(0, 3) | JSON),
        "method": draw(st.sampled_from(METHODS)),
        "params": {name: params[name] for name in kept | {"name"}},
    }
    body = json.dumps(whole, ensure_ascii=draw(st.booleans())).encode("utf-8", "surrogatepass")
    return draw(mutations(body)) if draw(st.booleans()) else body


@st.composite
def mutations(draw: st.DrawFn, body: bytes) -> bytes:
    """The body with a piece cut out, doubled or replaced."""
    start, end = sorted((draw(st.integers(0, len(body))), draw(st.integers(0, len(body)))))
    piece = draw(
        st.sampled_from([b"", body[start:end] * 2, b"\x00", b"\xff", b'"', b",", b'"name":"hidden",', b"1e999"])
    )
    return body[:start] + piece + body[end:]


BODIES = messages() | mutations(call()) | st.binary(max_size=40) | JSON.map(lambda value: json.dumps(value).encode())
HEADERS = st.lists(
    st.tuples(
        st.sampled_from(
            [b"mcp-protocol-version", b"mcp-method", b"mcp-name", b"mcp-session-id", b"authorization", b"x"]
        ),
        st.sampled_from([b"2026-07-28", b"2025-11-25", b"tools/call", b"read_file", b"hidden", b"", b"\xff", b"a.b"]),
    ),
    max_size=4,
)
ANSWERS = st.builds(
    Back,
    status=st.sampled_from([200, 202, 401, 404, 500]),
    type=st.sampled_from(["application/json", "text/event-stream", "text/html", None]),
    chunks=st.lists(
        st.binary(max_size=20)
        | st.sampled_from([
            b'data: {"jsonrpc":"2.0","id":0,"result":{"requestState":"\\ud800"}}\n\n',
            b'{"jsonrpc":"2.0","id":1e999,"result":{}}',
            b'{"jsonrpc":"2.0","id":0,"result":{"tools":[{"name":"hidden"}]}}',
            b"data: {}\n\n",
        ]),
        max_size=3,
    ).map(tuple),
    session=st.sampled_from([None, None, "s", "\u00fc"]),
)  # fmt: skip


class Watch:
    """Observer, at the moment at which a call reaches the upstream, whether its allow is in the journal's file."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / "state/journal/00000001.jsonl"
        self._read = 0
        self.allowed = 0
        self.forwarded = 0
        self.body = b""

    def __call__(self, request: UpstreamRequest) -> None:
        assert request.body == self.body
        if request.message is None or request.message.disposition is not Disposition.DECIDE:
            return
        self.forwarded += 1
        with self._path.open("rb") as file:
            file.seek(self._read)
            new = file.read()
        self._read += len(new)
        self.allowed += sum(
            entry["kind"] == "call" and entry["effect"] == "allow" for entry in map(json.loads, new.splitlines())
        )
        assert self.allowed == self.forwarded


@requirement("invariant/1")
def test_nothing_passes_without_an_allow_on_record_whatever_is_sent_and_answered(tmp_path: Path):
    upstream = Upstream()
    watch = Watch(tmp_path)
    upstream.on_send = watch
    with asyncio.Runner() as runner:
        stack = AsyncExitStack()
        there: Bench = runner.run(stack.enter_async_context(bench(tmp_path, upstream, "journal: {fsync: never}\n")))

        @settings(
            max_examples=100,
            deadline=None,
            derandomize=True,
            suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
        )
        @given(body=BODIES, headers=HEADERS, answer=ANSWERS)
        def holds(body: bytes, headers: list[tuple[bytes, bytes]], answer: Back) -> None:
            upstream.script = lambda _request: answer
            watch.body = body
            got = runner.run(there.ask(body, *headers))
            assert 200 <= got.status < 600

        try:
            holds()
            watch.body = call()
            runner.run(there.ask(watch.body))
        finally:
            runner.run(stack.aclose())
    calls = there.entries("call")
    assert watch.forwarded == sum(entry["effect"] == "allow" for entry in calls) > 0
    assert len(there.entries("settled")) == watch.forwarded
