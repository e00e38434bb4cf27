"""A call that a person has to approve, through the whole pipeline: it waits, and passes once after a yes."""

from __future__ import annotations

import asyncio
import json
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import pytest
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from gateway.authority.approvals.model import Approval, Person, Vote
from gateway.calls.pipeline.approve import AllowedCall
from gateway.calls.pipeline.forward import Forwarder
from gateway.calls.pipeline.people import HELD_PER_CALLER
from gateway.calls.pipeline.waiting import ResumedRequest
from gateway.model.decision import Decision, Reason
from gateway.model.errors import JournalError
from gateway.policy.verdict import refuse
from gateway.record.telemetry.spans import Spans
from gateway.record.telemetry.tracing import Tracing
from tests.unit.approving import BOB, HOLDING, QUICK, REVISION, approve, desk, events, pending, vote
from tests.unit.harness import Bench, bench, call, deciding, message, modern, result

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator


@pytest.fixture
async def there(tmp_path: Path) -> AsyncGenerator[Bench]:
    async with bench(tmp_path, more=QUICK) as started:
        yield started


async def test_a_held_call_passes_once_after_a_yes(there: Bench):
    first = await there.ask(call("ask_first", path="a"))
    assert first.codes == ["approval/grant", "approval/pending"]
    assert there.upstream.sent == []

    await approve(there)
    second = await there.ask(call("ask_first", path="a"))
    third = await there.ask(call("ask_first", path="a"))

    assert second.json["result"] == {"content": []}
    assert third.codes == ["approval/grant", "approval/pending"]
    assert len(there.upstream.sent) == 1
    assert events(there) == ["asked", "granted", "asked"]
    effects = [(entry["effect"], entry.get("approval") is not None) for entry in there.entries("call")]
    assert effects == [("ask", False), ("allow", True), ("ask", False)]


async def test_a_retry_while_people_think_asks_neither_policy_nor_people_again(there: Bench):
    for _ in range(3):
        answer = await there.ask(call("ask_first", path="a"))
        assert answer.codes == ["approval/grant", "approval/pending"]

    assert events(there) == ["asked"]
    assert len(there.entries("call")) == 1


async def test_only_calls_of_a_target_with_a_question_are_digested(there: Bench, monkeypatch: pytest.MonkeyPatch):
    await there.ask(call("ask_first", path="a"))
    digested: list[str] = []

    def digest(prepared: Any, **_: Any) -> str:
        digested.append(prepared.call.target.name)
        return "sha256:other"

    monkeypatch.setattr("gateway.calls.pipeline.approve.digest_prepared_call", digest)
    await there.ask(call("read_file", path="a"))
    assert digested == []
    await there.ask(call("ask_first", path="a"))
    assert set(digested) == {"ask_first"}


@pytest.mark.parametrize(
    "other",
    [
        {"path": "b"},
        {"path": 1},
        {"path": 1.5},
        {"path": "a", "more": None},
        {"Path": "a"},
        {"path": "á"},
        {"path": "a\u0301"},
        {},
    ],
)
async def test_an_approval_is_for_exactly_one_call(there: Bench, other: dict[str, Any]):
    await there.ask(call("ask_first", path="a"))
    await approve(there)

    answer = await there.ask(call("ask_first", **other))

    assert "result" not in answer.json or answer.json["result"].get("isError") is True
    assert there.upstream.sent == []


async def test_a_no_is_told_apart_from_silence_and_stays(there: Bench):
    await there.ask(call("ask_first", path="a"))
    await vote(there, pending(there), answer="deny")

    for _ in range(2):
        answer = await there.ask(call("ask_first", path="a"))
        assert answer.codes == ["approval/grant", "approval/denied"]
        assert "Nobody answered" not in answer.body.decode()
    assert events(there) == ["asked", "denied"]
    assert there.upstream.sent == []


