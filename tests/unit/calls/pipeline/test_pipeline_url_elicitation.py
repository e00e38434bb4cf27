"""A held call of a client of 2025-11-25 that opens URLs: the error with the address, and the notice of the answer."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from gateway.calls.pipeline.waiting import RESPONSE_KEY
from gateway.model.decision import Decision, Reason
from gateway.wire.protocol import sse
from tests.unit.approving import HOLDING, QUICK, REVISION, approve, desk, events, pending, vote
from tests.unit.exchanges import new_exchange
from tests.unit.harness import URL, Back, Bench, Upstream, bench, call, deciding, message, modern, result

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from gateway.model.wire import Headers, UpstreamRequest

OPENS: dict[str, Any] = {"elicitation": {"form": {}, "url": {}}}
VERSION = "2025-11-25"
REQUIRED = -32042


def answer_sessions(request: UpstreamRequest) -> Back:
    """Give a new session to each `initialize`, an open stream to each GET, and an empty result to the rest."""
    if request.method == "GET":
        return Back(type="text/event-stream")
    opening = request.message is not None and request.message.method == "initialize"
    session = f"s-{request.message.id}" if opening and request.message is not None else None
    return result(request, {"content": []}, session=session)


class Client:
    """A client of the handshake era with one session."""

    def __init__(self, there: Bench, session: bytes, version: str) -> None:
        self.there = there
        self.headers: Headers = ((b"mcp-session-id", session), (b"mcp-protocol-version", version.encode()))
        self.notices: list[Any] = []

    async def call(self, name: str = "ask_first", **arguments: Any) -> Any:
        return await self.there.ask(call(name, **arguments), *self.headers)

    async def listen(self) -> Any:
        """Open the stream of a GET, and give the end of it."""
        exchange = new_exchange("GET", "files", URL, self.headers, client_ip="127.0.0.1")
        stream: Any = await self.there.gateway.pipeline.handle(exchange)
        return stream.listen(self._hear)

    def _hear(self, events: bytes) -> None:
        for event in events.removesuffix(b"\n\n").split(b"\n\n"):
            notice = json.loads(event.removeprefix(b"data: "))
            assert notice["method"] == "notifications/elicitation/complete"
            self.notices.append(notice["params"]["elicitationId"])


async def connect(
    there: Bench, capabilities: Any = OPENS, *, version: str = VERSION, number: int = 1, **more: Any
) -> Client:
    opening = message(
        "initialize", number, protocolVersion=VERSION, capabilities=capabilities, clientInfo={"name": "a"}, **more
    )
    session = dict((await there.ask(opening)).headers)[b"mcp-session-id"]
    return Client(there, session, version)


@pytest.fixture
async def there(tmp_path: Path) -> AsyncGenerator[Bench]:
    async with bench(tmp_path, Upstream(answer_sessions), more=QUICK) as started:
        yield started


def elicitations(answer: Any) -> list[Any]:
    error = answer.json["error"]
    assert (answer.status, error["code"]) == (200, REQUIRED)
    return error["data"]["elicitations"]


async def test_the_address_comes_once_and_at_once_and_the_call_passes_once_after_a_yes(tmp_path: Path):
    async with bench(tmp_path, Upstream(answer_sessions), more=HOLDING) as there:
        client = await connect(there)
        (first,) = elicitations(await client.call(path="a"))
        asked = pending(there)
        assert (first["mode"], first["elicitationId"]) == ("url", asked.id)
        assert first["url"].endswith(f"/approvals/{asked.id}")

        waiting = asyncio.create_task(client.call(path="a"))
        await asyncio.sleep(0)
        await approve(there)
        assert (await waiting).json["result"] == {"content": []}
        assert events(there) == ["asked", "granted"]
        assert [entry["effect"] for entry in there.entries("call")] == ["ask", "allow"]


async def test_the_next_answer_is_the_readable_result_with_the_page(there: Bench):
    client = await connect(there)
    elicitations(await client.call(path="a"))
    second = await client.call(path="a")

    assert second.json["result"]["isError"] is True
    assert second.codes == ["approval/grant", "approval/pending"]
    assert f"/approvals/{pending(there).id}" in second.json["result"]["content"][0]["text"]


async def test_the_error_says_that_it_is_the_gateways(there: Bench):
    client = await connect(there)
    answer = await client.call(path="a")

    assert answer.codes == ["approval/grant", "approval/pending"]
    assert answer.json["error"]["data"]["io.opagate/decision"]["effect"] == "ask"


@pytest.mark.parametrize("version", ["2025-06-18", "2025-03-26", "2024-11-05", None])
async def test_another_revision_never_gets_the_error(there: Bench, version: str | None):
    client = await connect(there, version=version or VERSION)
    if version is None:
        client.headers = client.headers[:1]

    assert (await client.call(path="a")).codes == ["approval/grant", "approval/pending"]
    assert pending(there).question.requester.session == ""


@pytest.mark.parametrize(
    "capabilities",
    [{}, {"elicitation": {}}, {"elicitation": {"form": {}}}, {"elicitation": ["url"]}, {"elicitation": "url"}, "url"],
)
async def test_a_client_that_did_not_declare_it_never_gets_the_error(there: Bench, capabilities: Any):
    client = await connect(there, capabilities)

    assert (await client.call(path="a")).json["result"]["isError"] is True


async def test_what_a_call_declares_counts_for_nothing_in_a_session(there: Bench):
    client = await connect(there, {})
    body = message(
        "tools/call",
        name="ask_first",
        arguments={"path": "a"},
        capabilities=OPENS,
        _meta={"io.modelcontextprotocol/clientCapabilities": OPENS},
    )

    assert (await there.ask(body, *client.headers)).json["result"]["isError"] is True


async def test_without_a_session_there_is_no_capability(tmp_path: Path):
    async with bench(tmp_path, more=QUICK) as there:
        await there.ask(message("initialize", protocolVersion=VERSION, capabilities=OPENS, clientInfo={"name": "a"}))
        answer = await there.ask(call("ask_first", path="a"), (b"mcp-protocol-version", VERSION.encode()))

        assert answer.json["result"]["isError"] is True


async def test_a_mark_on_a_session_that_the_gateway_did_not_seal_so_opens_nothing(there: Bench):
    client = await connect(there, {})
    head, _, tag = client.headers[0][1].rpartition(b".")
    forged = Client(there, head + b".u" + tag, VERSION)

    assert (await forged.call(path="a")).codes == ["session/unknown"]


async def test_a_session_keeps_its_capability_when_the_upstream_repeats_its_id(there: Bench):
    client = await connect(there)
    there.upstream.script = lambda request: result(request, {}, session="s-1")
    again = await there.ask(message("ping"), *client.headers)

    assert dict(again.headers)[b"mcp-session-id"] == client.headers[0][1]


async def test_a_restart_keeps_the_capability_and_the_address_is_not_given_again(tmp_path: Path):
    async with bench(tmp_path, Upstream(answer_sessions), more=QUICK) as there:
        client = await connect(there)
        elicitations(await client.call(path="a"))
    async with bench(tmp_path, Upstream(answer_sessions), more=QUICK) as there:
        client.there = there
        await client.listen()
        assert (await client.call(path="a")).codes == ["approval/grant", "approval/pending"]
        elicitations(await client.call(path="b"))
        first = desk(there).list_open()[0]
        await vote(there, first)
        assert client.notices == [first.id]


async def test_every_method_that_people_approve_gets_the_error(there: Bench, monkeypatch: pytest.MonkeyPatch):
    deciding(there, Decision("ask", (Reason("approval/grant", "Ask."),), (), REVISION), monkeypatch)
    client = await connect(there)

    elicitations(await there.ask(message("prompts/get", name="hello", arguments={}), *client.headers))
    elicitations(await there.ask(message("resources/read", uri="file:///a"), *client.headers))


# --- the notice --------------------------------------------------------------------------------------


@pytest.mark.parametrize("answer", ["approve", "deny"])
async def test_the_notice_of_an_answer_reaches_its_session_alone_and_once(there: Bench, answer: str):
    asking, other = await connect(there, number=1), await connect(there, number=2)
    streams = [await asking.listen(), await asking.listen(), await other.listen()]
    (elicited,) = elicitations(await asking.call(path="a"))
    assert asking.notices == []
    await vote(there, pending(there), answer=answer)

    assert asking.notices == [elicited["elicitationId"]]
    assert other.notices == []
    for end in streams:
        end()
    assert there.gateway.people is not None
    late = await connect(there, number=1)
    await late.listen()
    assert late.notices == []


async def test_a_question_that_was_answered_before_the_stream_is_told_when_it_opens(there: Bench):
    asking, other = await connect(there, number=1), await connect(there, number=2)
    elicitations(await asking.call(path="a"))
    asked = await approve(there)
    await other.listen()
    assert other.notices == []
    end = await asking.listen()
    assert asking.notices == [asked.id]

    end()
    await asking.listen()
    assert asking.notices == [asked.id]


async def test_a_question_that_nobody_answers_is_told_too(tmp_path: Path):
    async with bench(tmp_path, Upstream(answer_sessions), more="approvals: {hold: 20ms, pending: 1ms}\n") as there:
        client = await connect(there)
        await client.listen()
        (elicited,) = elicitations(await client.call(path="a"))
        while desk(there).now() < pending(there).until:
            await asyncio.sleep(0)
        await desk(there).sweep()

        assert client.notices == [elicited["elicitationId"]]


async def test_the_use_or_the_end_of_an_approval_is_no_second_answer(there: Bench):
    client = await connect(there)
    await client.listen()
    for path in ("used", "withdrawn"):
        elicitations(await client.call(path=path))
        granted = await approve(there)
        if path == "used":
            await client.call(path=path)
        else:
            await desk(there).end(granted.id, "withdrawn")

    assert len(client.notices) == 2


async def test_a_session_that_joins_the_question_of_another_gets_neither_address_nor_notice(there: Bench):
    asking, joining = await connect(there, number=1), await connect(there, number=2)
    await joining.listen()
    elicitations(await asking.call(path="a"))
    assert (await joining.call(path="a")).codes == ["approval/grant", "approval/pending"]
    await approve(there)

    assert joining.notices == []


async def test_a_client_of_the_stateless_era_gets_neither_error_nor_notice(there: Bench):
    client = await connect(there)
    await client.listen()
    declared = {"io.modelcontextprotocol/clientCapabilities": OPENS}
    body, *headers = modern("tools/call", name="ask_first", arguments={"path": "a"}, meta=declared)
    answer = await there.ask(body, *headers, client.headers[0])
    await approve(there)

    assert answer.json["result"]["resultType"] == "input_required"
    assert client.notices == []


# --- the upstream's own ------------------------------------------------------------------------------

THEIRS = {"mode": "url", "elicitationId": "theirs", "url": "https://upstream.example/login", "message": "Log in."}


def answer_required(request: UpstreamRequest) -> Back:
    if request.message is None or request.message.method != "tools/call":
        return answer_sessions(request)
    error = {"code": REQUIRED, "message": "Log in.", "data": {"elicitations": [THEIRS]}}
    return Back(chunks=(json.dumps({"jsonrpc": "2.0", "id": request.message.id, "error": error}).encode(),))


async def test_an_upstreams_own_error_passes_unchanged_before_and_after_ours(there: Bench):
    there.upstream.script = answer_required
    client = await connect(there)
    await client.listen()
    assert elicitations(await client.call("read_file", path="a")) == [THEIRS]

    (ours,) = elicitations(await client.call(path="a"))
    assert ours["elicitationId"] != "theirs"
    assert len(there.upstream.sent) == 3
    asked = await approve(there)
    answer = await client.call(path="a")
    assert elicitations(answer) == [THEIRS]
    assert "io.opagate/decision" not in answer.json["error"]["data"]
    assert client.notices == [asked.id]


async def test_an_upstream_cannot_speak_as_the_gateway_in_its_own_error(there: Bench):
    def pose(request: UpstreamRequest) -> Back:
        if request.message is None or request.message.method != "tools/call":
            return answer_sessions(request)
        data: dict[str, Any] = {
            "elicitations": [THEIRS],
            "io.opagate/decision": {"id": "x", "effect": "ask", "reasons": []},
        }
        error: dict[str, Any] = {"code": REQUIRED, "message": "Log in.", "data": data}
        return Back(chunks=(json.dumps({"jsonrpc": "2.0", "id": request.message.id, "error": error}).encode(),))

    there.upstream.script = pose
    client = await connect(there)
    answer = await client.call("read_file", path="a")

    assert elicitations(answer) == [THEIRS]
    assert "io.opagate/decision" not in answer.json["error"]["data"]


async def test_no_message_of_a_client_answers_the_question(there: Bench):
    client = await connect(there)
    await client.listen()
    (elicited,) = elicitations(await client.call(path="a"))
    identifier = elicited["elicitationId"]
    accepted = {"action": "accept", "content": {"approve": True}}
    messages: list[dict[str, Any]] = [
        {"id": identifier, "result": accepted},
        {"method": "notifications/elicitation/complete", "params": {"elicitationId": identifier}},
        {"id": 8, "method": "elicitation/create", "params": {**elicited, **accepted}},
        {
            "id": 9,
            "method": "tools/call",
            "params": {"name": "ask_first", "arguments": {"path": "a"}, "inputResponses": {RESPONSE_KEY: accepted}},
        },
    ]
    for sent in messages:
        await there.ask(json.dumps({"jsonrpc": "2.0", **sent}).encode(), *client.headers)

    # A call with other answers is another call, with a question of its own.
    assert [one.state for one in desk(there).list_open()] == ["pending", "pending"]
    assert client.notices == []
    methods = [request.message and request.message.method for request in there.upstream.sent]
    assert "tools/call" not in methods


async def test_an_upstreams_notice_about_our_question_answers_nothing(there: Bench):
    client = await connect(there)
    (elicited,) = elicitations(await client.call(path="a"))
    notice = {"method": "notifications/elicitation/complete", "params": {"elicitationId": elicited["elicitationId"]}}
    event = sse.encode(json.dumps({"jsonrpc": "2.0", **notice}).encode())
    there.upstream.script = lambda _request: Back(type="text/event-stream", chunks=(event,))
    assert elicited["elicitationId"].encode() in (await there.ask(None, *client.headers)).body

    assert (await client.call(path="a")).codes == ["approval/grant", "approval/pending"]


async def test_a_thousand_sessions_hear_of_their_own_questions_alone(tmp_path: Path):
    more = f"{QUICK}limits: {{streams_per_caller: 1000}}\n"
    async with bench(tmp_path, Upstream(answer_sessions), more=more) as there:
        clients = [await connect(there, number=number) for number in range(1000)]
        for client in clients:
            await client.listen()
        elicited: dict[int, list[str]] = {}
        for number in (0, 499, 999):
            (one,) = elicitations(await clients[number].call(path=str(number)))
            elicited[number] = [one["elicitationId"]]
            await approve(there)

        assert {number: client.notices for number, client in enumerate(clients) if client.notices} == elicited
