"""The stages that a plain call skips: each of them, entered all the same, would have let the call pass unchanged."""

from __future__ import annotations

import json
from random import Random
from typing import Any

import pytest

from gateway.authority.signals.register import SignalRegister
from gateway.calls.pipeline import prepare
from gateway.calls.pipeline.admit import Admission
from gateway.calls.pipeline.approve import AllowedCall
from gateway.calls.pipeline.context import RequestContext
from gateway.calls.pipeline.credentials import CallerCredentials, ExposureGuard
from gateway.calls.pipeline.decide import name_assumed_labels
from gateway.calls.pipeline.issue import NOTHING
from gateway.calls.pipeline.pipeline import Pipeline
from gateway.calls.pipeline.prepare import Preparation, ResolvedHandles, resolve_handles
from gateway.calls.pipeline.waiting import take_out_ticket
from gateway.history.tasks.tokens import META, select_task
from gateway.inspection.credentials.finding import Suppressions
from gateway.inspection.credentials.handles import places
from gateway.model.caller import AuthMethod, Principal, name_job
from gateway.model.decision import Decision, Obligation, PolicyRevision, Refusal
from gateway.model.task import Task
from gateway.model.wire import Headers, JsonObject, Message, UpstreamRequest
from gateway.policy.policy import Policy
from gateway.record.telemetry.tracing import Tracing
from gateway.wire.protocol.classify import classify, state_of, tasks_of
from gateway.wire.protocol.headers import group_headers
from tests.unit.exchanges import new_exchange
from tests.unit.harness import URL, Bench, answering, call

ADA = Principal("ada", "https://idp.example", AuthMethod.JWT)
SHOWN = "AKIAQ3EGRVXZ5LKJ2MNP"
PIECES: tuple[Any, ...] = (
    "plain",
    SHOWN,
    "cred://crm/1",
    "CRED:\\/\\/crm",
    "cred:\u002f/x",
    7,
    None,
    ["a", {"b": "cred://x"}],
)
FIELDS: Headers = (
    (b"authorization", b"Bearer abc.def.ghi"),
    (b"authorization", b""),
    (b"mcp-session-id", b"made-up"),
    (b"last-event-id", b"1"),
    (b"traceparent", b"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"),
    (b"x-note", SHOWN.encode()),
    (b"opagate-task", b"task-1"),
)
PARAMETERS: dict[str, Any] = {
    "requestState": "s",
    "inputResponses": {"a": {"action": "accept"}},
    "taskId": "t",
    "notifications": {"taskIds": ["t"]},
    "_meta": {"io.modelcontextprotocol/related-task": {"taskId": "t"}, META: "task-2"},
}


def generated(random: Random) -> tuple[bytes, Headers]:
    """Return the body and the headers of a call: each part of a request that a stage looks for is in some of them."""
    parameters = {name: PARAMETERS[name] for name in PARAMETERS if random.random() < 0.15}
    if random.random() < 0.1:
        parameters["requestState"] = random.choice((None, 7, "gw1.s", ["s"]))
    arguments = {"path": random.choice(PIECES)}
    params = {"name": "read_file", "arguments": arguments, **parameters}
    body = json.dumps({"jsonrpc": "2.0", "id": 7, "method": "tools/call", "params": params}).encode()
    return body, tuple(field for field in FIELDS if random.random() < 0.2)


