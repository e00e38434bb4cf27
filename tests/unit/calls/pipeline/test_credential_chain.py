"""What is kept from an upstream, with every part real but the upstream."""

from __future__ import annotations

import asyncio
import threading
from collections import ChainMap
from typing import Any

import pytest

from gateway.base.json import walk
from gateway.inspection.credentials import origins
from gateway.model.caller import Credentials, Principal
from gateway.model.task import Task
from tests.requirements import requirement
from tests.unit.harness import URL, Answer, Bench, call, message, modern, result

KEY = "glpat-2c70e12b7a0646f92279f427"
OUTSIDE = ["credential-chain/outside-arguments"]


async def caller(there: Bench) -> Principal:
    found = await there.gateway.identities.identify(Credentials("POST", URL), "127.0.0.1")
    assert isinstance(found, Principal)
    return found


async def shown(there: Bench, audience: str, task: str = "t") -> None:
    """Some system has shown the caller a credential, in a task."""
    of = there.gateway.inspector.detector.fingerprints
    there.gateway.credential_chain.origins.note((await caller(there)).job, task, audience, of.of(KEY), of.shingles(KEY))


def saying(there: Bench, text: str) -> None:
    there.upstream.script = lambda request: result(request, {"content": [{"type": "text", "text": text}]})


@requirement("history/elsewhere")
async def test_what_another_system_has_shown_is_refused_and_recorded(there: Bench):
    await shown(there, "crm")
    for body in (message("ping", _meta={"a": KEY}), message("tools/list", cursor=KEY), call()[:-1] + b" }"):
        answer = await there.ask(body, (b"x-note", KEY.encode()))
        assert (answer.status, answer.codes) == (400, OUTSIDE)
    assert there.upstream.sent == []
    assert [entry["reasons"][0]["code"] for entry in there.entries("refused")] == OUTSIDE * 3
    assert there.entries("call") == []


@requirement("history/credentials")
async def test_what_another_task_was_shown_is_known_in_arguments(there: Bench):
    """In whatever form, unless the system that the call goes to has shown it too."""
    await shown(there, "crm")
    answer = await there.ask(call(text=KEY[:14], more=KEY[14:]))
    assert set(answer.codes) == {"credential-chain/presentation", "approval/unavailable"}
    assert there.upstream.sent == []

    await shown(there, "files", "u")
    assert "isError" not in (await there.ask(call(text=KEY[:14], more=KEY[14:]))).json["result"]


@requirement("history/credentials")
async def test_what_may_be_one_that_any_task_was_shown_and_is_not_kept_is_refused(there: Bench):
    """A credential that no system is known to have shown, or any other uncommon word, also to the task that was shown it."""
    origins, owner = there.gateway.credential_chain.origins, (await caller(there)).job
    origins.note_lost(owner, "u", "files")
    assert "isError" not in (await there.ask(call(text="k7Qz93mW2tRx"))).json["result"]
    origins.note_lost(owner, "u", "crm")

    assert "isError" not in (await there.ask(call(text="nothing of note"))).json["result"]
    there.upstream.sent.clear()
    for text in (KEY, "k7Qz93mW2tRx", "k7Qz 93mW"):
        assert (await there.ask(call(text=text))).codes == ["credential-chain/incomplete"]
        assert (await there.ask(message("tools/call", name="read_file", arguments={text: 1}))).codes == [
            "credential-chain/incomplete"
        ]
        assert (await there.ask(message("ping", _meta={"a": text}))).codes == ["credential-chain/incomplete"]
    assert there.upstream.sent == []


@requirement("history/credentials")
async def test_arguments_that_cannot_be_searched_for_it_are_refused(there: Bench):
    words = " ".join(f"w{number:05}" for number in range(25_000))
    assert "isError" not in (await there.ask(call(text=words))).json["result"]
    of = there.gateway.inspector.detector.fingerprints
    there.gateway.credential_chain.origins.note((await caller(there)).job, "t", "crm", of.of("short1"), frozenset())

    assert "fan-out/incomplete" in (await there.ask(call(text=words))).codes


TOO_LONG = "word " * 60_000


