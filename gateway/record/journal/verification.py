"""Faults of a journal, line by line, and the floor of a pruned one. Pure: no I/O, no clock, no randomness.

`follow` takes the lines in the order of the files. It holds one position and no lines, so memory does not grow with the
journal. After a fault it goes on from the found line, so that one edit is reported once.

The floor is one line of the chain in its own file. It names the last removed entry, and has that entry's link as its `prev`.
A person without the key can neither make nor move a floor."""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import StrEnum
from typing import TYPE_CHECKING, Final, cast

import msgspec

from gateway.record.journal.chain import FORMAT, GENESIS

if TYPE_CHECKING:
    from gateway.model.wire import JsonObject
    from gateway.record.journal.chain import Chain


class Fault(StrEnum):
    EDITED = "edited"  # the bytes of a line are not those that were written
    GAP = "gap"  # lines are missing
    REORDERED = "reordered"  # a line stands after one that was written later
    DUPLICATE = "duplicate"  # a line stands twice
    BROKEN_LINK = "broken-link"  # a line does not follow from the one before it
    MISSING_SEGMENT = "missing-segment"
    FOREIGN_SEGMENT = "foreign-segment"  # of another journal, or under another's name
    TORN = "torn"  # the last line has no end
    WRONG_KEY = "wrong-key"
    LATER_FORM = "later-form"  # a later release wrote the segment
    HEAD_MISSING = "head-missing"  # the expected head is not the link of any line
    CUT = "cut"  # the journal ends before an entry that is known
    OTHER_JOURNAL = "other-journal"  # the known entries are of another journal
    SNAPSHOTS_EDITED = "snapshots-edited"  # nobody can say which entries were known


@dataclass(frozen=True, slots=True)
class JournalProblem:
    """`segment` is a file name, `line` counts from 1 in it; 0 stands for the file as a whole."""

    fault: Fault
    segment: str
    line: int
    message: str


@dataclass(frozen=True, slots=True)
class LinePlace:
    """The place of a line: `number` from the file's name, `line` counted from 1."""

    segment: str
    number: int
    line: int


@dataclass(frozen=True, slots=True)
class Position:
    """The state after a line. `seq` and `link` belong to the latest line; `None` if the earlier lines are unknown and
    any next line is accepted."""

    seq: int | None = 0
    link: str | None = GENESIS
    journal: str | None = None
    kind: str = ""
    entry: JsonObject | None = None
    """The line, decoded; `None` when it cannot be trusted."""
    chain: Chain | None = None
    """The chain of the key of the latest segment."""


@dataclass(frozen=True, slots=True)
class KnownEntry:
    """The last entry of a journal that another record knows, such as the snapshots of history."""

    journal: str
    seq: int


def compare_end(known: KnownEntry, position: Position, folder: str) -> JournalProblem | None:
    """Return what is missing at the end of a journal, from the position after its last line."""
    if not known.seq or not known.journal:
        return None
    if position.journal not in {None, known.journal}:
        message = (
            f"the snapshots of history are of the journal {known.journal!r}, up to entry {known.seq}: this is another"
        )
        return JournalProblem(Fault.OTHER_JOURNAL, folder, 0, message)
    if position.seq is None or position.seq >= known.seq:
        return None
    first = position.seq + 1
    missing = f"entry {first} is" if first == known.seq else f"entries {first} to {known.seq} are"
    message = f"{missing} missing at the end: the snapshots of history know of them; they went with the power, or were cut off"
    return JournalProblem(Fault.CUT, folder, 0, message)


def lost(position: Position) -> Position:
    """Return the position after a gap."""
    return replace(position, seq=None, link=None)


def follow(chain: Chain, position: Position, line: bytes, place: LinePlace) -> tuple[Position, JournalProblem | None]:
    """Return the position after a line, and the problem of the line, if any. A segment's heading names its key of the chain."""
    entry = _decode_line(line)
    if place.line == 1:
        found = _find_chain(chain, position.chain, entry, place)
        if isinstance(found, JournalProblem):
            return lost(position), found
        position = replace(position, chain=found)
    link = None if entry is None else (position.chain or chain).checked(line)
    if entry is None or link is None:
        seq = None if position.seq is None else position.seq + 1
        return replace(position, seq=seq, link=None, kind="", entry=None), _problem(
            Fault.EDITED, place, "its content is not what was written"
        )
    if problem := _heading(position, entry, place):
        return lost(position), problem
    return _check_order(position, link, entry, place)


