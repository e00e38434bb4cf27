from __future__ import annotations

import json
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from gateway.history.tasks.contract import (
    DEFAULT_EXPIRY,
    LIMITS,
    MAX_BODY,
    MAX_GOAL,
    MAX_ITEMS,
    MAX_TEXT,
    Declaration,
    read_declaration,
)
from gateway.model.decision import Reason
from gateway.model.facts import SessionFacts
from gateway.model.task import Contract
from gateway.policy.folder.folders import find_shipped

WHOLE: dict[str, Any] = {
    "goal": "mend the login page\n\tand tell ops",
    "risk": "low",
    "tenant": "acme",
    "environment": "staging",
    "expires_in": 60,
    "contract": {
        "audiences": ["github", "vault"],
        "tools": ["github/*"],
        "destinations": ["ops@acme.example", "https://acme.example:8443/x"],
        "credential_flows": [{"from": "vault", "to": "github"}],
        "limits": {"destinations": 6, "calls": 0},
        "effects": {"destructive": ["github/delete_branch"], "mint": []},
    },
}


def _read(document: object) -> Declaration | Reason:
    return read_declaration(json.dumps(document).encode())


def test_a_whole_declaration_is_read():
    assert _read(WHOLE) == Declaration(
        "mend the login page\n\tand tell ops",
        Contract(
            frozenset({"github", "vault"}),
            ("github/*",),
            ("ops@acme.example", "https://acme.example:8443/x"),
            (("vault", "github"),),
            {"destinations": 6, "calls": 0},
            {"destructive": ("github/delete_branch",), "mint": ()},
        ),
        "low",
        "acme",
        "staging",
        60,
    )


@pytest.mark.parametrize("kind", ["weekly-report", "a", "q4-2026", "x" * 64])
def test_a_kind_is_a_short_name_in_lower_case(kind: str):
    assert _read({"kind": kind}) == Declaration(kind=kind)


@pytest.mark.parametrize(
    "kind",
    [
        "",
        "Weekly-Report",
        "weekly report",
        "weekly_report",
        "-report",
        "report-",
        "a--b",
        "4a",
        "wee\u212aly",
        "wеekly",
        "weekly-report\n",
        "x" * 65,
        5,
        None,
        ["weekly-report"],
    ],
)
def test_a_kind_has_one_spelling(kind: object):
    """Two kinds that look alike to a person are never two kinds."""
    refused = _read({"kind": kind})
    assert isinstance(refused, Reason)
    assert "kind is a name of at most 64 lower-case letters" in refused.message


@pytest.mark.parametrize("body", [b"", b"{}"])
def test_everything_is_optional(body: bytes):
    assert read_declaration(body) == Declaration(expires_in=DEFAULT_EXPIRY)


def test_what_is_left_out_narrows_nothing_and_an_empty_list_allows_nothing():
    assert _read({"contract": {}}) == Declaration(contract=Contract())
    empty: dict[str, Any] = {"audiences": [], "tools": [], "destinations": []}
    assert _read({"contract": empty}) == Declaration(contract=Contract(frozenset(), (), ()))