@pytest.mark.parametrize(
    "params", [{"arguments": {"path": TOO_LONG}}, {"arguments": {TOO_LONG: 1}}, {"more": {"a": TOO_LONG}}]
)
@pytest.mark.parametrize("era", ["handshake", "stateless"])
async def test_the_length_of_a_call_is_looked_at_before_its_content(there: Bench, era: str, params: dict[str, Any]):
    """Also what another system has shown is not found in it: no search reads it."""
    await shown(there, "crm")
    found: dict[str, Any]
    for found in ({}, {"beside": KEY}):
        given: dict[str, Any] = {"name": "read_file", "arguments": {"path": "a"}} | params | found
        body, *headers = modern("tools/call", **given) if era == "stateless" else (message("tools/call", **given),)
        answer = await there.ask(body, *headers)
        assert (answer.status, answer.codes) == (200, ["request/length"])
    assert there.upstream.sent == []


@pytest.mark.parametrize("method", ["ping", "tools/list", "notifications/progress"])
async def test_the_length_of_other_messages_is_looked_at_too(there: Bench, method: str):
    body = message(method, progressToken=1, progress=1, _meta={"note": "%61" * 200_000})
    answer = await there.ask(body.replace(b'"id": 7, ', b"") if method.startswith("notifications/") else body)
    assert answer.codes == ["request/length"]
    assert there.upstream.sent == []


