"""Values that the gateway issued or holds, in the answers to every caller and in the messages of every caller."""

from __future__ import annotations

import base64
import json
from collections.abc import AsyncGenerator, Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from gateway.calls.response.conceal import WITHHELD
from gateway.model.wire import UpstreamRequest
from tests.unit.harness import READING, Back, Bench, answering, bench, call, message, modern, result

TOKEN = "Rk3vQ8-zL0pWm5xT_9cYb2Nd7uHs4Gj6"
STANDING = "pat-81xQf7Lz-Vn40kTd2WsYb93Rm"
CRM = (
    f"{READING}\n  crm:\n    url: http://127.0.0.1:9/mcp\n    audience: crm\n    environment: test\n"
    "    credential: {kind: header, value: '${CRM_TOKEN}'}\n    tools:\n      '*': " + READING
)


@pytest.fixture
async def there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncGenerator[Bench]:
    """A gateway with a standing header for `crm`, and a value lent to it. Its callers ask `files`."""
    monkeypatch.setenv("CRM_TOKEN", f"Bearer {STANDING}")
    async with bench(tmp_path, labels=CRM) as found:
        found.gateway.live.hold("lease-1", [TOKEN], "crm")
        yield found


FORMS: Mapping[str, Callable[[str], str]] = {
    "as it is": str,
    "spaced": " ".join,
    "reversed": lambda text: text[::-1],
    "base64": lambda text: base64.b64encode(f"user:{text}".encode()).decode(),
    "hex": lambda text: text.encode().hex(),
    "percent": lambda text: "".join(f"%{byte:02x}" for byte in text.encode()),
    "pieces with words between": lambda text: " please ".join(text[at : at + 4] for at in range(0, len(text), 4)),
}


def texts(*said: str) -> Any:
    return {"content": [{"type": "text", "text": text} for text in said]}


# --- answers -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("value", [TOKEN, STANDING])
@pytest.mark.parametrize("form", FORMS)
async def test_no_system_shows_the_credential_of_another(there: Bench, form: str, value: str):
    written = FORMS[form](value)
    answering(there, texts(f"the key is {written} there", "and that is all"))
    answer = await there.ask(call())

    assert written not in answer.json["result"]["content"][0]["text"]
    assert WITHHELD in answer.json["result"]["content"][0]["text"]
    assert answer.json["result"]["content"][1]["text"] == "and that is all"


@pytest.mark.parametrize("cut", [8, 12, 16, 24])
async def test_a_value_in_two_items_shows_less_than_half(there: Bench, cut: int):
    answering(there, texts(TOKEN[:cut], TOKEN[cut:]))
    body = (await there.ask(call())).body.decode()
    assert not (TOKEN[:cut] in body and TOKEN[cut:] in body)


async def test_a_value_letter_by_letter_in_many_items_is_withheld(there: Bench):
    answering(there, texts(*TOKEN))
    answer = await there.ask(call())
    assert [item["text"] for item in answer.json.get("result", {}).get("content", [])] != list(TOKEN)


async def test_a_value_in_a_name_of_a_member_is_withheld(there: Bench):
    answering(there, {"content": [], "structuredContent": {TOKEN: 1}})
    assert TOKEN not in (await there.ask(call())).body.decode()


@pytest.mark.parametrize("size", [7, 4096, 2**20])
async def test_a_value_in_a_large_answer_is_concealed_in_passing(there: Bench, size: int):
    def script(request: UpstreamRequest) -> Back:
        (data,) = result(request, texts("many words " * 40_000 + TOKEN + " and some")).chunks
        assert isinstance(data, bytes)
        return Back(chunks=tuple(data[at : at + size] for at in range(0, len(data), size)))

    there.upstream.script = script
    shown = (await there.ask(call())).json["result"]["content"][0]["text"]
    assert (TOKEN in shown, WITHHELD in shown) == (False, True)
    assert shown.endswith(" and some")


def events(*messages: Any) -> bytes:
    return b"".join([f"data: {json.dumps(each)}\n\n".encode() for each in messages])


def notification(text: str) -> Any:
    return {"jsonrpc": "2.0", "method": "notifications/message", "params": {"level": "info", "data": text}}


async def test_a_value_in_notifications_of_a_stream_is_concealed_or_ends_it(there: Bench):
    end = {"jsonrpc": "2.0", "id": 7, "result": texts("done")}
    there.upstream.script = lambda _request: Back(
        type="text/event-stream", chunks=(events(notification(f"key {TOKEN}"), end),)
    )
    body = (await there.ask(call())).body.decode()
    assert (TOKEN in body, WITHHELD in body, "done" in body) == (False, True, True)


