"""What a request of no session may say of others."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from gateway.calls.binding.ownership import SessionlessExchanges
from gateway.calls.pipeline.admit import waits_for_news
from gateway.calls.pipeline.pipeline import refuse_unowned
from gateway.calls.pipeline.visibility import SUBSCRIBING
from gateway.calls.response.stream import ResponseStream
from gateway.inspection.credentials import caller_tokens
from gateway.model.caller import AuthMethod, Credentials, Principal
from gateway.model.decision import Refusal
from gateway.model.wire import Disposition, Era, Message, UpstreamReply, UpstreamRequest
from gateway.wire.protocol.methods import TABLE, Method
from tests.requirements import requirement
from tests.unit.exchanges import new_exchange
from tests.unit.harness import URL, Bench, Held, bench, call, message, modern, result

EVENTS = ((b"content-type", b"text/event-stream"),)
TOKEN = "q9X2zVt7LmPdR4wYcB8nKfJh3sGeA6uT1oIvW5yZrQxM"
BEARER = (b"authorization", f"Bearer {TOKEN}".encode())
QUESTION = {"jsonrpc": "2.0", "id": 0, "method": "elicitation/create", "params": {"message": "which?"}}


def told(method: str, **params: Any) -> bytes:
    return json.dumps({"jsonrpc": "2.0", "method": method, "params": params}).encode()


def reply(identifier: Any = 0) -> bytes:
    return json.dumps({"jsonrpc": "2.0", "id": identifier, "result": {"action": "accept"}}).encode()


def cancel(identifier: Any = 7) -> bytes:
    return told("notifications/cancelled", requestId=identifier)


def somebody_else(there: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """Have all that is asked from now on asked by another caller."""
    identify = there.gateway.identities.identify

    async def other(credentials: Credentials, ip: str | None) -> Principal | Refusal:
        found = await identify(credentials, ip)
        assert isinstance(found, Principal)
        return replace(found, id="mallory")

    monkeypatch.setattr(there.gateway.identities, "identify", other)


class Asking(Held):
    """Asks a question on the stream of a call, which it answers when the test lets it."""

    is_patient = False

    async def send(self, request: UpstreamRequest) -> Any:
        plain = request.message is not None and request.message.method != "tools/call"
        if request.principal.issuer != "urn:opagate:anonymous" or plain:
            return await super(Held, self).send(request)
        self.sent.append(request)
        return UpstreamReply(200, EVENTS, self._events(request), self._close, self._note_patience)

    def _note_patience(self) -> None:
        self.is_patient = True

    async def _events(self, request: UpstreamRequest) -> AsyncIterator[bytes]:
        yield b"data: " + json.dumps(QUESTION).encode() + b"\n\n"
        await self.proceed.wait()
        (answer,) = result(request, {"content": []}).chunks
        assert isinstance(answer, bytes)
        yield b"data: " + answer + b"\n\n"


async def opened(there: Bench, body: bytes | None, *headers: tuple[bytes, bytes]) -> ResponseStream:
    async def read() -> bytes:
        return body or b""

    method = "POST" if body is not None else "GET"
    answer = await there.gateway.pipeline.handle(new_exchange(method, "files", URL, headers, "127.0.0.1", body=read))
    assert isinstance(answer, ResponseStream)
    return answer


async def asked(there: Bench, body: bytes | None = None) -> ResponseStream:
    """A stream on which the question has come."""
    stream = await opened(there, body)
    assert b"elicitation/create" in await anext(stream)
    return stream


@requirement("invariant/5", "mcp/server-requests")
@pytest.mark.parametrize("body", [call(), None])
async def test_only_who_was_asked_answers_and_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, body: bytes | None):
    async with bench(tmp_path, Asking()) as there:
        stream = await asked(there, body)
        with monkeypatch.context() as patch:
            somebody_else(there, patch)
            refused = await there.ask(reply())
            assert (refused.status, refused.codes) == (400, ["session/foreign"])
            assert "id" not in refused.json
        for wrong in ("0", 1, -0.0):
            assert (await there.ask(reply(wrong))).status == 400
        assert len(there.upstream.sent) == 1

        assert (await there.ask(reply())).status == 200
        assert there.upstream.sent[-1].body == reply()
        assert (await there.ask(reply())).codes == ["session/foreign"]
        await stream.close()


async def asking_with_token(there: Bench, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Have the caller hold a token. Return the lengths of the bodies that are searched for it, as they come."""
    principal = await there.gateway.identities.identify(Credentials("POST", URL), "127.0.0.1")
    searched: list[int] = []
    read = caller_tokens.read_values

    async def identify(_credentials: Credentials, _ip: str | None) -> Principal | Refusal:
        return principal

    def noted(body: bytes) -> bytes | None:
        searched.append(len(body))
        return read(body)

    monkeypatch.setattr(there.gateway.identities, "identify", identify)
    monkeypatch.setattr(caller_tokens, "read_values", noted)
    return searched


