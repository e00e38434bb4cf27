"""Another system's credential beside the arguments of a call."""

from __future__ import annotations

import base64
import json
from random import Random
from typing import Any

import pytest

from benchmarks.credentials.examples import example
from gateway.inspection.credentials import origins, ruleset
from gateway.inspection.credentials.detect import Detector
from gateway.inspection.credentials.fingerprint import Fingerprints
from gateway.inspection.credentials.origins import KnownOrigins, OutgoingMessage, ShownToJob
from gateway.model.content import CredentialPiece, Sighting
from gateway.model.decision import Refusal
from gateway.model.wire import Headers, Message
from gateway.wire.protocol.classify import classify
from gateway.wire.protocol.headers import group_headers

KEYED = Fingerprints(b"k" * 32)
DETECTOR = Detector(ruleset.load(), KEYED)
KEY = example("ghp_{w:30}{crc62}", Random(1))
FRESH = example("ghp_{w:30}{crc62}", Random(2))


def shown(*values: str, lost: str | None = None) -> ShownToJob:
    """A caller to whom `crm` has shown these."""
    origins = KnownOrigins()
    for value in values:
        origins.note("ada", "t", "crm", KEYED.of(value), KEYED.shingles(value))
    if lost is not None:
        origins.note_lost("ada", "t", lost)
    found = origins.of("ada")
    assert found is not None
    return found


def message(document: dict[str, Any], headers: Headers = ()) -> Message:
    found = classify(json.dumps({"jsonrpc": "2.0", **document}).encode(), group_headers(headers))
    assert not isinstance(found, Refusal), found
    return found


def request(method: str, headers: Headers = (), **params: Any) -> Message:
    return message({"id": 1, "method": method, "params": params}, headers)


COMPLETION: dict[str, Any] = {"ref": {"type": "ref/prompt", "name": "p"}, "argument": {"name": "a", "value": "par"}}


def completion(headers: Headers = (), **changes: Any) -> OutgoingMessage:
    return OutgoingMessage(headers, request("completion/complete", **COMPLETION | changes))


def _problem(found: str | tuple[CredentialPiece, ...]) -> str | None:
    return found if isinstance(found, str) else None


def problem(sent: OutgoingMessage, audience: str = "billing", known: ShownToJob | None = None) -> str | None:
    return _problem(origins.examine_message(sent, known or shown(KEY), audience, DETECTOR))


@pytest.mark.parametrize(
    "sent",
    [
        OutgoingMessage(((b"user-agent", f"a/{KEY}".encode()),)),
        OutgoingMessage(((KEY.lower().encode(), b"1"),)),
        OutgoingMessage(((b"x-a", KEY[:20].encode()), (b"x-b", KEY[20:].encode()))),
        OutgoingMessage(((b"x-a", b"\xe9" + KEY.encode()),)),
        OutgoingMessage(((b"mcp-name", KEY.encode()),)),
        OutgoingMessage(((b"mcp-name", b"=?base64?!?="), (b"mcp-param-a", f"=?base64?!{KEY}?=".encode()))),
        OutgoingMessage((), request("tools/call", name="t", arguments={}, _meta={"progressToken": KEY})),
        OutgoingMessage((), request("tools/call", name="t", arguments={}, more=[{"a": [KEY]}])),
        OutgoingMessage((), request("tools/call", name=KEY)),
        OutgoingMessage((), request("prompts/get", name="t", _meta={KEY: None})),
        OutgoingMessage((), request("resources/read", uri="a", arguments={"a": KEY})),
        OutgoingMessage((), request("resources/subscribe", uri=KEY)),
        OutgoingMessage((), request("ping", arguments={"a": KEY})),
        completion(more=KEY),
        completion(context={"more": KEY}),
        completion(ref={"type": "ref/prompt", "name": KEY}),
        completion(((b"mcp-param-a", b"par"), (b"mcp-param-b", KEY.encode()))),
        OutgoingMessage((), message({"id": KEY, "method": "ping"})),
        OutgoingMessage((), message({"id": KEY, "method": "completion/complete", "params": COMPLETION})),
        OutgoingMessage((), message({"id": 1, "result": {"content": {"text": KEY}}})),
        OutgoingMessage((), message({"id": KEY, "result": {}})),
        OutgoingMessage((), message({"error": {"code": 1, "message": "m", "data": KEY}})),
        OutgoingMessage(((b"mcp-param-a", KEY.encode()),), request("resources/read", uri="a", more=1)),
        OutgoingMessage(((b"mcp-param-a", KEY.encode()),), request("ping")),
        OutgoingMessage(((b"mcp-param-a", KEY.encode()),), request("tools/call", name="t", arguments={"a": KEY + "1"})),
    ],
)
def test_what_another_system_has_shown_is_found_wherever_it_is(sent: OutgoingMessage):
    assert problem(sent) == "foreign"
    assert problem(sent, "crm") is None
    assert problem(sent, known=shown(FRESH)) is None


@pytest.mark.parametrize(
    "sent",
    [
        OutgoingMessage((), request("tools/call", name="t", arguments={"token": KEY})),
        OutgoingMessage((), request("prompts/get", name="t", arguments={"token": KEY})),
        completion(argument={"name": "a", "value": KEY}),
        completion(context={"arguments": {"b": KEY}}),
        completion(ref={"type": "ref/resource", "uri": KEY}),
        OutgoingMessage(
            ((b"mcp-name", KEY.encode()),), request("resources/read", ((b"mcp-name", KEY.encode()),), uri=KEY)
        ),
    ],
)
def test_what_policy_sees_is_left_to_policy(sent: OutgoingMessage):
    assert problem(sent) is None


