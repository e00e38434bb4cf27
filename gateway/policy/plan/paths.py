"""Paths in a plan: the rules that an entry reaches, and the data that rules read by name. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Final, TypeAlias, cast

from gateway.policy.plan.intermediate import statements

if TYPE_CHECKING:
    from gateway.policy.plan.intermediate import Block, Function, Plan, Statement

Path: TypeAlias = tuple[str, ...]
"""A path below `data`, such as `("gateway", "grants")`."""

_ENTRY_DATA: Final = 1
"""The local with data in an entry."""


def rule_path(function: Function) -> Path:
    """Return the path of a rule. OPA puts the number of a group before it."""
    return function.path[1:]


def find_reached(plan: Plan, entries: Iterable[str]) -> frozenset[Path]:
    """Return the paths of all rules that these entries reach, directly or by others."""
    by_name = {function.name: function for function in plan.functions}
    waiting = [block for entry in plan.entries if entry.name in set(entries) for block in entry.blocks]
    found: dict[str, Path] = {}
    while waiting:
        for statement in statements([waiting.pop()]):
            for function in _called(statement, plan, by_name):
                if function.name not in found:
                    found[function.name] = rule_path(function)
                    waiting.extend(function.blocks)
    return frozenset(found.values())


def _called(statement: Statement, plan: Plan, by_name: Mapping[str, Function]) -> Iterator[Function]:
    if statement.type == "CallStmt" and statement.fields["func"] in by_name:
        yield by_name[statement.fields["func"]]
    elif statement.type == "CallDynamicStmt":
        known = _known_part(statement, plan)
        yield from (function for function in plan.functions if function.path and function.path[: len(known)] == known)


def _known_part(statement: Statement, plan: Plan) -> Path:
    """Return the beginning of a computed path, up to its first part that is no constant."""
    known: list[str] = []
    for operand in statement.operands("path"):
        if operand.type != "string_index":
            break
        known.append(plan.strings[operand.value])
    return tuple(known)


def find_reads(plan: Plan) -> dict[Path, str]:
    """Return the data that rules read by name, with the place of the first rule that does. Rules are no data."""
    rules = {rule_path(function) for function in plan.functions}
    known = {path[:end] for path in rules for end in range(len(path) + 1)}
    found: dict[Path, str] = {}
    bodies = [(function.blocks, function.params[1]) for function in plan.functions if len(function.params) > 1]
    for blocks, data in (*bodies, *((entry.blocks, _ENTRY_DATA) for entry in plan.entries)):
        for block in blocks:
            # OPA numbers the locals of each block of a function anew.
            for path, place in _reads([block], {data: ()}, plan):
                if path not in known:
                    found.setdefault(path, place)
    return found


def _reads(blocks: Iterable[Block], held: dict[int, Path], plan: Plan) -> Iterator[tuple[Path, str]]:
    """Yield each path that is looked up by a name. `held` has the paths of the values in locals."""
    for block in blocks:
        for statement in block.statements:
            path = _path_of(statement, held, plan)
            if "target" in statement.fields:
                held.pop(statement.local("target"), None)
                if path is not None:
                    held[statement.local("target")] = path
            if statement.type == "DotStmt" and path is not None:
                yield path, f"{plan.files[statement.fields['file']]}:{statement.row}"
            if statement.type == "WithStmt":
                replaced = statement.local("local")
                yield from _reads(statement.inner, {name: at for name, at in held.items() if name != replaced}, plan)
            else:
                yield from _reads(statement.inner, held, plan)


def _path_of(statement: Statement, held: Mapping[int, Path], plan: Plan) -> Path | None:
    """Return the path of the data that a statement gives its target."""
    if "source" not in statement.fields or not isinstance(statement.fields["source"], dict):
        return None
    source = statement.operand("source")
    path = held.get(source.value) if source.type == "local" else None
    if path is None or statement.type != "DotStmt":
        return path
    key = statement.operand("key")
    return (*path, plan.strings[cast("int", key.value)]) if key.type == "string_index" else None
