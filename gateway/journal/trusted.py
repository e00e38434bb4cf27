"""What a gateway takes over from the journal before it: each entry as it was written, and none left out.

An entry that was edited or removed is a call that a task never made, as far as history knows: its limits would begin
anew. So a journal in which something is wrong is no history, and says so.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final, cast

from gateway.errors import JournalError
from gateway.journal import floor as floors
from gateway.journal.chain import Chain
from gateway.journal.reader import first_of, floor_line, raw_lines
from gateway.journal.recovery import damaged
from gateway.journal.storage import segments
from gateway.journal.verification import Place, Position, follow, lost

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from gateway.model.wire import JsonObject

_SEQ: Final = re.compile(rb'\{"seq":([0-9]{1,18}),')


def entries(path: Path, *, key: bytes, journal: str | None = None, after: int = 0) -> Iterator[JsonObject]:
    """The entries of the journal in a folder, oldest first; a last line without an end is left out.

    `key` is the deployment's journal key. Of the journal with the id `journal` only entries later than `after` are
    wanted: those before are left out, but for the heading of the segment in which they begin. Raises `JournalError` for
    the first line that is not as it was written, or before which something is missing.
    """
    chain, found = Chain.of(key), segments(path)
    if not found or not after or _id_of(found[-1][1]) != journal:
        after = 0
    while after and len(found) > 1 and cast("int", first_of(found[1][1]).get("seq", 2**63)) <= after + 1:
        del found[0]
    position = lost(Position()) if after else _begin(path, chain, found[0][0] if found else 1)
    for index, (number, file) in enumerate(found):
        for place, line in _wanted(file, number, after, last=index == len(found) - 1):
            position, problem = follow(chain, position, line, place)
            if problem is not None:
                raise damaged(file, place.line, problem.message)
            entry = cast("JsonObject", position.entry)
            if after and index == 0 and place.line == 1:
                position = _at(position, after, file)
            yield entry


def _at(position: Position, after: int, file: Path) -> Position:
    """The position once the heading of the first segment was read. Up to `after` nothing else is."""
    seq = cast("int", position.seq)
    if seq > after + 1:
        raise damaged(file, 1, f"entries {after + 1} to {seq - 1} are missing before it")
    return position if seq > after else Position(after, None, position.journal)


def _wanted(file: Path, number: int, after: int, *, last: bool) -> Iterator[tuple[Place, bytes]]:
    """The lines of a segment, without their ends: its heading, and those later than `after`."""
    for count, line in enumerate(raw_lines(file), 1):
        if not line.endswith(b"\n"):
            if not last:
                raise damaged(file, count, "the last line of the segment has no end")
            return
        if count > 1 and after and (told := _SEQ.match(line)) is not None and int(told[1]) <= after:
            continue
        yield Place(file.name, number, count), line[:-1]


def _begin(path: Path, chain: Chain, first: int) -> Position:
    """Where a journal begins that is read from its beginning: with its first entry, or where it was pruned."""
    line = floor_line(path)
    if line is None:
        return Position()
    floor = floors.read(chain, line)
    if floor is None:
        raise JournalError(
            f"{path / floors.FILE} is not what was written with this key", "run `opagate journal verify`"
        )
    return floors.begin(floor, first)


def _id_of(file: Path) -> str | None:
    """The journal that a segment says it is of. What is said falsely is found when the segment is read."""
    journal = first_of(file).get("journal")
    return journal if isinstance(journal, str) else None