def long_reply(**answer: Any) -> bytes:
    return json.dumps({"jsonrpc": "2.0", "id": 0, "result": answer}).encode()


@requirement("invariant/5")
async def test_an_answer_that_no_server_asked_for_is_refused_before_it_is_searched(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    async with bench(tmp_path, Asking()) as there:
        searched = await asking_with_token(there, monkeypatch)
        for body in (reply(), long_reply(data="QUFB" * 100_000)):
            assert (await there.ask(body, BEARER)).codes == ["session/foreign"]
        assert (await there.ask(cancel(), BEARER)).status == 202
        assert searched == []

        stream = await asked(there, call())
        assert (await there.ask(reply(), BEARER)).status == 200
        assert searched == [len(reply())]
        await stream.close()


@requirement("invariant/5")
async def test_of_two_equal_answers_at_once_one_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    async with bench(tmp_path, Asking()) as there:
        await asking_with_token(there, monkeypatch)
        stream = await asked(there, call())
        body = long_reply(action="accept", content={"text": "words " * 4_000})
        answers = await asyncio.gather(*[there.ask(body, BEARER) for _ in range(3)])
        assert sorted(answer.status for answer in answers) == [200, 400, 400]
        assert [request.body for request in there.upstream.sent].count(body) == 1
        await stream.close()


@requirement("invariant/5")
async def test_a_refused_answer_leaves_its_question_open(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    async with bench(tmp_path, Asking()) as there:
        await asking_with_token(there, monkeypatch)
        stream = await asked(there, call())
        assert (await there.ask(long_reply(action=TOKEN), BEARER)).codes == ["request/own-token"]
        assert (await there.ask(reply(), BEARER)).status == 200
        await stream.close()


IMAGE = "QUFB" * 200_000


@requirement("invariant/5")
@pytest.mark.parametrize(
    ("content", "status"),
    [
        ({"type": "image", "data": IMAGE}, 200),
        ([{"type": "resource", "resource": {"blob": IMAGE + "QQ=="}}, {"text": "words " * 4_000}], 200),
        ({"type": "text", "text": IMAGE}, 400),
        ({"type": "image", "data": "%61" * 200_000}, 400),
        ({"type": "image", "data": [IMAGE]}, 400),
        ({"type": "image", "data": {"data": 0, "more": IMAGE}}, 400),
        ({"data": {IMAGE: 1}}, 400),
    ],
)
async def test_only_the_data_of_an_answer_may_be_long(tmp_path: Path, content: Any, status: int):
    async with bench(tmp_path, Asking()) as there:
        stream = await asked(there, call())
        answer = await there.ask(long_reply(role="assistant", content=content))
        assert answer.status == status
        assert (status == 200) or answer.codes == ["request/length"]
        await stream.close()


@requirement("invariant/5")
async def test_a_question_cannot_be_answered_after_its_stream(tmp_path: Path):
    async with bench(tmp_path, Asking()) as there:
        stream = await asked(there, call())
        await stream.close()

        assert (await there.ask(reply())).codes == ["session/foreign"]
        assert there.gateway.sessionless_exchanges._open == {}


@requirement("invariant/5", "mcp/cancel-notification")
async def test_only_who_made_a_request_takes_it_back_and_while_it_is_under_way(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    upstream = Held()
    async with bench(tmp_path, upstream) as there:
        calling = asyncio.create_task(there.ask(call()))
        await upstream.arrived.wait()
        upstream.proceed.set()
        with monkeypatch.context() as patch:
            somebody_else(there, patch)
            dropped = await there.ask(cancel())
        assert (dropped.status, dropped.body) == (202, b"")
        for wrong in ("7", 7.0, 8, None):
            assert (await there.ask(cancel(wrong))).status == 202
        assert len(upstream.sent) == 1
        codes = [entry["reasons"][0]["code"] for entry in there.entries("refused")]
        assert codes == ["session/not-under-way"] * 5
        await calling

        assert (await there.ask(cancel())).status == 202
        assert len(upstream.sent) == 1


@requirement("mcp/cancel-notification")
async def test_a_request_that_is_under_way_is_taken_back_by_its_caller(tmp_path: Path):
    upstream = Held()
    async with bench(tmp_path, upstream) as there:
        calling = asyncio.create_task(there.ask(call()))
        await upstream.arrived.wait()
        taking = asyncio.create_task(there.ask(cancel()))
        upstream.proceed.set()
        await asyncio.gather(calling, taking)

        assert [request.message and request.message.method for request in upstream.sent] == [
            "tools/call",
            "notifications/cancelled",
        ]


async def test_a_request_whose_caller_leaves_is_under_way_no_more(tmp_path: Path):
    upstream = Held()
    async with bench(tmp_path, upstream) as there:
        calling = asyncio.create_task(there.ask(call()))
        await upstream.arrived.wait()
        calling.cancel()
        await asyncio.wait([calling])

        assert there.gateway.sessionless_exchanges._open == {}


@requirement("mcp/cancel-disconnect")
@pytest.mark.parametrize("made_in", ["stateless", "handshake"])
async def test_the_stateless_era_takes_back_by_closing_a_connection(tmp_path: Path, made_in: str):
    """A server that listened to the notification could cancel another client's request of the same id."""
    upstream = Held()
    async with bench(tmp_path, upstream) as there:
        body, *headers = modern("tools/call", name="read_file", arguments={}) if made_in == "stateless" else (call(),)
        calling = asyncio.create_task(there.ask(body, *headers))
        await upstream.arrived.wait()
        meta = {"io.modelcontextprotocol/protocolVersion": "2026-07-28"}
        dropped = await there.ask(
            told("notifications/cancelled", requestId=7, _meta=meta), (b"mcp-protocol-version", b"2026-07-28")
        )
        upstream.proceed.set()
        await calling

        assert (dropped.status, len(upstream.sent)) == (202, 1)


@requirement("mcp/session")
async def test_in_a_session_the_server_knows_whose_they_are(there: Bench):
    opening = message("initialize", protocolVersion="2025-11-25", capabilities={}, clientInfo={"name": "a"})
    there.upstream.script = lambda request: result(request, {}, session="s-1")
    session = (b"mcp-session-id", dict((await there.ask(opening)).headers)[b"mcp-session-id"])
    for body in (reply(), cancel(), told("notifications/tasks/status", taskId="mine", status="completed")):
        await there.ask(body, session)
        assert there.upstream.sent[-1].body == body


@requirement("invariant/5", "mcp/tasks")
async def test_without_one_it_cannot_tell_whose_task_a_client_tells_of(there: Bench):
    dropped = await there.ask(told("notifications/tasks/status", taskId="mine", status="completed"))

    assert (dropped.status, dropped.body, there.upstream.sent) == (202, b"", [])
    assert [entry["reasons"][0]["code"] for entry in there.entries("refused")] == ["session/not-under-way"]


@pytest.mark.parametrize("row", [row for row in TABLE.values() if row.disposition is Disposition.DECIDE])
@pytest.mark.parametrize("era", Era)
async def test_the_checks_of_messages_without_a_decision_let_each_call_pass(row: Method, era: Era):
    """The pipeline asks none of them about a call: it would lose a refusal that came to be one."""
    message = Message(row.kind, era, row.disposition, b"{}", row.name, 1, {"uri": "x", "notifications": {}})
    request = UpstreamRequest("POST", (), Principal("ada", "https://idp.example", AuthMethod.JWT), message)

    assert refuse_unowned(SessionlessExchanges(), "files", request) is None
    assert row.name not in SUBSCRIBING
    assert not waits_for_news("POST", message)


async def test_the_upstream_of_an_asked_caller_may_be_silent_meanwhile(tmp_path: Path):
    upstream = Asking()
    async with bench(tmp_path, upstream) as there:
        stream = await asked(there, call())
        assert upstream.is_patient
        upstream.proceed.set()
        await stream.close()
