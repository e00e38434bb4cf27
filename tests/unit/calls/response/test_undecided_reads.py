"""What passes without a decision, looked at on its way: every part real but the upstream."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from random import Random
from typing import Any, Final

import pytest

from benchmarks.credentials.examples import example
from gateway.calls.pipeline.context import RequestContext
from gateway.calls.response.frames import HOLD
from gateway.calls.response.observe import UndecidedReadObserver
from gateway.identity import anonymous
from gateway.inspection.credentials import ruleset
from gateway.model.caller import AuthMethod, Principal
from gateway.model.errors import HistoryFull, JournalError
from gateway.model.target import Sensitivity
from gateway.model.wire import JsonObject, UpstreamRequest
from tests.requirements import requirement
from tests.unit import harness
from tests.unit.exchanges import new_exchange
from tests.unit.harness import URL, Answer, Back, Bench, bench, call, message, modern, result
from tests.unit.inspection.streams import stages

RULES: Final = {rule.id: rule.example for rule in ruleset.load().rules}
GITHUB: Final = example(RULES["github-pat"], Random(5))
STATUS: Final = message("tasks/get", taskId="T1")
"""What passes without a decision, of a task that the caller has been given."""
CALLER: Final = Principal("dev", anonymous.ISSUER, AuthMethod.ANONYMOUS)
OPEN: Final[dict[str, Any]] = {"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "c"}}


def events(*messages: object, **more: Any) -> Back:
    chunks = tuple(b"data: " + json.dumps(each).encode() + b"\n\n" for each in messages)
    return Back(type="text/event-stream", chunks=chunks, **more)


def say(method: str, **params: Any) -> dict[str, Any]:
    return {"jsonrpc": "2.0", "method": method, "params": params}


def answer(identifier: object, text: str) -> dict[str, Any]:
    return {"jsonrpc": "2.0", "id": identifier, "result": {"content": [{"type": "text", "text": text}]}}


async def ask(there: Bench, back: Back, body: bytes | None, *headers: tuple[bytes, bytes]) -> Answer:
    there.gateway.ownership.deliver("files", "T1", CALLER)
    there.upstream.script = lambda _request: back
    return await there.ask(body, *headers)


async def session(there: Bench) -> tuple[bytes, bytes]:
    """The header of a new session."""
    there.upstream.script = lambda request: result(request, {}, session="s-1")
    opened = await there.ask(message("initialize", **OPEN))
    return next(field for field in opened.headers if field[0] == b"mcp-session-id")


def readings(there: Bench) -> list[dict[str, Any]]:
    return [entry for entry in there.entries("observed") if entry["event"] == "read"]


@requirement("history/read-elsewhere")
async def test_a_reading_is_written_down_with_what_it_came_from(there: Bench):
    back = events(say("notifications/message", data=f"use {GITHUB} now"))
    stream = await ask(there, back, None, await session(there))

    assert GITHUB.encode() in stream.body
    (entry,) = readings(there)
    assert (entry["audience"], entry["source"]) == ("files", "files notifications/message on a stream")
    assert len(entry["credentials"]) == 1
    assert "call" not in entry
    assert GITHUB not in json.dumps(entry)


@requirement("history/read-elsewhere", "invariant/10")
@pytest.mark.parametrize("cause", ["journal", "history"])
@pytest.mark.parametrize("large", [False, True])
async def test_what_cannot_be_recorded_is_not_given(
    there: Bench, monkeypatch: pytest.MonkeyPatch, cause: str, *, large: bool
):
    field = await session(there)

    async def append(_kind: str, _entry: JsonObject) -> None:
        raise JournalError("no room", "make some")

    def read(*_args: Any, **_more: Any) -> None:
        raise HistoryFull("no room", "make some")

    if cause == "journal":
        monkeypatch.setattr(there.gateway.journal, "append", append)
    else:
        monkeypatch.setattr(there.gateway.history.ledger, "add_reading", read)
    back = result_of("x " * HOLD + GITHUB) if large else result_of(GITHUB)
    got = await ask(there, back, STATUS, field)

    assert GITHUB.encode() not in got.body
    assert got.broken is not None or b"no room" in got.body


@requirement("history/read-elsewhere")
@pytest.mark.parametrize("beside", ["id: {}", ": {}", "event: {}", "note: {}"])
async def test_an_event_is_looked_at_whatever_its_message_says(there: Bench, beside: str):
    back = Back(
        type="text/event-stream",
        chunks=(beside.format(GITHUB).encode() + b'\ndata: {"jsonrpc":"2.0","id":7,"result":{}}\n\n',),
    )
    await ask(there, back, STATUS, await session(there))

    (entry,) = readings(there)
    assert len(entry["credentials"]) == 1


def result_of(text: str) -> Back:
    whole = json.dumps(answer(7, text)).encode()
    return Back(chunks=tuple(whole[at : at + 65_536] for at in range(0, len(whole), 65_536)))


@requirement("history/read-elsewhere")
@pytest.mark.parametrize("kind", ["json", "events", "text"])
@pytest.mark.parametrize("size", [10, HOLD + 1_000_000])
async def test_an_answer_of_any_size_and_type_is_looked_at(there: Bench, kind: str, size: int):
    """A credential across two chunks is one; a large answer goes on as it comes."""
    whole = json.dumps(answer(7, "word " * (size // 5) + GITHUB)).encode()
    if kind == "events":
        whole = b"data: " + whole + b"\n\n"
    at = whole.index(GITHUB.encode()) + 5
    types = {"json": "application/json", "events": "text/event-stream", "text": "text/plain"}
    back = Back(type=types[kind], chunks=(whole[:at], whole[at:]))
    got = await ask(there, back, STATUS)

    assert got.body == whole
    assert sum(len(entry.get("credentials", {})) for entry in readings(there)) == 1


@requirement("history/read-elsewhere")
async def test_the_parts_of_one_message_are_one_reading(there: Bench):
    many = [example(RULES["github-pat"], Random(number)) for number in range(3)]
    text = "".join("zanzibarian-ledger " * (HOLD // 19) + key + " " for key in many)
    await ask(there, result_of(text), STATUS)

    found = readings(there)
    assert len(found) > 1
    assert {entry["number"] for entry in found} == {1}
    await ask(there, result_of(example(RULES["github-pat"], Random(9))), STATUS)
    assert readings(there)[-1]["number"] == 2


@requirement("history/read-elsewhere", "invariant/4")
async def test_data_in_several_lines_is_read_as_a_client_reads_it(there: Bench):
    """What is between them on the wire must not part a name from its value."""
    lines = b'data: {"jsonrpc": "2.0", "method": "notifications/message", "params": {"password":\ndata: "Zoo7-keeper-of-lemurs"}}\n\n'
    await ask(there, Back(type="text/event-stream", chunks=(lines,)), None, await session(there))

    assert [len(entry["credentials"]) for entry in readings(there)] == [1]


@requirement("history/read-elsewhere")
@pytest.mark.parametrize("raw", [f": {GITHUB}\n\n", f"event: {GITHUB}\ndata: {{}}\n\n", f"id: 1\ndata: {GITHUB}"])
async def test_what_stands_beside_the_data_of_a_stream_is_looked_at(there: Bench, raw: str):
    got = await ask(there, Back(type="text/event-stream", chunks=(raw.encode(),)), message("ping"))

    assert got.body == raw.encode()
    assert [len(entry["credentials"]) for entry in readings(there)] == [1]


async def test_what_says_nothing_is_no_reading_and_begins_no_task(there: Bench):
    field = await session(there)
    before = len(there.gateway.history.tasks)
    for back in (Back(chunks=(b'{"jsonrpc":"2.0","id":7,"result":{}}',)), result_of("hello")):
        await ask(there, back, message("ping"), field)
    await ask(there, Back(202, None), json.dumps(say("notifications/initialized")).encode(), field)
    await ask(there, events(say("notifications/tools/list_changed")), None, field)
    await ask(there, Back(type="text/event-stream", chunks=(b": ping\n\n", b"id: 1\ndata: \n\n")), None, field)

    assert readings(there) == []
    assert len(there.gateway.history.tasks) == before


@requirement("history/read-elsewhere")
async def test_instructions_and_lists_give_credentials_away_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    trusted = f"use {GITHUB}, zanzibarian"
    monkeypatch.setattr(harness, "INSTRUCTIONS", trusted)
    async with bench(tmp_path) as there:
        there.upstream.script = lambda request: result(request, {"instructions": trusted})
        await there.ask(message("initialize", **OPEN))

    (entry,) = readings(there)
    assert (entry["sensitivity"], entry["trusted"], "tokens" in entry) == ("public", True, False)
    assert len(entry["credentials"]) == 1


# --- late results ------------------------------------------------------------------------------------


def past_call(request: UpstreamRequest) -> Back:
    return result(request, {"task": {"taskId": "T1", "status": "working"}})


@requirement("history/read-elsewhere")
async def test_the_result_of_a_task_is_a_late_result_of_its_call(there: Bench):
    there.upstream.script = past_call
    await there.ask(call())
    await ask(there, result_of(GITHUB), message("tasks/result", taskId="T1"))

    (entry,) = readings(there)
    (first,) = there.entries("call")
    assert (entry["call"], entry["late"], entry["number"]) == (first["id"], True, 1)
    assert entry["source"] == "files tasks/result"


@requirement("history/read-elsewhere")
@pytest.mark.parametrize("stateless", [True, False])
async def test_a_message_that_names_a_task_is_of_its_call(there: Bench, *, stateless: bool):
    told = say("notifications/tasks", taskId="T1", result={"content": [{"type": "text", "text": GITHUB}]})
    if stateless:
        there.upstream.script = lambda request: result(request, {"resultType": "task", "taskId": "T1"})
        body, *headers = modern("tools/call", name="read_file", arguments={})
        await there.ask(body, *headers)
        body, *headers = modern("subscriptions/listen", notifications={"taskIds": ["T1"]})
        await ask(there, events(told), body, *headers)
    else:
        field = await session(there)
        there.upstream.script = past_call
        await there.ask(call(), field)
        await ask(there, events(told), None, field)

    (entry,) = readings(there)
    assert (entry["call"], entry["late"]) == (there.entries("call")[0]["id"], True)


@requirement("history/read-elsewhere", "invariant/6")
async def test_of_a_task_that_nobody_remembers_the_worst_is_assumed(tmp_path: Path):
    labels = "{effect: read, egress: false, sensitivity: restricted}"
    async with bench(tmp_path, labels=labels) as there:
        field = await session(there)
        await ask(there, events(say("notifications/tasks/status", taskId="T9", statusMessage=GITHUB)), None, field)
        await ask(there, events(say("notifications/message", data="x y")), None, field)

        found = [(entry.get("unknown"), entry["sensitivity"]) for entry in readings(there)]
        assert found == [(True, "restricted"), (None, "internal")]


@requirement("history/read-elsewhere", "invariant/4")
@pytest.mark.parametrize("text", [f"{GITHUB} (", "word " * (HOLD // 5 + 1) + GITHUB])
async def test_on_a_stream_so_of_what_cannot_be_taken_apart(there: Bench, text: str):
    """It may be the result of a task."""
    back = Back(type="text/event-stream", chunks=(b"data: " + text.encode() + b"\n\n",))
    body, *headers = modern("subscriptions/listen", notifications={})
    await ask(there, back, body, *headers)

    assert {entry.get("unknown") for entry in readings(there)} == {True}


@requirement("history/read-elsewhere")
async def test_an_answer_on_a_stream_that_is_taken_up_again_is_of_its_call(there: Bench):
    field = await session(there)
    await ask(there, Back(type="text/event-stream", chunks=(b"id: 1\ndata: \n\n",)), call(), field)
    resumed = (b"last-event-id", b"1")
    there.gateway.ownership.deliver("files", "T2", there.upstream.sent[-1].principal)
    late = answer(7, GITHUB)
    late["result"]["task"] = {"taskId": "T2"}
    await ask(there, events(late), None, field, resumed)

    (entry,) = readings(there)
    assert (entry["call"], entry["late"]) == (there.entries("call")[0]["id"], True)
    found = there.gateway.ownership.past_call("files", "T2", there.upstream.sent[-1].principal)
    assert found is not None
    assert found.call == entry["call"]


@requirement("history/read-elsewhere", "invariant/4")
async def test_an_id_that_is_used_twice_tells_of_no_call(there: Bench):
    """Else the answer to one call could pass as that to another, which has made nothing."""
    field = await session(there)
    for _ in range(3):
        await ask(there, Back(type="text/event-stream", chunks=(b"id: 1\ndata: \n\n",)), call(), field)
    await ask(there, events(answer(7, GITHUB)), None, field, (b"last-event-id", b"1"))

    (entry,) = readings(there)
    assert (entry["unknown"], "call" in entry) == (True, False)


@requirement("history/read-elsewhere", "invariant/4")
async def test_an_answer_on_a_stream_of_no_session_tells_of_no_call(there: Bench):
    """Ids are of a session: without one, many clients of a caller count from the same number."""
    await ask(there, Back(type="text/event-stream", chunks=(b"id: 1\ndata: \n\n",)), call())
    await ask(there, events(answer(7, GITHUB)), None)

    (entry,) = readings(there)
    assert (entry["unknown"], "call" in entry) == (True, False)


@requirement("history/read-elsewhere", "invariant/5")
async def test_a_late_answer_gives_nobody_a_task_that_is_anothers(there: Bench):
    field = await session(there)
    await ask(there, Back(type="text/event-stream", chunks=(b"id: 1\ndata: \n\n",)), call(), field)
    late = answer(7, GITHUB)
    late["result"]["_meta"] = {"io.modelcontextprotocol/related-task": {"taskId": "others"}}
    await ask(there, events(late), None, field, (b"last-event-id", b"1"))

    assert not there.gateway.ownership.renew_if_owner("files", "others", there.upstream.sent[-1].principal)


@requirement("history/read-elsewhere")
async def test_the_sensitivity_that_policy_lays_on_a_call_holds_for_its_late_result(there: Bench):
    there.upstream.script = past_call
    await there.ask(call())
    principal = there.upstream.sent[-1].principal
    known = there.gateway.ownership.past_call("files", "T1", principal)
    assert known is not None
    there.gateway.ownership.deliver("files", "T1", principal, replace(known, sensitivity=Sensitivity.RESTRICTED))
    await ask(there, result_of("hello"), message("tasks/get", taskId="T1"))

    assert [entry["sensitivity"] for entry in readings(there)] == ["restricted"]


@requirement("history/read-elsewhere")
async def test_what_is_read_in_a_task_that_is_over_is_of_the_implicit_one(there: Bench):
    await ask(there, result_of(GITHUB), STATUS, (b"opagate-task", b"gone"))

    (entry,) = readings(there)
    assert entry["task"] == there.gateway.history.tasks.all()[0].task.id


@requirement("history/read-elsewhere", "inspection/suppressions")
async def test_a_suppression_holds_for_what_is_read(tmp_path: Path):
    more = "inspection: {suppressions: [{upstream: files, detector: github-pat, until: 2099-01-01, reason: known}]}\n"
    async with bench(tmp_path, more=more) as there:
        await ask(there, result_of(GITHUB), STATUS)
        assert ["credentials" in entry for entry in readings(there)] == [False]


@requirement("history/read-elsewhere", "history/elsewhere")
async def test_what_only_repeats_the_request_is_no_credential_of_the_server(there: Bench):
    """It may be said to other servers as before."""
    await ask(there, result_of(f"sorry, {GITHUB}?"), message("tasks/get", taskId="T1", reason=GITHUB))

    (entry,) = readings(there)
    assert entry["ordinary"] == list(entry["credentials"])


# --- with concealing, and without an end -------------------------------------------------------------


@requirement("history/read-elsewhere", "conceal/results")
@pytest.mark.parametrize("kind", ["json", "events", "large", "text"])
async def test_what_is_concealed_on_its_way_is_known_to_the_task(there: Bench, kind: str):
    """Once an answer was concealed, so is all that comes later; it is the credential of its call even so."""
    there.upstream.script = past_call
    await there.ask(call())
    there.gateway.vault.conceal(there.upstream.sent[-1].principal.key, "files")
    before = "word " * (HOLD // 5 + 1) if kind == "large" else ""
    whole = json.dumps(answer(7, f"{before}use {GITHUB} now")).encode()
    types = {"events": "text/event-stream", "text": "text/plain"}
    event = b"data: " + whole + b"\n\n"
    back = Back(type=types.get(kind, "application/json"), chunks=(event if kind == "events" else whole,))
    got = await ask(there, back, message("tasks/result", taskId="T1"))

    assert GITHUB.encode() not in got.body
    assert b"cred://" in got.body
    shown = [entry for entry in readings(there) if "credentials" in entry]
    assert [(len(entry["credentials"]), entry["late"]) for entry in shown] == [(1, True)]


@requirement("history/read-elsewhere", "mcp/large")
async def test_a_large_event_is_looked_at_and_passed_on_piece_by_piece(there: Bench):
    """Ten megabytes: once it is known to be large, every piece goes on as it comes, and what it holds is known by then."""
    request = UpstreamRequest("GET", (), Principal("ada", "https://idp", AuthMethod.JWT))
    context = RequestContext(
        "v", new_exchange("GET", "files", URL, ()), 0.0, 0.0, there.gateway.tracing.start({}, "GET")
    )
    messages = stages(
        "events", after=[UndecidedReadObserver(there.gateway.pipeline.forwarder.parts.answers, context, request)]
    )
    piece = b"zanzibarian " * 5_000
    waiting = len(await messages.feed(b"data: "))
    for _ in range(10 * 2**20 // len(piece)):
        out = await messages.feed(piece)
        waiting = 0 if out else waiting + len(piece)
        assert waiting <= HOLD
    last = f"and {GITHUB}\n\n".encode()
    assert await messages.feed(last) == last
    assert sum(len(entry.get("credentials", {})) for entry in readings(there)) == 1
