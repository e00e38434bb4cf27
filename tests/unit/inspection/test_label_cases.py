"""The labels of a tool for the arguments of a call: a case counts only where all of its conditions are seen to hold."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from gateway.config import ToolLabels
from gateway.inspection.label_cases import MAX_TEXT, label_variants, labelled_for_call
from gateway.model.target import Effect, Labels, Role, Sensitivity, Target
from gateway.upstreams.catalogue.labels import labels_for
from tests.requirements import requirement

QUERY: dict[str, Any] = {
    "effect": "destructive",
    "egress": False,
    "sensitivity": "confidential",
    "roles": {"/sql": "command"},
    "cases": [{"when": {"/sql": {"statement": "select"}}, "effect": "read", "roles": {"/sql": "content"}}],
}


def tool(**patterns: Any) -> Target:
    labels = labels_for("query", {name: ToolLabels.model_validate(said) for name, said in patterns.items()})
    return Target("tool", "db", "query", "db", labels=labels)


def labels_of(arguments: Any, **patterns: Any) -> Labels:
    return labelled_for_call(tool(**(patterns or {"query": QUERY})), arguments).labels


def effect(arguments: Any, **condition: Any) -> Effect:
    case = {"when": {"/a": condition}, "effect": "read"}
    return labels_of(arguments, query={"effect": "destructive", "cases": [case]}).effect


def test_a_case_that_holds_relaxes_what_it_says_and_nothing_else():
    labels = labels_of({"sql": "SELECT 1"})
    assert (labels.effect, labels.egress, labels.sensitivity) == (Effect.READ, False, Sensitivity.CONFIDENTIAL)
    assert (labels.roles, labels.cases) == ({"/sql": Role.CONTENT}, ())


@requirement("labels/arguments")
@pytest.mark.parametrize(
    "arguments",
    [
        {},
        {"sql": None},
        {"sql": ""},
        {"sql": 1},
        {"sql": []},
        {"sql": ["select 1", "drop table t"]},
        {"sql": {"sql": "select 1"}},
        {"sql": "select 1; drop table t"},
        {"sql": "select 1", "SQL": "drop table t"},
        {"sql": "select 1", "s_q-l": "drop table t"},
        {"sql": "select 1", "ſql": "drop table t"},
        {"SQL": "select 1"},
        {"query": "select 1"},
        {"sql": "select " + "1," * 500_000 + "1"},
        {"sql": "select '\ud800'"},
        {"sql": "select 'cred://AAAAAAAAAAA/AAAAAAAAAAAAAAAAAAAAAA'"},
        {"sql": "select 'CRED://x'"},
    ],
)
def test_whatever_nobody_can_read_counts_as_the_worst(arguments: Any):
    labels = labels_of(arguments)
    assert labels == replace(tool(query=QUERY).labels, cases=())
    assert labels.effect is Effect.DESTRUCTIVE


TESTS: list[tuple[Any, list[Any], list[Any]]] = [
    ({"equals": "x"}, ["x"], ["X", "x ", 1, None, ["x"], {"x": 1}]),
    ({"equals": 1}, [1, 1.0], ["1", True, [1]]),
    ({"equals": True}, [True], [1, "true"]),
    ({"one_of": ["list", "get"]}, ["list", ["list", "get"]], ["LIST", ["list", "rm"], [], "", None, [["list"]]]),
    ({"matches": "ls( -l)?"}, ["ls", "ls -l"], ["ls -l\n", "ls; rm", "rm", " ls", 1, "l\u017f", ["ls", "rm"]]),
    ({"min": 1, "max": 9}, [1, 9, 2.5, [1, 2]], [0, 10, "5", True, None, [1, 10]]),
    ({"max_items": 2, "matches": "a"}, ["a", ["a", "a"]][1:], ["a", ["a", "a", "a"]]),
    ({"present": True}, ["x", 0, False], [[]]),
    ({"absent": True}, [[]], ["x", 0, None]),
    ({"statement": ["select", "show"]}, ["select 1", "show tables"], ["explain select 1", "drop table t"]),
]


@pytest.mark.parametrize(("condition", "holding", "failing"), TESTS)
def test_each_test_holds_for_what_it_says(condition: Any, holding: list[Any], failing: list[Any]):
    assert [effect({"a": value}, **condition) for value in holding] == [Effect.READ] * len(holding)
    assert [effect({"a": value}, **condition) for value in failing] == [Effect.DESTRUCTIVE] * len(failing)


def test_a_missing_argument_holds_only_if_it_may_be_missing():
    assert effect({}, equals="x") is Effect.DESTRUCTIVE
    assert effect({}, equals="x", optional=True) is Effect.READ
    assert effect({}, absent=True) is Effect.READ
    assert effect({"A": "y"}, equals="x", optional=True) is Effect.DESTRUCTIVE
    assert effect({"A": "y"}, absent=True) is Effect.DESTRUCTIVE


def test_a_pointer_leads_into_objects_and_lists():
    case = {"when": {"/a~1b/0/c": {"equals": "x"}}, "effect": "read"}
    query = {"effect": "write", "cases": [case]}
    assert labels_of({"a/b": [{"c": "x"}]}, query=query).effect is Effect.READ
    for other in ([{"c": "x", "C": "y"}], [{"d": "x"}], [], '[{"c": "x"}]', {"0": {"c": "y"}}, ["x"]):
        assert labels_of({"a/b": other}, query=query).effect is Effect.WRITE


def test_a_text_beyond_the_limit_matches_nothing():
    assert effect({"a": "x" * MAX_TEXT}, matches="x*") is Effect.READ
    assert effect({"a": "x" * (MAX_TEXT + 1)}, matches="x*") is Effect.DESTRUCTIVE


def test_an_expression_that_backtracks_elsewhere_takes_no_time():
    assert effect({"a": "a" * 50_000 + "!"}, matches="(a+)+") is Effect.DESTRUCTIVE


def test_a_case_can_name_the_only_arguments():
    case = {"when": {"/a": {"equals": "x"}}, "arguments": ["a", "b"], "effect": "read"}
    query = {"effect": "write", "cases": [case]}
    assert labels_of({"a": "x", "b": 1}, query=query).effect is Effect.READ
    assert labels_of({"a": "x", "c": 1}, query=query).effect is Effect.WRITE


def test_the_first_case_that_holds_counts():
    cases = [
        {"when": {"/a": {"equals": "x"}}, "effect": "write"},
        {"when": {"/a": {"matches": "x|y"}}, "effect": "read"},
    ]
    query = {"effect": "exec", "cases": cases}
    assert [labels_of({"a": value}, query=query).effect for value in "xyz"] == [Effect.WRITE, Effect.READ, Effect.EXEC]


BROKEN: list[tuple[Any, str]] = [
    ({"effect": "read", "cases": [{"when": {"/a": {"equals": 1}}, "effect": "destructive"}]}, "above read"),
    ({"egress": False, "cases": [{"when": {"/a": {"equals": 1}}, "egress": True}]}, "above false"),
    ({"sensitivity": "public", "cases": [{"when": {"/a": {"equals": 1}}, "sensitivity": "internal"}]}, "above"),
    ({"cases": [{"when": {"/a": {"equals": 1}}, "effect": "read"}]}, "which the tool lacks"),
    ({"effect": "exec", "cases": [{"effect": "read"}]}, "when"),
    ({"effect": "exec", "cases": [{"when": {}, "effect": "read"}]}, "when"),
    ({"effect": "exec", "cases": [{"when": {"/a": {}}, "effect": "read"}]}, "it tests nothing"),
    ({"effect": "exec", "cases": [{"when": {"/a": {"optional": True}}, "effect": "read"}]}, "it tests nothing"),
    ({"effect": "exec", "cases": [{"when": {"/a": {"under": "/x"}}, "effect": "read"}]}, "`when` of a grant"),
    ({"effect": "exec", "cases": [{"when": {"/a": {"matches": "("}}, "effect": "read"}]}, "no regular expression"),
    ({"effect": "exec", "cases": [{"when": {"/a": {"matches": "(?=x)"}}, "effect": "read"}]}, "no regular"),
    ({"effect": "exec", "cases": [{"when": {"/a": {"statement": "delete"}}, "effect": "read"}]}, "statement"),
    ({"effect": "exec", "cases": [{"when": {"/a": {"statement": []}}, "effect": "read"}]}, "statement"),
    ({"effect": "exec", "cases": [{"when": {"a": {"equals": 1}}, "effect": "read"}]}, "JSON pointer"),
    ({"effect": "exec", "cases": [{"when": {"/*/a": {"equals": 1}}, "effect": "read"}]}, "JSON pointer"),
    ({"effect": "exec", "cases": [{"when": {"/a": {"equals": 1}}, "effect": "read"}] * 9}, "8"),
    ({"effect": "exec", "egress": True, "sandbox": True}, "nothing leaves a sandbox"),
    ({"effect": "exec", "cases": [{"when": {"/a": {"equals": 1}}, "sandbox": False}]}, "sandbox"),
]


@requirement("labels/arguments")
@pytest.mark.parametrize(("said", "problem"), BROKEN)
def test_a_case_that_could_let_more_pass_than_it_says_does_not_load(said: Any, problem: str):
    with pytest.raises(ValidationError, match=problem):
        ToolLabels.model_validate(said)


def test_a_later_pattern_overrides_the_cases_of_an_earlier_one():
    everything = QUERY | {"cases": [QUERY["cases"][0] | {"egress": False}]}
    select = {"sql": "select 1"}
    assert labels_of(select, **{"*": everything, "query": {"effect": "destructive"}}).effect is Effect.DESTRUCTIVE
    assert labels_of(select, **{"*": everything, "query": {"sensitivity": "restricted"}}).effect is Effect.READ
    assert labels_of(select, **{"*": everything, "query": {"cases": []}}).effect is Effect.DESTRUCTIVE
    roles = labels_of(select, **{"*": everything, "query": {"roles": {"/sql": "command"}}}).roles
    assert roles == {"/sql": Role.COMMAND}


@requirement("labels/arguments")
@given(
    worst=st.sampled_from(list(Effect)),
    milder=st.sampled_from([None, *Effect]),
    egress=st.booleans(),
    case_egress=st.sampled_from([None, True, False]),
)
def test_merged_patterns_never_make_a_case_stronger_than_its_tool(
    worst: Effect, milder: Effect | None, *, egress: bool, case_egress: bool | None
):
    case = {"when": {"/a": {"equals": 1}}}
    case |= {} if milder is None else {"effect": milder}
    case |= {} if case_egress is None else {"egress": case_egress}
    one = ToolLabels.model_validate({"effect": "exec", "egress": True, "cases": [case]})
    labels = labels_for("query", {"*": one, "q*": ToolLabels(effect=worst, egress=egress)})
    found = labelled_for_call(Target("tool", "db", "query", "db", labels=labels), {"a": 1}).labels
    assert (found.effect, found.egress) == (worst, egress)


def test_the_variants_are_the_worst_and_each_case():
    found = [target.labels for target in label_variants(tool(query=QUERY))]
    assert [labels.effect for labels in found] == [Effect.DESTRUCTIVE, Effect.READ]
    assert all(labels.cases == () for labels in found)
    plain = tool(query={"effect": "read"})
    assert label_variants(plain) == (plain,)


def test_a_sandbox_sends_nothing_unless_another_pattern_says_so():
    assert labels_of({}, query={"sandbox": True}).in_sandbox
    assert labels_of({}, query={"sandbox": True}).assumed == {"effect", "sensitivity"}
    both = labels_of({}, **{"q*": {"sandbox": True}, "query": {"egress": True}})
    assert (both.sandbox, both.in_sandbox) == (True, False)
