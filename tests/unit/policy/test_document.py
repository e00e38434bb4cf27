from __future__ import annotations

import dataclasses
import json
import math
from types import MappingProxyType
from typing import Any, cast, get_args

import jsonschema
import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import structs

from gateway.model.call import SIGNAL_TYPES, ActionName, Call, Context, OpenLeases, SignalFact
from gateway.model.caller import Actor, AuthMethod, Principal, User
from gateway.model.content import Sighting
from gateway.model.errors import PolicyInput
from gateway.model.facts import CredentialFact, CredentialOrigin, SessionFacts, SystemFact, TaskLabels, TreeFact
from gateway.model.target import Effect, Labels, Pin, Role, Sensitivity, Target, TargetCredential
from gateway.model.task import Contract, Task
from gateway.policy import contract, document

PRINCIPAL = Principal(
    "spiffe://corp/agent/triage",
    "https://idp.example",
    AuthMethod.JWT,
    scopes=frozenset({"b", "a"}),
    user=User("jer", ("sre",)),
    delegation=(Actor("planner", "https://idp.example"), Actor("root", None)),
    bound=True,
)
TARGET = Target(
    "tool",
    "github",
    "create_issue",
    "https://api.github.example",
    tenant="acme",
    environment="production",
    labels=Labels(roles={"/title": Role.CONTENT}),
    pin=Pin.MATCH,
    annotations={"readOnlyHint": True},
)
CALL = Call("tools/call", TARGET, {"title": "x"})
TASK = Task("t1", "declared", 1_000_000_000.25, 2_000_000_000, "mend it")
CONTEXT = Context(1_500_000_000.5, "0af7", "10.0.0.1", "cursor", TASK, ("redact", "label"))
FACTS = SessionFacts(3, 1, frozenset({"y", "x"}), frozenset({"x"}), frozenset({"acme"}), frozenset({"production"}), 2)
SEEN = Sighting("fp:1", "github-pat", "/headers/Authorization", Role.CREDENTIAL, "base64")
ALL_FACTS = structs.replace(
    FACTS,
    audiences_in_window=frozenset({"y", "x"}),
    destinations=7,
    call_destinations=("a@b.example",),
    depth=2,
    spread=1,
    credentials=(
        CredentialFact.of(
            SEEN, CredentialOrigin("result", "https://api.github.example", 3), chain_depth=2, minted_in_task=True
        ),
        CredentialFact.of(Sighting("fp:2", "jwt", "/body"), CredentialOrigin("unknown")),
    ),
    labels=TaskLabels(untrusted=True, confidentiality=Sensitivity.CONFIDENTIAL),
    ungrounded=("/to",),
    followed=("/url",),
    approvals_used=4,
)

SUBJECT = {
    "type": "agent",
    "id": "spiffe://corp/agent/triage",
    "properties": {
        "issuer": "https://idp.example",
        "auth_method": "jwt",
        "bound": True,
        "scopes": ["a", "b"],
        "user": {"id": "jer", "groups": ["sre"]},
        "delegation": [{"id": "planner", "issuer": "https://idp.example"}, {"id": "root"}],
        "delegation_depth": 2,
    },
}
RESOURCE = {
    "type": "tool",
    "id": "github/create_issue",
    "properties": {
        "upstream": "github",
        "audience": "https://api.github.example",
        "tool": "create_issue",
        "tenant": "acme",
        "environment": "production",
        "effect": "write",
        "egress": True,
        "sensitivity": "internal",
        "trust": "untrusted",
        "roles": {"/title": "content"},
        "pin": "match",
        "annotations": {"readOnlyHint": True},
    },
}
CONDITIONS = {
    "time": "2017-07-14T02:40:00.500000Z",
    "trace_id": "0af7",
    "client": {"ip": "10.0.0.1", "name": "cursor"},
    "task": {
        "id": "t1",
        "kind": "declared",
        "opened": "2001-09-09T01:46:40.250000Z",
        "expires": "2033-05-18T03:33:20Z",
        "goal": "mend it",
    },
    "approval": None,
    "supported_obligations": ["label", "redact"],
}
SESSION = {
    "calls": 3,
    "in_flight": 1,
    "audiences": ["x", "y"],
    "write_audiences": ["x"],
    "tenants": ["acme"],
    "environments": ["production"],
    "denials": 2,
}
"""What policy is to read of the values above."""