@pytest.mark.parametrize("apart", [12, 16])
async def test_the_piece_of_a_later_event_that_would_complete_half_of_a_value_is_concealed(there: Bench, apart: int):
    pieces = [TOKEN[at : at + apart] for at in range(0, len(TOKEN), apart)]
    there.upstream.script = lambda _request: Back(
        type="text/event-stream",
        chunks=(events(*map(notification, pieces), {"jsonrpc": "2.0", "id": 7, "result": texts("done")}),),
    )
    body = (await there.ask(call())).body.decode()
    assert (pieces[0] in body, pieces[1] in body) == (True, False)


async def test_the_piece_of_a_later_answer_that_would_complete_half_of_a_value_is_concealed(there: Bench):
    shown: list[bool] = []
    for piece in (TOKEN[:12], TOKEN[12:24]):
        answering(there, texts(f"next: {piece}"))
        shown.append(piece in (await there.ask(call())).body.decode())
    assert shown == [True, False]


@pytest.mark.parametrize(
    "back",
    [
        Back(500, "text/plain", (f"no such token: {TOKEN}".encode(),)),
        Back(400, "application/json", (json.dumps({"error": TOKEN}).encode(),)),
        Back(200, None, (f"no such token: {TOKEN}".encode(),)),
        Back(
            headers=((b"x-request", TOKEN.encode()), (b"x-other", b"1")),
            chunks=(b'{"jsonrpc":"2.0","id":7,"result":{}}',),
        ),
        Back(
            chunks=(
                json.dumps({"jsonrpc": "2.0", "id": 7, "error": {"code": -32000, "message": f"bad {TOKEN}"}}).encode(),
            )
        ),
    ],
)
async def test_errors_texts_and_headers_show_no_value(there: Bench, back: Back):
    there.upstream.script = lambda _request: back
    answer = await there.ask(call())
    assert TOKEN.encode() not in answer.body
    assert all(TOKEN.encode() not in value for _, value in answer.headers)


@pytest.mark.parametrize(
    ("body", "value"),
    [
        (message("resources/read", uri="file:///a"), {"contents": [{"uri": "file:///a", "text": TOKEN}]}),
        (
            message("prompts/get", name="hello"),
            {"messages": [{"role": "user", "content": {"type": "text", "text": TOKEN}}]},
        ),
        (
            message(
                "completion/complete", ref={"type": "ref/prompt", "name": "hello"}, argument={"name": "a", "value": "b"}
            ),
            {"completion": {"values": [TOKEN]}},
        ),
        (message("resources/list"), {"resources": [{"uri": "file:///a", "name": TOKEN}]}),
        (
            message(
                "initialize", protocolVersion="2025-11-25", capabilities={}, clientInfo={"name": "c", "version": "1"}
            ),
            {"protocolVersion": "2025-11-25", "capabilities": {}, "serverInfo": {"name": TOKEN, "version": "1"}},
        ),
    ],
)
async def test_resources_prompts_completions_and_lists_show_no_value(there: Bench, body: bytes, value: Any):
    answering(there, value)
    answer = await there.ask(body)
    assert TOKEN.encode() not in answer.body


async def test_a_question_of_a_server_shows_no_value(there: Bench):
    asked: Any = {
        "jsonrpc": "2.0",
        "id": 3,
        "method": "elicitation/create",
        "params": {"message": f"Is {TOKEN} right?", "requestedSchema": {"type": "object", "properties": {}}},
    }
    there.upstream.script = lambda _request: Back(
        type="text/event-stream", chunks=(events(asked, {"jsonrpc": "2.0", "id": 7, "result": texts("done")}),)
    )
    assert TOKEN not in (await there.ask(call())).body.decode()


async def test_the_stream_of_a_session_shows_no_value_that_came_to_life_after_it_began(there: Bench):
    late = "Zt7-kkQ2vB90xLmWe41_nRsUd58"

    def script(_request: UpstreamRequest) -> Back:
        there.gateway.live.hold("lease-2", [late], "crm")
        return Back(type="text/event-stream", chunks=(events(notification(f"is {late}")),))

    there.upstream.script = script
    body, *headers = modern("subscriptions/listen", notifications={"toolsListChanged": True})
    assert late not in (await there.ask(body, *headers)).body.decode()


async def test_an_answer_without_a_value_passes_as_it_came(there: Bench):
    text = "q8Zt3LmW0xR5vN1cYb6D and 2026-12-01T10:00:00Z, pages 3 4 5 6 7 8 9, a1b2c3d4e5f6a7b8c9d0"
    answering(there, texts(text))
    assert (await there.ask(call())).json["result"]["content"][0]["text"] == text


# --- messages of callers -------------------------------------------------------------------------------


@pytest.mark.parametrize("value", [TOKEN, STANDING])
@pytest.mark.parametrize("form", FORMS)
async def test_no_argument_carries_a_value_to_another_system(there: Bench, form: str, value: str):
    answer = await there.ask(call(path=f"/x/{FORMS[form](value)}"))
    assert answer.codes == ["credential-chain/gateway"]
    assert there.upstream.sent == []


