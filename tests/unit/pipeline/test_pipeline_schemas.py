"""Arguments against the definition of their tool, on their way through a whole gateway."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.unit.approving import QUICK, approve
from tests.unit.harness import Bench, Upstream, bench, call, message, modern, result

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from gateway.model.wire import UpstreamRequest
    from tests.unit.harness import Back

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

    async def send(self, request: UpstreamRequest) -> Any:
        reply = await super().send(request)
        if request not in self.sent and request.message is not None and request.message.method == "tools/list":
            tools = [{"name": name, "inputSchema": self.schema} for name in ("read_file", "ask_first")]
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