def _read(value: object) -> Any:
    return json.loads(document.encode(value))  # type: ignore[arg-type] - any JSON object


def test_a_decision_document_is_exactly_the_contract():
    assert _read(document.decision(PRINCIPAL, CALL, CONTEXT, FACTS)) == {
        "version": 1,
        "subject": SUBJECT,
        "action": {"name": "tools/call"},
        "resource": RESOURCE,
        "arguments": {"title": "x"},
        "context": CONDITIONS,
        "session": SESSION,
    }


def test_what_is_not_known_is_absent():
    principal = Principal("a", "i", AuthMethod.ANONYMOUS)
    target = Target("resource", "files", "file:///x", "files")
    context = Context(0.0, "t", None, None, Task("t", "implicit", 0.0))

    read = _read(document.decision(principal, Call("resources/read", target, {}), context, FACTS))

    assert read["subject"]["properties"]["user"] is None
    assert read["context"]["client"] == {}
    assert read["context"]["task"] == {"id": "t", "kind": "implicit", "opened": "1970-01-01T00:00:00Z"}
    assert not {"tool", "tenant", "environment", "pin"} & read["resource"]["properties"].keys()


def test_open_signals_are_in_the_context_and_absent_if_there_are_none():
    facts = (SignalFact("risk-level-change", 1_000_000_000.25, "high"), SignalFact("credential-change", 1.0))
    signalled = structs.replace(CONTEXT, signals=facts)

    assert "signals" not in _read(document.decision(PRINCIPAL, CALL, CONTEXT, FACTS))["context"]
    assert _read(document.decision(PRINCIPAL, CALL, signalled, FACTS))["context"]["signals"] == [
        {"type": "risk-level-change", "at": "2001-09-09T01:46:40.250000Z", "level": "high"},
        {"type": "credential-change", "at": "1970-01-01T00:00:01Z"},
    ]


def test_every_fact_that_is_known_has_its_name_in_the_contract():
    session = _read(document.decision(PRINCIPAL, CALL, CONTEXT, ALL_FACTS))["session"]

    assert {name: session[name] for name in session.keys() - {*_read(document.session(FACTS))}} == {
        "audiences_in_window": ["x", "y"],
        "destinations": 7,
        "call_destinations": ["a@b.example"],
        "depth": 2,
        "spread": 1,
        "credentials": [
            {
                "fingerprint": "fp:1",
                "detector": "github-pat",
                "pointer": "/headers/Authorization",
                "role": "credential",
                "origin": {"kind": "result", "audience": "https://api.github.example", "call": 3},
                "chain_depth": 2,
                "minted_in_task": True,
                "handle": False,
                "form": "base64",
            },
            {
                "fingerprint": "fp:2",
                "detector": "jwt",
                "pointer": "/body",
                "origin": {"kind": "unknown"},
                "chain_depth": 0,
                "minted_in_task": False,
                "handle": False,
            },
        ],
        "labels": {"untrusted": True, "confidentiality": "confidential"},
        "ungrounded": ["/to"],
        "followed": ["/url"],
        "approvals_used": 4,
    }


RARE_FACTS: dict[str, Any] = {
    "assumed_write_audiences": ["w"],
    "unnamed_systems": ["u"],
    "unnamed_destinations": 3,
    "own_destinations": 2,
    "known_destinations": ["d"],
    "named_accounts": ["ada"],
    "unsourced": ["/s"],
    "call_own_destinations": 1,
    "raises": {"audiences": 6},
    "approved": {"audiences": 5},
    "unread": ["/n"],
    "recorded": ["/r"],
    "dictated": "quotes",
}


