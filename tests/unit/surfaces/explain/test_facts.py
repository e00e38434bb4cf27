from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from gateway.history.provenance import Cause, Explanation, Mark
from gateway.model.content import Sighting
from gateway.model.facts import CredentialFact, CredentialOrigin, SessionFacts, TaskLabels
from gateway.model.target import Sensitivity
from gateway.surfaces.explain.recorded import Facts, facts_of

CALL: dict[str, Any] = {
    "id": "d-2",
    "target": {"id": "mail/send", "pin": "match"},
    "principal": {"id": "triage"},
    "arguments": {"mode": "full", "value": {"to": ["a", "b"], "a/b": {"~": 1}}},
    "task": {"id": "t"},
    "found": {"credentials": [{"pointer": "/body", "detector": "jwt", "form": "base64"}], "ungrounded": ["/to"]},
}
HELD = CredentialFact.of(
    Sighting("f1", "jwt", "/body"), CredentialOrigin("result", "files", 3), chain_depth=2, minted_in_task=True
)
SESSION = SessionFacts(
    calls=2,
    in_flight=1,
    audiences=frozenset({"files", "mail"}),
    write_audiences=frozenset(),
    tenants=frozenset(),
    environments=frozenset(),
    denials=0,
    credentials=(
        HELD,
        CredentialFact.of(Sighting("f2", "jwt"), CredentialOrigin("user")),
        CredentialFact.of(Sighting("f3", "jwt"), CredentialOrigin("unknown")),
    ),
    labels=TaskLabels(untrusted=True, confidentiality=Sensitivity.PUBLIC),
)
FIRST = Cause(Mark("d-1", 1, "T", "files/read"), "was the first")
EXPLANATION = Explanation(
    SESSION,
    destinations=9,
    missing=0,
    declared={"goal": "mend it", "contract": {"audiences": ["files"]}},
    causes={"audiences": (FIRST,), "credentials/0": (FIRST,), "labels/untrusted": (FIRST,), "ungrounded": (FIRST,)},
)
FACTS = facts_of(CALL, EXPLANATION)


@pytest.mark.parametrize(
    ("pointer", "value"),
    [
        ("/resource/properties/pin", "match"),
        ("/resource/id", "mail/send"),
        ("/subject/id", "triage"),
        ("/context/task/id", "t"),
        ("/context/task/contract/audiences", ["files"]),
        ("/arguments/to/1", "b"),
        ("/arguments/a~1b/~0", 1),
        ("/arguments/to/2", None),
        ("/arguments/to/x", None),
        ("/arguments/to/1/deeper", None),
        ("/argumentsx", None),
        ("/session/calls", 2),
        ("/session/audiences/1", "mail"),
        ("/session/labels/untrusted", True),
        ("/session/credentials/0/origin/call", 3),
        ("/session/call_destinations", {"count": 9}),
        ("/session/spread", None),
        ("", None),
    ],
)
def test_a_fact_is_found_where_the_record_has_it(pointer: str, value: object):
    assert FACTS.value(pointer) == value


@pytest.mark.parametrize(
    ("pointer", "words"),
    [
        ("/session/audiences", '["files", "mail"]'),
        ("/session/call_destinations", "9, of which the journal keeps digests"),
        ("/session/spread", "unknown"),
        (
            "/session/credentials/0",
            "jwt f1 in /body, from a result of files, 2 more credentials before it, made in this task",
        ),
        ("/session/credentials/1", "jwt f2 in /, from the user"),
        ("/session/credentials/2", "jwt f3 in /, of unknown origin"),
        ("/session/credentials/0/detector", '"jwt"'),
        ("/arguments/body", "a credential (jwt, base64)"),
        ("/arguments/cc", "(the journal does not keep it)"),
        ("/context/time", "(the journal does not keep it)"),
    ],
)
def test_a_fact_is_told_in_words(pointer: str, words: str):
    assert FACTS.words(pointer) == words


def test_a_value_that_nobody_gave_is_said_to_be_so_where_the_record_has_a_digest():
    without = facts_of({**CALL, "arguments": {"mode": "digest"}}, EXPLANATION)

    assert without.words("/arguments/to") == (
        "(the journal does not keep it); neither the task nor a trusted source named it"
    )


@pytest.mark.parametrize(
    "pointer",
    ["/session/audiences", "/session/audiences/0", "/session/credentials/0/origin", "/session/labels/untrusted"],
)
def test_the_calls_that_made_a_fact_made_its_parts(pointer: str):
    assert FACTS.causes(pointer) == (FIRST,)


def test_a_value_that_nobody_gave_leads_to_what_was_read():
    assert FACTS.causes("/arguments/to") == (FIRST,)
    assert FACTS.causes("/arguments/body") == ()


@pytest.mark.parametrize("pointer", ["/session/calls", "/session/credentials/1", "/session", "/resource/id", ""])
def test_what_no_call_made_has_no_calls(pointer: str):
    assert FACTS.causes(pointer) == ()


def test_of_a_request_that_policy_never_saw_only_the_entry_is_known():
    facts = facts_of({"id": "d-3", "principal": {"id": "triage"}}, None)

    assert facts == Facts({"id": "d-3", "principal": {"id": "triage"}})
    assert facts.value("/subject/id") == "triage"
    assert facts.causes("/session/audiences") == ()
    assert facts.words("/session/audiences") == "unknown"


def test_destinations_that_are_not_known_have_no_number():
    assert facts_of(CALL, replace(EXPLANATION, destinations=None)).value("/session/call_destinations") is None
