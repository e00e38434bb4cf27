from __future__ import annotations

import json
from dataclasses import replace
from typing import Any
from weakref import ref

import pytest
from msgspec import structs

from gateway.model.call import Call, Context
from gateway.model.caller import Actor, AuthMethod, Principal, User
from gateway.model.content import Sighting
from gateway.model.decision import Decision, Obligation, PolicyRevision, Reason, Refusal
from gateway.model.facts import CredentialFact, CredentialOrigin, SessionFacts
from gateway.model.target import Effect, Labels, Pin, Role, Target
from gateway.model.task import Task
from gateway.model.wire import Disposition, Era, Kind, Message
from gateway.record.journal.entry import (
    Outcome,
    call_entry,
    closed_by,
    opened_by,
    pin_entry,
    policy_entry,
    refused_entry,
    settled_entry,
    start_entry,
)
from gateway.record.journal.redaction import conceal_text

SECRET = "ghp_" + "a1B2" * 9
PRINCIPAL = Principal(
    "spiffe://corp/agent",
    "https://idp.example",
    AuthMethod.SPIFFE_JWT,
    user=User("jer"),
    delegation=(Actor("planner", "https://idp.example"),),
    token_id="jti-1",
)
TARGET = Target(
    "tool",
    "github",
    "create_issue",
    "https://api.github",
    "acme",
    "production",
    labels=Labels(Effect.WRITE, roles={"/body": Role.CONTENT}),
    pin=Pin.MATCH,
)
TASK = Task("task-1", "implicit", 0.0, goal=f"use {SECRET}")
NOTHING = frozenset[str]()
FACTS = SessionFacts(1, 1, NOTHING, NOTHING, NOTHING, NOTHING, 0, credentials=(), ungrounded=(), followed=())
REVISION = PolicyRevision("rego", "r1")


def decision(effect: str = "allow") -> Decision:
    reason = Reason("fan-out/audiences", "Too many systems.", "Split it.", ("ASI03",), ("/session/audiences",))
    if effect == "allow":
        return Decision("allow", (), (Obligation("limit", {}),), REVISION)
    return Decision("deny", (reason,), (), REVISION)


def call_fields(
    target: Target = TARGET,
    effect: str = "allow",
    client_name: str | None = "cursor",
    facts: SessionFacts = FACTS,
    caller: Principal = PRINCIPAL,
) -> Any:
    context = Context(0.0, "trace-1", "127.0.0.1", client_name, TASK)
    call = Call("tools/call", target, {"token": SECRET})
    return call_entry(
        "d-1", caller, call, TASK, decision(effect), context=context, arguments_record={"mode": "none"}, facts=facts
    )


def test_a_call_says_who_what_for_which_task_and_under_which_policy():
    assert call_fields() == {
        "id": "d-1",
        "effect": "allow",
        "reasons": [],
        "obligations": ["limit"],
        "policy": {"name": "rego", "revision": "r1"},
        "principal": {
            "key": PRINCIPAL.key,
            "id": "spiffe://corp/agent",
            "issuer": "https://idp.example",
            "method": "spiffe-jwt",
            "user": "jer",
            "delegation": ["planner"],
            "delegation_issuers": ["https://idp.example"],
            "token_id": "jti-1",
        },
        "task": {"id": "task-1", "kind": "implicit"},
        "action": "tools/call",
        "target": {
            "id": "github/create_issue",
            "type": "tool",
            "upstream": "github",
            "audience": "https://api.github",
            "tenant": "acme",
            "environment": "production",
            "trust": "untrusted",
            "effect": "write",
            "egress": True,
            "sensitivity": "internal",
            "roles": {"/body": "content"},
            "pin": "match",
        },
        "arguments": {"mode": "none"},
        "client": {"ip": "127.0.0.1", "name": "cursor"},
        "trace_id": "trace-1",
    }


def test_a_refused_call_says_why():
    assert call_fields(effect="deny")["reasons"] == [
        {"code": "fan-out/audiences", "message": "Too many systems.", "facts": ["/session/audiences"]}
    ]


def test_a_credential_that_a_caller_made_the_name_of_an_argument_is_not_in_the_pointers_to_it():
    pointer = f"/arguments/{SECRET}"
    reason = Reason("tool/arguments", "Not with these.", "", (), (pointer, "/arguments/to"))
    call = Call("tools/call", TARGET, {SECRET: "x"})
    fields: Any = call_entry(
        "d-1",
        PRINCIPAL,
        call,
        TASK,
        Decision("deny", (reason,), (), REVISION),
        context=Context(0.0, "trace-1", "127.0.0.1", None, TASK),
        arguments_record={"mode": "none"},
        facts=structs.replace(FACTS, ungrounded=(f"/{SECRET}",), followed=(f"/{SECRET}",)),
    )

    assert SECRET not in str(fields)
    assert fields["reasons"][0]["facts"] == ["/arguments/[concealed]", "/arguments/to"]


