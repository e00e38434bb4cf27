"""Entries that a gateway takes over from the previous journal, complete and unchanged. An edited or removed entry is a
call that history would miss, so limits would begin anew. A journal with a fault is no history, and the gateway says so.
"""

from __future__ import annotations

import re
from dataclasses import replace
from typing import TYPE_CHECKING, Final, cast

from gateway.model.errors import JournalError
from gateway.record.journal import verification
from gateway.record.journal.chain import Chain, ChainKeys
from gateway.record.journal.reader import first_of, floor_line, raw_lines
from gateway.record.journal.recovery import make_damage_error
from gateway.record.journal.storage import segments
from gateway.record.journal.verification import LinePlace, Position, follow, lost

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from gateway.model.wire import JsonObject

_SEQ: Final = re.compile(rb'\{"seq":([0-9]{1,18}),')


def entries(path: Path, *, key: ChainKeys, journal: str | None = None, after: int = 0) -> Iterator[JsonObject]:
    """Yield the entries of the journal in a folder, oldest first, without an unfinished last line. `key` is the
    deployment's journal keys. Of the journal with the id `journal`, entries up to `after` are left out, except for the
    heading of their segment. Raises `JournalError` at the first changed line or gap."""
    chain, found = Chain.of(key), segments(path)
    if not found or not after or _id_of(found[-1][1]) != journal:
        after = 0
    while after and len(found) > 1 and cast("int", first_of(found[1][1]).get("seq", 2**63)) <= after + 1:
        del found[0]
    position = lost(Position()) if after else _begin(path, chain, found[0][0] if found else 1)
    for index, (number, file) in enumerate(found):
        for place, line in _read_wanted(file, number, after, last=index == len(found) - 1):
            position, problem = follow(chain, position, line, place)
            if problem is not None:
                raise make_damage_error(file, place.line, problem.message)
            entry = cast("JsonObject", position.entry)
            if after and index == 0 and place.line == 1:
                position = _at(position, after, file)
            yield entry


def _at(position: Position, after: int, file: Path) -> Position:
    """Return the position after the heading of the first segment. Up to `after` nothing else is."""
    seq = cast("int", position.seq)
    if seq > after + 1:
        raise make_damage_error(file, 1, f"entries {after + 1} to {seq - 1} are missing before it")
    return position if seq > after else replace(position, seq=after, link=None, kind="", entry=None)


def _read_wanted(file: Path, number: int, after: int, *, last: bool) -> Iterator[tuple[LinePlace, bytes]]:
    """Yield the heading of a segment, and its lines later than `after`, without their ends."""
    for count, line in enumerate(raw_lines(file), 1):
        if not line.endswith(b"\n"):
            if not last:
                raise make_damage_error(file, count, "the last line of the segment has no end")
            return
        if count > 1 and after and (told := _SEQ.match(line)) is not None and int(told[1]) <= after:
            continue
        yield LinePlace(file.name, number, count), line[:-1]


def _begin(path: Path, chain: Chain, first: int) -> Position:
    """Return the start of a journal read from its beginning: its first entry, or the point of pruning."""
    line = floor_line(path)
    if line is None:
        return Position()
    floor = verification.read_mark(chain, line)
    if floor is None:
        raise JournalError(
            f"{path / verification.FLOOR_FILE} is not what was written with this key", "run `opagate journal verify`"
        )
    return verification.start_position(floor, first)


def _id_of(file: Path) -> str | None:
    """Return the journal named by a segment. A false name shows when the segment is read."""
    journal = first_of(file).get("journal")
    return journal if isinstance(journal, str) else None
