from __future__ import annotations

from typing import Any

import pytest

from gateway.authority.signals.set import (
    KEPT,
    CaepSignal,
    OtherEvent,
    SecurityEvent,
    SetFault,
    SetRules,
    StreamUpdate,
    StreamVerification,
    check_claims,
    read_meaning,
)
from tests.signalling import CAEP, SESSION_REVOKED, SSF

NOW = 1_800_000_000.0
RULES = SetRules("https://idp.example", frozenset({"https://gw.example", "gw"}))
CLAIMS: dict[str, Any] = {
    "iss": "https://idp.example",
    "aud": ["other", "gw"],
    "iat": NOW - 5,
    "jti": "e-1",
    "events": {SESSION_REVOKED: {"event_timestamp": NOW - 60}},
    "sub_id": {"format": "opaque", "id": "x"},
}


def checked(**changes: Any) -> SecurityEvent | SetFault:
    claims = {name: value for name, value in {**CLAIMS, **changes}.items() if value is not None}
    return check_claims(claims, RULES, NOW)


def test_a_valid_event_is_read():
    event = checked()

    assert isinstance(event, SecurityEvent)
    assert (event.jti, event.type, event.issued) == ("e-1", SESSION_REVOKED, NOW - 5)


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"iss": "https://other.example"}, "invalid_issuer"),
        ({"iss": None}, "invalid_issuer"),
        ({"aud": "https://other.example"}, "invalid_audience"),
        ({"aud": None}, "invalid_audience"),
        ({"aud": {"gw": 1}}, "invalid_audience"),
        ({"sub": "ann"}, "invalid_request"),
        ({"exp": NOW + 60}, "invalid_request"),
        ({"jti": None}, "invalid_request"),
        ({"jti": ""}, "invalid_request"),
        ({"jti": "x" * 513}, "invalid_request"),
        ({"jti": 5}, "invalid_request"),
        ({"iat": None}, "invalid_request"),
        ({"iat": "now"}, "invalid_request"),
        ({"iat": True}, "invalid_request"),
        ({"iat": float("nan")}, "invalid_request"),
        ({"iat": 10**400}, "invalid_request"),
        ({"iat": NOW + 120}, "invalid_request"),
        ({"iat": NOW - KEPT}, "invalid_request"),
        ({"events": None}, "invalid_request"),
        ({"events": {}}, "invalid_request"),
        ({"events": {SESSION_REVOKED: {}, "b": {}}}, "invalid_request"),
        ({"events": {SESSION_REVOKED: None}}, "invalid_request"),
        ({"events": [SESSION_REVOKED]}, "invalid_request"),
        ({"sub_id": "ann"}, "invalid_request"),
    ],
)
def test_an_event_that_breaks_the_profile_is_refused_with_its_code(changes: dict[str, Any], code: str):
    claims = {**CLAIMS, **changes}
    claims = {name: value for name, value in claims.items() if not (value is None and name != "events")}
    fault = check_claims(claims, RULES, NOW)

    assert isinstance(fault, SetFault)
    assert fault.err == code


def meaning(kind: str, details: dict[str, Any] | None = None, **more: Any) -> Any:
    event = SecurityEvent("e-1", NOW - 5, kind, details or {}, **more)
    return read_meaning(event, NOW)


@pytest.mark.parametrize(
    ("kind", "details", "level", "is_benign"),
    [
        ("session-revoked", {}, None, False),
        ("credential-change", {"change_type": "Revoke"}, "revoke", False),
        ("token-claims-change", {"claims": {"role": "x"}}, None, False),
        ("risk-level-change", {"current_level": "HIGH"}, "high", False),
        ("risk-level-change", {"current_level": "LOW"}, "low", True),
        ("risk-level-change", {}, None, False),
        ("risk-level-change", {"current_level": ["LOW"]}, None, False),
        ("device-compliance-change", {"current_status": "not-compliant"}, "not-compliant", False),
        ("device-compliance-change", {"current_status": "compliant"}, "compliant", True),
        ("assurance-level-change", {"current_level": "nist-aal1", "change_direction": "decrease"}, "nist-aal1", False),
        ("assurance-level-change", {"current_level": "nist-aal2", "change_direction": "increase"}, "nist-aal2", True),
        ("assurance-level-change", {"current_level": "nist-aal2"}, "nist-aal2", False),
    ],
)
def test_each_event_of_caep_is_read(kind: str, details: dict[str, Any], level: str | None, is_benign: bool):  # noqa: FBT001
    assert meaning(f"{CAEP}{kind}", details) == CaepSignal(kind, NOW - 5, level, is_benign)  # pyright: ignore[reportArgumentType]


@pytest.mark.parametrize(
    ("details", "more", "at"),
    [
        ({"event_timestamp": NOW - 90}, {}, NOW - 90),
        ({"event_timestamp": (NOW - 90) * 1000}, {}, NOW - 90),
        ({"event_timestamp": NOW + 3600}, {}, NOW),
        ({"event_timestamp": "yesterday"}, {}, NOW - 5),
        ({"event_timestamp": -1}, {}, NOW - 5),
        ({"event_timestamp": float("inf")}, {}, NOW - 5),
        ({"event_timestamp": True}, {}, NOW - 5),
        ({}, {"occurred": NOW - 30}, NOW - 30),
        ({}, {}, NOW - 5),
    ],
)
def test_the_time_of_an_event_is_never_in_the_future(details: dict[str, Any], more: dict[str, Any], at: float):
    assert meaning(SESSION_REVOKED, details, **more).at == at


def test_events_about_the_stream_and_unknown_events_are_told_apart():
    assert meaning(f"{SSF}verification", {"state": "abc"}) == StreamVerification("abc")
    assert meaning(f"{SSF}verification", {"state": 5}) == StreamVerification(None)
    assert meaning(f"{SSF}stream-updated", {"status": "paused"}) == StreamUpdate("paused")
    assert meaning(f"{CAEP}session-established") == OtherEvent()
    assert meaning("session-revoked") == OtherEvent(), "without its prefix it is no event of CAEP"
