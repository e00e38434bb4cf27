"""Paths and types in Rego, checked without OPA. Pure: it reads syntax trees, the schema of the input, and the data.

A misspelt path has no value, so a denial that reads it never holds: the policy fails open. OPA finds such a path with
the schema of the input (`opa check --schema`); this module finds it where there is no OPA. Refused are:

- a path of `input` that the schema does not have, also by way of a variable, an import, or a parameter that every call
  of a function gives a part of the input;
- a path of `data` at which neither a rule nor a data file stands;
- a comparison, a membership, a calculation or a call whose operand can never be of the type that it needs;
- a family that the decision never asks, and a finding without a code (`families.py`).

Nothing is said of a computed key, of a list's items in data, or of a value whose type is not known. A path below
`data.gateway.grants.upstreams` may have any key, since the grants of a gateway are its own.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from operator import itemgetter
from typing import Any

from gateway.errors import PolicyBroken
from gateway.policy import contract, families, value_types
from gateway.policy.data_tree import DataTree
from gateway.policy.references import Path, ReferenceGraph
from gateway.policy.rule_types import RuleTypes
from gateway.policy.syntax import Module, Problem


def problems(modules: Sequence[Module], data: Mapping[str, Any]) -> list[Problem]:
    """Return every path and type of a policy that cannot be right. `data` are its data files, merged."""
    graph = ReferenceGraph(modules)
    known_input = value_types.from_schema(contract.schemas()["input.json"], "input")
    types = RuleTypes(graph, DataTree(graph, modules, data), known_input)
    try:
        for module in modules:
            types.check_imports(module)
        for path in _order(graph):
            types.check(path)
    except RecursionError:
        raise PolicyBroken("a rule of the policy is nested too deeply", "split it into several rules") from None
    found = dict.fromkeys(types.found)
    told = [problem for _, _, problem in sorted(found, key=itemgetter(0, 1))]
    return told + families.problems(graph, types)


def _order(graph: ReferenceGraph) -> list[Path]:
    """Return the rules, callers before functions: arguments give the types of parameters."""
    return graph.callers_first(graph.rules)