def test_no_fact_of_the_contract_is_left_out():
    given: dict[str, Any] = {
        name: tuple(cast("list[str]", value)) if isinstance(value, list) else value
        for name, value in RARE_FACTS.items()
    }
    given["assumed_write_audiences"] = frozenset({"w"})
    given["confidential_systems"] = (SystemFact("hr", "acme"),)
    given["trees"] = (TreeFact("root", {"calls": 2}),)

    session = _read(document.session(structs.replace(ALL_FACTS, **given)))

    assert session.keys() == set(SessionFacts.__struct_fields__)
    assert {name: session[name] for name in RARE_FACTS} == RARE_FACTS
    assert session["confidential_systems"] == [{"audience": "hr", "tenant": "acme"}]
    assert session["trees"] == [{"task": "root", "raises": {"calls": 2}}]


def test_a_fact_of_nothing_is_not_an_absent_fact():
    facts = structs.replace(FACTS, call_destinations=(), credentials=(), ungrounded=(), destinations=0, spread=0)

    session = _read(document.decision(PRINCIPAL, CALL, CONTEXT, facts))["session"]

    assert (session["call_destinations"], session["credentials"], session["ungrounded"]) == ([], [], [])
    assert (session["destinations"], session["spread"]) == (0, 0)


def test_a_task_is_told_with_its_contract():
    declared = Contract(frozenset({"b", "a"}), ("github/*",), ("a@b.example",), (("a", "b"),), {"audiences": 4})
    task = dataclasses.replace(TASK, risk="high", tenant="acme", environment="staging", contract=declared)
    context = structs.replace(CONTEXT, task=task)

    told = _read(document.decision(PRINCIPAL, CALL, context, FACTS))["context"]["task"]

    assert (told["risk"], told["tenant"], told["environment"]) == ("high", "acme", "staging")
    assert told["contract"] == {
        "audiences": ["a", "b"],
        "tools": ["github/*"],
        "destinations": ["a@b.example"],
        "credential_flows": [{"from": "a", "to": "b"}],
        "limits": {"audiences": 4},
    }


def test_a_list_that_narrows_nothing_is_absent_and_one_that_allows_nothing_is_empty():
    def told(declared: Contract) -> Any:
        context = structs.replace(CONTEXT, task=dataclasses.replace(TASK, contract=declared))
        return _read(document.decision(PRINCIPAL, CALL, context, FACTS))["context"]["task"]["contract"]

    assert told(Contract()) == {"credential_flows": [], "limits": {}}
    empty = told(Contract(frozenset(), (), ()))
    assert [empty[name] for name in ("audiences", "tools", "destinations")] == [[], [], []]


def test_a_visibility_document_has_resources_in_the_place_of_one():
    read = _read(document.visibility(PRINCIPAL, (TARGET, TARGET), CONTEXT, FACTS))

    assert read.keys() == {"version", "subject", "resources", "context", "session"}
    assert [item["id"] for item in read["resources"]] == ["github/create_issue", "github/create_issue"]


