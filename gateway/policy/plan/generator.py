"""A plan, written as Python. Pure.

Each rule and function of the policy becomes a function of Python, and each local a variable. `U` is the absence of a value. A
block that may end early is a `while` that runs once, and a statement without a value leaves it with `break`. A comment gives
the line of Rego.

A rule without parameters is asked once for each input: `m` keeps its value. `with` asks with an empty `m`.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from decimal import Decimal
from typing import Final

from gateway.errors import PolicyBroken
from gateway.policy.plan import forms
from gateway.policy.plan.blocks import FunctionBody, write_body
from gateway.policy.plan.forms import Term
from gateway.policy.plan.functions import python_name
from gateway.policy.plan.intermediate import Function, Plan, PlanEntry
from gateway.policy.plan.values import number

_HEAD: Final = '''"""Written by opagate from OPA's plan of a policy."""

from decimal import Decimal

from gateway.policy.plan.functions import FUNCTIONS
from gateway.policy.plan.values import U, dot, equal, insert_once, key, length, merge, once, scan, upsert

LISTS = frozenset({list, set})
COUNTED = frozenset({str, list, dict, set})
'''


def source(plan: Plan) -> str:
    """Return the Python source of a plan. Raises `PolicyBroken` for unsupported control flow."""
    names = {function.name: _name(number_, function) for number_, function in enumerate(plan.functions)}
    constants = Constants(plan)
    bodies = [_function(names[function.name], function, plan, names, constants) for function in plan.functions]
    entries = [_entry(f"entry_{number_}", entry, plan, names, constants) for number_, entry in enumerate(plan.entries)]
    tables = [
        "ENTRIES = {"
        + ", ".join(f"{entry.name!r}: entry_{number_}" for number_, entry in enumerate(plan.entries))
        + "}",
        "BY_PATH = {",
        *(f"    {tuple(function.path)!r}: {names[function.name]}," for function in plan.functions if function.path),
        "}",
        "PLACES = {",
        *(f"    {names[function.name]!r}: {_place(function, plan)!r}," for function in plan.functions),
        "}",
    ]
    builtins = [f"{python_name(name)} = FUNCTIONS[{name!r}]" for name in sorted(plan.builtins)]
    return (
        "\n\n\n".join(["\n".join([_HEAD, *builtins, *constants.lines()]), *bodies, *entries, "\n".join(tables)]) + "\n"
    )


class Constants:
    """The constants of a plan, and collections of constants alone, which are made once."""

    def __init__(self, plan: Plan) -> None:
        self.strings = plan.strings
        self._made: dict[str, str] = {}

    def name(self, literal: str) -> str:
        """Return the name of a collection."""
        return self._made.setdefault(literal, f"C{len(self._made)}")

    def number(self, index: int) -> Term:
        """Return the number that a string of the plan spells."""
        text = self.strings[index]
        if re.fullmatch(r"-?[0-9]+", text):
            return forms.integer(int(text))
        try:
            found: Decimal = number(text)
        except ValueError as error:
            raise PolicyBroken(
                f"the policy has a number that cannot be worked with: {error}", "write another"
            ) from None
        literal = f"Decimal({str(found)!r})"
        return Term(self.name(literal), "Decimal", literal)

    def lines(self) -> list[str]:
        return [f"{name} = {literal}" for literal, name in self._made.items()]


def _name(index: int, function: Function) -> str:
    own = "_".join(function.path[-2:]) if function.path else function.name
    return f"f{index}_" + re.sub(r"\W+", "_", own, flags=re.ASCII).strip("_")


def _place(function: Function, plan: Plan) -> str:
    for block in function.blocks:
        for statement in block.statements:
            if statement.row:
                return f"{plan.files[statement.fields['file']]}:{statement.row}"
    return ""


def _function(name: str, function: Function, plan: Plan, names: dict[str, str], constants: Constants) -> str:
    """Return a function. A rule, which has no parameters of its own, keeps its value in `m`."""
    kept = name if len(function.params) == 2 else ""
    body = write_body(FunctionBody(function.blocks, function.params, plan, names, constants, kept))
    head = [f"def {name}(m, {', '.join(f'v{local}' for local in function.params)}):", f'    """{function.name}"""']
    if kept:
        head += [f"    if {kept!r} in m:", f"        return m[{kept!r}]"]
    return "\n".join([*head, *body, *_end(kept)])


def _end(kept: str) -> Sequence[str]:
    return [f"    m[{kept!r}] = U", "    return U"] if kept else ["    return U"]


def _entry(name: str, entry: PlanEntry, plan: Plan, names: dict[str, str], constants: Constants) -> str:
    body = write_body(FunctionBody(entry.blocks, [0, 1], plan, names, constants, ""))
    return "\n".join(
        [f"def {name}(m, v0, v1):", f'    """{entry.name}"""', "    results = []", *body, "    return results"]
    )
