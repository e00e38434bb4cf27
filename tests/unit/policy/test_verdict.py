from __future__ import annotations

import copy
import math
import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.model.decision import Obligation, PolicyRevision, Reason
from gateway.policy import verdict
from tests.unit.policy.failing import failing_policy

SUPPORTED = frozenset({"label", "redact", "limit", "issue_credential", "conceal_credentials", "require_approvers"})
REASON = {
    "code": "tool/not-granted",
    "message": "no",
    "remedy": "ask",
    "controls": ["ASI02"],
    "facts": ["/resource/id"],
}
LABEL = {"id": "label", "properties": {"confidentiality": "confidential"}}


def _answer(**changes: Any) -> dict[str, Any]:
    answer: dict[str, Any] = {
        "version": 1,
        "effect": "allow",
        "reasons": [],
        "obligations": [],
        "policy": {"name": "p", "revision": "r"},
    }
    answer.update(changes)
    return {key: value for key, value in answer.items() if value is not ...}


def _code(answer: object, supported: frozenset[str] = SUPPORTED) -> str:
    decision = verdict.read_decision(answer, supported)
    assert decision.effect == "deny"
    assert not decision.allowed
    assert decision.obligations == ()
    return decision.reasons[0].code


def test_an_allow_is_read_with_its_obligations():
    decision = verdict.read_decision(_answer(obligations=[LABEL], reasons=[REASON]), SUPPORTED)

    assert decision.allowed
    assert decision.obligations == (Obligation("label", {"confidentiality": "confidential"}),)
    assert decision.reasons == (Reason("tool/not-granted", "no", "ask", ("ASI02",), ("/resource/id",)),)
    assert decision.policy == PolicyRevision("p", "r")


@pytest.mark.parametrize("effect", ["deny", "ask"])
def test_what_does_not_allow_says_why(effect: str):
    decision = verdict.read_decision(_answer(effect=effect, reasons=[{"code": "a/b", "message": "m"}]), SUPPORTED)

    assert decision.effect == effect
    assert decision.reasons == (Reason("a/b", "m"),)
    assert _code(_answer(effect=effect)) == "policy/malformed"


@pytest.mark.parametrize("answer", [None, "<undefined>"])
def test_no_answer_is_undefined(answer: object):
    assert _code(answer) == "policy/undefined"


@pytest.mark.parametrize(
    "answer", [True, False, "allow", 1, 1.5, list[Any](), [{"effect": "allow"}], {}, b"{}", {"result": _answer()}]
)
def test_what_is_no_result_is_malformed(answer: object):
    assert _code(answer) == "policy/malformed"


CHANGES: list[dict[str, Any]] = [
    {"version": ...},
    {"version": 2},
    {"version": 0},
    {"version": True},
    {"version": 1.0},
    {"version": "1"},
    {"version": None},
    {"effect": ...},
    {"effect": True},
    {"effect": "Allow"},
    {"effect": "allow "},
    {"effect": ["allow"]},
    {"effect": None},
    {"reasons": ...},
    {"reasons": None},
    {"reasons": {}},
    {"reasons": ["a/b"]},
    {"reasons": [{}]},
    {"reasons": [{"code": "a/b"}]},
    {"reasons": [{"code": "a/b", "message": ""}]},
    {"reasons": [{"code": "nofamily", "message": "m"}]},
    {"reasons": [{"code": "A/B", "message": "m"}]},
    {"reasons": [{"code": "a/b\n", "message": "m"}]},
    {"reasons": [{"code": "a/b", "message": "m", "remedy": 1}]},
    {"reasons": [{"code": "a/b", "message": "m", "controls": "ASI01"}]},
    {"reasons": [{"code": "a/b", "message": "m", "facts": [1]}]},
    {"obligations": ...},
    {"obligations": None},
    {"obligations": {}},
    {"obligations": ["label"]},
    {"obligations": [{"id": "label"}]},
    {"obligations": [{"id": "", "properties": {}}]},
    {"obligations": [{"id": "label", "properties": []}]},
    {"policy": ...},
    {"policy": "p"},
    {"policy": {"revision": "r"}},
    {"policy": {"name": ""}},
    {"policy": {"name": "p", "revision": 1}},
]


