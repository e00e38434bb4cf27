"""Declarations of facts: what is refused, and which calls a fact counts."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import yaml

from gateway.model.errors import PolicyBroken
from gateway.model.facts import DeclaredFacts
from gateway.model.target import Effect, Labels, Target
from gateway.policy.facts import NO_CHANGE, NO_FACTS, FactChange, compare, join_shadow, read_facts, split_shadow

TARGET = Target("tool", "files", "read_file", "files", "acme", "prod", labels=Labels(Effect.READ))


def read(text: str, place: str = "overlay") -> Any:
    return read_facts({place: {"facts": yaml.safe_load(text)}}, lambda _condition, _arguments, _pointer: True)


@pytest.mark.parametrize(
    ("facts", "said"),
    [
        ("reads: {count: calls}", "facts.reads.by: it is missing"),
        (
            "reads: {count: calls, by: agent}",
            "facts.reads: its memory would never end; add `within`, or the key `task`",
        ),
        ("reads: {by: task}", "facts.reads: it has no aggregate; give one of count, sum, distinct, first, last"),
        ("reads: {count: calls, last: time, by: task}", "facts.reads: it has count and last; give one of"),
        ("reads: {count: call, by: task}", "facts.reads.count: it should be 'calls'"),
        ("reads: {count: calls, by: tsk}", "there is no key 'tsk'; did you mean `task`?"),
        ("reads: {count: calls, by: [task, /path]}", "there is no key '/path'"),
        ("reads: {count: calls, by: task, of: {outcme: done}}", "no setting 'outcme'; did you mean 'outcome'?"),
        ("reads: {count: calls, by: task, of: {effect: wriet}}", "facts.reads.of.effect.0: it should be"),
        ("reads: {count: calls, by: task, of: {arguments: {/arguments/a: {equal: 1}}}}", "did you mean `equals`?"),
        ("reads: {count: calls, by: user, within: 500 days}", "is not a duration"),
        ("reads: {count: calls, by: user, within: 0.1s}", "`within` is from 1s to 400 days"),
        ("reads: {count: calls, by: task, since: {decision: deny}}", "a refused call changes nothing"),
        ("Reads: {count: calls, by: task}", "facts.Reads"),
        ("[]", "facts: it should be a mapping of settings"),
    ],
)
def test_a_wrong_declaration_says_where_and_what(facts: str, said: str):
    with pytest.raises(PolicyBroken) as raised:
        read(facts)

    assert raised.value.message.startswith("overlay/facts.yaml: facts")
    assert said in raised.value.message


def test_a_name_is_declared_once():
    data: dict[str, Any] = {"facts": {"reads": {"count": "calls", "by": "task"}}}
    with pytest.raises(PolicyBroken, match="has a fact 'reads' already"):
        read_facts({"gateway": data, "overlay": data})


def test_conditions_need_rules_that_judge_them():
    condition = {"/arguments/path": {"under": "/srv"}}
    data: dict[str, Any] = {"facts": {"reads": {"count": "calls", "by": "task", "of": {"arguments": condition}}}}
    with pytest.raises(PolicyBroken, match="no rules to judge them"):
        read_facts({"overlay": data})


@pytest.mark.parametrize(
    ("selection", "fits"),
    [
        ("{}", True),
        ("{tool: files/*}", True),
        ("{tool: [mail/*, files/read_file]}", True),
        ("{tool: files/write_file}", False),
        ("{resource: '*'}", False),
        ("{resource: '*', tool: '*'}", True),
        ("{effect: [read, write]}", True),
        ("{effect: write}", False),
        ("{upstream: files, system: files, tenant: acme, environment: prod, trust: untrusted}", True),
        ("{tenant: other}", False),
        ("{environment: test}", False),
        ("{trust: trusted}", False),
        ("{egress: false}", False),
        ("{sensitivity: public}", False),
    ],
)
def test_a_selection_counts_the_calls_of_fitting_targets(selection: str, *, fits: bool):
    book = read(f"reads: {{count: calls, by: task, of: {selection}}}")

    assert bool(book.find_fitting(TARGET).counted) is fits


def test_new_labels_of_a_target_count_at_once():
    book = read("writes: {count: calls, by: task, of: {effect: write}}")

    assert not book.find_fitting(TARGET).counted
    assert book.find_fitting(replace(TARGET, labels=Labels(Effect.WRITE))).counted


@pytest.mark.parametrize(
    ("by", "scope"),
    [("[tool, task, user]", "task"), ("[agent, user]", "user"), ("[tenant, agent]", "agent"), ("tenant", "tenant"),
     ("/arguments/to", "all")],
)  # fmt: skip
def test_the_narrowest_key_owns_the_memory(by: str, scope: str):
    assert read(f"reads: {{count: calls, by: {by}, within: 1h}}").all[0].fact.scope == scope


def test_a_limit_without_open_calls_is_told_apart():
    facts = """
    racing: {count: calls, by: task, of: {outcome: done}}
    total: {sum: /arguments/amount, by: task}
    read: {last: time, by: task, of: {outcome: done}}
    """
    assert [each.name for each in read(facts).all if each.needs_open] == ["racing"]


def test_a_changed_declaration_counts_from_zero_and_is_told():
    before = read("{a: {count: calls, by: task}, b: {count: calls, by: task}, c: {count: calls, by: task}}")
    after = read("{a: {count: calls, by: task}, b: {count: calls, by: [task, tool]}, d: {count: calls, by: task}}")

    assert compare(before, after) == FactChange(begun=("b", "d"), ended=("c",))
    assert compare(before, before) == NO_CHANGE


def test_equal_declarations_of_a_shadow_policy_are_one_fact_and_others_stand_beside():
    book = read("{a: {count: calls, by: task}, b: {count: calls, by: task}}")
    shadow = {
        "overlay": {"facts": yaml.safe_load("{a: {count: calls, by: task}, b: {count: calls, by: [task, tool]}}")}
    }
    joined = join_shadow(book, shadow)
    values = DeclaredFacts({"a": 1, "b": 2, "b@shadow": 3}, {"b": 1}, ("b@shadow",))

    assert [each.label for each in joined.all] == ["a", "b", "b@shadow"]
    in_force, shadowed = split_shadow(joined, values)
    assert in_force == DeclaredFacts({"a": 1, "b": 2}, {"b": 1})
    assert shadowed == DeclaredFacts({"a": 1, "b": 3}, {}, ("b",))
    assert split_shadow(book, values) == (values, None)


def test_a_shadow_fact_that_nobody_here_can_judge_is_refused():
    """A gateway without rules has no conditions: the fact would never count."""
    conditional = {"a": {"count": "calls", "by": "task", "of": {"arguments": {"/arguments/a": {"equals": 1}}}}}

    with pytest.raises(PolicyBroken, match="a has conditions on arguments"):
        join_shadow(NO_FACTS, {"overlay": {"facts": conditional}})