async def test_a_call_of_the_greatest_length_is_searched(there: Bench):
    longest = "word " * ((walk.MAX_BYTES - 200) // 5)
    assert "isError" not in (await there.ask(call(text=longest))).json["result"]
    await shown(there, "crm")
    assert "credential-chain/presentation" in (await there.ask(call(text=f"{longest}{KEY}"))).codes


@requirement("history/elsewhere")
async def test_what_the_system_itself_has_shown_goes_back(there: Bench):
    saying(there, f"use {KEY}")
    await there.ask(call())
    assert (await there.ask(message("ping", _meta={"a": KEY}))).status == 200
    assert there.gateway.credential_chain.origins.of((await caller(there)).job) is not None


@requirement("history/elsewhere")
async def test_a_notification_and_an_answer_are_refused_without_an_id(there: Bench):
    await shown(there, "crm")
    key = (await caller(there)).key
    there.gateway.sessionless_exchanges.begin("files", key, 1)
    there.gateway.sessionless_exchanges.note_question("files", key, 1, 4)
    for body in (
        b'{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":1,"reason":"%s"}}',
        b'{"jsonrpc":"2.0","id":4,"result":{"a":"%s"}}',
    ):
        answer = await there.ask(body % KEY.encode())
        assert (answer.status, answer.codes, "id" in answer.json) == (400, OUTSIDE, False)
    assert there.upstream.sent == []


@requirement("history/elsewhere")
async def test_a_request_without_a_body_has_headers(there: Bench):
    await shown(there, "crm")
    assert (await there.ask(None, (b"x-note", KEY.encode()))).codes == OUTSIDE
    assert (await there.ask(None, (b"x-note", b"another"))).status == 200


@requirement("history/elsewhere")
async def test_a_response_that_cannot_be_searched_is_refused_only_where_there_is_something_to_find(there: Bench):
    """A response to sampling may carry an image."""
    body = b'{"jsonrpc":"2.0","id":4,"result":{"data":"%s"}}' % (b"QUFB" * 80_000)
    key = (await caller(there)).key
    for number in (1, 2):
        there.gateway.sessionless_exchanges.begin("files", key, number)
        there.gateway.sessionless_exchanges.note_question("files", key, number, 4)
    assert (await there.ask(body)).status == 200
    await shown(there, "crm")
    answer = await there.ask(body)
    assert (answer.status, answer.codes) == (400, ["credential-chain/incomplete"])


@requirement("history/elsewhere")
async def test_a_state_that_the_upstream_gave_goes_back_whatever_is_in_it(there: Bench):
    await shown(there, "crm")
    state = KEY.encode().hex()
    there.upstream.script = lambda request: result(request, {"resultType": "input_required", "requestState": state})
    asked, *headers = modern("tools/call", name="read_file", arguments={})
    await there.ask(asked, *headers)
    again, *headers = modern("tools/call", name="read_file", arguments={}, requestState=state)
    assert (await there.ask(again, *headers)).status == 200
    assert (await there.ask(again, *headers, (b"x-note", KEY.encode()))).codes == OUTSIDE


@requirement("history/elsewhere")
async def test_what_a_result_only_repeats_of_its_call_becomes_nobodys_credential(there: Bench):
    saying(there, f"agent: {KEY}; password=postgres")
    await there.ask(call(), (b"x-note", KEY.encode()))
    assert there.gateway.credential_chain.origins.of((await caller(there)).job) is None
    await there.ask(call(), (b"x-note", b"another"))
    assert there.gateway.credential_chain.origins.of((await caller(there)).job) is None

    saying(there, "use glpat-724f97220646a7b21e07c2ab")
    await there.ask(call(), (b"x-note", KEY.encode()))
    assert there.gateway.credential_chain.origins.of((await caller(there)).job) is not None


@requirement("history/elsewhere")
async def test_what_stands_beside_what_a_result_repeats_is_its_systems_credential(there: Bench):
    other, of = "glpat-724f97220646a7b21e07c2ab", there.gateway.inspector.detector.fingerprints
    saying(there, f"agent: {KEY}, use {other}")
    await there.ask(call(), (b"x-note", KEY.encode()))

    known = there.gateway.credential_chain.origins.of((await caller(there)).job)
    assert known is not None
    assert known.systems.keys() == {of.of(other)}


# --- and meanwhile -----------------------------------------------------------------------------------

LONG = " ".join(f"word{number}" for number in range(20_000))


async def meanwhile(there: Bench, body: bytes) -> tuple[Answer, int]:
    """Return the answer to a request, and how many turns the event loop had until it came."""
    asked = asyncio.create_task(there.ask(body))
    turns = 0
    while not asked.done():
        await asyncio.sleep(0)
        turns += 1
    return await asked, turns


@requirement("history/elsewhere")
async def test_others_are_answered_while_a_large_message_is_searched(there: Bench, monkeypatch: pytest.MonkeyPatch):
    await shown(there, "crm")
    answered, problem = threading.Event(), origins.examine_message

    def waiting(*args: Any) -> Any:
        if threading.current_thread() is not threading.main_thread():
            assert answered.wait(30)
        return problem(*args)

    monkeypatch.setattr(origins, "examine_message", waiting)
    large = asyncio.create_task(there.ask(message("ping", _meta={"a": LONG, "b": KEY})))
    await asyncio.sleep(0)
    assert (await there.ask(message("ping"))).status == 200
    assert not large.done()
    answered.set()

    assert (await large).codes == OUTSIDE


@pytest.mark.parametrize(
    "body",
    [message("ping", _meta={"a": LONG}), call(path=LONG), message("ping", _meta={"a": LONG.encode().hex()[:250_000]})],
    ids=["beside arguments", "in arguments", "as hex"],
)
async def test_a_large_message_does_not_stop_the_event_loop(there: Bench, body: bytes):
    await shown(there, "crm")
    answer, turns = await meanwhile(there, body)

    assert answer.status == 200
    assert turns > 20


async def test_the_search_of_a_call_for_what_its_result_has_shown_goes_aside_too(there: Bench):
    saying(there, f"use {KEY}")
    _, turns = await meanwhile(there, call(path="a", note=LONG))
    assert there.gateway.credential_chain.origins.of((await caller(there)).job) is not None
    assert turns > 20


async def test_credentials_that_an_earlier_task_is_shown_late_are_in_the_index_at_once(there: Bench):
    """They stand before those of the task itself, so an index that only grows at its end would never have them."""
    chain, of = there.gateway.credential_chain, there.gateway.inspector.detector.fingerprints
    own, earlier = {of.of("zebra-own-1"): of.shingles("zebra-own-1")}, dict[str, frozenset[int]]()
    seen, task = ChainMap(own, earlier), Task("t", "implicit", 0.0)
    assert chain.index(task, seen)
    earlier[of.of(KEY)] = of.shingles(KEY)

    index = chain.index(task, seen)

    assert index is not None
    found = there.gateway.inspector.detector.inspect({"a": KEY}, {}, index, new=False)
    assert [item.fingerprint for item in found.findings] == [of.of(KEY)]
