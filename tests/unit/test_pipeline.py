"""The one way through, stage by stage, with every part real but the upstream."""

from __future__ import annotations

import asyncio
import gzip
import threading
from collections.abc import AsyncGenerator
from pathlib import Path
from random import Random
from typing import Any

import pytest

from gateway.errors import (
    IdentityUnavailable,
    JournalError,
    UpstreamBroken,
    UpstreamTimeout,
    UpstreamUnreachable,
)
from gateway.history.kept import Kept
from gateway.inspection.credentials.examples import example
from gateway.journal.results import ResultRecord
from gateway.model import (
    Credentials,
    Decision,
    JsonObject,
    Obligation,
    PolicyRevision,
    Principal,
    Reason,
    Refusal,
    Task,
    UpstreamRequest,
)
from gateway.pipeline import bounds, handle
from gateway.relay import Bounds, Relay
from gateway.transport.exchange import Exchange
from tests.requirements import requirement
from tests.unit.harness import URL, Back, Bench, Upstream, bench, call, message, modern, read_out, result


@pytest.fixture
async def there(tmp_path: Path) -> AsyncGenerator[Bench]:
    async with bench(tmp_path) as found:
        yield found


def allow(*obligations: Obligation) -> Decision:
    return Decision("allow", (), obligations, PolicyRevision("test", "1"))


def deciding(there: Bench, decision: Decision, monkeypatch: pytest.MonkeyPatch) -> None:
    """Have policy decide that."""

    async def decide(_document: JsonObject) -> Decision:
        return decision

    monkeypatch.setattr(there.gateway.policy, "decide", decide)


async def test_an_allowed_call_is_recorded_forwarded_and_settled(there: Bench):
    answer = await there.ask(call(path="a"))

    assert answer.status == 200
    assert [request.body for request in there.upstream.sent] == [call(path="a")]
    (entry,) = there.entries("call")
    (settled,) = there.entries("settled")
    assert (entry["effect"], entry["action"], entry["target"]["id"]) == ("allow", "tools/call", "files/read_file")
    assert (settled["id"], settled["outcome"], settled["bytes"]) == (entry["id"], "completed", len(answer.body))
    assert there.upstream.closed == 1


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


@requirement("mcp/tool-errors")
async def test_a_denied_call_is_recorded_and_goes_nowhere(there: Bench):
    answer = await there.ask(call("hidden"))

    assert answer.codes == ["tool/not-granted"]
    assert answer.json["result"]["isError"] is True
    assert there.upstream.sent == []
    assert [entry["effect"] for entry in there.entries("call")] == ["deny"]
    assert there.entries("settled") == []


async def test_a_call_that_needs_a_person_is_refused_and_says_so(there: Bench):
    answer = await there.ask(call("ask_first"))

    assert answer.codes[-1] == "approval/unavailable"
    assert [entry["effect"] for entry in there.entries("call")] == ["ask"]
    assert there.upstream.sent == []


async def test_a_caller_that_cannot_be_verified_because_a_key_server_is_away_is_told_to_try_again(
    there: Bench, monkeypatch: pytest.MonkeyPatch
):
    async def identify(_credentials: Credentials, _ip: str | None) -> Principal:
        raise IdentityUnavailable("the key server is away")

    monkeypatch.setattr(there.gateway.identities, "identify", identify)
    answer = await there.ask(call())

    assert (answer.status, answer.codes) == (503, ["identity/unavailable"])


async def test_a_body_that_could_not_be_read_is_refused_for_its_own_reason(there: Bench):
    refusal = Refusal(413, Reason("request/too-large", "Too large."), -32600)

    answer = await there.ask(refusal)

    assert (answer.status, answer.codes) == (413, ["request/too-large"])
    assert [entry["reasons"][0]["code"] for entry in there.entries("refused")] == ["request/too-large"]


async def test_a_call_that_cannot_be_recorded_goes_nowhere(there: Bench, monkeypatch: pytest.MonkeyPatch):
    async def append(_kind: str, _entry: JsonObject) -> None:
        raise JournalError("the disk is full")

    monkeypatch.setattr(there.gateway.journal, "append", append)
    answer = await there.ask(call())

    assert (answer.status, answer.codes) == (503, ["journal/unavailable"])
    assert there.upstream.sent == []
    assert b"opagate_journal_failures_total 1.0" in there.gateway.metrics.exposition()


