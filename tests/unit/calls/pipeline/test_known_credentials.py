"""The credentials that a caller knows, where the record, a trace or a refusal may repeat a text of its request."""

from __future__ import annotations

from typing import Any

import pytest

from gateway.calls.pipeline.context import RequestContext
from gateway.calls.pipeline.credentials import conceal_refusal
from gateway.model.caller import AuthMethod, Principal
from gateway.model.content import ResultContent, Sighting
from gateway.model.decision import Decision, PolicyRevision, Reason, Refusal
from gateway.model.errors import HistoryError
from gateway.model.task import Task
from gateway.model.wire import JsonObject, Message
from gateway.record.journal.redaction import CONCEALED, SEARCHED
from gateway.wire.protocol.classify import classify
from gateway.wire.protocol.headers import group_headers
from tests.requirements import requirement
from tests.unit.exchanges import new_exchange
from tests.unit.harness import URL, Bench, message

ADA = Principal("ada", "https://idp.example", AuthMethod.JWT)
EVE = Principal("eve", "https://idp.example", AuthMethod.JWT)
KEY, OTHER = "k7Qz-93mW-2tRx-8bLn", "Vq7t-R2xL-m3Kd-9pWs"
SIGNATURE = "aB3dE5gH7jK9mN2pZz9Y4w"
NOW = 1000.0


def show(there: Bench, value: str = KEY, job: str = ADA.job, task: str = "t") -> None:
    """A system has shown a credential to a task of a caller."""
    of = there.gateway.inspector.detector.fingerprints
    there.gateway.credential_chain.origins.note(job, task, "crm", of.of(value), of.shingles(value))


def mark(there: Bench, value: str, rule: str = "seen") -> str:
    return f"fp:{rule}:{there.gateway.inspector.detector.fingerprints.of(value)}"


def sighting(there: Bench, value: str, *, handle: str | None = None) -> Sighting:
    of = there.gateway.inspector.detector.fingerprints
    return Sighting(of.of(value), "named-password", shingles=of.shingles(value), handle=handle)


def context(there: Bench, *headers: tuple[bytes, bytes]) -> RequestContext:
    trace = there.gateway.tracing.start(group_headers(headers), "test")
    return RequestContext("d-1", new_exchange("POST", "files", URL, headers), NOW, 0.0, trace)


def knows(there: Bench, value: str, *headers: tuple[bytes, bytes]) -> bool:
    """Whether a value is known to the caller of an undecided request."""
    found = there.gateway.known.find_known_to_request(context(there, *headers), ADA, None)
    return found is not None and found.holds_any([f"so {value}"])


def refusal(*facts: str, data: JsonObject | None = None, decision: Decision | None = None) -> Refusal:
    reason = Reason("x/y", f"There is no {KEY}.", f"Leave {KEY} out.", facts=facts)
    return Refusal(403, reason, -1, decision=decision, data=data)


# --- what is known -----------------------------------------------------------------------------------


async def test_a_caller_that_was_shown_nothing_knows_nothing(there: Bench):
    show(there, job=EVE.job)
    known, task = there.gateway.known, there.gateway.history.tasks.open_implicit(ADA, NOW)
    found = (
        known.find_known(ADA.job),
        known.find_known(ADA.job, task),
        known.find_known_to_request(context(there), ADA, None),
    )
    assert [each is not None and each.holds_any([KEY]) for each in found] == [False] * 3


async def test_a_value_that_the_gateway_holds_is_known_to_every_caller(there: Bench):
    there.gateway.live.hold("lease", [KEY], "crm")
    found = there.gateway.known.find_known(EVE.job)
    assert found is not None
    assert found.holds_any([KEY])
    assert [(begin, end) for begin, end, _ in found(f"a {KEY} b")] == [(2, 2 + len(KEY))]


async def test_what_any_task_was_shown_and_what_a_call_carries_is_known(there: Bench):
    show(there)
    found = there.gateway.known.find_known(ADA.job, None, [sighting(there, OTHER)])
    assert found is not None
    assert [name for _, _, name in found(f"{KEY} and {OTHER}")] == [
        mark(there, KEY).removeprefix("fp:"),
        mark(there, OTHER, "named-password").removeprefix("fp:"),
    ]


async def test_a_handle_is_no_credential(there: Bench):
    found = there.gateway.known.find_known(ADA.job, None, [sighting(there, OTHER, handle="crm")])
    assert found is None or not found.holds_any([OTHER])


async def test_what_the_task_was_given_is_known(there: Bench):
    task = Task("d", "declared", NOW, 2 * NOW, "log in")
    there.gateway.history.tasks.open(ADA, task, ResultContent((sighting(there, OTHER),)))
    found = there.gateway.known.find_known(ADA.job, task)
    assert found is not None
    assert found.holds_any([OTHER])


async def test_a_task_that_cannot_be_read_does_not_hide_the_others(there: Bench, monkeypatch: pytest.MonkeyPatch):
    def broken(_task: Task) -> Any:
        raise HistoryError("its state is gone", "restore it")

    show(there)
    monkeypatch.setattr(there.gateway.history.ledger, "seen", broken)
    found = there.gateway.known.find_known(ADA.job, there.gateway.history.tasks.open_implicit(ADA, NOW))
    assert found is not None
    assert found.holds_any([KEY])