@pytest.mark.parametrize(
    "body",
    [
        call(**{TOKEN: "x"}),
        call(a=TOKEN[:16], b=TOKEN[16:]),
        call(a=list(TOKEN)),
        message("tools/call", name="read_file", arguments={}, _meta={"note": TOKEN}),
        message("tools/call", identifier=TOKEN, name="read_file", arguments={}),
        message("resources/read", uri=f"file:///{TOKEN}"),
        message("prompts/get", name="hello", arguments={"a": TOKEN}),
        message(
            "completion/complete", ref={"type": "ref/prompt", "name": "hello"}, argument={"name": "a", "value": TOKEN}
        ),
        message("tools/list", cursor=TOKEN),
        json.dumps(
            {"jsonrpc": "2.0", "method": "notifications/progress", "params": {"progressToken": 1, "message": TOKEN}}
        ).encode(),
    ],
)
async def test_no_part_of_a_message_carries_a_value_to_another_system(there: Bench, body: bytes):
    answer = await there.ask(body)
    assert there.upstream.sent == []
    # A client has to find the id of its own request.
    assert TOKEN not in answer.body.decode().replace(f'"id":"{TOKEN}"', "")
    assert TOKEN not in json.dumps(there.entries("refused"))


async def test_no_header_carries_a_value_to_another_system(there: Bench):
    await there.ask(call(), (b"x-note", TOKEN.encode()))
    assert all(TOKEN.encode() not in value for request in there.upstream.sent for _, value in request.headers)


async def test_the_pieces_of_a_value_in_several_calls_are_refused_from_half_on(there: Bench):
    for at in range(0, len(TOKEN), 12):
        await there.ask(call(path=TOKEN[at : at + 12]))
    sent = b"".join([request.body or b"" for request in there.upstream.sent]).decode()
    assert sum(12 for at in range(0, 24, 12) if TOKEN[at : at + 12] in sent) <= 12


async def test_a_value_may_go_to_the_system_that_it_belongs_to(there: Bench):
    there.gateway.live.hold("lease-3", [TOKEN], "files")
    answer = await there.ask(call(path=TOKEN))
    assert len(there.upstream.sent) == 1
    assert "result" in answer.json
    assert TOKEN not in json.dumps(there.entries("decided"))


async def test_the_record_of_a_refused_message_never_has_the_value(there: Bench):
    await there.ask(message("tools/call", name=TOKEN, arguments={}))
    there.gateway.journal.flush()
    for path in sorted((there.folder / "state/journal").glob("*.jsonl")):
        assert TOKEN not in path.read_text()


async def test_of_a_token_its_claims_are_concealed_with_its_signature(there: Bench):
    token = f"eyJhbGciOiJFUzI1NiJ9.eyJzdWIiOiJhZGEifQ.{TOKEN}{STANDING}"
    there.gateway.live.hold("lease-4", [token], "crm")
    answering(there, texts(f"You sent Bearer {token} to me"))
    assert (await there.ask(call())).json["result"]["content"][0]["text"] == f"You sent Bearer {WITHHELD} to me"


# --- from a lease to its end -----------------------------------------------------------------------------

LEASED = (
    f"{READING}\n  crm:\n    url: http://127.0.0.1:9/mcp\n    audience: crm\n    environment: test\n"
    "    credential: {kind: gateway, bind: BIND, scopes: {read: [crm.read]}}\n    tools:\n      '*': " + READING
)
BOTH = """
upstreams:
  files:
    - {id: files, agents: ["*"], issuers: ["*"], tools: ["read_*"]}
  crm:
    - {id: crm, agents: ["*"], issuers: ["*"], tools: ["read_*"]}
"""


@pytest.mark.parametrize("bind", ["task", "call"])
async def test_a_token_lent_to_one_system_is_shown_by_no_other_and_carried_to_no_other(tmp_path: Path, bind: str):
    async with bench(tmp_path, labels=LEASED.replace("BIND", bind), grants=BOTH) as there:
        body = call()
        assert "result" in (await there.ask(body, upstream="crm", url="http://127.0.0.1:8080/mcp/crm")).json
        (sent,) = there.upstream.sent
        assert sent.credential is not None
        token = sent.credential.value.decode().removeprefix("Bearer ")
        signature = token.rpartition(".")[2]

        for form in FORMS.values():
            answering(there, texts(f"it is {form(token)}", f"and {form(signature)}"))
            shown = (await there.ask(body)).body.decode()
            assert form(signature) not in shown
            assert (await there.ask(call(path=form(token)))).codes == ["credential-chain/gateway"]
        assert len(there.upstream.sent) == 1 + len(FORMS)
