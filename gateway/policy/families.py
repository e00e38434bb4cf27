"""Families of denials: the decision asks each of them, and each finding has a code. Pure: it reads syntax trees.

A family is a package with a rule `denials` or `asks`. A family without a line in `gateway.decision` refuses no call, and
`deny` in the place of `denials` does not either: the policy fails open. A finding without a code gives no reason, so the
gateway refuses the call as `policy/malformed` and its caller does not learn why.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Final

from gateway.policy import comparisons, syntax, value_types
from gateway.policy.findings import CODE, SETS
from gateway.policy.references import Path, ReferenceGraph
from gateway.policy.rule_types import RuleTypes
from gateway.policy.syntax import Node, Problem, Rule
from gateway.policy.value_types import TEXT, DataPlace, Object, Type

_DECISION: Final = ("data", "gateway", "decision", "result")
_ENTRYPOINTS: Final = (
    _DECISION,
    ("data", "gateway", "visibility", "result"),
    ("data", "gateway", "leases", "result"),
)
_FAMILIES: Final = ("data", "gateway", "denials")
_APPROVALS: Final = ("data", "gateway", "approvals", "required")
_LISTS: Final[Type] = value_types.of_kinds(frozenset({"array", "set"}))

_FORM: Final = 'write a finding as {"code": "family/name", "facts": ["/resource/id"]}'


def problems(graph: ReferenceGraph, types: RuleTypes) -> list[Problem]:
    """Return every family, or rule of one, that the decision does not ask, and every finding without a code."""
    if _DECISION not in graph.rules:
        return []
    asked = graph.reached([_DECISION])
    found = [*_unasked_sets(graph, asked), *_unasked_families(graph)]
    for path, rules in graph.rules.items():
        if path[-1] in SETS or path == _APPROVALS:
            found += [problem for rule in rules for problem in _of_finding(rule, types)]
    return found


def _unasked_sets(graph: ReferenceGraph, asked: frozenset[Path]) -> Iterator[Problem]:
    for path, (rule, *_) in graph.rules.items():
        if path[-1] in SETS and len(path) > len(_FAMILIES) and path not in asked:
            name = ".".join(path)
            yield Problem(
                f"{rule.place}: the decision never asks `{name}`, so it refuses nothing",
                f"add `{name},` to `{path[-1]}` in gateway/decision/decision.rego, or remove the rule",
            )


def _unasked_families(graph: ReferenceGraph) -> Iterator[Problem]:
    """Return the families below `gateway.denials` of which neither the decision nor a list reads any rule."""
    reached = graph.reached(_ENTRYPOINTS)
    families: dict[Path, list[Path]] = {}
    for path in graph.rules:
        if path[: len(_FAMILIES)] == _FAMILIES:
            families.setdefault(path[: len(_FAMILIES) + 1], []).append(path)
    for family, paths in families.items():
        if not reached & set(paths) and not any(path[-1] in SETS for path in paths):
            yield _without_denials(graph, family, paths)


def _without_denials(graph: ReferenceGraph, family: Path, paths: Sequence[Path]) -> Problem:
    sets = [path for path in paths if graph.rules[path][0].kind == "Set" and not path[-1].startswith("_")]
    rule = graph.rules[(sets or paths)[0]][0]
    said = f"gives `{rule.path[-1]}`, and the decision asks a family for `denials`" if sets else "has no rule `denials`"
    return Problem(
        f"{rule.place}: the family `{family[-1]}` {said}",
        f"name its rule `denials`, and add `{'.'.join(family)}.denials,` to `denials` in gateway/decision/decision.rego",
    )


def _of_finding(rule: Rule, types: RuleTypes) -> Iterator[Problem]:
    if rule.kind == "Func":
        return
    name = rule.path[-1]
    for item in types.items_of(rule) or ():
        flaw = _flaw(item)
        if flaw is not None:
            yield Problem(f"{rule.place}: {flaw[0]} of `{name}` {flaw[1]}", _FORM)
    code = _written_code(rule.node)
    if code is not None and CODE.fullmatch(code) is None:
        yield Problem(f'{rule.place}: the code "{code}" of a finding is not of the form `family/name`', _FORM)


def _flaw(item: value_types.Alternative) -> tuple[str, str] | None:
    """Return the part of a finding that is wrong, and the mistake."""
    if isinstance(item, DataPlace):
        return None
    if not isinstance(item, Object):
        return "a finding", f"is {comparisons.describe((item,))}, and no mapping"
    if item.closed and "code" not in item.fields:
        return "a finding", "has no `code`"
    for field, allowed in (("code", TEXT), ("facts", _LISTS)):
        known = item.fields.get(field)
        if known is not None and value_types.are_disjoint(known, allowed):
            return f"the `{field}` of a finding", f"is {comparisons.describe(known)}"
    return None


def _written_code(node: Node) -> str | None:
    """Return the code that the head of a partial set has as a text."""
    key: dict[str, Any] = node.get("Spec", {}).get("head", {}).get("Set", {}).get("key", {})
    for _, name, value in key.get("Object", {}).get("fields", []):
        if syntax.literal_text(name) == "code":
            return syntax.literal_text(value)
    return None
