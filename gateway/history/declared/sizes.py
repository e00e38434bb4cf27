"""The room that declared facts take: bytes of the journal for a counted call, and bytes of memory for a key. Pure."""

from __future__ import annotations

import tracemalloc
from typing import TYPE_CHECKING, Final

import msgspec

from gateway.history.declared import tables
from gateway.history.declared.tables import PARTS, Mark, Tables

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

    from gateway.policy.facts import Declaration, FactBook

_SAMPLE: Final = 256
"""Keys of a table that is measured."""


def journal_bytes(declared: Declaration) -> int:
    """Return the bytes that a counted call adds to its journal entry: its mark, and the value with the call and without it."""
    value = {declared.name: 1000 if declared.aggregate in {"count", "sum", "distinct"} else "2026-12-01T10:00:00Z"}
    return len(msgspec.json.encode(_mark(declared, 0))) + 1 + 2 * len(msgspec.json.encode(value))


def find_key_bytes(declared: Declaration) -> tuple[int, int]:
    """Return the bytes of memory of a key with calls in one part of the window, and in all parts."""
    return key_bytes(declared, 1), key_bytes(declared, PARTS if declared.width else 1)


def key_bytes(declared: Declaration, parts: int) -> int:
    """Return the bytes of memory of a key with calls in some parts of the window, as a table of such keys takes them."""
    held: Tables = {}
    tracemalloc.start()
    try:
        for key in range(_SAMPLE):
            for part in range(parts):
                call, at, marks = f"{key}-{part}", part * (declared.width or 1.0), [_mark(declared, key)]
                tables.reserve(held, call, at, marks)
                tables.close(held, call, at, marks, declared.ends)
        return tracemalloc.get_traced_memory()[0] // _SAMPLE
    finally:
        tracemalloc.stop()


def describe(book: FactBook, read: Collection[str]) -> Iterator[str]:
    """Yield a sentence about the room of each fact, and about facts that hold no limit. `read` are the facts that rules read."""
    for each in book.all:
        one, all_parts = find_key_bytes(each)
        yield (
            f"{each.name}: {journal_bytes(each)} bytes of the journal for each counted call; {one:,} to {all_parts:,} bytes of"
            f" memory for each key, of at most {each.fact.keys:,}"
        )
        if each.name not in read:
            yield f"{each.name}: no rule reads it; remove it, or read `input.facts.{each.name}`"
        if each.needs_open:
            yield f"{each.name}: calls under way do not count, so racing calls pass a limit on it; add `open` to its outcomes"


def _mark(declared: Declaration, key: int) -> Mark:
    owner = "" if declared.scope == "task" else f"{declared.scope}:{'0' * 16}"
    number = "1000.00" if declared.aggregate == "sum" else "0"
    members = (f"{key:016x}",) if declared.aggregate == "distinct" else ()
    ends = declared.ends
    return Mark(
        declared.table,
        owner,
        f"{key:016x}",
        declared.aggregate,
        ends,
        declared.width,
        declared.fact.keys,
        number,
        members,
    )
