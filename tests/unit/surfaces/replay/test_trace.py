from __future__ import annotations

from typing import Any

import pytest

from gateway.model.caller import AuthMethod
from gateway.model.target import Effect, Pin, Role
from gateway.surfaces.replay.secrets import secret
from gateway.surfaces.replay.trace import BEGINNING, Expectation, Flaw, head, step

CALL = {"upstream": "fs", "tool": "read_file"}


def test_a_trace_of_an_id_alone_is_an_implicit_task_of_a_developer():
    trace = head({"id": "t"}, ())

    assert (trace.task.kind, trace.task.opened, trace.task.contract) == ("implicit", BEGINNING, None)
    assert (trace.principal.id, trace.principal.method, trace.principal.user) == ("dev", AuthMethod.DEVELOPMENT, None)


def test_a_task_is_read_in_full():
    contract = {
        "audiences": ["fs"],
        "tools": ["fs/*"],
        "destinations": ["{{secret:aws}}@corp.example"],
        "credential_flows": [{"from": "fs", "to": "mail"}],
        "limits": {"audiences": 4},
    }
    task = {"goal": "use {{secret:aws}}", "risk": "low", "tenant": "acme", "environment": "test", "contract": contract}
    trace = head({"id": "t", "task": task}, ())

    assert trace.task.kind == "declared"
    assert trace.task.goal == f"use {secret('t', 'aws')}"
    assert (trace.task.risk, trace.task.tenant, trace.task.environment) == ("low", "acme", "test")
    assert trace.task.contract is not None
    assert trace.task.contract.destinations == (f"{secret('t', 'aws')}@corp.example",)
    assert trace.task.contract.credential_flows == (("fs", "mail"),)
    assert trace.task.contract.limits == {"audiences": 4}


@pytest.mark.parametrize(
    ("task", "issuer", "method", "bound"),
    [
        ({"agent": "spiffe://corp/agent/a"}, "spiffe://corp", AuthMethod.SPIFFE_X509, True),
        ({"agent": "a", "issuer": "https://idp.example"}, "https://idp.example", AuthMethod.JWT, True),
        (
            {"agent": "spiffe://corp/a", "issuer": "https://idp.example"},
            "https://idp.example",
            AuthMethod.SPIFFE_X509,
            True,
        ),
        ({"agent": "a"}, "urn:opagate:development", AuthMethod.DEVELOPMENT, False),
    ],
)
def test_a_caller_has_proved_itself_as_well_as_its_kind_can(
    task: dict[str, Any], issuer: str, method: AuthMethod, *, bound: bool
):
    extra = {"user": "ana", "groups": ["staff"], "scopes": ["tools"], "delegation": ["first", "second"]}
    principal = head({"id": "t", "task": {**task, **extra}}, ()).principal

    assert (principal.issuer, principal.method, principal.bound) == (issuer, method, bound)
    assert principal.user is not None
    assert (principal.user.id, principal.user.groups, principal.scopes) == ("ana", ("staff",), {"tools"})
    assert [actor.id for actor in principal.delegation] == ["first", "second"]


def test_a_described_tool_has_its_labels():
    site = {
        "audience": "files",
        "trust": "trusted",
        "tenant": "acme",
        "environment": "test",
        "aggregates": ["mail"],
        "tools": {"read_*": {"effect": "read", "egress": False, "roles": {"/path": "selector"}}},
    }
    trace = head({"id": "t", "upstreams": {"fs": site}}, ())
    target = trace.target(step(CALL, 0, "t", None))

    assert (target.audience, target.trust, target.tenant, target.environment) == ("files", "trusted", "acme", "test")
    assert (target.labels.effect, target.labels.egress) == (Effect.READ, False)
    assert target.labels.roles == {"/path": Role.SELECTOR}
    assert (target.pin, target.aggregates) == (Pin.UNPINNED, ("mail",))


