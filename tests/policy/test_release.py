"""The release of an approved call, beside a second implementation of its rules in Python, on both engines.

The overlay says whatever the arguments of a call give it, so that the rules on approvers can be anything.
"""

from __future__ import annotations

import copy
import json
import math
from typing import Any, Final, cast

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gateway.policy.plan.program import CompiledPolicy
from tests.policy import test_overlay
from tests.policy.conftest import FIXTURES, Opa
from tests.policy.test_overlay import ASSURANCES

CALL: Final[dict[str, Any]] = yaml.safe_load((FIXTURES / "bases.yaml").read_text("utf-8"))["read"]
SCOPES: Final = ("once", "destination", "limit")
PARTIES: Final = ("requester", "user", "delegates")
PEOPLE: Final = ("bob", "BOB", " bob", "eve", "Éve", "alice", "Alice ", "dev", "DEV", "helper", "carol")
QUESTION: Final = {"code": "acme/x", "facts": ["/arguments/path"]}

RULES = st.fixed_dictionaries(
    {"count": st.integers(1, 3)},
    optional={
        "group": st.sampled_from(["sre", "security"]),
        "exclude": st.lists(st.sampled_from(PARTIES), max_size=3),
        "assurance": st.sampled_from(ASSURANCES),
        "expires_seconds": st.integers(1, 2000),
        "max_age_seconds": st.sampled_from([60, 300]),
        "recur_seconds": st.integers(1, 2000),
        "scopes": st.lists(st.sampled_from((*SCOPES, "recurring")), min_size=1, max_size=4),
    },
)
UNREADABLE = st.sampled_from(
    [None, {"count": 0}, {"count": 1.5}, {"count": "2"}, {"count": 1, "group": ""}, {"count": 1, "more": 1}, []]
)
PERSONS = st.fixed_dictionaries(
    {
        "id": st.sampled_from(PEOPLE),
        "issuer": st.sampled_from(["https://a.example", "https://b.example"]),
        "groups": st.lists(st.sampled_from(["sre", "security", "SRE"]), max_size=3),
        "assurance": st.sampled_from([*ASSURANCES, *ASSURANCES, "retina"]),
    },
    optional={"login_age_seconds": st.sampled_from([0, 60, 60.5, 299.9, 300.1])},
)
APPROVALS = st.fixed_dictionaries(
    {
        "id": st.just("a1"),
        "digest": st.just("sha256:00"),
        "granted": st.just("2026-11-24T09:59:00Z"),
        "approvers": st.lists(PERSONS, max_size=4),
        "scopes": st.lists(st.sampled_from((*SCOPES, "recurring")), max_size=2),
        "answers": st.sampled_from([["acme/x"], ["acme/x"], ["acme/x", "a/b"], ["a/b"], []]),
    }
)
CASES = st.fixed_dictionaries(
    {
        "rules": st.lists(RULES, max_size=3),
        "environment": st.sampled_from(["demo", "production", "prod-eu"]),
        "delegates": st.sampled_from([[], ["helper"], ["HELPER", "carol"]]),
        "approval": APPROVALS,
    }
)
_SETTINGS = settings(
    max_examples=600,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)


places, engine, opa = test_overlay.places, test_overlay.with_overlay, test_overlay.opa
"""The fixtures of a policy with an overlay, on both engines."""


def document(case: dict[str, Any]) -> dict[str, Any]:
    """Return the input of a call that the overlay asks about, with the rules and the approval of a case."""
    made = copy.deepcopy(CALL)
    obligations = [{"id": "require_approvers", "properties": rule} for rule in case["rules"]]
    made["arguments"]["own"] = {"denials": [], "asks": [QUESTION], "obligations": obligations, "hidden": []}
    made["resource"]["properties"]["environment"] = case["environment"]
    made["subject"]["properties"]["delegation"] = [{"id": name, "issuer": "urn:a"} for name in case["delegates"]]
    made["subject"]["properties"]["delegation_depth"] = len(case["delegates"])
    made["context"]["approval"] = case["approval"]
    return made


def person(name: str) -> str:
    return name.strip().casefold()


