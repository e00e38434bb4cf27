"""The present totals of declared facts, for people: what an account holds of each fact. Values of keys are nobody's to read."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Final, cast

from msgspec import Struct

from gateway.history.declared import tables
from gateway.history.declared.values import to_fact

if TYPE_CHECKING:
    from collections.abc import Iterable

    from gateway.history.declared.tables import Table, Tables
    from gateway.policy.facts import Declaration

_AT_ONCE: Final = 500
"""Keys that are read before other work goes on."""


class FactTotal(Struct, frozen=True):
    """A fact of an account. `largest` is the largest number of its keys, or the latest time. `keys` have any value."""

    name: str
    keys: int
    largest: int | float | str | None
    is_incomplete: bool


async def read_totals(declared: Iterable[Declaration], held: Tables, now: float) -> list[FactTotal]:
    """Return the totals of facts in the tables of an account. Other work goes on between."""
    found = [await _read_total(each, held[each.table], now) for each in declared if each.table in held]
    return [each for each in found if each.keys or each.is_incomplete]


async def _read_total(declared: Declaration, table: Table, now: float) -> FactTotal:
    # Values of one fact are of one type: numbers, or times that are in order as texts.
    keys, largest, is_incomplete = 0, cast("Any", None), table.is_incomplete(now)
    for number, key in enumerate(tuple(table.cells)):
        _, amount, lacks = tables.read(table, key, now, declared.how, ("", None))
        found = None if amount is None else to_fact(declared, amount, now)
        is_incomplete = is_incomplete or lacks
        if found is not None:
            keys += 1
            largest = found if largest is None else max(largest, found)
        if number % _AT_ONCE == _AT_ONCE - 1:
            await asyncio.sleep(0)
    return FactTotal(declared.label, keys, largest, is_incomplete)