def test_a_call_says_which_credentials_it_holds_and_what_nobody_gave():
    held = CredentialFact.of(Sighting("f1", "jwt", "/token", Role.CREDENTIAL, "base64"), CredentialOrigin("user"))
    facts = structs.replace(
        FACTS,
        credentials=(
            held,
            CredentialFact.of(Sighting("f2", "pem", f"/{SECRET}", shown_by="crm"), CredentialOrigin("result")),
        ),
        ungrounded=("/to",),
    )

    found = call_fields(facts=facts)["found"]
    assert found["ungrounded"] == ["/to"]
    assert found["credentials"][0] == {
        "fingerprint": "f1",
        "detector": "jwt",
        "pointer": "/token",
        "role": "credential",
        "form": "base64",
        "origin": "user",
    }
    assert found["credentials"][1]["shown_by"] == "crm"
    assert SECRET not in json.dumps(found)


def test_a_caller_with_scopes_and_groups_has_them_in_the_record():
    principal = Principal("a", "i", AuthMethod.JWT, scopes=frozenset({"b", "a"}), user=User("u", ("staff",)))
    refusal = Refusal(400, Reason("a/b", "m"), -1)

    fields: Any = refused_entry("d", refusal, trace_id="t", client_ip=None, principal=principal)
    assert (fields["principal"]["scopes"], fields["principal"]["groups"]) == (["a", "b"], ["staff"])


def test_a_record_stays_small_whatever_a_token_holds():
    many = [f"name-{number}" for number in range(1_000)]
    user = User("jer", groups=tuple(many))
    chain = tuple(Actor(name, "https://idp.example") for name in many)
    caller = replace(PRINCIPAL, user=user, scopes=frozenset(many), delegation=chain)
    record = call_fields(caller=caller)["principal"]

    assert [len(record[name]) for name in ("delegation", "scopes", "groups")] == [16, 64, 64]


def test_what_a_result_says_is_in_the_record_if_it_was_kept():
    assert settled_entry("d", Outcome.COMPLETED, duration_ms=1, content={"content": []})["content"] == {"content": []}


def test_what_was_not_looked_at_whole_is_null_in_the_record():
    assert call_fields(facts=structs.replace(FACTS, credentials=None, ungrounded=None, followed=None))["found"] == {
        "credentials": None,
        "ungrounded": None,
        "followed": None,
    }


def test_of_very_many_credentials_the_first_are_recorded():
    held = tuple(
        CredentialFact.of(Sighting(f"f{number}", "jwt"), CredentialOrigin("unknown")) for number in range(1000)
    )

    assert len(call_fields(facts=structs.replace(FACTS, credentials=held))["found"]["credentials"]) == 64


def test_a_secret_in_a_name_that_the_caller_chose_is_not_recorded():
    target = Target("tool", "github", SECRET, "https://api.github")

    assert SECRET not in json.dumps(call_fields(target, client_name=f"client {SECRET}"))
    assert SECRET not in json.dumps(pin_entry("tool", target.id, Pin.MATCH, "d"))


def test_an_allowed_call_is_open_and_a_refused_one_is_not():
    assert opened_by("call", call_fields()) == "d-1"
    assert opened_by("call", call_fields(effect="deny")) is None
    assert opened_by("policy", {"id": "d-1", "effect": "allow"}) is None
    assert opened_by("call", {"id": 1, "effect": "allow"}) is None


def test_an_outcome_closes_a_call():
    settled = settled_entry("d-1", Outcome.COMPLETED, duration_ms=1.0)

    assert closed_by("settled", settled) == "d-1"
    assert closed_by("abandoned", {"id": "d-1"}) == "d-1"
    assert closed_by("call", {"id": "d-1"}) is None


def test_an_outcome_says_how_many_credentials_were_concealed_if_any_had_to_be():
    assert settled_entry("d-1", Outcome.COMPLETED, duration_ms=1.0, concealed=0)["concealed"] == 0
    assert "concealed" not in settled_entry("d-1", Outcome.COMPLETED, duration_ms=1.0)


def test_an_outcome_says_how_it_ended():
    fields = settled_entry(
        "d-1",
        Outcome.UPSTREAM_FAILED,
        duration_ms=12.34567,
        status=502,
        size=10,
        result="ff",
    )

    assert fields == {
        "id": "d-1",
        "outcome": "upstream-failed",
        "bytes": 10,
        "status": 502,
        "result": "ff",
        "duration_ms": 12.346,
    }


def test_what_is_not_known_of_an_outcome_is_left_out():
    assert settled_entry("d-1", Outcome.CANCELLED, duration_ms=1.0, status=0, result="") == {
        "id": "d-1",
        "outcome": "cancelled",
        "bytes": 0,
        "duration_ms": 1.0,
    }