async def test_silence_is_told_once_and_then_asked_again(tmp_path: Path):
    async with bench(tmp_path, more="approvals: {hold: 1s, pending: 100ms}\n") as there:
        first = await there.ask(call("ask_first", path="a"))
        second = await there.ask(call("ask_first", path="a"))

        assert first.codes == ["approval/grant", "approval/expired"]
        assert "No person refused this call" in first.body.decode()
        assert second.codes == ["approval/grant", "approval/expired"]
        assert events(there) == ["asked", "expired", "asked", "expired"]


async def test_an_approval_lapses_when_its_call_does_not_come(tmp_path: Path):
    async with bench(tmp_path, more="approvals: {hold: 20ms, grant: 1ms}\n") as there:
        await there.ask(call("ask_first", path="a"))
        granted = await approve(there)
        while desk(there).now() < granted.until:
            await asyncio.sleep(0)
        await desk(there).sweep()

        answer = await there.ask(call("ask_first", path="a"))

        assert answer.codes == ["approval/grant", "approval/pending"]
        assert events(there) == ["asked", "granted", "lapsed", "asked"]


async def test_a_waiting_call_goes_on_at_the_click(tmp_path: Path):
    async with bench(tmp_path, more=HOLDING) as there:
        waiting = asyncio.create_task(there.ask(call("ask_first", path="a")))
        while not desk(there).list_open():
            await asyncio.sleep(0)
        await approve(there)
        answer = await waiting

        assert answer.json["result"] == {"content": []}
        assert [entry["effect"] for entry in there.entries("call")] == ["ask", "allow"]


async def test_of_many_equal_calls_one_question_is_made_and_one_call_passes(tmp_path: Path):
    async with bench(tmp_path, more="approvals: {hold: 1m}\n") as there:
        waiting = [asyncio.create_task(there.ask(call("ask_first", path="a"))) for _ in range(40)]
        # Some are told to come again at once: a caller has so many held calls at most.
        while sum(task.done() for task in waiting) < len(waiting) - HELD_PER_CALLER:
            await asyncio.sleep(0.01)
        assert events(there) == ["asked"]
        await approve(there)
        while [one.state for one in desk(there).list_open()] != ["pending"]:
            await asyncio.sleep(0.01)
        await vote(there, pending(there), answer="deny")
        answers = await asyncio.gather(*waiting)

        passed = [answer for answer in answers if answer.json["result"].get("isError") is not True]
        assert len(passed) == len(there.upstream.sent) == 1
        assert events(there) == ["asked", "granted", "asked", "denied"]


# --- who may vote ------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["dev", "Dev", " dev "])
async def test_the_requester_cannot_approve_its_own_call(there: Bench, name: str):
    await there.ask(call("ask_first", path="a"))
    asked = pending(there)
    assert asked.question.requester.id == "dev"

    refused = await vote(there, asked, Person(name, "https://elsewhere.example"))

    assert isinstance(refused, Reason)
    assert refused.code == "vote/excluded"
    assert desk(there).list_open() == [asked]


async def test_a_vote_on_another_question_than_was_shown_does_not_count(there: Bench):
    await there.ask(call("ask_first", path="a"))
    asked = pending(there)

    refused = await desk(there).vote(asked.id, Vote(BOB, "approve", desk(there).now()), "sha256:" + "0" * 64)

    assert isinstance(refused, Reason)
    assert refused.code == "vote/changed"


async def test_a_second_vote_comes_too_late(there: Bench):
    await there.ask(call("ask_first", path="a"))
    asked = pending(there)
    first, second = await asyncio.gather(
        vote(there, asked), vote(there, asked, Person("carol", "https://idp.example"), "deny")
    )

    assert isinstance(first, Approval)
    assert isinstance(second, Reason)
    assert (first.state, second.code) == ("granted", "vote/closed")
    assert events(there) == ["asked", "granted"]


# --- the client comes again --------------------------------------------------------------------------

URL_CLIENT: dict[str, Any] = {"io.modelcontextprotocol/clientCapabilities": {"elicitation": {"url": {}}}}