def _check_order(
    position: Position, link: str, entry: JsonObject, place: LinePlace
) -> tuple[Position, JournalProblem | None]:
    seq, expected = cast("int", entry["seq"]), None if position.seq is None else position.seq + 1
    journal = cast("str | None", entry.get("journal")) if place.line == 1 else position.journal
    after = Position(seq, link, journal, cast("str", entry["kind"]), entry, position.chain)
    if expected is not None and seq > expected:
        missing = f"entry {expected} is" if seq == expected + 1 else f"entries {expected} to {seq - 1} are"
        return after, _problem(Fault.GAP, place, f"{missing} missing before entry {seq}")
    if expected is not None and seq == expected - 1:
        return position, _problem(Fault.DUPLICATE, place, f"entry {seq} stands here again")
    if expected is not None and seq < expected:
        return position, _problem(Fault.REORDERED, place, f"entry {seq} stands after entry {expected - 1}")
    if position.link is not None and entry["prev"] != position.link:
        return after, _problem(Fault.BROKEN_LINK, place, "it does not follow from the line before it")
    return after, None


def _decode_line(line: bytes) -> JsonObject | None:
    try:
        entry: object = msgspec.json.decode(line)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None
    if not isinstance(entry, dict):
        return None
    fields = cast("dict[str, object]", entry)
    shaped = (
        type(fields.get("seq")) is int
        and isinstance(fields.get("kind"), str)
        and isinstance(fields.get("prev"), str)
        and isinstance(fields.get("time"), str)
    )
    return cast("JsonObject", fields) if shaped else None


def _find_chain(
    chain: Chain, before: Chain | None, entry: JsonObject | None, place: LinePlace
) -> Chain | JournalProblem:
    """Return the chain that a heading names. `before` is that of the segment before: no earlier key may follow it.

    A whole segment under another key is reported once, not as a thousand edited lines.
    """
    if entry is None or entry["kind"] != "segment":
        return before or chain
    named = (entry.get("chain"), entry.get("key"))
    found = next((each for each in chain.all if (each.name, each.key_id) == named), None)
    if found is not None:
        if before is None or chain.all.index(found) <= chain.all.index(before):
            return found
        return _problem(Fault.WRONG_KEY, place, "the segment was written with an earlier key than the one before it")
    if entry.get("chain") == chain.name:
        return _problem(Fault.WRONG_KEY, place, "the segment was written with another key")
    if chain.key is None:
        return _problem(Fault.WRONG_KEY, place, "the segment was written with a key, and none was given")
    return _problem(Fault.WRONG_KEY, place, "the segment says that it was written without this key")


def _heading(position: Position, entry: JsonObject, place: LinePlace) -> JournalProblem | None:
    """Check a heading: a segment begins with its own name, and names itself nowhere else."""
    if (entry["kind"] == "segment") != (place.line == 1):
        what = "has no heading" if place.line == 1 else "has a second heading"
        return _problem(Fault.FOREIGN_SEGMENT, place, f"the segment {what}")
    if place.line > 1:
        return None
    if entry.get("format", 1) != FORMAT:
        return _problem(
            Fault.LATER_FORM, place, "a later release of the gateway wrote the segment: read it with that one"
        )
    if entry.get("segment") != place.number:
        return _problem(Fault.FOREIGN_SEGMENT, place, f"this is segment {entry.get('segment')} under another name")
    if position.journal is not None and entry.get("journal") != position.journal:
        return _problem(Fault.FOREIGN_SEGMENT, place, "the segment belongs to another journal")
    return None


def _problem(fault: Fault, place: LinePlace, message: str) -> JournalProblem:
    return JournalProblem(fault, place.segment, place.line, message)


FLOOR_FILE: Final = "floor.json"
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