@pytest.mark.parametrize(
    ("error", "status", "code"),
    [
        (UpstreamUnreachable("it is away"), 502, "upstream/unreachable"),
        (UpstreamTimeout("it is late"), 504, "upstream/timeout"),
        (UpstreamBroken("it broke"), 502, "upstream/broken"),
    ],
)
async def test_a_call_whose_upstream_fails_is_settled_and_answered_for(
    there: Bench, error: Exception, status: int, code: str
):
    there.upstream.script = lambda _request: error
    answer = await there.ask(call())

    assert (answer.status, answer.codes) == (status, [code])
    assert [entry["outcome"] for entry in there.entries("settled")] == ["upstream-failed"]


@requirement("mcp/no-foreign-challenge")
@pytest.mark.parametrize("status", [401, 403])
@pytest.mark.parametrize("body", [call(), message("ping")])
async def test_an_upstream_that_does_not_accept_the_gateway_does_not_challenge_the_caller(
    there: Bench, status: int, body: bytes
):
    there.upstream.script = lambda _request: Back(status)
    answer = await there.ask(body)

    assert (answer.status, answer.codes) == (502, ["upstream/unauthorized"])
    assert there.upstream.closed == 1


async def test_a_defect_in_mid_call_is_settled_and_raised(there: Bench):
    there.upstream.script = lambda _request: RuntimeError("a defect")
    with pytest.raises(RuntimeError):
        await there.ask(call())

    assert [entry["outcome"] for entry in there.entries("settled")] == ["upstream-failed"]


async def test_an_error_of_the_server_is_an_outcome_of_its_own(there: Bench):
    there.upstream.script = lambda _request: Back(500, "text/plain", (b"sorry",))

    assert (await there.ask(call())).body == b"sorry"
    assert [entry["outcome"] for entry in there.entries("settled")] == ["error"]


class Held(Upstream):
    """Holds a call until the test lets it go."""

    def __init__(self) -> None:
        super().__init__()
        self.arrived = asyncio.Event()
        self.proceed = asyncio.Event()

    async def send(self, request: UpstreamRequest) -> Any:
        reply = await super().send(request)
        if request in self.sent:
            self.arrived.set()
            await self.proceed.wait()
        return reply


async def test_a_caller_that_leaves_while_the_upstream_thinks_is_settled_as_cancelled(tmp_path: Path):
    upstream = Held()
    async with bench(tmp_path, upstream) as there:
        task = asyncio.create_task(there.ask(call()))
        await upstream.arrived.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert [entry["outcome"] for entry in there.entries("settled")] == ["cancelled"]


