"""Events for a SIEM follow the schema of OCSF, say what was decided, and come once for each call."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import pytest
from jsonschema import Draft202012Validator

from gateway.record.ocsf import _CLASSES, VERSION, OcsfEvents

SCHEMAS: Final[dict[str, Any]] = json.loads(Path(__file__).with_name(f"ocsf-{VERSION}.json").read_text("utf-8"))[
    "classes"
]
NAMES: Final = {number: name for name, (_, number) in _CLASSES.items()}

CALL: Final[dict[str, Any]] = {
    "seq": 7,
    "time": "2026-12-01T09:56:23.062Z",
    "kind": "call",
    "id": "83c811fe12a1366e72721a9b",
    "effect": "allow",
    "reasons": [],
    "obligations": [],
    "policy": {"name": "opagate", "revision": "e57d66e5708c4bc8"},
    "principal": {
        "key": "9f",
        "id": "triage",
        "issuer": "https://idp.example",
        "method": "jwt",
        "user": None,
        "token_id": "x",
    },
    "task": {"id": "task-1", "kind": "implicit"},
    "action": "tools/call",
    "target": {
        "id": "files/read_file",
        "type": "tool",
        "upstream": "files",
        "audience": "files.example.com",
        "environment": None,
        "trust": "trusted",
        "effect": "read",
        "sensitivity": "internal",
    },
    "client": {"ip": "127.0.0.1", "name": "inspector"},
    "trace_id": "06",
}
DENIED: Final[dict[str, Any]] = CALL | {
    "effect": "deny",
    "reasons": [{"code": "tool/not-granted", "message": "No grant allows it.", "facts": []}],
    "principal": CALL["principal"] | {"user": "ann", "groups": ["sre"]},
    "client": {"ip": None, "name": None},
}
SETTLED: Final[dict[str, Any]] = {
    "seq": 9,
    "time": "2026-12-01T09:56:24.000Z",
    "kind": "settled",
    "id": CALL["id"],
    "outcome": "completed",
    "duration_ms": 114.7,
}
REFUSED: Final[dict[str, Any]] = {
    "seq": 10,
    "time": "2026-12-01T09:56:25.000Z",
    "kind": "refused",
    "id": "aa",
    "status": 401,
    "reasons": [{"code": "identity/missing", "message": "There is no token.", "facts": []}],
    "client": {"ip": "10.0.0.7", "name": None},
}


def _unknown(_call: str) -> None:
    return None


def events(*entries: Any, find: Callable[[str], Any] = _unknown) -> list[Any]:
    made = OcsfEvents("0.1.0", find)
    return [event for entry in entries for event in made.of(entry)]


def problems(event: dict[str, Any]) -> list[str]:
    validator: Any = Draft202012Validator(SCHEMAS[NAMES[event["class_uid"]]])
    return [f"{error.json_path}: {error.message}" for error in validator.iter_errors(event)]


def test_an_allowed_call_is_one_event_at_its_end():
    (event,) = events(CALL, SETTLED)

    assert problems(event) == []
    assert (event["class_uid"], event["type_uid"], event["action_id"], event["status_id"]) == (6003, 600302, 1, 1)
    assert (event["metadata"]["sequence"], event["duration"]) == (9, 115)
    assert event["api"]["operation"] == "tools/call files/read_file"
    assert event["actor"]["app_uid"] == "triage"


def test_a_denied_call_is_an_event_at_once_with_its_reason_and_person():
    (event,) = events(DENIED)

    assert problems(event) == []
    assert (event["action_id"], event["disposition_id"], event["status_id"], event["severity_id"]) == (2, 2, 2, 3)
    assert event["status_code"] == "tool/not-granted"
    assert event["actor"]["user"] == {"uid": "ann", "groups": [{"name": "sre"}]}


@pytest.mark.parametrize("effect", ["read", "write", "destructive", "mint", "exec"])
def test_each_effect_is_an_activity_of_the_schema(effect: str):
    (event,) = events(CALL | {"target": CALL["target"] | {"effect": effect}}, SETTLED)

    assert problems(event) == []


@pytest.mark.parametrize("outcome", ["completed", "error", "cancelled", "upstream-failed", "refused"])
def test_each_outcome_is_a_status_of_the_schema(outcome: str):
    (event,) = events(CALL, SETTLED | {"outcome": outcome})

    assert problems(event) == []
    assert event["status_detail"] == outcome


def test_a_call_that_a_crash_left_open_is_an_event_of_the_next_start():
    (event,) = events(CALL, {"seq": 11, "time": SETTLED["time"], "kind": "abandoned", "id": CALL["id"]})

    assert problems(event) == []
    assert event["status_id"] == 0


def test_a_call_that_began_before_the_cursor_is_looked_up():
    (event,) = events(SETTLED, find={CALL["id"]: CALL}.get)

    assert event["api"]["request"]["uid"] == CALL["id"]


def test_an_end_without_its_call_is_told_all_the_same():
    (event,) = events(SETTLED)

    assert problems(event) == []
    assert event["class_uid"] == 0
    assert event["unmapped"]["outcome"] == "completed"


def test_a_refused_stranger_is_an_event_with_an_address():
    (event,) = events(REFUSED)

    assert problems(event) == []
    assert (event["src_endpoint"], event["api"]["response"], event["action_id"]) == (
        {"ip": "10.0.0.7"},
        {"code": 401},
        2,
    )


@pytest.mark.parametrize(
    "entry",
    [
        {"kind": "start", "version": "0.1.0", "listen": "127.0.0.1:8080", "policy": None},
        {"kind": "stop", "entries": 3, "head": "aa"},
        {"kind": "policy", "name": "opagate", "revision": "x"},
        {"kind": "pin", "type": "tool", "target": "mail/send", "state": "changed", "digest": "sha256:1"},
        {"kind": "switch", "event": "stopped", "by": {"id": "olga", "issuer": "local"}},
        {"kind": "key", "event": "rotated", "by": "olga"},
        {"kind": "lease", "id": "lease-1", "event": "revoked", "task": "t"},
        {"kind": "approval", "id": "a", "event": "granted", "vote": {"person": {"id": "jana"}}},
        {"kind": "cut", "journal": "j", "entries": 3, "known": 5},
        {"kind": "flood", "since": "x", "count": 9, "codes": {"identity/missing": 9}},
        {"kind": "a-later-kind", "anything": [1, {"a": None}]},
    ],
    ids=lambda entry: entry["kind"],
)
def test_each_other_entry_is_an_event_of_the_schema(entry: dict[str, Any]):
    (event,) = events({"seq": 3, "time": SETTLED["time"], **entry, "prev": "0", "check": "1"})

    assert problems(event) == []
    assert event["metadata"]["event_code"] == entry["kind"]
    assert "check" not in event.get("unmapped", {})


@pytest.mark.parametrize("kind", ["segment", "observed", "exposed", "reserved"])
def test_bookkeeping_is_no_event(kind: str):
    assert events({"seq": 3, "time": SETTLED["time"], "kind": kind, "id": "x"}) == []


def test_an_event_with_a_field_of_another_class_would_be_found():
    (event,) = events(CALL, SETTLED)

    assert problems(event | {"entity": {"name": "x"}}) != []
    assert problems({name: value for name, value in event.items() if name != "actor"}) != []
