"""Arguments against the definition of their tool, on their way through a whole gateway."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.unit.approving import QUICK, approve
from tests.unit.harness import Back, Bench, Upstream, bench, call, message, modern, result

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from gateway.model.wire import UpstreamRequest

SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {"path": {"type": "string", "maxLength": 9}, "opts": {"type": "object", "properties": {"a": {}}}},
    "required": ["path"],
}
CODE = ["argument/schema"]
SECRET = "ghp_" + "a1B2c3D4e5F6g7H8i9J0k1L2m3N4o5P6q7R8"


class Declared(Upstream):
    """An upstream whose tools have this schema."""

    schema: Any = SCHEMA

    def tool(self, name: str) -> dict[str, Any]:
        return {"name": name, "inputSchema": self.schema}

    async def send(self, request: UpstreamRequest) -> Any:
        reply = await super().send(request)
        if request not in self.sent and request.message is not None and request.message.method == "tools/list":
            tools = [self.tool(name) for name in ("read_file", "ask_first")]
            back: Back = result(request, {"tools": tools})
            return type(reply)(200, reply.headers, self._chunks(back.chunks), self.aclose)
        return reply


@pytest.fixture
async def there(tmp_path: Path) -> AsyncGenerator[Bench]:
    async with bench(tmp_path, Declared(), QUICK, site="trust: untrusted") as started:
        yield started


@pytest.mark.parametrize(
    ("arguments", "pointer"),
    [
        ({}, ""),
        ({"path": 1}, "/path"),
        ({"path": "0123456789"}, "/path"),
        ({"path": "a", "note": SECRET}, "/note"),
        ({"path": "a", "opts": {"b": SECRET}}, "/opts/b"),
        ({"path": "a", "opts": []}, "/opts"),
    ],
)
async def test_arguments_that_do_not_fit_reach_no_upstream(there: Bench, arguments: Any, pointer: str):
    body, *headers = modern("tools/call", name="read_file", arguments=arguments)
    for answer in (await there.ask(call(**arguments)), await there.ask(body, *headers)):
        assert (answer.status, answer.codes) == (200, CODE)
        assert answer.json["result"]["isError"] is True
        assert pointer in answer.body.decode()
        assert SECRET not in answer.body.decode()
    assert there.upstream.sent == []
    assert [entry["reasons"][0]["code"] for entry in there.entries("refused")] == CODE * 2
    assert there.entries("refused")[0]["reasons"][0]["facts"] == [f"/arguments{pointer}"]
    assert SECRET not in str(there.entries("refused"))


async def test_arguments_that_fit_pass_and_are_no_denial(there: Bench):
    for _ in range(30):
        await there.ask(call(path=1))
    await there.ask(call(path="a", opts={"a": [1]}))
    assert len(there.upstream.sent) == 1


async def test_null_stands_for_an_argument_that_is_left_out(there: Bench):
    await there.ask(call(path="a", opts=None))
    assert len(there.upstream.sent) == 1
    for arguments in ({"path": None}, {"path": "a", "other": None}):
        assert (await there.ask(message("tools/call", name="read_file", arguments=arguments))).codes == CODE
    assert len(there.upstream.sent) == 1


async def test_a_call_that_does_not_fit_asks_nobody(there: Bench):
    assert (await there.ask(call("ask_first", path=1))).codes == CODE
    assert there.entries("approval") == []
    await there.ask(call("ask_first", path="a"))
    await approve(there)
    assert (await there.ask(call("ask_first", path="a", more=1))).codes == CODE
    await there.ask(call("ask_first", path="a"))
    assert len(there.upstream.sent) == 1


async def test_a_name_that_shows_nothing_is_spelled_out(there: Bench):
    arguments: dict[str, Any] = {"path": "a", "x\u202e\u2028y" + "z" * 500: 1}
    answer = await there.ask(message("tools/call", name="read_file", arguments=arguments))
    assert answer.codes == CODE
    said = answer.json["result"]["content"][0]["text"]
    assert "\u202e" not in said
    assert "\u2028" not in said
    assert len(said) < 1000


@pytest.mark.parametrize("schema", [{"$ref": "https://evil.example/x"}, {"type": "nonsense"}, {"$ref": "#"}])
async def test_without_a_usable_schema_a_tool_is_used_only_if_the_operator_says_so(tmp_path: Path, schema: Any):
    for number, (site, sent) in enumerate((("trust: untrusted", 0), ("additional_arguments: pass", 1))):
        port, folder = Declared(), tmp_path / str(number)
        port.schema = schema
        folder.mkdir()
        async with bench(folder, port, site=site) as there:
            answer = await there.ask(call(path="a"))
            assert len(there.upstream.sent) == sent
            assert sent or answer.codes == CODE


async def test_the_operator_lets_unnamed_arguments_pass_and_no_others(tmp_path: Path):
    async with bench(tmp_path, Declared(), site="additional_arguments: pass") as there:
        await there.ask(call(path="a", note="b"))
        assert len(there.upstream.sent) == 1
        assert (await there.ask(call(path=1, note="b"))).codes == CODE
        assert len(there.upstream.sent) == 1


async def test_of_a_tool_that_is_not_listed_policy_says_so(there: Bench):
    assert (await there.ask(call("read_more", path=1))).codes == ["catalogue/unknown"]


# --- results -----------------------------------------------------------------------------------------------

OUTPUT: dict[str, Any] = {"type": "object", "properties": {"count": {"type": "integer"}}, "required": ["count"]}


class Structured(Declared):
    """An upstream whose tools declare the form of their results."""

    output: Any = OUTPUT

    def tool(self, name: str) -> dict[str, Any]:
        return {"name": name, "inputSchema": {"type": "object"}, "outputSchema": self.output}


def answered(there: Bench, value: Any, *, events: bool = False, **more: Any) -> None:
    """Have the upstream answer with this structured content."""

    def script(request: UpstreamRequest) -> Back:
        back = result(request, {"content": [{"type": "text", "text": "t"}], "structuredContent": value, **more})
        if not events:
            return back
        return Back(type="text/event-stream", chunks=(b"data: ", *back.chunks, b"\n\n"))

    there.upstream.script = script


@pytest.fixture
async def structured(tmp_path: Path) -> AsyncGenerator[Bench]:
    async with bench(tmp_path, Structured(), site="trust: untrusted") as started:
        yield started


@pytest.mark.parametrize("events", [False, True])
@pytest.mark.parametrize("value", [{"count": SECRET}, {}, [], None, {"count": 1.5}])
async def test_a_result_that_does_not_fit_reaches_no_caller(structured: Bench, value: Any, *, events: bool):
    answered(structured, value, events=events)
    answer = await structured.ask(call())
    assert b"result/schema" in answer.body
    assert b"structuredContent" not in answer.body
    assert SECRET.encode() not in answer.body
    (entry,) = structured.entries("settled")
    assert entry["withheld"] == "result/schema"


@pytest.mark.parametrize("events", [False, True])
async def test_a_result_that_fits_and_an_error_pass_unchanged(structured: Bench, *, events: bool):
    for value, more in (({"count": 3, "more": 1}, {}), ({"why": "no"}, {"isError": True})):
        answered(structured, value, events=events, **more)
        answer = await structured.ask(call())
        assert b'"structuredContent"' in answer.body
        assert b"result/schema" not in answer.body
    assert "withheld" not in structured.entries("settled")[0]


async def test_a_result_without_structured_content_passes(structured: Bench):
    """A server leaves it out for clients of earlier revisions."""
    answer = await structured.ask(call())
    assert answer.json["result"] == {"content": []}


async def test_a_name_of_the_result_is_not_repeated(tmp_path: Path):
    port = Structured()
    port.output = {"additionalProperties": {"type": "integer"}}
    async with bench(tmp_path, port, site="trust: untrusted") as there:
        answered(there, {SECRET: "x"})
        assert SECRET.encode() not in (await there.ask(call())).body


@pytest.mark.parametrize(
    "body",
    [
        b'{"a":1}{"structuredContent":1}',
        b'{"jsonrpc":"2.0","id":7,"result":{"structuredContent":{"count":1},"structuredContent":{}}}',
    ],
)
async def test_a_result_with_two_readings_reaches_no_caller(structured: Bench, body: bytes):
    structured.upstream.script = lambda _: Back(chunks=(body,))
    assert b"structuredContent" not in (await structured.ask(call())).body


@pytest.mark.parametrize(
    "more",
    [
        {"StructuredContent": {"count": SECRET}},
        {"structured_content": {"count": SECRET}},
        {"Struc_tured-Content": {"count": SECRET}},
        {"\ufb06ructuredContent": {"count": SECRET}},
        {"STRUCT\u0307UREDCONTENT": {"count": SECRET}},
        {"structuredContent": {"count": 3}, "STRUCTUREDCONTENT": {"count": SECRET}},
        {"structuredContent": {"count": SECRET}, "isError": True, "iserror": False},
    ],
)
async def test_a_result_under_a_name_that_some_client_takes_for_it_reaches_no_caller(
    structured: Bench, more: dict[str, Any]
):
    structured.upstream.script = lambda request: result(request, {"content": [], **more})
    answer = await structured.ask(call())
    assert b"result/schema" in answer.body
    assert SECRET.encode() not in answer.body


async def test_a_result_too_large_to_be_compared_ends_its_answer(structured: Bench):
    answered(structured, {"count": "x" * (9 * 2**20)})
    answer = await structured.ask(call())
    assert b"xxxx" not in answer.body


# --- results that come late --------------------------------------------------------------------------------

WRONG: dict[str, Any] = {"count": SECRET}
WORKING = {"taskId": "t1", "status": "working", "createdAt": "2026-11-30T00:00:00Z", "ttl": 60000}


async def working(there: Bench) -> None:
    """Have a call go on as a protocol task."""
    there.upstream.script = lambda request: result(request, {"task": WORKING})
    assert (await there.ask(message("tools/call", name="read_file", arguments={}, task={}))).status == 200


@pytest.mark.parametrize("events", [False, True])
@pytest.mark.parametrize(("value", "passes"), [(WRONG, False), ({}, False), ({"count": 3}, True)])
async def test_the_result_of_a_task_is_compared(structured: Bench, value: Any, *, passes: bool, events: bool):
    await working(structured)
    answered(structured, value, events=events)
    answer = await structured.ask(message("tasks/result", identifier=8, taskId="t1"))
    assert (b"structuredContent" in answer.body) is passes
    assert (b"definition" in answer.body) is not passes
    assert SECRET.encode() not in answer.body


@pytest.mark.parametrize(("value", "passes"), [(WRONG, False), ({"count": 3}, True)])
async def test_the_result_within_a_finished_task_is_compared(structured: Bench, value: Any, *, passes: bool):
    await working(structured)
    done: dict[str, Any] = {**WORKING, "status": "completed", "result": {"content": [], "structuredContent": value}}
    structured.upstream.script = lambda request: result(request, done)
    answer = await structured.ask(message("tasks/get", identifier=8, taskId="t1"))
    assert (b"structuredContent" in answer.body) is passes
    assert SECRET.encode() not in answer.body


async def test_the_result_of_a_forgotten_task_passes(structured: Bench):
    """Nothing says of which tool it is."""
    answered(structured, WRONG)
    assert (await structured.ask(message("tasks/result", identifier=8, taskId="other"))).status == 400


@pytest.mark.parametrize(("value", "passes"), [(WRONG, False), ({"count": 3}, True)])
async def test_the_result_that_a_stream_of_news_has_is_compared(structured: Bench, value: Any, *, passes: bool):
    await working(structured)
    news: dict[str, Any] = {
        "taskId": "t1",
        "status": "completed",
        "result": {"content": [], "structuredContent": value},
    }
    text = json.dumps({"jsonrpc": "2.0", "method": "notifications/tasks", "params": news}).encode()
    structured.upstream.script = lambda _: Back(type="text/event-stream", chunks=(b"data: ", text, b"\n\n"))
    answer = await structured.ask(None)
    assert (b"structuredContent" in answer.body) is passes
    assert SECRET.encode() not in answer.body


# --- prompts -----------------------------------------------------------------------------------------------


class Prompting(Upstream):
    """An upstream with a prompt of one argument."""

    async def send(self, request: UpstreamRequest) -> Any:
        reply = await super().send(request)
        if request not in self.sent and request.message is not None and request.message.method == "prompts/list":
            prompts = [{"name": "hello", "arguments": [{"name": "who", "required": True}]}]
            back: Back = result(request, {"prompts": prompts})
            return type(reply)(200, reply.headers, self._chunks(back.chunks), self.aclose)
        return reply


@pytest.mark.parametrize(
    ("arguments", "sent"),
    [
        ({"who": "Ada"}, True),
        ({}, True),
        ({"who": "Ada", "note": SECRET}, False),
        ({"who": {"note": SECRET}}, False),
    ],
)
async def test_a_prompt_gets_the_arguments_that_it_names(tmp_path: Path, arguments: Any, *, sent: bool):
    async with bench(tmp_path, Prompting(), site="trust: untrusted") as there:
        body, *headers = modern("prompts/get", name="hello", arguments=arguments)
        for answer in (
            await there.ask(message("prompts/get", name="hello", arguments=arguments)),
            await there.ask(body, *headers),
        ):
            assert sent or answer.codes == CODE
            assert sent or "the prompt's definition" in answer.body.decode() or "The prompt's" in answer.body.decode()
            assert SECRET not in answer.body.decode()
        assert len(there.upstream.sent) == 2 * sent


async def test_a_prompt_without_arguments_gets_none_unless_the_operator_says_so(tmp_path: Path):
    for number, (site, sent) in enumerate((("trust: untrusted", 0), ("additional_arguments: pass", 1))):
        folder = tmp_path / str(number)
        folder.mkdir()
        async with bench(folder, site=site) as there:
            await there.ask(message("prompts/get", name="hello", arguments={"note": "x"}))
            assert len(there.upstream.sent) == sent


@pytest.mark.parametrize(("name", "sent"), [("who", 1), ("note", 0)])
async def test_a_completion_is_of_an_argument_that_the_prompt_names(tmp_path: Path, name: str, sent: int):
    async with bench(tmp_path, Prompting(), site="trust: untrusted") as there:
        asked: Any = {"ref": {"type": "ref/prompt", "name": "hello"}, "argument": {"name": name, "value": "A"}}
        await there.ask(message("completion/complete", **asked))
        assert len(there.upstream.sent) == sent