@pytest.mark.parametrize("upstreams", [{}, {"fs": {"tools": {"other": {"effect": "read"}}}}])
def test_what_is_not_described_is_taken_for_the_worst(upstreams: dict[str, Any]):
    target = head({"id": "t", "upstreams": upstreams}, ()).target(step(CALL, 0, "t", None))

    assert target.aggregates is None
    assert (target.audience, target.trust, target.labels.effect, target.labels.egress, target.labels.roles) == (
        "fs",
        "untrusted",
        Effect.WRITE,
        True,
        {},
    )


def test_steps_are_a_second_apart_unless_they_say_when():
    first = step(CALL, 0, "t", None)
    second = step(CALL, 1, "t", first.at)
    third = step({**CALL, "at": 60}, 2, "t", second.at)

    assert (first.at, second.at, third.at) == (0.0, 1.0, 60.0)


def test_an_expectation_may_name_alternatives():
    read = step({**CALL, "expect": {"effect": "deny|ask", "code": "a/b"}}, 0, "t", None)

    assert read.expect == Expectation(frozenset({"deny", "ask"}), "a/b")


@pytest.mark.parametrize(
    ("members", "place"),
    [
        ({}, "id: it is missing"),
        ({"id": ""}, "id: "),
        ({"id": "t", "tasks": {}}, "tasks: there is no such field"),
        ({"id": "t", "task": {"goals": ""}}, "task.goals: there is no such field"),
        ({"id": "t", "task": {"goal": "{{secret:X}}"}}, "task: write secrets like"),
        ({"id": "t", "task": {"contract": {"destinations": ["{{secret:x:y}}"]}}}, "task: 'y' is no form of a secret"),
        ({"id": "t", "task": {"contract": {"limits": {"audiences": "3"}}}}, "task.contract.limits.audiences: "),
        (
            {"id": "t", "task": {"contract": {"credential_flows": [{"from": "a"}]}}},
            "task.contract.credential_flows[0].to: it is",
        ),
        ({"id": "t", "upstreams": {"fs": {"trust": "full"}}}, "upstreams.fs.trust: "),
        ({"id": "t", "upstreams": {"fs": {"tools": {"r": {"effect": "look"}}}}}, "upstreams.fs.tools.r.effect: "),
        (
            {"id": "t", "upstreams": {"fs": {"tools": {"r": {"roles": {"path": "selector"}}}}}},
            "upstreams.fs.tools.r.roles: ",
        ),
    ],
)
def test_what_is_wrong_with_a_trace_is_said_with_its_field(members: dict[str, Any], place: str):
    with pytest.raises(Flaw) as raised:
        head(members, ())

    assert str(raised.value).startswith(place)


@pytest.mark.parametrize(
    ("value", "place"),
    [
        ([], "steps[3]: "),
        ({"tool": "x"}, "steps[3].upstream: it is missing"),
        ({**CALL, "upstream": "a/b"}, "steps[3].upstream: "),
        ({**CALL, "arguments": []}, "steps[3].arguments: "),
        ({**CALL, "argument": {}}, "steps[3].argument: there is no such field"),
        ({**CALL, "expect": {"effect": "allow or deny"}}, "steps[3].expect.effect: "),
        ({**CALL, "expect": {"effect": "deny", "codes": []}}, "steps[3].expect.codes: there is no such field"),
        ({**CALL, "at": "9"}, "steps[3].at: "),
        ({**CALL, "at": -1}, "steps[3].at: "),
        ({**CALL, "at": 8.5}, "steps[3].at: it is before the step before it, at 9"),
        ({**CALL, "at": 1e300}, "steps[3].at: "),
        ({**CALL, "result": "{{secret}}"}, "steps[3]: write secrets like"),
        ({**CALL, "arguments": {"a": "{{secret:a:z}}"}}, "steps[3]: 'z' is no form"),
    ],
)
def test_what_is_wrong_with_a_step_is_said_with_its_field(value: object, place: str):
    with pytest.raises(Flaw) as raised:
        step(value, 3, "t", 9.0)

    assert str(raised.value).startswith(place)


def test_no_value_is_quoted_in_what_is_said():
    with pytest.raises(Flaw) as raised:
        step({**CALL, "at": "hunter2hunter2"}, 0, "t", None)

    assert "hunter2" not in str(raised.value)