@pytest.mark.parametrize(
    ("value", "arguments"),
    [
        (KEY.encode(), {"a": {"b": [None, True, KEY]}}),
        (b"=?base64?" + base64.b64encode(KEY.encode()) + b"?=", {"a": KEY}),
        (b"4821093512345", {"a": 4821093512345}),
    ],
)
def test_a_header_that_repeats_an_argument_is_left_to_policy_too(value: bytes, arguments: dict[str, Any]):
    known = shown(KEY, "4821093512345")
    headers = ((b"mcp-param-a", value),)
    assert problem(OutgoingMessage(headers, request("tools/call", name="t", arguments=arguments)), known=known) is None
    assert problem(OutgoingMessage(headers, request("tools/call", name="t")), known=known) == "foreign"


def test_a_handle_that_the_system_gave_goes_back_whatever_is_in_it():
    state = base64.b64encode(json.dumps({"key": KEY}).encode()).decode()
    call = request("tools/call", name="t", arguments={}, requestState=state)
    assert problem(OutgoingMessage((), call)) == "foreign"
    assert problem(OutgoingMessage((), call, {state})) is None
    assert (
        problem(OutgoingMessage((), request("tools/call", name="t", requestState=state, more=KEY), {state}))
        == "foreign"
    )
    named = request("tasks/get", ((b"mcp-name", KEY.encode()),), taskId=KEY)
    assert problem(OutgoingMessage(((b"mcp-name", KEY.encode()),), named, {KEY})) is None


def test_numbers_are_looked_at_and_what_is_neither_text_nor_number_is_not():
    known = shown("482109")
    assert problem(OutgoingMessage((), message({"id": 482109, "method": "ping"})), known=known) == "foreign"
    assert problem(OutgoingMessage((), request("ping", a=True, b=None, c=1.5)), known=known) is None


def test_what_no_system_has_shown_passes():
    sent = OutgoingMessage(((b"x-api-key", FRESH.encode()),), request("tools/list", cursor=FRESH))
    assert problem(sent) is None


def test_where_not_all_credentials_are_kept_any_uncommon_word_may_be_one_of_them():
    note, password = ((b"x-note", FRESH.encode()),), request("ping", _meta={"note": "k7Qz 93mW 2tRx 8bLn"})
    for sent in (OutgoingMessage(note), OutgoingMessage((), password), OutgoingMessage(((b"k7qz-93mw-2trx", b"1"),))):
        assert problem(sent, known=shown(KEY)) is None
        assert problem(sent, known=shown(KEY, lost="wiki")) == "unsearched"
        assert problem(sent, "wiki", known=shown(KEY, lost="wiki")) is None
    assert problem(OutgoingMessage(((b"x-note", KEY.encode()),)), known=shown(KEY, lost="wiki")) == "foreign"
    trace = b"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    headers = ((b"user-agent", b"python-httpx2/2.1.0"), (b"accept", b"application/json, text/event-stream"))
    common = request("ping", _meta={"progressToken": 7, "vendor/note": "the latest invoice of 2026-11-28"})
    assert problem(OutgoingMessage(headers, common), known=shown(KEY, lost="wiki")) is None
    traced = (*headers, (b"traceparent", trace))
    assert problem(OutgoingMessage(traced, common), known=shown(KEY, lost="wiki")) == "unsearched"
    assert problem(OutgoingMessage(traced, common, {trace.decode()}), known=shown(KEY, lost="wiki")) is None


@pytest.mark.parametrize("text", [KEY.encode()[:24].hex(), KEY.encode()[4:28].hex()])
def test_pieces_in_the_ids_of_a_trace_are_counted(text: str):
    trace = f"00-{text[:32]}-{text[32:]}-01"
    sent = (
        OutgoingMessage(((b"traceparent", trace.encode()),), given={trace}),
        OutgoingMessage((), request("ping", _meta={"traceparent": trace})),
    )
    for each in sent:
        found = origins.examine_message(each, shown(KEY), "billing", DETECTOR)
        assert found == "foreign" or {piece.fingerprint for piece in found if not isinstance(piece, str)} == {
            KEYED.of(KEY)
        }


def test_more_than_can_be_looked_at_is_told_from_nothing():
    long = message({"id": 1, "result": {"text": "word " * 60_000}})
    assert problem(OutgoingMessage((), long)) == "unsearched"
    assert problem(OutgoingMessage(((b"x-a", KEY.encode()),), long)) == "unsearched"


def test_what_a_result_repeats_of_its_call_is_known():
    sightings = [Sighting(KEYED.of(value), "x", shingles=KEYED.shingles(value)) for value in (KEY, FRESH, "hunter2")]
    sent = OutgoingMessage(
        ((b"user-agent", KEY.encode()),), request("tools/call", name="t", arguments={"a": FRESH}, more="hunter2")
    )
    assert origins.find_repeated(sightings, sent, DETECTOR) == {KEYED.of(KEY), KEYED.of("hunter2")}
