"""A plan, written as a syntax tree of Python. Pure.

Each rule and function of the policy becomes a function of Python, and each local a variable. `U` is the absence of a value. A
block that may end early is a `while` that runs once, and a statement without a value leaves it with `break`.

A rule without parameters is asked once for each input: `m` keeps its value. `with` asks with an empty `m`.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Callable, Mapping, Sequence
from decimal import Decimal
from functools import partial
from typing import Final

from gateway.model.errors import PolicyBroken
from gateway.policy.plan import forms, intermediate, trees, usage
from gateway.policy.plan.blocks import FunctionBody, write_body
from gateway.policy.plan.forms import Term
from gateway.policy.plan.functions import python_name
from gateway.policy.plan.intermediate import REMEDY, Function, Plan, PlanEntry
from gateway.policy.plan.trees import quote
from gateway.policy.plan.values import number

_HEAD: Final = """
from decimal import Decimal

from gateway.policy.plan.collection_functions import NAMES
from gateway.policy.plan.functions import FUNCTIONS
from gateway.policy.plan.regex_functions import matcher
from gateway.policy.plan.values import U, dot, equal, insert_once, key, length, merge, once, scan, upsert

LISTS = frozenset({list, set})
COUNTED = frozenset({str, list, dict, set})
SUBTRACTED = frozenset({int, set})
"""
_NUMBER: Final = re.compile(r"-?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][-+]?[0-9]+)?")


def module(plan: Plan) -> ast.Module:
    """Return the Python of a plan. Raise `PolicyBroken` for unsupported control flow."""
    names = {function.name: f"f{number_}" for number_, function in enumerate(plan.functions)}
    constants = Constants(plan)
    rules = frozenset(function.name for function in plan.functions if len(function.params) == 2)
    common = partial(FunctionBody, plan=plan, names=names, constants=constants, rules=rules)
    bodies = [_function(names[function.name], function, common) for function in plan.functions]
    entries = [_entry(f"entry_{number_}", entry, common) for number_, entry in enumerate(plan.entries)]
    builtins = [
        trees.assign(python_name(name), quote("FUNCTIONS[name]", name=trees.constant(name)))
        for name in sorted(plan.builtins)
    ]
    head = [*ast.parse(_HEAD).body, *builtins, *constants.assignments()]
    return ast.Module([*head, *bodies, *entries, *_tables(plan, names)], [])


def _tables(plan: Plan, names: Mapping[str, str]) -> list[ast.stmt]:
    """Return the tables of a program: entries, rules by their paths, places of rules, lasting rules, and the data that rules read."""
    entries = [
        (trees.constant(entry.name), trees.name(f"entry_{number_}")) for number_, entry in enumerate(plan.entries)
    ]
    rules = [
        (trees.tuple_of(map(trees.constant, function.path)), trees.name(names[function.name]))
        for function in plan.functions
        if function.path
    ]
    places = [
        (trees.constant(names[function.name]), trees.constant(_place(function, plan))) for function in plan.functions
    ]
    kept = usage.independent_rules(plan.functions)
    lasting = [(trees.constant(names[name]), trees.name(names[name])) for name in names if name in kept]
    reads = [
        (trees.tuple_of(map(trees.constant, path)), trees.constant(place))
        for path, place in intermediate.find_reads(plan).items()
    ]
    tables = {"ENTRIES": entries, "BY_PATH": rules, "PLACES": places, "LASTING": lasting, "READS": reads}
    return [trees.assign(name, trees.mapping(pairs)) for name, pairs in tables.items()]


class Constants:
    """The constants of a plan, and collections of constants alone, which are made once."""

    def __init__(self, plan: Plan) -> None:
        self.strings = plan.strings
        self._made: dict[str, tuple[str, ast.expr]] = {}

    def name(self, made: ast.expr) -> Term:
        """Return the term of a collection, or of a number with a point."""
        literal = ast.unparse(made)
        name, _ = self._made.setdefault(literal, (f"C{len(self._made)}", made))
        return Term(trees.name(name), literal=literal)

    def number(self, index: int) -> Term:
        """Return the number that a string of the plan spells."""
        text = self.strings[index]
        try:
            if re.fullmatch(r"-?[0-9]+", text):
                return forms.integer(int(text))
            if not _NUMBER.fullmatch(text):
                raise PolicyBroken(f"the plan of the policy has a number that is not known: {text!r}", REMEDY)
            found: Decimal = number(text)
        except ValueError as error:
            raise PolicyBroken(
                f"the policy has a number that cannot be worked with: {error}", "write another"
            ) from None
        term = self.name(trees.call("Decimal", trees.constant(str(found))))
        return Term(term.node, "Decimal", term.literal)

    def assignments(self) -> list[ast.stmt]:
        return [trees.assign(name, made) for name, made in self._made.values()]


def _place(function: Function, plan: Plan) -> str:
    for block in function.blocks:
        for statement in block.statements:
            if statement.row:
                return f"{plan.files[statement.fields['file']]}:{statement.row}"
    return ""


def _function(name: str, function: Function, common: Callable[..., FunctionBody]) -> ast.stmt:
    """Return a function. A rule, which has no parameters of its own, keeps its value in `m`."""
    kept = name if len(function.params) == 2 else ""
    body = write_body(common(function.blocks, function.params, kept=kept))
    begin, end = _memory(kept)
    parameters = ["m", *(f"v{local}" for local in function.params)]
    return trees.function(name, parameters, [*begin, *body, *end, trees.give_back(trees.name("U"))])


def _memory(kept: str) -> tuple[Sequence[ast.stmt], Sequence[ast.stmt]]:
    """Return the beginning and the end of a rule whose value is kept, and nothing for a function."""
    if not kept:
        return [], []
    place, m = trees.constant(kept), trees.name("m")
    begin = trees.when(quote("kept in m", kept=place), [trees.give_back(quote("m[kept]", kept=place))])
    return [begin], [trees.assign_item(m, place, trees.name("U"))]


def _entry(name: str, entry: PlanEntry, common: Callable[..., FunctionBody]) -> ast.stmt:
    body = write_body(common(entry.blocks, [0, 1], kept=""))
    begin, end = trees.assign("results", trees.array([])), trees.give_back(trees.name("results"))
    return trees.function(name, ["m", "v0", "v1"], [begin, *body, end])