class Entered:
    """Counts how often the pipeline enters the stages that a plain call skips."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.names: list[str] = []
        for owner, name in (
            (ExposureGuard, "_examine_own"),
            (Admission, "_find_session"),
            (Admission, "replace_unsafe_trace"),
        ):
            self._watch(monkeypatch, owner, name)

    def _watch(self, monkeypatch: pytest.MonkeyPatch, owner: type, name: str) -> None:
        work = getattr(owner, name)

        def note(*given: Any, **named: Any) -> Any:
            self.names.append(name)
            return work(*given, **named)

        monkeypatch.setattr(owner, name, note)


def context_of(there: Bench, headers: Headers) -> RequestContext:
    trace = there.gateway.tracing.start(group_headers(headers), "test")
    return RequestContext("d-1", new_exchange("POST", "files", URL, headers, "127.0.0.1"), 1_000.0, 0.0, trace)


def messages(count: int, seed: int) -> list[tuple[Message, Headers]]:
    random, found = Random(seed), list[tuple[Message, Headers]]()
    while len(found) < count:
        body, headers = generated(random)
        message = classify(body, group_headers(headers))
        if isinstance(message, Message):
            found.append((message, headers))
    return found


@pytest.mark.parametrize("shown", [False, True])
async def test_a_request_that_is_not_examined_exposes_nothing(
    there: Bench, monkeypatch: pytest.MonkeyPatch, shown: Any
):
    pipeline = there.gateway.pipeline
    if shown:
        of = there.gateway.inspector.detector.fingerprints
        there.gateway.credential_chain.origins.note(ADA.job, "t", "crm", of.of(SHOWN), of.shingles(SHOWN))
    entered, skipped = Entered(monkeypatch), 0
    for message, headers in messages(150, 1):
        context = context_of(there, headers)
        entered.names.clear()
        admitted = await pipeline._admit(context, ADA, message)
        if "_examine_own" not in entered.names and not isinstance(admitted, Refusal):
            skipped += 1
            request = UpstreamRequest("POST", headers, ADA, message)
            assert await pipeline.exposure._examine_own(context, request, None) is False
    assert there.entries("exposed") == []
    assert skipped == 0 if shown else skipped > 30


async def test_a_request_without_the_headers_of_sessions_has_no_session(there: Bench, monkeypatch: pytest.MonkeyPatch):
    entered = Entered(monkeypatch)
    for message, headers in messages(150, 2):
        entered.names.clear()
        await there.gateway.pipeline._admit(context_of(there, headers), ADA, message)
        names = {name for name, _ in headers}
        expected = names & {b"mcp-session-id", b"last-event-id"} and message.era.value != "stateless"
        assert ("_find_session" in entered.names) == bool(expected)


async def test_a_message_whose_state_is_not_looked_at_has_no_ticket_and_names_nothing(there: Bench):
    for message, _headers in messages(300, 3):
        if "requestState" not in message.params:
            assert take_out_ticket(None, ADA, message, 0.0) is None
            assert state_of(message) is None
        named = tasks_of(message) | ({state_of(message)} - {None})
        admitted = await there.gateway.pipeline._admit(context_of(there, ()), ADA, message)
        assert isinstance(admitted, Refusal) == bool(named), "nothing was given to this caller"


def test_a_call_without_handles_is_prepared_as_the_vault_would_have_it(there: Bench):
    for message, headers in messages(300, 4):
        request = UpstreamRequest("POST", headers, ADA, message)
        found = places(message.body, "arguments")
        preparation: Preparation = there.gateway.pipeline.preparation
        call = preparation._read_call("files", message, ())
        resolved = resolve_handles(there.gateway.vault, request, message, call, found, tasks=("t",))
        prepared = preparation.prepare_call(context_of(there, ()), request, message, exposed=False)
        if found:
            assert isinstance(prepared, Refusal) == isinstance(resolved, Refusal)
        elif not isinstance(prepared, Refusal):
            assert resolved == prepared.handles == ResolvedHandles(request)


def test_an_allowed_call_without_handles_keeps_its_decision(there: Bench):
    target = there.gateway.catalogue.target("files", "tool", "unlabelled")
    for effect in ("allow", "deny", "ask"):
        decision = Decision(effect, (), (), PolicyRevision("p", "1"))
        request = UpstreamRequest("POST", (), ADA)
        assert ResolvedHandles(request).enforce_audience(decision, "other") is decision
        if decision.allowed:
            assert name_assumed_labels(decision, target) is decision


def test_a_gateway_without_people_and_connections_has_no_stage_for_them(there: Bench):
    pipeline: Pipeline = there.gateway.pipeline
    assert (there.gateway.people, there.gateway.user_connections) == (None, None)
    assert (pipeline.approval, pipeline.connecting, pipeline.tickets) == (None, None, None)
    assert pipeline.decider.questions.releases is None


@pytest.mark.parametrize("obligation", [None, "issue_credential", "conceal_credentials", "label", "limit"])
async def test_a_call_that_skips_the_issue_of_credentials_has_none(there: Bench, obligation: str | None):
    forwarder = there.gateway.pipeline.forwarder
    body = json.dumps({"jsonrpc": "2.0", "id": 7, "method": "tools/call", "params": {"name": "read_file"}}).encode()
    message = classify(body, {})
    assert isinstance(message, Message)
    request, context = UpstreamRequest("POST", (), ADA, message), context_of(there, ())
    prepared = there.gateway.pipeline.preparation.prepare_call(context, request, message, exposed=False)
    assert not isinstance(prepared, Refusal)
    obligations = () if obligation is None else (Obligation(obligation, {}),)
    decision = Decision("allow", (), obligations, PolicyRevision("p", "1"))
    there.gateway.history.ledger.reserve(prepared.task, context.id, prepared.call, None, context.arrived)
    issued = await forwarder._issue(AllowedCall(context, prepared, decision), None)

    assert (forwarder.issuer.authority, forwarder.signals.receiver) == (None, None)
    assert isinstance(issued, Refusal) == (obligation == "issue_credential")
    if obligation is None:
        assert issued is NOTHING
        assert NOTHING.carried_by(request) is request


def test_a_request_whose_names_of_tasks_are_not_read_names_none(there: Bench, monkeypatch: pytest.MonkeyPatch):
    read: list[object] = []

    def select(message: Any, fields: Any) -> Any:
        read.append(message)
        return select_task(message, fields)

    monkeypatch.setattr(prepare, "select_task", select)
    tasks, skipped = there.gateway.pipeline.preparation.tasks, 0
    for message, headers in messages(300, 5):
        context, request = context_of(there, headers), UpstreamRequest("POST", headers, ADA, message)
        read.clear()
        tasks.find_task(context, request, message, context.arrived)
        if not read:
            skipped += 1
            assert select_task(message, context.exchange.fields) is None
    assert 50 < skipped < 250


def test_a_body_that_is_not_searched_for_handles_has_none():
    random, found = Random(6), 0
    for _ in range(2_000):
        text = "".join(random.choice((sign, sign.upper(), f"\\u{ord(sign):04x}", f"\\{sign}")) for sign in "cred://")
        text = text if random.random() < 0.7 else text.replace(random.choice("cred:/"), "", 1)
        body = b'{"params": {"arguments": {"a": "%b"}}}' % f"{text}crm/1".encode()
        try:
            json.loads(body)
        except ValueError:
            continue
        if places(body, "arguments"):
            found += 1
            assert b"://" in body or b"\\" in body
    assert found > 50


def test_a_target_that_is_not_asked_for_is_the_one_of_the_catalogue(there: Bench):
    catalogue = there.gateway.catalogue
    for upstream, sorts in catalogue.definitions.items():
        for kind in ("tool", "prompt"):
            assert len(sorts[kind].targets) > 0
            for name, target in sorts[kind].targets.items():
                assert target is catalogue.target(upstream, kind, name)


def test_an_empty_register_of_signals_says_nothing_of_any_caller():
    register = SignalRegister()

    assert not register.signals
    assert (register.is_ended(ADA), register.facts(ADA)) == (False, ())


def test_a_configuration_without_suppressions_has_none_for_any_target(there: Bench):
    suppressions = Suppressions()

    assert not suppressions.rules
    assert suppressions.of(there.gateway.catalogue.target("files", "tool", "read_file"), 0.0) is None


def test_a_trace_that_is_not_begun_by_tracing_is_as_if_it_were(there: Bench):
    for message, headers in messages(100, 7):
        exchange = context_of(there, headers).exchange
        context = there.gateway.pipeline.open_context(exchange, message.method or "")
        begun = Tracing(None).start(exchange.fields, message.method or "")
        assert (context.trace.name, len(context.trace.trace_id)) == (begun.name, len(begun.trace_id))
        assert (context.trace.traceparent, context.trace.recording) == (begun.traceparent, begun.recording)


def _job_of(entry: dict[str, Any]) -> str:
    caller = entry["principal"]
    return name_job(caller["issuer"], caller["user"]["id"] if caller.get("user") else caller["id"])


@pytest.mark.parametrize("shown", [False, True])
async def test_a_call_whose_credentials_are_not_looked_up_has_none(
    there: Bench, monkeypatch: pytest.MonkeyPatch, shown: Any
):
    looked: list[object] = []
    known, find = there.gateway.known, CallerCredentials.find_known

    def note(*given: Any) -> Any:
        looked.append(find(*given))
        return looked[-1]

    monkeypatch.setattr(CallerCredentials, "find_known", note)
    if shown:
        answering(there, {"text": f"the key is {SHOWN}"})
        await there.ask(call(path="a"))
    job = _job_of(there.entries("call")[-1]) if shown else ADA.job
    looked.clear()
    await there.ask(call(path="b"))

    assert bool(looked) is shown
    found = known.find_known(job)
    assert (found is not None and found.holds_any([SHOWN])) is shown
    looked.clear()
    await there.ask(call(path=SHOWN))
    assert looked
    assert looked[0] is not None


async def test_a_word_that_only_its_task_knows_is_looked_up_too(there: Bench):
    # An ordinary word stays with the task that was shown it: what the tasks of the job share has none of it.
    answering(there, {"text": "password: sunflower"})
    await there.ask(call(path="a"))
    shown = there.entries("call")[-1]
    assert there.gateway.credential_chain.origins.of(_job_of(shown)) is None

    await there.ask(call("sunflower", path="b"))
    assert there.entries("call")[-1]["task"]["id"] == shown["task"]["id"]
    assert "sunflower" not in json.dumps(there.entries("call")[-1]["target"])


async def test_a_word_that_another_call_was_shown_during_the_decision_is_looked_up_too(
    there: Bench, monkeypatch: pytest.MonkeyPatch
):
    answering(there, {"text": "password: sunflower"})
    ledger, decide, others = there.gateway.history.ledger, Policy.decide, [call(path="a")]
    seen = ledger.seen

    def copy_seen(task: Task) -> dict[str, object]:
        """Return a copy, as a task with earlier tasks has it."""
        return dict(seen(task))

    monkeypatch.setattr(ledger, "seen", copy_seen)

    async def decide_after_others(policy: Policy, document: JsonObject) -> Decision:
        while others:
            await there.ask(others.pop())
        return await decide(policy, document)

    monkeypatch.setattr(Policy, "decide", decide_after_others)
    await there.ask(call("sunflower", path="b"))

    target = there.entries("call")[-1]["target"]
    assert target["id"] != "read_file"
    assert "sunflower" not in json.dumps(target)
