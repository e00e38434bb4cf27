"""Where a journal begins whose first segments were pruned. Pure: no I/O, no clock, no randomness.

The floor is one line of the chain in a file of its own, `floor.json`: it names the last entry that is gone, and has that
entry's link as its `prev`. So the chain goes on from it, and who cannot read the key can neither make a floor nor move
one. A floor is of no use as a line of the journal: its number is that of an entry that was there.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import msgspec

from gateway.journal.verification import Position, lost

if TYPE_CHECKING:
    from gateway.journal.chain import Chain

FILE: Final = "floor.json"
_KIND: Final = "floor"


@dataclass(frozen=True, slots=True)
class Floor:
    """`segment`, `seq` and `link` are those of the last segment that is gone, and of its last entry. `time` is when it was
    pruned."""

    journal: str
    segment: int
    seq: int
    link: str
    time: str


def written(chain: Chain, floor: Floor) -> bytes:
    fields = msgspec.json.encode({"journal": floor.journal, "segment": floor.segment})
    return chain.line(floor.seq, floor.time, _KIND, fields, floor.link) + b"\n"


def read(chain: Chain, line: bytes) -> Floor | None:
    """The floor that was written with this chain's key; `None` for anything else."""
    whole = line.removesuffix(b"\n")
    try:
        found = msgspec.json.decode(whole, type=_Line)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return None
    if found.kind != _KIND or not chain.intact(whole):
        return None
    return Floor(found.journal, found.segment, found.seq, found.prev, found.time)


def begin(floor: Floor, first: int) -> Position:
    """The position before the segment `first`, which is the first that is there. One below the floor could not be removed,
    and nobody knows what was before it."""
    if first <= floor.segment:
        return lost(Position(journal=floor.journal))
    return Position(floor.seq, floor.link, floor.journal)


class _Line(msgspec.Struct):
    seq: int
    time: str
    kind: str
    journal: str
    segment: int
    prev: str