def excluded(case: dict[str, Any]) -> set[str]:
    """Return the persons who may not approve."""
    parties = {"requester", *(party for rule in case["rules"] for party in rule.get("exclude", ()))}
    if case["environment"] != "demo":
        parties |= {"user", "delegates"}
    names = {"requester": ["dev"], "user": ["alice"], "delegates": case["delegates"]}
    return {person(name) for party in parties for name in names[party]}


def reach(case: dict[str, Any]) -> set[str]:
    """Return the scopes in reach. The shipped settings let nothing recur, and no overlay loosens them."""
    lists = [set(rule["scopes"]) for rule in case["rules"] if "scopes" in rule]
    return {"once"} | set(SCOPES).intersection(*lists)


def is_released(case: dict[str, Any]) -> bool:
    """Return whether the page docs/policy/approvals.md lets the call of a case pass."""
    rules, approval = case["rules"], case["approval"]
    people = approval["approvers"]
    names = {person(one["id"]) for one in people}
    groups = {rule["group"] for rule in rules if "group" in rule}
    floor = max((ASSURANCES.index(rule["assurance"]) for rule in rules if "assurance" in rule), default=0)
    oldest = min((rule["max_age_seconds"] for rule in rules if "max_age_seconds" in rule), default=math.inf)
    return (
        len(names) >= max((rule["count"] for rule in rules), default=1)
        and not names & excluded(case)
        and all(one["assurance"] in ASSURANCES and ASSURANCES.index(one["assurance"]) >= floor for one in people)
        and all(groups <= set(one["groups"]) for one in people)
        and all(one.get("login_age_seconds", math.inf) <= oldest for one in people)
        and bool(approval["scopes"])
        and set(approval["scopes"]) <= reach(case)
        and "acme/x" in approval["answers"]
    )


def answered(engine: CompiledPolicy, case: dict[str, Any]) -> dict[str, Any]:
    return cast("dict[str, Any]", engine.answer("decision", document(case)))


@_SETTINGS
@given(case=CASES)
def test_a_call_is_released_exactly_if_its_approvers_satisfy_all_rules(engine: CompiledPolicy, case: dict[str, Any]):
    answer = answered(engine, case)

    assert answer["effect"] == ("allow" if is_released(case) else "ask")
    asked = [item["properties"] for item in answer["obligations"] if item["id"] == "require_approvers"]
    assert bool(asked) == (answer["effect"] == "ask")
    assert all(set(rule["scopes"]) == reach(case) for rule in asked)
    assert all(rule["count"] == max((one["count"] for one in case["rules"]), default=1) for rule in asked)


@pytest.mark.opa
@settings(_SETTINGS, max_examples=200)
@given(case=CASES)
def test_a_release_is_the_same_in_opa(engine: CompiledPolicy, opa: Opa, case: dict[str, Any]):
    assert opa.evaluate("decision", json.dumps(document(case)).encode()) == answered(engine, case)


@settings(_SETTINGS, max_examples=100)
@given(case=CASES, unreadable=UNREADABLE)
def test_a_rule_that_cannot_be_read_refuses_every_approval(
    engine: CompiledPolicy, case: dict[str, Any], unreadable: object
):
    answer = answered(engine, {**case, "rules": [*case["rules"], unreadable]})

    assert (answer["effect"], answer["obligations"]) == ("deny", [])


def test_the_cases_release_some_calls_and_hold_others(engine: CompiledPolicy):
    """Guard the property above against approvals that never hold."""
    one = {"id": "bob", "issuer": "https://a.example", "groups": ["sre"], "assurance": "mfa"}
    case = {
        "rules": [{"count": 2, "group": "sre", "assurance": "login"}],
        "environment": "production",
        "delegates": ["helper"],
        "approval": {
            "id": "a1",
            "digest": "sha256:00",
            "granted": "2026-11-24T09:59:00Z",
            "approvers": [one, {**one, "id": "eve"}],
            "scopes": ["once"],
            "answers": ["acme/x"],
        },
    }

    assert is_released(case)
    assert answered(engine, case)["effect"] == "allow"
