"""The floor of a pruned journal. Pure: no I/O, no clock, no randomness. The floor is one line of the chain in its own
file, `floor.json`. It names the last removed entry, and has that entry's link as its `prev`. The chain goes on from it,
and a person without the key can neither make nor move a floor. As a line of the journal, a floor is useless: its number
belongs to a removed entry."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import msgspec

from gateway.record.journal.verification import Position, lost

if TYPE_CHECKING:
    from gateway.record.journal.chain import Chain

FILE: Final = "floor.json"
_KIND: Final = "floor"


@dataclass(frozen=True, slots=True)
class PruningMark:
    """The start of a pruned journal: `segment`, `seq` and `link` of the last removed segment and its last entry. `time`
    is the time of pruning."""

    journal: str
    segment: int
    seq: int
    link: str
    time: str


def write_mark(chain: Chain, floor: PruningMark) -> bytes:
    fields = msgspec.json.encode({"journal": floor.journal, "segment": floor.segment})
    return chain.line(floor.seq, floor.time, _KIND, fields, floor.link) + b"\n"


def read_mark(chain: Chain, line: bytes) -> PruningMark | None:
    """Return the floor that was written with a key of this chain; `None` for anything else."""
    whole = line.removesuffix(b"\n")
    try:
        found = msgspec.json.decode(whole, type=_MarkLine)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return None
    if found.kind != _KIND or chain.find_link(whole) is None:
        return None
    return PruningMark(found.journal, found.segment, found.seq, found.prev, found.time)


def start_position(floor: PruningMark, first: int) -> Position:
    """Return the position before the segment `first`, the first present one. A missing segment above the floor leaves
    an unknown position."""
    if first <= floor.segment:
        return lost(Position(journal=floor.journal))
    return Position(floor.seq, floor.link, floor.journal)


class _MarkLine(msgspec.Struct):
    seq: int
    time: str
    kind: str
    journal: str
    segment: int
    prev: str