async def test_a_limit_on_time_counts_from_the_sending(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    async with bench(tmp_path, Held()) as there:
        deciding(there, allow(Obligation("limit", {"timeout_seconds": 0.05})), monkeypatch)
        answer = await there.ask(call())
        assert (answer.status, answer.codes) == (504, ["upstream/timeout"])
        assert [entry["outcome"] for entry in there.entries("settled")] == ["refused"]


async def test_what_is_left_of_a_limit_on_time_is_for_the_answer(there: Bench, monkeypatch: pytest.MonkeyPatch):
    deciding(there, allow(Obligation("limit", {"timeout_seconds": 60, "max_bytes": 10})), monkeypatch)
    answer = await there.ask(call())

    assert "larger than policy allows" in answer.json["error"]["message"]
    assert [entry["outcome"] for entry in there.entries("settled")] == ["refused"]


@pytest.mark.parametrize("effect", ["allow", "deny"])
async def test_a_caller_that_leaves_while_the_decision_is_written_down_sends_nothing(
    there: Bench, monkeypatch: pytest.MonkeyPatch, effect: str
):
    journal = there.gateway.journal
    append, writing, proceed = journal.append, asyncio.Event(), asyncio.Event()

    async def slowly(kind: str, fields: JsonObject) -> None:
        await append(kind, fields)
        if kind == "call":
            writing.set()
            await proceed.wait()

    monkeypatch.setattr(journal, "append", slowly)
    task = asyncio.create_task(there.ask(call("read_file" if effect == "allow" else "hidden")))
    await writing.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task

    assert there.upstream.sent == []
    outcomes = [entry["outcome"] for entry in there.entries("settled")]
    assert outcomes == (["cancelled"] if effect == "allow" else [])


# --- what is not decided ---------------------------------------------------------------------------


async def test_an_upstream_that_is_not_configured_is_unknown_and_its_name_is_not_repeated(
    there: Bench, capsys: pytest.CaptureFixture[str]
):
    answer = await there.ask(call(), upstream="made-up-secret")

    assert (answer.status, answer.codes) == (404, ["upstream/unknown"])
    assert b"made-up-secret" not in answer.body
    assert "made-up-secret" not in capsys.readouterr().out


async def test_what_needs_no_decision_passes_and_is_measured(there: Bench):
    assert (await there.ask(message("ping"))).status == 200
    assert there.entries("call") == []
    assert b'opagate_settled_total{outcome="completed",upstream="files"} 1.0' in there.gateway.metrics.exposition()


async def test_a_stream_of_a_session_is_passed_on(there: Bench):
    there.upstream.script = lambda _request: Back(200, "text/event-stream", (b": hello\n\n",))

    assert (await there.ask(None)).body == b": hello\n\n"
    assert there.upstream.sent[0].method == "GET"


async def test_a_session_is_sealed_for_its_caller_and_opened_for_the_upstream(there: Bench):
    there.upstream.script = lambda request: result(request, {}, session="s-1")
    opening = message(
        "initialize", protocolVersion="2025-11-25", capabilities={}, clientInfo={"name": "a", "version": "1"}
    )
    sealed = dict((await there.ask(opening)).headers)[b"mcp-session-id"]
    assert sealed.startswith(b"s-1.")

    again = await there.ask(message("ping"), (b"mcp-session-id", sealed))
    assert there.upstream.sent[-1].session == "s-1"
    assert dict(again.headers)[b"mcp-session-id"] == sealed
    assert (await there.ask(message("ping"), (b"mcp-session-id", b"s-1"))).codes == ["session/unknown"]
    assert (await there.ask(None, (b"last-event-id", b"1"))).codes == ["session/missing"]


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


async def test_the_stateless_era_ignores_the_headers_of_sessions(there: Bench):
    body, *headers = modern("tools/call", name="read_file", arguments={})
    answer = await there.ask(body, *headers, (b"mcp-session-id", b"made-up"), (b"last-event-id", b"1"))

    assert answer.status == 200
    assert there.upstream.sent[0].session is None
    assert b"last-event-id" not in dict(there.upstream.sent[0].headers)


async def test_a_state_belongs_to_the_one_to_whom_it_was_given(there: Bench):
    body, *headers = modern("tools/call", name="read_file", arguments={}, requestState="s", inputResponses={})
    assert (await there.ask(body, *headers)).codes == ["session/foreign"]
    there.upstream.script = lambda request: result(request, {"resultType": "input_required", "requestState": "s"})
    asked, *first = modern("tools/call", name="read_file", arguments={})
    await there.ask(asked, *first)

    assert (await there.ask(body, *headers)).status == 200


async def test_the_callers_own_token_does_not_travel_inside_a_call(there: Bench, monkeypatch: pytest.MonkeyPatch):
    principal = await there.gateway.identities.identify(Credentials("POST", URL), "127.0.0.1")

    async def identify(_credentials: Credentials, _ip: str | None) -> Principal | Refusal:
        return principal

    monkeypatch.setattr(there.gateway.identities, "identify", identify)
    answer = await there.ask(
        call(text="a.b.0123456789abcdefghij"), (b"authorization", b"Bearer a.b.0123456789abcdefghij")
    )

    assert answer.codes == ["request/own-token"]
    assert there.upstream.sent == []


@pytest.mark.parametrize("body", [call(), message("ping"), None])
async def test_an_answer_that_cannot_be_looked_into_is_not_passed_on(there: Bench, body: bytes | None):
    there.upstream.script = lambda _request: Back(chunks=(gzip.compress(b"{}"),), encoding="gzip")
    answer = await there.ask(body)

    assert (answer.status, answer.codes) == (502, ["upstream/broken"])
    assert there.upstream.closed == 1


async def test_an_answer_that_says_that_it_is_not_compressed_is_passed_on(there: Bench):
    there.upstream.script = lambda request: result(request, {"content": []}, encoding="Identity")

    assert (await there.ask(call())).status == 200


async def test_a_trace_is_joined_and_passed_on(there: Bench):
    parent = b"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    await there.ask(call(), (b"traceparent", parent), (b"traceparent", b"another"))

    assert [value for name, value in there.upstream.sent[0].headers if name == b"traceparent"] == [parent]
    assert there.entries("call")[0]["trace_id"] == parent.split(b"-")[1].decode()


async def test_a_stream_that_waits_for_news_is_idle(there: Bench):
    body, *headers = modern("subscriptions/listen", notifications={})

    async def read() -> bytes:
        return body

    answer = await handle(there.gateway, Exchange("POST", "files", URL, tuple(headers), "127.0.0.1", body=read))

    assert isinstance(answer, Relay)
    assert answer.idle
    await read_out(answer)


async def test_an_answer_says_protocol_where_configured(tmp_path: Path):
    async with bench(tmp_path, more="errors: protocol\njournal: {results: none, arguments: none}\n") as there:
        answer = await there.ask(call("hidden"))
        await there.ask(call())
        assert answer.json["error"]["code"] == -31001
        assert answer.codes == ["tool/not-granted"]
        assert "result" not in there.entries("settled")[0]


def limit(**properties: int) -> Obligation:
    return Obligation("limit", properties)


def test_of_several_limits_the_tightest_holds():
    label = Obligation("label", {"confidentiality": "confidential"})

    assert bounds(allow(label)) == Bounds(None, None)
    several = (label, limit(timeout_seconds=9, max_bytes=5), limit(timeout_seconds=3), limit(max_bytes=7))
    assert bounds(allow(*several)) == Bounds(3, 5)


@requirement("inspection/suppressions")
@pytest.mark.parametrize(("until", "found"), [("2999-12-31", 0), ("2026-01-01", 1)])
async def test_a_suppression_holds_until_its_date(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, until: str, found: int
):
    rule = f"{{upstream: files, detector: github-pat, until: {until}, reason: made up}}"
    async with bench(tmp_path, more=f"inspection: {{suppressions: [{rule}]}}\n") as there:
        asked: list[Any] = []

        async def decide(document: JsonObject) -> Decision:
            asked.append(document)
            return allow()

        monkeypatch.setattr(there.gateway.policy, "decide", decide)
        value = example("ghp_{w:30}{crc62}", Random(1))
        await there.ask(call(text=value))

        assert len(asked[0]["session"]["credentials"]) == found
        counted = b'opagate_suppressed_total{upstream="files"} 1.0' in there.gateway.metrics.exposition()
        assert counted is not bool(found)


async def test_a_large_result_is_made_ready_for_the_record_beside_the_event_loop(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    threads: list[str] = []
    value = ResultRecord.value

    def watched(record: ResultRecord) -> Any:
        threads.append(threading.current_thread().name.partition("_")[0])
        return value(record)

    monkeypatch.setattr(ResultRecord, "value", watched)
    async with bench(tmp_path, more="journal: {results: full}\n") as there:
        for text in ("short", "word " * 8_000):
            there.upstream.script = lambda request, text=text: result(request, {"text": text})
            assert (await there.ask(call())).status == 200

        assert [entry["content"] for entry in there.entries("settled")] == [
            {"text": "short"},
            {"text": "word " * 8_000},
        ]
    assert threads == ["MainThread", "aside"]


@requirement("invariant/9", "invariant/10")
async def test_a_task_that_is_ended_while_its_call_is_looked_at_makes_no_call(
    there: Bench, monkeypatch: pytest.MonkeyPatch
):
    gateway = there.gateway
    await there.ask(call())
    sent = len(there.upstream.sent)
    (implicit,) = gateway.history.tasks()
    task = Task("task-1", "declared", opened=gateway.clock(), expires=gateway.clock() + 100)
    gateway.history.admit(Kept(task, b"", implicit.owner, task.opened))
    looked = type(gateway.inspector).call

    def ending(*about: Any, **more: Any) -> Any:
        gateway.history.end(task, "cancelled")
        return looked(*about, **more)

    monkeypatch.setattr(type(gateway.inspector), "call", ending)
    answer = await there.ask(call(text="word " * 8_000), (b"opagate-task", b"task-1"))

    assert b"history/expired" in answer.body
    assert len(there.upstream.sent) == sent
    assert [entry["reasons"][0]["code"] for entry in there.entries("refused")] == ["history/expired"]