@pytest.mark.parametrize("changes", CHANGES)
def test_an_allow_that_breaks_the_contract_anywhere_is_malformed(changes: dict[str, Any]):
    assert _code(_answer(**changes)) == "policy/malformed"


def test_an_answer_of_another_version_is_refused_as_that_whatever_else_it_says():
    decision = verdict.read_decision(_answer(effect="perhaps", version=2), SUPPORTED)

    assert decision.reasons[0].code == "policy/malformed"
    assert "the version is not 1" in decision.reasons[0].message


def test_what_a_denial_would_oblige_to_does_not_change_why_it_denies():
    malformed = {"id": "label", "properties": {"confidentiality": "secret"}}

    decision = verdict.read_decision(_answer(effect="deny", reasons=[REASON], obligations=[malformed]), SUPPORTED)

    assert [reason.code for reason in decision.reasons] == ["tool/not-granted"]


APPROVERS: list[dict[str, Any]] = [
    {"count": 1},
    {
        "count": 2,
        "group": "sre",
        "exclude": ["requester", "user", "delegates"],
        "assurance": "passkey",
        "expires_seconds": 900,
        "scopes": ["once", "destination", "limit"],
    },
    *({"count": 1, "assurance": assurance} for assurance in ("chat", "peer", "login", "mfa", "passkey")),
    {"count": 1, "exclude": []},
]
MALFORMED_APPROVERS: list[dict[str, Any]] = [
    {},
    {"group": "sre"},
    *({"count": count} for count in (0, -1, 1.5, True, "2", None)),
    *({"count": 1, "group": group} for group in ("", ["sre"], None)),
    *({"count": 1, "exclude": exclude} for exclude in (["everybody"], "user", None)),
    *({"count": 1, "assurance": assurance} for assurance in ("password", "", 3, None)),
    *({"count": 1, "expires_seconds": seconds} for seconds in (0, -1, 0.5, "900")),
    *({"count": 1, "scopes": scopes} for scopes in ([], ["always"], "once", None)),
    {"count": 1, "channels": ["cli"]},
]


@pytest.mark.parametrize("effect", ["allow", "ask"])
@pytest.mark.parametrize(
    "obligation",
    [
        {"id": "label", "properties": {}},
        {"id": "label", "properties": {"confidentiality": "secret"}},
        {"id": "label", "properties": {"confidentiality": "public", "more": 1}},
        {"id": "limit", "properties": {}},
        {"id": "limit", "properties": {"timeout_seconds": 0}},
        {"id": "limit", "properties": {"timeout_seconds": math.nan}},
        {"id": "limit", "properties": {"max_bytes": True}},
        {"id": "redact", "properties": {"pointers": []}},
        {"id": "redact", "properties": {"pointers": ["no-slash"]}},
        {"id": "redact", "properties": {"pointers": "/a"}},
        *({"id": "require_approvers", "properties": properties} for properties in MALFORMED_APPROVERS),
        {"id": "issue_credential", "properties": {"audience": "a", "scope": "s", "ttl_seconds": 0}},
        {"id": "issue_credential", "properties": {"bind": "session"}},
        {"id": "issue_credential", "properties": {"details": []}},
        {"id": "issue_credential", "properties": {"scopes": "s"}},
        {"id": "conceal_credentials", "properties": {"some": True}},
    ],
)
def test_an_obligation_whose_properties_are_malformed_is_a_denial(effect: str, obligation: dict[str, Any]):
    answer = _answer(effect=effect, obligations=[LABEL, obligation], reasons=[REASON])

    assert _code(answer) == "policy/obligation"