# --- the task of an undecided request ----------------------------------------------------------------


async def test_the_task_of_a_request_is_the_one_that_it_names_if_it_is_the_callers(there: Bench):
    task = Task("d", "declared", NOW, 2 * NOW, "log in")
    there.gateway.history.tasks.open(ADA, task, ResultContent((sighting(there, OTHER),)))
    token = there.gateway.task_tokens.issue(ADA, task, NOW)
    assert knows(there, OTHER, (b"opagate-task", b"d"))
    assert knows(there, OTHER, (b"opagate-task", token.encode()))
    for named in (b"nobody's", b"", token[:-4].encode() + b"AAAA"):
        assert not knows(there, OTHER, (b"opagate-task", named))
    foreign = Task("e", "declared", NOW, 2 * NOW, "log in")
    there.gateway.history.tasks.open(EVE, foreign, ResultContent((sighting(there, KEY),)))
    assert not knows(there, KEY, (b"opagate-task", b"e"))


async def test_without_a_name_it_is_the_present_one_and_none_begins(there: Bench):
    assert not knows(there, OTHER)
    assert there.gateway.history.tasks.find_present(ADA, NOW) is None
    there.gateway.history.tasks.open_implicit(ADA, NOW)
    assert not knows(there, OTHER)


@requirement("invariant/8")
async def test_the_tokens_of_the_caller_are_known(there: Bench):
    """Also those of earlier requests."""
    token = f"eyJhbGciOiJFUzI1NiJ9.eyJzdWIiOiJhIn0.{SIGNATURE}"
    bearer = (b"authorization", f"Bearer {token}".encode())
    assert knows(there, SIGNATURE, bearer)
    assert knows(there, token, bearer)
    assert not knows(there, SIGNATURE)
    there.gateway.caller_tokens.take(ADA.key, (f"Bearer {token}",), NOW)
    assert knows(there, SIGNATURE)


# --- traces ------------------------------------------------------------------------------------------


@requirement("invariant/8")
async def test_a_trace_with_a_known_credential_in_its_ids_is_left(there: Bench):
    secret = "7f3c9a1e5b2d48c6a0e4f8b1d3c5a7e9"
    show(there, secret)
    for trace, kept in ((secret, False), ("0af7651916cd43dd8448eb211c80319c", True)):
        begun = context(there, (b"traceparent", f"00-{trace}-b7ad6b7169203331-01".encode()))
        safe = there.gateway.pipeline.admission.replace_unsafe_trace(begun, ADA)
        assert (safe is begun) is kept
        assert (safe.trace.trace_id == trace) is kept
        assert there.gateway.pipeline.admission.replace_unsafe_trace(begun, EVE) is begun
    plain = context(there)
    assert there.gateway.pipeline.admission.replace_unsafe_trace(plain, ADA) is plain


# --- what the caller is told -------------------------------------------------------------------------


async def test_a_refusal_without_a_known_credential_is_told_as_it_is(there: Bench):
    show(there, OTHER)
    known = there.gateway.known.find_known(ADA.job)
    for spots in (None, known):
        told = conceal_refusal(refusal(), None, spots)
        assert told[0] == refusal()


@requirement("invariant/8")
async def test_marks_stand_in_the_place_of_known_credentials_in_all_texts_of_a_refusal(there: Bench):
    show(there)
    decided = Decision(
        "deny", (Reason("a/b", f"no {KEY}", "", facts=(f"/arguments/{KEY}",)),), (), PolicyRevision("p", "1")
    )
    sent = classify(
        message("tools/call", name=f"read-{KEY}", arguments={}), {b"mcp-protocol-version": (b"2025-11-25",)}
    )
    assert isinstance(sent, Message)
    full = refusal(f"/arguments/{KEY}", data={"task": KEY, "count": 1}, decision=decided)
    told, shown = conceal_refusal(full, sent, there.gateway.known.find_known(ADA.job))
    marked = mark(there, KEY)
    assert (told.reason.message, told.reason.remedy) == (f"There is no {marked}.", f"Leave {marked} out.")
    assert told.reason.facts == (f"/arguments/{marked}",)
    assert told.data == {"task": marked, "count": 1}
    assert told.decision is not None
    assert (told.decision.reasons[0].message, told.decision.reasons[0].facts) == (
        f"no {marked}",
        (f"/arguments/{marked}",),
    )
    assert shown is not None
    assert shown.name is not None
    assert KEY not in shown.name
    assert (told.status, told.reason.code, told.rpc_code) == (full.status, "x/y", full.rpc_code)


async def test_a_text_too_long_to_be_searched_is_not_repeated(there: Bench):
    show(there, OTHER)
    long = refusal("x" * (SEARCHED + 1))
    told, shown = conceal_refusal(long, None, there.gateway.known.find_known(ADA.job))
    assert (told.reason.facts, shown) == ((CONCEALED,), None)
    assert conceal_refusal(long, None, None)[0] == long


async def test_a_message_without_a_name_stays(there: Bench):
    show(there)
    sent = classify(message("ping"), {})
    assert isinstance(sent, Message)
    assert conceal_refusal(refusal(), sent, there.gateway.known.find_known(ADA.job))[1] is sent