def test_a_refusal_before_policy_is_recorded_as_far_as_the_request_was_known():
    refusal = Refusal(401, Reason("identity/missing", "There is no token."), -32001)

    assert refused_entry("d-1", refusal, trace_id="t", client_ip=None) == {
        "id": "d-1",
        "status": 401,
        "reasons": [{"code": "identity/missing", "message": "There is no token.", "facts": []}],
        "client": {"ip": None, "name": None},
        "trace_id": "t",
    }


def test_a_refusal_of_a_known_request_names_caller_and_method_without_secrets():
    refusal = Refusal(400, Reason("request/method", f"There is no method {SECRET}."), -32601)
    message = Message(Kind.REQUEST, Era.HANDSHAKE, Disposition.REFUSE, b"", SECRET, 1, name=SECRET, client_name=SECRET)

    fields = refused_entry("d-1", refusal, trace_id="t", client_ip=None, principal=PRINCIPAL, message=message)

    assert fields["principal"] == call_fields()["principal"]
    assert SECRET not in json.dumps(fields)
    response = Message(Kind.RESPONSE, Era.HANDSHAKE, Disposition.PASS, b"")
    fields = refused_entry("d-1", refusal, trace_id="t", client_ip=None, message=response)
    assert (fields["method"], fields["name"]) == (None, None)


def test_the_gateways_own_entries():
    assert start_entry("1.0", "127.0.0.1:1", None) == {"version": "1.0", "listen": "127.0.0.1:1", "policy": None}
    assert start_entry("1.0", "x", REVISION)["policy"] == policy_entry(REVISION) == {"name": "rego", "revision": "r1"}
    assert pin_entry("tool", "github/create_issue", Pin.MATCH, "ff") == {
        "type": "tool",
        "target": "github/create_issue",
        "state": "match",
        "digest": "ff",
    }


def test_a_target_without_a_definition_has_no_pin():
    resource = Target("resource", "files", "file:///x", "files")

    assert call_fields(resource)["target"] == {
        "id": "files/file:///x",
        "type": "resource",
        "upstream": "files",
        "audience": "files",
        "tenant": None,
        "environment": None,
        "trust": "untrusted",
        "effect": "write",
        "egress": True,
        "sensitivity": "internal",
        "roles": {},
        "pin": None,
    }


def test_a_caller_without_a_user_has_none():
    refusal = Refusal(400, Reason("a/b", "m"), -1)
    principal = Principal("a", "i", AuthMethod.JWT)

    fields = refused_entry("d", refusal, trace_id="t", client_ip=None, principal=principal)

    assert json.loads(json.dumps(fields))["principal"]["user"] is None


def test_a_caller_with_a_bound_token_is_recorded_so():
    bound = call_fields(caller=replace(PRINCIPAL, bound=True))["principal"]
    certified = call_fields(caller=replace(PRINCIPAL, bound=True, method=AuthMethod.SPIFFE_X509))["principal"]

    assert bound["bound"] is True
    assert "bound" not in certified
    assert "bound" not in call_fields()["principal"]


def test_the_kept_form_of_a_caller_and_a_target_is_never_that_of_another():
    for number in range(600):
        caller = replace(PRINCIPAL, id=f"agent-{number}")
        target = replace(TARGET, name=f"tool-{number}", pin=Pin.MATCH)

        for _ in range(2):
            fields = call_fields(target, caller=caller)
            assert (fields["principal"]["id"], fields["target"]["id"]) == (f"agent-{number}", f"github/tool-{number}")


def test_the_kept_form_of_a_target_does_not_keep_its_definition():
    kept: list[ref[Target]] = []
    for number in range(5):
        target = replace(TARGET, name=f"large-{number}", schema={"x": number})
        call_fields(target)
        kept.append(ref(target))
        del target

    assert [each() for each in kept] == [None] * 5


def withheld(_text: str, _limit: int = 256, /) -> str:
    return "withheld"


@pytest.mark.parametrize("pin", [None, *Pin])
def test_only_a_listed_name_escapes_the_concealment_of_its_call(pin: Pin | None):
    target, context = replace(TARGET, pin=pin), Context(0.0, "trace-1", "127.0.0.1", None, TASK)
    for conceal in (withheld, conceal_text):
        fields: Any = call_entry(
            "d-1",
            PRINCIPAL,
            Call("tools/call", target, {}),
            TASK,
            decision("allow"),
            context=context,
            arguments_record={"mode": "none"},
            facts=FACTS,
            conceal=conceal,
        )
        is_listed = pin not in {None, Pin.UNKNOWN}
        assert fields["target"]["id"] == (target.id if is_listed or conceal is conceal_text else "withheld")
