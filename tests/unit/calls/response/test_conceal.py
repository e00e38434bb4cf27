"""Concealed answers, through the whole pipeline with a scripted upstream."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from random import Random

import pytest

from benchmarks.credentials.examples import example
from gateway.model.decision import Obligation
from gateway.model.wire import UpstreamRequest
from tests.requirements import requirement
from tests.unit.harness import Back, Bench, allow, answering, bench, call, deciding, message, modern, result

VALUE = example("ghp_{w:30}{crc62}", Random(1))
ALLOW = allow(Obligation("conceal_credentials", {}))


@requirement("conceal/results")
async def test_a_credential_in_a_result_reaches_the_agent_as_a_handle(concealed: Bench):
    answering(concealed, {"content": [{"type": "text", "text": f"it is {VALUE}"}], "structuredContent": {"t": VALUE}})
    answer = await concealed.ask(call())
    shown = answer.json["result"]

    assert VALUE.encode() not in answer.body
    assert shown["content"][0]["text"] == f"it is {shown['structuredContent']['t']}"
    assert shown["structuredContent"]["t"].startswith("cred://")


@requirement("conceal/results")
@pytest.mark.parametrize("size", [7, 900, 4096, 2**20])
async def test_a_large_result_is_concealed_in_passing(concealed: Bench, size: int):
    text = "many words " * 40_000 + VALUE + " and some"

    def script(request: UpstreamRequest) -> Back:
        (data,) = result(request, {"content": [{"type": "text", "text": text}]}).chunks
        assert isinstance(data, bytes)
        return Back(chunks=tuple(data[at : at + size] for at in range(0, len(data), size)))

    concealed.upstream.script = script
    shown = (await concealed.ask(call())).json["result"]["content"][0]["text"]

    assert VALUE not in shown
    assert shown.startswith("many words ")
    assert shown.endswith(" and some")
    assert "cred://" in shown


@requirement("conceal/results")
async def test_calls_go_on_while_a_long_answer_full_of_credentials_is_concealed(concealed: Bench):
    values = [example("ghp_{w:30}{crc62}", Random(number)) for number in range(100)]
    answering(concealed, {"content": [], "structuredContent": {"all": values * 50}})
    asking, turns = asyncio.ensure_future(concealed.ask(call())), 0
    while not asking.done():
        await asyncio.sleep(0)
        turns += 1
    shown = (await asking).json["result"]["structuredContent"]["all"]

    assert len(shown) == 5000
    assert shown[:100] * 50 == shown
    assert len(set(shown)) == 100
    assert turns > 100


@requirement("conceal/results")
@pytest.mark.parametrize("cut", [0, 20, 60, 90])
async def test_every_event_of_a_stream_is_concealed_and_keeps_its_form(concealed: Bench, cut: int):
    progress = json.dumps({"jsonrpc": "2.0", "method": "notifications/message", "params": {"data": f"got {VALUE}"}})

    def script(request: UpstreamRequest) -> Back:
        (data,) = result(request, {"content": [{"type": "text", "text": VALUE}]}).chunks
        assert isinstance(data, bytes)
        raw = f"event: message\nid: 1\ndata: {progress}\n\n".encode() + b"id: 2\nretry: 9\ndata: " + data + b"\n\n"
        return Back(type="text/event-stream", chunks=(raw[:cut], raw[cut:]))

    concealed.upstream.script = script
    body = (await concealed.ask(call())).body

    assert VALUE.encode() not in body
    assert body.startswith(b"event: message\nid: 1\ndata: {")
    assert b"id: 2\nretry: 9\ndata: {" in body
    assert body.count(b"cred://") == 2


@requirement("conceal/results")
@pytest.mark.parametrize(
    "back",
    [
        Back(500, "text/plain", (f"no such token: {VALUE}".encode(),)),
        Back(400, "application/json", (json.dumps({"error": f"no such token: {VALUE}"}).encode(),)),
        Back(200, None, (f"no such token: {VALUE}".encode(),)),
    ],
)
async def test_errors_and_texts_are_concealed_too(concealed: Bench, back: Back):
    concealed.upstream.script = lambda _request: back
    answer = await concealed.ask(call())

    assert answer.status == back.status
    assert VALUE.encode() not in answer.body
    assert b"no such token: cred://" in answer.body


async def test_a_json_rpc_error_is_concealed(concealed: Bench):
    def script(request: UpstreamRequest) -> Back:
        identifier = request.message.id if request.message else None
        error = {"code": -32000, "message": f"bad {VALUE}", "data": {"token": VALUE}}
        return Back(chunks=(json.dumps({"jsonrpc": "2.0", "id": identifier, "error": error}).encode(),))

    concealed.upstream.script = script
    answer = await concealed.ask(call())

    assert VALUE.encode() not in answer.body
    assert answer.json["error"]["data"]["token"].startswith("cred://")


@pytest.mark.parametrize(
    "body", [message("resources/read", uri="file:///a"), message("prompts/get", name="hello"), call()]
)
async def test_resources_and_prompts_are_concealed_as_tools_are(concealed: Bench, body: bytes):
    answering(concealed, {"contents": [{"uri": "file:///a", "text": VALUE}]})

    assert (await concealed.ask(body)).json["result"]["contents"][0]["text"].startswith("cred://")


async def test_the_stateless_era_keeps_its_states_and_ids(concealed: Bench):
    state = f"state.{VALUE}"
    answering(concealed, {"resultType": "input_required", "requestState": state, "inputRequests": {"a": {"t": VALUE}}})
    body, *headers = modern("tools/call", name="read_file", arguments={})
    shown = (await concealed.ask(body, *headers)).json["result"]

    assert shown["requestState"] == state
    assert shown["inputRequests"]["a"]["t"].startswith("cred://")
    again, *headers = modern("tools/call", name="read_file", arguments={}, requestState=state, inputResponses={})
    assert (await concealed.ask(again, *headers)).status == 200


@requirement("conceal/results", "history/credentials")
async def test_what_was_concealed_is_known_to_the_task_and_counted_in_the_record(concealed: Bench):
    answering(concealed, {"content": [{"type": "text", "text": f"{VALUE} and {VALUE}"}]})
    await concealed.ask(call())
    (observed,) = concealed.entries("observed")
    (settled,) = concealed.entries("settled")

    assert len(observed["credentials"]) == 1
    assert settled["concealed"] == 2
    assert b'opagate_concealed_total{upstream="files"} 2.0' in concealed.gateway.metrics.exposition()
    assert settled["bytes"] < 400


async def test_a_credential_across_lines_of_an_event_is_known_to_the_task_when_it_is_concealed(concealed: Bench):

    def script(request: UpstreamRequest) -> Back:
        identifier = request.message.id if request.message else None
        raw = f'data: {{"jsonrpc":"2.0","id":{identifier},"result":{{"password":\ndata: "hunter2x!"}}}}\n\n'
        return Back(type="text/event-stream", chunks=(raw.encode(),))

    concealed.upstream.script = script
    body = (await concealed.ask(call())).body

    assert b"hunter2x!" not in body
    assert [len(entry.get("credentials", [])) for entry in concealed.entries("observed")] == [1]


@requirement("invariant/8")
async def test_no_value_is_in_anything_that_was_written(concealed: Bench, capsys: pytest.CaptureFixture[str]):
    answering(concealed, {"content": [{"type": "text", "text": VALUE}]})
    await concealed.ask(call())

    written = [path for path in concealed.folder.rglob("*") if path.is_file()]
    assert [path for path in written if VALUE.encode() in path.read_bytes()] == []
    assert VALUE not in capsys.readouterr().out


async def test_a_call_that_is_not_concealed_says_nothing_of_it(there: Bench):
    answering(there, {"content": [{"type": "text", "text": VALUE}]})

    assert VALUE.encode() in (await there.ask(call())).body
    assert "concealed" not in there.entries("settled")[0]


async def test_an_answer_without_room_for_a_handle_is_withheld(concealed: Bench, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(concealed.gateway.vault, "_limits", (0, 0, 0, 0))
    answering(concealed, {"content": [{"type": "text", "text": VALUE}]})
    answer = await concealed.ask(call())

    assert "withheld" in answer.json["error"]["message"]
    assert VALUE.encode() not in answer.body
    (settled,) = concealed.entries("settled")
    assert (settled["outcome"], settled["lost"]) == ("completed", "failed"), "the tool did its work"


async def test_a_body_in_utf16_is_withheld(concealed: Bench):
    def script(request: UpstreamRequest) -> Back:
        (data,) = result(request, {"content": [{"type": "text", "text": VALUE}]}).chunks
        assert isinstance(data, bytes)
        return Back(chunks=(data.decode().encode("utf-16"),))

    concealed.upstream.script = script
    answer = await concealed.ask(call())

    assert "withheld" in answer.json["error"]["message"]


@requirement("conceal/results")
async def test_what_a_session_plays_again_is_concealed_too(concealed: Bench):
    concealed.upstream.script = lambda request: result(request, {"t": VALUE}, session="s-1")
    opening = message(
        "initialize", protocolVersion="2025-11-25", capabilities={}, clientInfo={"name": "a", "version": "1"}
    )
    before = await concealed.ask(opening)
    assert VALUE.encode() in before.body, "nothing was to be concealed yet"
    session = (b"mcp-session-id", dict(before.headers)[b"mcp-session-id"])
    handle = (await concealed.ask(call(), session)).json["result"]["t"]
    event = f'id: 4\ndata: {{"jsonrpc":"2.0","id":7,"result":{{"t":"{VALUE}"}}}}\n\n'
    concealed.upstream.script = lambda _request: Back(type="text/event-stream", chunks=(event.encode(),))
    played = await concealed.ask(None, session, (b"last-event-id", b"3"))

    assert played.body == event.replace(VALUE, handle).encode()
    counted = concealed.gateway.metrics.exposition()
    assert b'opagate_concealed_total{upstream="files"} 2.0' in counted, "outside of calls too"


@requirement("conceal/results")
async def test_the_result_of_a_task_of_the_protocol_is_concealed_too(concealed: Bench):
    answering(concealed, {"task": {"taskId": "t-1", "status": "working"}})
    await concealed.ask(call())
    answering(concealed, {"content": [{"type": "text", "text": VALUE}]})
    answer = await concealed.ask(message("tasks/result", taskId="t-1"))

    assert answer.json["result"]["content"][0]["text"].startswith("cred://")


async def test_lists_are_left_as_they_are(concealed: Bench):
    await concealed.ask(call())
    answering(concealed, {"resources": [{"uri": "file:///a", "name": VALUE}]})

    assert VALUE.encode() in (await concealed.ask(message("resources/list"))).body


async def test_who_names_a_task_that_is_none_of_its_own_is_refused_there_too(concealed: Bench):
    await concealed.ask(call())
    sent = len(concealed.upstream.sent)

    answer = await concealed.ask(message("ping"), (b"opagate-task", b"nobodys"))
    assert answer.status == 403
    assert len(concealed.upstream.sent) == sent


async def test_what_is_taken_for_no_credential_is_shown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    rule = "{upstream: files, detector: github-pat, until: 2999-12-31, reason: made up}"
    async with bench(tmp_path, more=f"inspection: {{suppressions: [{rule}]}}\n") as there:
        deciding(there, ALLOW, monkeypatch)
        answering(there, {"a": VALUE, "password": "hunter2x!"})
        shown = (await there.ask(call())).json["result"]

        assert shown["a"] == VALUE
        assert shown["password"].startswith("cred://")