@pytest.mark.parametrize(
    "obligation",
    [
        LABEL,
        {"id": "limit", "properties": {"max_bytes": 1}},
        {"id": "limit", "properties": {"timeout_seconds": 2}},
        {"id": "limit", "properties": {"timeout_seconds": 0.5, "max_bytes": 9}},
        {"id": "redact", "properties": {"pointers": ["", "/a/0", "/a~1b"]}},
        {"id": "issue_credential", "properties": {"audience": "a", "scope": "s", "ttl_seconds": 60}},
        {"id": "conceal_credentials", "properties": {}},
    ],
)
def test_a_well_formed_obligation_passes_only_if_it_is_supported(obligation: dict[str, Any]):
    answer = _answer(obligations=[obligation])

    assert verdict.read_decision(answer, SUPPORTED).allowed
    assert _code(answer, SUPPORTED - {obligation["id"]}) == "policy/obligation"


@pytest.mark.parametrize("properties", APPROVERS)
def test_an_answer_that_asks_says_who_may_approve_and_one_that_allows_does_not(properties: dict[str, Any]):
    obligation = {"id": "require_approvers", "properties": properties}

    asked = verdict.read_decision(_answer(effect="ask", reasons=[REASON], obligations=[obligation]), frozenset())

    assert (asked.effect, asked.obligations[0].properties) == ("ask", properties)
    assert _code(_answer(obligations=[obligation])) == "policy/obligation"


def test_an_unknown_obligation_is_a_denial_even_if_the_caller_claims_it():
    answer = _answer(obligations=[{"id": "notify", "properties": {}}])

    assert _code(answer) == "policy/obligation"
    assert _code(answer, SUPPORTED | {"notify"}) == "policy/obligation"
    assert verdict.read_decision(answer, SUPPORTED).policy == PolicyRevision("p", "r")


@pytest.mark.parametrize("effect", ["deny", "ask"])
def test_an_unknown_obligation_leaves_a_refusal_with_its_own_reasons(effect: str):
    answer = _answer(effect=effect, reasons=[REASON], obligations=[{"id": "notify", "properties": {}}])

    decision = verdict.read_decision(answer, frozenset())

    assert decision.effect == effect
    assert decision.reasons[0].code == "tool/not-granted"


def test_fields_that_version_1_may_grow_by_are_ignored():
    answer = _answer(more=1, reasons=[REASON | {"more": 1}], policy={"name": "p", "more": 1})

    assert verdict.read_decision(answer, SUPPORTED).allowed
    assert verdict.read_decision(answer, SUPPORTED).policy == PolicyRevision("p", "")


# An independent reading of the contract, written without the module under test.
def _is(value: Any, kind: type) -> bool:
    return type(value) is kind


def _may_pass(answer: Any, supported: frozenset[str]) -> bool:
    if not _is(answer, dict) or answer.get("version") != 1 or type(answer["version"]) is not int:
        return False
    if answer.get("effect") != "allow" or not _is(answer.get("policy"), dict):
        return False
    name, revision = answer["policy"].get("name"), answer["policy"].get("revision", "")
    if not _is(name, str) or not name or not _is(revision, str):
        return False
    reasons, obligations = answer.get("reasons"), answer.get("obligations")
    if not _is(reasons, list) or not _is(obligations, list):
        return False
    return all(_reason_ok(item) for item in reasons) and all(_obligation_ok(item, supported) for item in obligations)


def _reason_ok(item: Any) -> bool:
    return (
        _is(item, dict)
        and _is(item.get("code"), str)
        and re.fullmatch(r"[a-z0-9_-]+(/[a-z0-9_-]+)+", item["code"]) is not None
        and _is(item.get("message"), str)
        and item["message"] != ""
        and _is(item.get("remedy", ""), str)
        and all(_is(item.get(key, []), list) for key in ("controls", "facts"))
        and all(_is(text, str) for key in ("controls", "facts") for text in item.get(key, []))
    )


def _obligation_ok(item: Any, supported: frozenset[str]) -> bool:
    if not _is(item, dict) or item.get("id") not in list(supported) or not _is(item.get("properties"), dict):
        return False
    properties = item["properties"]
    levels = ("public", "internal", "confidential", "restricted")
    return {
        "label": properties.keys() == {"confidentiality"} and properties.get("confidentiality") in levels,
        "conceal_credentials": properties == {},
    }.get(item["id"], False)