async def test_a_client_that_opens_addresses_gets_the_address_once(there: Bench):
    first = (await there.ask(*modern("tools/call", name="ask_first", arguments={"path": "a"}, meta=URL_CLIENT))).json
    asked = pending(there)
    elicitation = first["result"]["inputRequests"]["io.opagate/approval"]
    assert first["result"]["resultType"] == "input_required"
    assert elicitation["params"]["url"].endswith(f"/approvals/{asked.id}")

    state = first["result"]["requestState"]
    again = await there.ask(
        *modern("tools/call", name="ask_first", arguments={"path": "a"}, meta=URL_CLIENT, requestState=state)
    )
    assert again.json["result"]["inputRequests"] == {}
    assert again.json["result"]["requestState"] != state

    await approve(there)
    state = again.json["result"]["requestState"]
    responses = {"io.opagate/approval": {"action": "accept"}}
    done = await there.ask(
        *modern(
            "tools/call",
            name="ask_first",
            arguments={"path": "a"},
            meta=URL_CLIENT,
            requestState=state,
            inputResponses=responses,
        )
    )
    assert done.json["result"] == {"content": []}
    (sent,) = there.upstream.sent
    assert b"oga1." not in (sent.body or b"")
    assert b"inputResponses" not in (sent.body or b"")


async def test_the_answer_that_asks_a_client_to_come_again_ends_its_span(there: Bench):
    exporter = InMemorySpanExporter()
    tracing = Tracing(Spans(exporter))
    traced = replace(there, gateway=replace(there.gateway, tracing=tracing))
    await traced.ask(*modern("tools/call", name="ask_first", arguments={"path": "a"}))
    tracing.stop()

    _, span = exporter.get_finished_spans()
    assert (span.attributes or {})["opagate.reason"] == "approval/pending"


async def test_accepting_the_elicitation_approves_nothing_and_declining_withdraws(there: Bench):
    arguments = {"path": "a"}
    first = (await there.ask(*modern("tools/call", name="ask_first", arguments=arguments, meta=URL_CLIENT))).json
    state = first["result"]["requestState"]
    declined = ["approval/grant", "approval/withdrawn"]
    for action, codes in (("accept", None), ("cancel", None), ("decline", declined)):
        answer = await there.ask(
            *modern(
                "tools/call",
                name="ask_first",
                arguments=arguments,
                meta=URL_CLIENT,
                requestState=state,
                inputResponses={"io.opagate/approval": {"action": action, "content": {"approve": True}}},
            )
        )
        if codes is None:
            assert answer.json["result"]["resultType"] == "input_required"
        else:
            assert answer.codes == codes
    assert there.upstream.sent == []
    assert events(there) == ["asked", "withdrawn"]


async def test_after_nine_rounds_the_client_gets_a_readable_refusal(there: Bench):
    state, kinds, answer = None, list[str](), dict[str, Any]()
    for _ in range(10):
        more = {} if state is None else {"requestState": state}
        answer = (await there.ask(*modern("tools/call", name="ask_first", arguments={"path": "a"}, **more))).json
        kinds.append(answer["result"]["resultType"])
        state = answer["result"].get("requestState")

    assert kinds == ["input_required"] * 9 + ["complete"]
    assert answer["result"]["isError"] is True


@pytest.mark.parametrize("change", ["altered", "cut", "foreign"])
async def test_a_state_that_this_gateway_did_not_give_is_refused(there: Bench, change: str):
    first = (await there.ask(*modern("tools/call", name="ask_first", arguments={"path": "a"}))).json
    state = first["result"]["requestState"]
    wrong = {"altered": state[:-2] + ("AA" if state[-2:] != "AA" else "BB"), "cut": state[:20], "foreign": "oga1.x"}

    answer = await there.ask(
        *modern("tools/call", name="ask_first", arguments={"path": "a"}, requestState=wrong[change])
    )

    assert answer.codes == ["session/foreign"]


async def test_a_state_for_another_call_lets_nothing_pass(there: Bench):
    first = (await there.ask(*modern("tools/call", name="ask_first", arguments={"path": "a"}))).json
    await approve(there)

    answer = await there.ask(
        *modern("tools/call", name="ask_first", arguments={"path": "b"}, requestState=first["result"]["requestState"])
    )

    assert answer.json["result"]["resultType"] == "input_required"
    assert there.upstream.sent == []


