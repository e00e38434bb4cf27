"""What a decision on a call is made of."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.requirements import requirement
from tests.unit.harness import Bench, allow, bench, call, deciding, message, result


@requirement("mcp/resources-prompts")
@pytest.mark.parametrize(
    ("body", "action", "target"),
    [
        (message("resources/read", uri="file:///a"), "resources/read", "files/file:///a"),
        (message("prompts/get", name="hello", arguments={"a": "b"}), "prompts/get", "files/hello"),
        (message("prompts/get", name="hello"), "prompts/get", "files/hello"),
    ],
)
async def test_what_moves_data_is_decided_as_a_call_is(there: Bench, body: bytes, action: str, target: str):
    assert (await there.ask(body)).status == 200
    (entry,) = there.entries("call")
    assert (entry["action"], entry["target"]["id"]) == (action, target)


@requirement("history/toxic-flow", "invariant/6")
async def test_who_reads_a_resource_has_read_what_the_tools_of_its_upstream_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    async with bench(tmp_path, labels="{effect: read, egress: false, sensitivity: confidential}") as there:
        asked: Any = deciding(there, allow(), monkeypatch)
        await there.ask(message("resources/read", uri="file:///a"))
        await there.ask(message("prompts/get", name="hello"))

    sensitivities = [document["resource"]["properties"]["sensitivity"] for document in asked]
    assert sensitivities == ["confidential", "internal"]
    assert asked[1]["session"]["labels"] == {"untrusted": True, "confidentiality": "confidential"}


def complete(value: str = "par", **more: Any) -> bytes:
    params = {"ref": {"type": "ref/prompt", "name": "hello"}, "argument": {"name": "to", "value": value}}
    return message("completion/complete", **{**params, **more})


@requirement("mcp/completions")
async def test_a_completion_is_decided_counted_and_recorded_as_a_call_is(there: Bench):
    there.upstream.script = lambda request: result(request, {"completion": {"values": ["paris"]}})
    await there.ask(complete())
    template = {"type": "ref/resource", "uri": "file:///{path}"}
    await there.ask(complete(ref=template, argument={"name": "path", "value": "no"}, context={"arguments": {"a": "b"}}))

    prompt, resource = there.entries("call")
    assert [entry["action"] for entry in (prompt, resource)] == ["completion/complete"] * 2
    assert (prompt["target"]["type"], prompt["target"]["id"]) == ("prompt", "files/hello")
    assert (resource["target"]["type"], resource["target"]["id"]) == ("resource", "files/file:///{path}")
    assert (prompt["arguments"]["names"], resource["arguments"]["names"]) == (["to"], ["a", "path", "uri"])
    assert [entry["id"] for entry in there.entries("settled")] == [prompt["id"], resource["id"]]
    assert [entry["history"]["number"] for entry in (prompt, resource)] == [1, 2]


@requirement("mcp/completions", "mcp/list-filter")
@pytest.mark.parametrize(
    "reference",
    [{"type": "ref/prompt", "name": "hidden"}, {"type": "ref/resource", "uri": "secret:///{name}"}],
)
async def test_what_a_list_hides_is_not_completed(there: Bench, reference: dict[str, str]):
    answer = await there.ask(complete(ref=reference))

    assert (answer.status, answer.codes) == (200, ["tool/not-granted"])
    assert there.upstream.sent == []


@requirement("mcp/completions", "invariant/2")
@pytest.mark.parametrize(
    ("body", "code"),
    [
        (complete(ref={"type": "ref/prompt", "name": "hello", "Name": "hidden"}), "request/ambiguous-key"),
        (complete(argument={"name": "to", "value": "a", "Value": "b"}), "request/ambiguous-key"),
        (complete(context={"arguments": {"To": "b"}}), "request/ambiguous-key"),
        (complete(ref=["ref/prompt", "hello"]), "request/params"),
        (complete(argument={"name": "to", "value": {"more": 1}}), "request/params"),
    ],
)
async def test_a_completion_that_can_be_read_in_two_ways_is_refused(there: Bench, body: bytes, code: str):
    answer = await there.ask(body)

    assert (answer.status, answer.codes) == (400, [code])
    assert there.upstream.sent == []


@requirement("invariant/2")
@pytest.mark.parametrize(
    "arguments", [{"path": "reports/a", "Path": "/etc"}, {"PATH": "/etc"}, {"pa-th": 1}, {"x": 1, "X": 2}]
)
async def test_an_argument_that_the_upstream_may_read_as_another_is_refused(there: Bench, arguments: dict[str, Any]):
    """Else a grant that asks about `/path` is passed by one that Go reads as `path`."""
    answer = await there.ask(call(**arguments))

    assert (answer.status, answer.codes) == (400, ["request/ambiguous-key"])
    assert there.upstream.sent == []
    assert there.entries("call") == []
    assert [entry["reasons"][0]["code"] for entry in there.entries("refused")] == ["request/ambiguous-key"]


@requirement("invariant/2", "mcp/headers-agree")
async def test_a_header_that_repeats_an_argument_must_agree_with_it(there: Bench):
    answer = await there.ask(call(path="reports/a"), (b"mcp-param-path", b"/etc/passwd"))
    assert (answer.status, answer.codes) == (400, ["request/header"])
    assert there.upstream.sent == []

    assert (await there.ask(call(path="reports/a"), (b"mcp-param-path", b"reports/a"))).status == 200


async def test_a_session_is_no_task_of_its_own(there: Bench):
    there.upstream.script = lambda request: result(request, {}, session="s-1")
    opening = message("initialize", protocolVersion="2025-11-25", capabilities={}, clientInfo={"name": "a"})
    for _ in range(2):
        sealed = dict((await there.ask(opening)).headers)[b"mcp-session-id"]
        await there.ask(call(), (b"mcp-session-id", sealed))
    await there.ask(call())

    assert len({entry["task"]["id"] for entry in there.entries("call")}) == 1