PARTS = st.sampled_from(
    ["allow", "deny", "ask", "", "label", "conceal_credentials", "a/b", "A", "public", "<undefined>"]
)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-2, 2) | st.sampled_from([1.0, 0.5]) | PARTS,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                ["version", "effect", "id", "properties", "code", "message", "confidentiality", "name", "x"]
            ),
            inner,
            max_size=4,
        )
    ),
    max_leaves=8,
)
GOOD: dict[str, list[Any]] = {
    "version": [1],
    "effect": ["allow"],
    "reasons": [[], [REASON], [{"code": "a/b", "message": "m"}]],
    "obligations": [[], [LABEL], [{"id": "conceal_credentials", "properties": {}}, LABEL]],
    "policy": [{"name": "p"}, {"name": "p", "revision": "r"}],
}


@st.composite
def _near_misses(draw: st.DrawFn) -> object:
    """A result of which any part, at any depth, may be something else."""
    answer: Any = {key: copy.deepcopy(draw(st.sampled_from(values))) for key, values in GOOD.items()}
    for _ in range(draw(st.integers(0, 2))):
        here, key = answer, draw(st.sampled_from(sorted(answer)))
        while (
            isinstance(inner := here.get(key), list)
            and inner
            and isinstance(inner[0], dict)
            and inner[0]
            and draw(st.booleans())
        ):
            here, key = here[key][0], draw(st.sampled_from(sorted(here[key][0])))
        if draw(st.booleans()):
            here.pop(key, None)
            break
        here[key] = draw(JSON)
    return answer


@given(JSON | _near_misses(), st.sets(st.sampled_from(sorted(SUPPORTED))).map(frozenset))
def test_nothing_is_allowed_that_an_independent_reading_refuses(answer: object, supported: frozenset[str]):
    supported &= {"label", "conceal_credentials"}

    assert verdict.read_decision(answer, supported).allowed == _may_pass(answer, supported)


def test_a_list_shows_what_was_named_and_asked():
    assert verdict.read_visible({"version": 1, "visible": ["a", "a"]}, frozenset({"a", "b"})) == {"a"}


@pytest.mark.parametrize(
    "answer",
    [
        None,
        "<undefined>",
        ["a"],
        {},
        {"visible": ["a"]},
        {"version": 1},
        {"version": True, "visible": ["a"]},
        {"version": 2, "visible": ["a"]},
        {"version": 1, "visible": None},
        {"version": 1, "visible": "a"},
        {"version": 1, "visible": {"a": True}},
        {"version": 1, "visible": ["a", 1]},
        {"version": 1, "visible": ["a", "c"]},
    ],
)
def test_a_list_that_is_malformed_or_names_more_than_was_asked_hides_all(answer: object):
    assert verdict.read_visible(answer, frozenset({"a", "b"})) == frozenset()


@pytest.mark.parametrize("code", verdict.FAILURES)
async def test_each_failure_is_a_refusal_and_no_denial(code: str):
    decision = await failing_policy(code).decide({"subject": {}})

    assert (decision.effect, decision.reasons[0].code) == ("deny", code)
    assert (decision.allowed, decision.undecided, decision.is_denial) == (False, True, False)


@pytest.mark.parametrize(("effect", "is_denial"), [("allow", False), ("ask", False), ("deny", True)])
def test_only_a_denial_of_the_policy_is_one(effect: str, *, is_denial: bool):
    decision = verdict.read_decision(_answer(effect=effect, reasons=[REASON]), SUPPORTED)

    assert (decision.undecided, decision.is_denial) == (False, is_denial)


def test_a_policy_that_gives_the_code_of_a_failure_denies_all_the_same():
    decision = verdict.read_decision(
        _answer(effect="deny", reasons=[{"code": "policy/late", "message": "m"}]), SUPPORTED
    )

    assert decision.is_denial