# --- decided again -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("decision", "event"),
    [
        (Decision("deny", (Reason("tool/not-granted", "No."),), (), REVISION), "void"),
        (Decision("ask", (Reason("approval/effect", "More."),), (), REVISION), "superseded"),
    ],
)
async def test_the_call_is_decided_again_at_its_release(
    there: Bench, decision: Decision, event: str, monkeypatch: pytest.MonkeyPatch
):
    await there.ask(call("ask_first", path="a"))
    granted = await approve(there)
    documents = deciding(there, decision, monkeypatch)

    answer = await there.ask(call("ask_first", path="a"))

    assert answer.codes[0] == decision.reasons[0].code
    assert there.upstream.sent == []
    assert event in events(there)
    approval = cast("Any", documents[0])["context"]["approval"]
    assert (approval["id"], approval["answers"]) == (granted.id, ("approval/grant",))
    assert [person["id"] for person in approval["approvers"]] == ["bob"]


async def test_a_policy_that_cannot_decide_leaves_the_approval_unused(there: Bench, monkeypatch: pytest.MonkeyPatch):
    await there.ask(call("ask_first", path="a"))
    await approve(there)
    with monkeypatch.context() as failing:
        deciding(there, refuse("policy/late", "Late.", ""), failing)
        assert (await there.ask(call("ask_first", path="a"))).codes == ["policy/late"]

    assert (await there.ask(call("ask_first", path="a"))).json["result"] == {"content": []}


async def test_a_journal_that_cannot_be_written_leaves_the_approval_unused(
    there: Bench, monkeypatch: pytest.MonkeyPatch
):
    await there.ask(call("ask_first", path="a"))
    await approve(there)
    with monkeypatch.context() as failing:

        def begin(kind: str, _entry: object, _lost: object = None) -> None:
            raise JournalError(f"no {kind}")

        failing.setattr(there.gateway.journal, "begin", begin)
        assert (await there.ask(call("ask_first", path="a"))).status == 503
    assert there.upstream.sent == []

    assert (await there.ask(call("ask_first", path="a"))).json["result"] == {"content": []}


async def test_no_credential_in_an_address_is_written_down(there: Bench, monkeypatch: pytest.MonkeyPatch):
    deciding(there, Decision("ask", (Reason("approval/grant", "Ask."),), (), REVISION), monkeypatch)
    secret = "ghp_" + "a1B2c3D4e5F6g7H8i9J0k1L2m3N4o5P6q7R8"
    await there.ask(message("resources/read", uri=f"file:///notes?token={secret}"))

    asked = pending(there)
    shown = json.dumps([await desk(there).describe(asked.id), asked.question.target])
    assert secret not in shown
    assert secret not in json.dumps(there.entries("approval"))
    assert asked.question.target.startswith("files/file:///notes")


async def test_without_people_such_a_call_is_refused(tmp_path: Path):
    async with bench(tmp_path) as there:
        answer = await there.ask(call("ask_first", path="a"))

        assert answer.codes == ["approval/grant", "approval/unavailable"]
        assert there.entries("approval") == []


# --- restart -----------------------------------------------------------------------------------------


async def test_questions_and_approvals_outlive_a_restart_and_none_is_used_twice(tmp_path: Path):
    async with bench(tmp_path, more=QUICK) as there:
        for path in ("pending", "granted", "used"):
            await there.ask(call("ask_first", path=path))
            if path != "pending":
                await vote(there, desk(there).list_open()[-1])
        await there.ask(call("ask_first", path="used"))
        sent = len(there.upstream.sent)
    async with bench(tmp_path, more=QUICK) as there:
        assert [one.state for one in desk(there).list_open()] == ["pending", "granted"]
        assert (await desk(there).describe(desk(there).list_open()[0].id) or {})["arguments"]["value"] == {
            "path": "pending"
        }
        assert (await there.ask(call("ask_first", path="pending"))).codes[-1] == "approval/pending"
        assert (await there.ask(call("ask_first", path="granted"))).json["result"] == {"content": []}
        assert (await there.ask(call("ask_first", path="used"))).codes[-1] == "approval/pending"
    assert sent == 1