TEXT = st.text(st.characters(codec="utf-8"), max_size=8)
VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=8,
)
TARGETS = st.builds(
    Target,
    type=st.sampled_from(["tool", "resource", "prompt"]),
    upstream=TEXT,
    name=TEXT,
    audience=TEXT,
    tenant=st.none() | TEXT,
    environment=st.none() | TEXT,
    trust=st.sampled_from(["trusted", "untrusted"]),
    labels=st.builds(
        Labels,
        st.sampled_from(Effect),
        st.booleans(),
        st.sampled_from(Sensitivity),
        st.dictionaries(TEXT, st.sampled_from(Role), max_size=2),
    ),
    pin=st.none() | st.sampled_from(Pin),
    annotations=st.dictionaries(TEXT, VALUES, max_size=2),
)
PRINCIPALS = st.builds(
    Principal,
    id=TEXT,
    issuer=TEXT,
    method=st.sampled_from(AuthMethod),
    scopes=st.frozensets(TEXT, max_size=3),
    user=st.none() | st.builds(User, TEXT, st.lists(TEXT, max_size=2).map(tuple)),
    delegation=st.lists(st.builds(Actor, TEXT, st.none() | TEXT), max_size=2).map(tuple),
    bound=st.booleans(),
)
TIMES = st.floats(allow_nan=True, allow_infinity=True)
SETS = st.frozensets(TEXT, max_size=3)
LISTS = st.lists(TEXT, max_size=2).map(tuple)
COUNTS = st.integers(0, 10**6)
TASKS = st.builds(
    Task,
    TEXT,
    st.sampled_from(["declared", "implicit"]),
    TIMES,
    st.none() | TIMES,
    st.none() | TEXT,
    st.sampled_from([None, "low", "medium", "high"]),
    st.none() | TEXT,
    st.none() | TEXT,
    st.none()
    | st.builds(
        Contract,
        st.none() | SETS,
        st.none() | LISTS,
        st.none() | LISTS,
        st.lists(st.tuples(TEXT, TEXT), max_size=2).map(tuple),
        st.dictionaries(TEXT, COUNTS, max_size=2),
    ),
)
ASSURANCES = st.sampled_from(["chat", "peer", "login", "mfa", "passkey"])
WORDS = st.text(min_size=1, max_size=9)
APPROVERS = st.fixed_dictionaries(
    {"id": WORDS, "issuer": WORDS, "groups": st.lists(WORDS, max_size=2), "assurance": ASSURANCES}
)
APPROVALS = st.fixed_dictionaries(
    {
        "id": WORDS,
        "digest": WORDS,
        "approvers": st.lists(APPROVERS, min_size=1, max_size=3),
        "granted": TIMES.map(document.timestamp),
        "scopes": st.lists(st.sampled_from(["once", "destination", "limit"]), min_size=1, max_size=3),
        "answers": st.lists(WORDS, max_size=3),
    }
)


def _context(**fields: Any) -> Context:
    # Hypothesis cannot resolve the recursive type of `approval`.
    return Context(**fields)


SIGNALS = st.builds(SignalFact, st.sampled_from(SIGNAL_TYPES), TIMES, st.none() | WORDS)
CONTEXTS = st.builds(
    _context,
    time=TIMES,
    trace_id=TEXT,
    client_ip=st.none() | TEXT,
    client_name=st.none() | TEXT,
    task=TASKS,
    supported_obligations=LISTS,
    approval=st.none() | APPROVALS,
    signals=st.lists(SIGNALS, max_size=2).map(tuple),
)
CREDENTIALS = st.builds(
    CredentialFact.of,
    st.builds(Sighting, TEXT, TEXT, TEXT, st.none() | st.sampled_from(Role)),
    st.builds(
        CredentialOrigin,
        st.sampled_from(["result", "broker", "user", "unknown"]),
        st.none() | TEXT,
        st.none() | st.integers(1, 9),
    ),
    chain_depth=COUNTS,
    minted_in_task=st.booleans(),
)
SESSIONS = st.builds(
    SessionFacts,
    *(COUNTS, COUNTS, SETS, SETS, SETS, SETS, COUNTS),
    audiences_in_window=st.none() | SETS,
    destinations=st.none() | COUNTS,
    call_destinations=st.none() | LISTS,
    depth=st.none() | COUNTS,
    spread=st.none() | COUNTS,
    credentials=st.none() | st.lists(CREDENTIALS, max_size=2).map(tuple),
    labels=st.none() | st.builds(TaskLabels, st.booleans(), st.sampled_from(Sensitivity)),
    ungrounded=st.none() | LISTS,
    followed=st.none() | LISTS,
    approvals_used=st.none() | COUNTS,
)
ACTIONS: st.SearchStrategy[ActionName] = st.sampled_from(get_args(ActionName))
CALLS = st.tuples(ACTIONS, TARGETS, st.dictionaries(TEXT, VALUES, max_size=3)).map(lambda parts: Call(*parts))
VALIDATOR: Any = jsonschema.Draft7Validator(contract.schemas()["input.json"])


