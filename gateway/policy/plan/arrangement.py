"""The blocks of a function of a plan, arranged so that the writer knows more about its locals. Pure.

OPA numbers the locals of each way of a rule (`else`) anew, so one number stands for several values. `arrange` gives each way
numbers of its own. It also moves the making of a collection down to its items. The meaning of the blocks stays the same.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import replace
from itertools import count
from typing import Any, cast

from gateway.policy.plan import usage
from gateway.policy.plan.intermediate import Block, Statement


def arrange(blocks: Sequence[Block], params: Sequence[int]) -> tuple[Block, ...]:
    """Return the blocks of a function with separate locals and gathered collections."""
    separate = _Separator(blocks, params).separate_function(blocks)
    once = {local for local, times in usage.times_written(separate).items() if times == 1}
    movable = once - usage.absent_in_each(separate)
    return tuple(_gather(block, movable) for block in separate)


class _Separator:
    """Gives locals of alternative blocks numbers of their own. `_fresh` gives numbers that the function does not use."""

    def __init__(self, blocks: Sequence[Block], params: Sequence[int]) -> None:
        self._params = frozenset(params)
        self._mentions = usage.mentions(blocks)
        self._fresh = count(max([*self._mentions, *params], default=0) + 1)

    def separate_function(self, blocks: Sequence[Block]) -> tuple[Block, ...]:
        return tuple(map(self._within, self._apart(blocks)))

    def _apart(self, alternatives: Sequence[Block]) -> Sequence[Block]:
        """Return alternatives without shared numbers for unrelated locals.

        A local with a mention outside may carry a value there, and keeps its number.
        """
        if len(alternatives) < 2:
            return alternatives
        own = [usage.mentions([block]) for block in alternatives]
        inside = sum(own, Counter[int]())
        kept = self._params | usage.absent_in_each(alternatives)
        shared = [
            local
            for local, times in inside.items()
            if local not in kept and times == self._mentions[local] and sum(local in found for found in own) > 1
        ]
        return [
            _rename(block, {local: self._renumber(local, mentioned[local]) for local in shared if local in mentioned})
            for block, mentioned in zip(alternatives, own, strict=True)
        ]

    def _renumber(self, local: int, times: int) -> int:
        fresh = next(self._fresh)
        self._mentions[local] -= times
        self._mentions[fresh] = times
        return fresh

    def _within(self, block: Block) -> Block:
        return Block(
            tuple(
                replace(statement, inner=tuple(map(self._within, self._apart(statement.inner))))
                if statement.inner
                else statement
                for statement in block.statements
            )
        )


def _rename(block: Block, names: Mapping[int, int]) -> Block:
    """Return a block with other numbers for some locals."""
    return Block(tuple(_rename_statement(statement, names) for statement in block.statements))


def _rename_statement(statement: Statement, names: Mapping[int, int]) -> Statement:
    fields: dict[str, Any] = dict(statement.fields)
    for name in usage.local_fields(statement):
        fields[name] = names.get(fields[name], fields[name])
    for name, value in fields.items():
        if isinstance(value, dict):
            fields[name] = _rename_operand(cast("dict[str, Any]", value), names)
        elif name == "args" or (name == "path" and statement.type == "CallDynamicStmt"):
            fields[name] = [_rename_argument(item, names) for item in value or ()]
    return replace(statement, fields=fields, inner=tuple(_rename(inner, names) for inner in statement.inner))


def _rename_argument(argument: Any, names: Mapping[int, int]) -> Any:
    return names.get(argument, argument) if isinstance(argument, int) else _rename_operand(argument, names)


def _rename_operand(operand: dict[str, Any], names: Mapping[int, int]) -> dict[str, Any]:
    if operand.get("type") != "local":
        return operand
    return {**operand, "value": names.get(operand["value"], operand["value"])}


def _gather(block: Block, movable: AbstractSet[int]) -> Block:
    """Return a block with the making of each movable collection directly before its items."""
    waiting = [
        replace(statement, inner=tuple(_gather(inner, movable) for inner in statement.inner))
        for statement in block.statements
    ]
    for at in reversed(range(len(waiting))):
        if waiting[at].type in usage.COLLECTIONS and waiting[at].local("target") in movable:
            _move_down(waiting, at)
    return Block(tuple(waiting))


def _move_down(waiting: list[Statement], at: int) -> None:
    """Move the making of a collection, and its items, down to the last item that follows in a straight line.

    Nothing between may read the collection, or change a local that is put into it.
    """
    adding, name = usage.COLLECTIONS[waiting[at].type]
    target = waiting[at].local("target")
    moved, passed = [waiting[at]], list[Statement]()
    items: set[int] = set()
    for place in range(at + 1, len(waiting)):
        statement = waiting[place]
        is_item = statement.type == adding and statement.fields[name] == target
        if _stays_before(statement) or usage.mentions([Block((statement,))])[target] != is_item:
            return
        if items & usage.changed(statement):
            return
        if is_item:
            moved.append(statement)
            items.update({*usage.reads(statement)} - {target})
            waiting[at : place + 1] = [*passed, *moved]
        else:
            passed.append(statement)


def _stays_before(statement: Statement) -> bool:
    """Return whether nothing may move past a statement, because it has blocks or always leaves a block."""
    return bool(statement.inner) or statement.type in {"BreakStmt", "ReturnLocalStmt"}