# --- the client gives up -----------------------------------------------------------------------------


def cancelled(identifier: Any) -> bytes:
    notification = {"method": "notifications/cancelled", "params": {"requestId": identifier}}
    return json.dumps({"jsonrpc": "2.0", **notification}).encode()


@pytest.mark.parametrize("session", [None, "s-1"])
async def test_a_held_call_that_its_client_cancels_never_goes_on(tmp_path: Path, session: str | None):
    async with bench(tmp_path, more=HOLDING) as there:
        there.upstream.script = lambda request: result(request, {"content": []}, session=session)
        opening = message("initialize", protocolVersion="2025-11-25", capabilities={}, clientInfo={"name": "a"})
        headers = [field for field in (await there.ask(opening)).headers if field[0] == b"mcp-session-id"]
        sent = len(there.upstream.sent)
        waiting = asyncio.create_task(there.ask(call("ask_first", path="a"), *headers))
        while not desk(there).list_open():
            await asyncio.sleep(0)
        await there.ask(cancelled("7"), *headers)
        await there.ask(cancelled(8), *headers)
        assert not waiting.done()
        await there.ask(cancelled(7), *headers)
        await approve(there)

        assert (await waiting).codes == ["approval/grant", "approval/pending"]
        methods = [request.message and request.message.method for request in there.upstream.sent[sent:]]
        assert "tools/call" not in methods
        assert (await there.ask(call("ask_first", path="a"), *headers)).json["result"] == {"content": []}


async def test_a_cancellation_and_a_yes_at_the_same_moment_let_nothing_pass(tmp_path: Path):
    async with bench(tmp_path, more=HOLDING) as there:
        waiting = asyncio.create_task(there.ask(call("ask_first", path="a")))
        while not desk(there).list_open():
            await asyncio.sleep(0)
        approving = asyncio.create_task(approve(there))
        await there.ask(cancelled(7))
        await approving

        answer = await waiting
        assert len(there.upstream.sent) - 1 == (
            "content" in answer.json["result"] and not answer.json["result"].get("isError")
        )


async def test_another_session_cannot_cancel_a_held_call(tmp_path: Path):
    async with bench(tmp_path, more=HOLDING) as there:
        sessions: list[tuple[bytes, bytes]] = []
        for number in (1, 2):
            there.upstream.script = lambda request, number=number: result(
                request, {"content": []}, session=f"s-{number}"
            )
            opening = message("initialize", protocolVersion="2025-11-25", capabilities={}, clientInfo={"name": "a"})
            sessions += [field for field in (await there.ask(opening)).headers if field[0] == b"mcp-session-id"]
        waiting = asyncio.create_task(there.ask(call("ask_first", path="a"), sessions[0]))
        while not desk(there).list_open():
            await asyncio.sleep(0)
        await there.ask(cancelled(7), sessions[1])
        await there.ask(cancelled(7))
        await approve(there)

        assert (await waiting).json["result"] == {"content": []}


async def test_the_credential_of_an_approved_call_ends_with_the_time_that_people_gave(
    there: Bench, monkeypatch: pytest.MonkeyPatch
):
    ends: list[float | None] = []
    forward = Forwarder.forward

    async def watch(forwarder: Forwarder, allowed: AllowedCall, resumed: ResumedRequest | None) -> Any:
        ends.append(allowed.approval_ends)
        return await forward(forwarder, allowed, resumed)

    monkeypatch.setattr(Forwarder, "forward", watch)
    await there.ask(call("read_file", path="a"))
    await there.ask(call("ask_first", path="a"))
    approved = await approve(there)
    await there.ask(call("ask_first", path="a"))

    assert approved.granted is not None
    assert ends == [None, approved.granted + desk(there).times.grant]