@given(PRINCIPALS, CALLS, CONTEXTS, SESSIONS)
def test_every_decision_document_is_what_the_schema_says(
    principal: Principal, call: Call, context: Context, facts: SessionFacts
):
    encoded = document.encode(document.decision(principal, call, context, facts))

    VALIDATOR.validate(json.loads(encoded))
    assert msgspec.json.decode(encoded, type=contract.Input)
    assert json.loads(encoded)["arguments"] == call.arguments


@given(PRINCIPALS, st.lists(TARGETS, max_size=3), CONTEXTS, SESSIONS)
def test_every_visibility_document_is_what_the_schema_says(
    principal: Principal, targets: list[Target], context: Context, facts: SessionFacts
):
    encoded = document.encode(document.visibility(principal, targets, context, facts))

    VALIDATOR.validate(json.loads(encoded))


def _bare(value: object) -> object:
    return value


def _in_lists(value: object) -> object:
    return [1, [value]]


def _in_mappings(value: object) -> object:
    return {"a": {"b": (value,)}}


@pytest.mark.parametrize(
    ("value", "problem"),
    [
        (math.nan, "not finite"),
        (math.inf, "not finite"),
        (-math.inf, "not finite"),
        (2**64, "64 bits"),
        (-(2**63) - 1, "64 bits"),
        ("\ud800", "Unicode"),
    ],
)
@pytest.mark.parametrize("nest", [_bare, _in_lists, _in_mappings])
def test_a_value_that_readers_would_not_read_alike_is_refused(value: object, problem: str, nest: Any):
    call = structs.replace(CALL, arguments={"x": nest(value)})

    with pytest.raises(PolicyInput, match=problem) as raised:
        document.encode(document.decision(PRINCIPAL, call, CONTEXT, FACTS))

    assert raised.value.code == "policy/input"


def test_an_annotation_that_readers_would_not_read_alike_is_refused_in_a_list_too():
    target = dataclasses.replace(TARGET, annotations={"x": 1e400})

    with pytest.raises(PolicyInput, match="not finite"):
        document.encode(document.visibility(PRINCIPAL, [target], CONTEXT, FACTS))


def test_endless_nesting_is_refused():
    deep: Any = []
    for _ in range(100_000):
        deep = [deep]
    call = structs.replace(CALL, arguments={"x": deep})

    with pytest.raises(PolicyInput, match="nested"):
        document.encode(document.decision(PRINCIPAL, call, CONTEXT, FACTS))


def test_any_mapping_can_be_arguments():
    arguments = MappingProxyType({"x": MappingProxyType({"y": 1})})
    call = structs.replace(CALL, arguments=arguments)

    assert _read(document.decision(PRINCIPAL, call, CONTEXT, FACTS))["arguments"] == {"x": {"y": 1}}


def test_a_lent_credential_and_the_open_leases_are_told():
    target = dataclasses.replace(TARGET, credential=TargetCredential("exchange", "at_once", 60))
    context = structs.replace(CONTEXT, leases=OpenLeases(open=3, stuck=1))
    read = _read(document.decision(PRINCIPAL, structs.replace(CALL, target=target), context, FACTS))

    assert read["resource"]["properties"]["credential"] == {
        "kind": "exchange",
        "revocable": "at_once",
        "min_ttl_seconds": 60,
    }
    assert read["context"]["task"]["leases"] == {"open": 3, "stuck": 1}