@pytest.mark.parametrize(
    ("document", "problem"),
    [
        ({"goals": "x"}, "the task has a field that is not known (did you mean goal?)"),
        ({"zzz": "x"}, "the task has a field that is not known (it has goal, kind, contract"),
        ({"contract": {"audience": []}}, "contract has a field that is not known (did you mean audiences?)"),
        (
            {"contract": {"limits": {"audience": 1}}},
            "contract.limits has a field that is not known (did you mean audien",
        ),
        ({"contract": {"credential_flows": [{"form": "a", "to": "b"}]}}, "contract.credential_flows[0] has a field"),
        ({"contract": {"credential_flows": [{"from": "a"}]}}, "contract.credential_flows[0] has both from and to"),
        ({"contract": {"credential_flows": [{"from": "a", "to": ""}]}}, "contract.credential_flows[0].to is a text"),
        ({"contract": {"credential_flows": ["a"]}}, "contract.credential_flows[0] is an object"),
        ({"contract": {"credential_flows": {"from": "a", "to": "b"}}}, "contract.credential_flows is a list"),
        ({"contract": None}, "contract is an object"),
        ({"contract": []}, "contract is an object"),
        ({"contract": {"audiences": None}}, "contract.audiences is a list"),
        ({"contract": {"audiences": "github"}}, "contract.audiences is a list"),
        ({"contract": {"audiences": ["a", 1]}}, "contract.audiences[1] is a text that is not empty"),
        ({"contract": {"tools": [" "]}}, "contract.tools[0] is a text that is not empty"),
        ({"contract": {"tools": ["x" * 513]}}, "contract.tools[0] is longer than 512 characters"),
        ({"contract": {"tools": ["x"] * 257}}, "contract.tools has more than 256 items"),
        ({"contract": {"tools": ["a\u0000"]}}, "contract.tools[0] has control characters"),
        (
            {"contract": {"destinations": ["https://u:secret@h.example"]}},
            "contract.destinations[0] has a password in it",
        ),
        ({"contract": {"limits": []}}, "contract.limits is an object"),
        ({"contract": {"limits": {"calls": -1}}}, "contract.limits.calls is a whole number from 0 to"),
        ({"contract": {"limits": {"calls": 1.0}}}, "contract.limits.calls is a whole number"),
        ({"contract": {"limits": {"calls": True}}}, "contract.limits.calls is a whole number"),
        ({"contract": {"limits": {"calls": 1_000_001}}}, "contract.limits.calls is a whole number"),
        ({"contract": {"effects": []}}, "contract.effects is an object"),
        ({"contract": {"effects": {"exec": ["a/b"]}}}, "contract.effects has a field that is not known"),
        ({"contract": {"effects": {"mint": "a/b"}}}, "contract.effects.mint is a list"),
        ({"contract": {"effects": {"mint": [1]}}}, "contract.effects.mint[0] is a text"),
        ({"approved_by": [{"id": "bob", "issuer": "x"}]}, "the task has a field that is not known"),
        ({"contract": {"approved_by": []}}, "contract has a field that is not known"),
        ({"goal": ""}, "goal is a text that is not empty"),
        ({"goal": 5}, "goal is a text"),
        ({"goal": None}, "goal is a text"),
        ({"goal": "x" * (MAX_GOAL + 1)}, "goal is longer than 8192 characters"),
        ({"risk": "none"}, "risk is one of low, medium, high"),
        ({"risk": None}, "risk is one of"),
        ({"risk": ["low"]}, "risk is one of"),
        ({"tenant": ""}, "tenant is a text"),
        ({"environment": []}, "environment is a text"),
        ({"expires_in": 0}, "expires_in is a whole number from 1 to 86400"),
        ({"expires_in": 86_401}, "expires_in is a whole number from 1 to 86400"),
        ({"expires_in": "1h"}, "expires_in is a whole number"),
        ({"expires_in": None}, "expires_in is a whole number"),
        ([], "the body is an array"),
        ("x", "the body is not a JSON object"),
    ],
)
def test_what_is_not_understood_is_refused_in_a_sentence_with_its_field(document: object, problem: str):
    refused = _read(document)

    assert isinstance(refused, Reason)
    assert refused.code == "task/invalid"
    assert refused.message.startswith(f"The task was not opened: {problem}")
    assert refused.message.endswith(".")
    assert refused.remedy


@pytest.mark.parametrize(
    "body",
    [b"{", b'{"goal":"a","goal":"b"}', b'{"goal":"\\ud800"}', b"\xff", b'{"expires_in":NaN}', b" " * (MAX_BODY + 1)],
)
def test_a_body_that_readers_would_not_read_alike_is_refused(body: bytes):
    refused = read_declaration(body)

    assert isinstance(refused, Reason)
    assert refused.code == "task/invalid"


def test_a_refusal_repeats_nothing_of_what_was_sent():
    for document in ({"hunter2": 1}, {"goal": ["hunter2"]}, {"risk": "hunter2"}, {"contract": {"hunter2": 1}}):
        assert "hunter2" not in str(_read(document))


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(max_size=9),
        lambda x: (
            st.lists(x) | st.dictionaries(st.sampled_from(["goal", "contract", "limits", "audiences", "from"]), x)
        ),
    )
)
def test_reading_never_raises(document: object):
    assert isinstance(_read(document), Declaration | Reason)


def test_what_is_as_long_as_it_may_be_is_taken():
    tools = ["x" * MAX_TEXT] * 8 + ["y"] * (MAX_ITEMS - 8)
    declared = _read({"goal": "x" * MAX_GOAL, "contract": {"tools": tools}})

    assert declared == Declaration(goal="x" * MAX_GOAL, contract=Contract(tools=tuple(tools)))


def test_a_contract_can_limit_each_fact_that_the_policy_limits_and_no_other():
    settings = yaml.safe_load((find_shipped() / "gateway/settings/data.yaml").read_text("utf-8"))

    assert set(LIMITS) == settings["task_limits"].keys()
    assert set(LIMITS) <= set(SessionFacts.__struct_fields__)
