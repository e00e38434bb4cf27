"""Recovery of a journal's end after a crash, before any new entry. A crash during a write leaves a line without an end.
The gateway moves this line aside, and never repairs it. A wrong line *with* an end is no crash: the gateway does not
open such a journal, and a person has to look."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, BinaryIO, cast

import msgspec

from gateway.model.errors import JournalError
from gateway.record.journal.chain import MAX_LINE
from gateway.record.journal.compression import SUFFIX
from gateway.record.journal.entry import closed_by, opened_by
from gateway.record.journal.segment import Pending
from gateway.record.journal.storage import Disk, open_segment, segments, set_aside
from gateway.record.journal.verification import Fault, LinePlace, Position, follow, lost
from gateway.record.journal.write_outage import abandoned

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from gateway.record.journal.chain import Chain
    from gateway.record.journal.segment import Appender


@dataclass(frozen=True, slots=True)
class Torn:
    """Bytes moved aside, and their new file."""

    data: bytes
    file: str


@dataclass(frozen=True, slots=True)
class End:
    """The point where a journal goes on. `unsettled` are the ids of calls with a recorded intent and no recorded
    outcome."""

    number: int
    path: Path
    size: int
    lines: int
    seq: int
    link: str
    journal: str
    unsettled: tuple[str, ...]
    chain: Chain
    """The chain of the key that wrote the last segment."""


def recover(
    folder: Path, chain: Chain, disk: Disk, fingerprints: str | None = None
) -> tuple[End | None, tuple[Torn, ...]]:
    """Return the end of the journal in a folder, `None` for a journal without a line, and the parts that were moved aside.

    Raises `JournalError` if another key wrote the last segment or made the digests in it, and `OSError`. `fingerprints` is the id of
    the key of digests; without it that is not looked at.
    """
    torn: list[Torn] = []
    for number, path in reversed(segments(folder)):
        with open_segment(path) as file:
            end, rest = _scan(file, chain, LinePlace(path.name, number, 1), path, fingerprints)
        if rest and path.suffix == SUFFIX:
            raise make_damage_error(path, end.lines + 1 if end else 1, "the last line of the segment has no end")
        if rest:
            torn.append(Torn(rest, set_aside(path, rest, disk).name))
            _cut(path, end.size if end else 0, disk)
        if end is not None:
            return end, tuple(torn)
        path.unlink()
        disk.sync_folder(folder)
    return None, tuple(torn)


def require_end(folder: Path, chain: Chain, fingerprints: str | None = None) -> None:
    """Check the end as `recover` does, and change nothing. Raises `JournalError` and `OSError`."""
    for number, path in segments(folder)[-1:]:
        with open_segment(path) as file:
            _scan(file, chain, LinePlace(path.name, number, 1), path, fingerprints)


def make_damage_error(path: Path, line: int, message: str) -> JournalError:
    """Return the error that ends a gateway instead of continuing such a journal."""
    return JournalError(
        f"the journal is damaged: {path}, line {line}: {message}",
        "run `opagate journal verify`; to go on without it, move the journal folder away",
    )


def _scan(
    file: BinaryIO, chain: Chain, place: LinePlace, path: Path, fingerprints: str | None
) -> tuple[End | None, bytes]:
    """Follow a segment from its heading to its last whole line; also the bytes after that."""
    position, size, line_number = lost(Position()), 0, 0
    unsettled: dict[str, None] = {}
    while (line := file.readline(MAX_LINE + 1)).endswith(b"\n"):
        line_number += 1
        position, problem = follow(chain, position, line[:-1], LinePlace(place.segment, place.number, line_number))
        if problem is not None and problem.fault is Fault.LATER_FORM:
            raise JournalError(f"a later release of the gateway wrote {path}", "start that release")
        if problem is not None:
            raise make_damage_error(path, line_number, problem.message)
        if line_number == 1 and fingerprints is not None:
            _require_fingerprints(position, path, fingerprints)
        size += len(line)
        _settle(position, unsettled)
    rest = line + file.read()
    if b"\n" in rest:
        raise JournalError(
            f"the journal is damaged: {path}, line {line_number + 1} is too long", "run `opagate journal verify`"
        )
    if position.seq is None or position.link is None or position.journal is None:
        return None, rest
    return (
        End(
            place.number,
            path,
            size,
            line_number,
            position.seq,
            position.link,
            position.journal,
            tuple(unsettled),
            position.chain or chain,
        ),
        rest,
    )


def _require_fingerprints(heading: Position, path: Path, fingerprints: str) -> None:
    """Refuse a journal with digests under another key: no task would know its credentials and words again."""
    if (heading.entry or {}).get("fingerprints") != fingerprints:
        raise JournalError(
            f"the digests in {path} were made with another key of fingerprints",
            "put that key back; to go on without, move the journal folder away and delete the state's history folder",
        )


def _settle(position: Position, unsettled: dict[str, None]) -> None:
    entry = position.entry or {}
    if position.kind == "segment":
        unsettled.update(dict.fromkeys(cast("Sequence[str]", entry.get("open", ()))))
    elif (call := opened_by(position.kind, entry)) is not None:
        unsettled[call] = None
    elif (call := closed_by(position.kind, entry)) is not None:
        unsettled.pop(call, None)


def _cut(path: Path, size: int, disk: Disk) -> None:
    fd = disk.open(path)
    try:
        disk.truncate(fd, size)
        disk.sync(fd)
    finally:
        disk.close(fd)


def take_up(
    appender: Appender,
    folder: Path,
    chain: Chain,
    disk: Disk,
    fingerprints: str,
    *,
    new_id: Callable[[], str],
    time: str,
) -> int:
    """Take up the journal and write down what was found. Return the number of the last entry before that."""
    try:
        end, torn = recover(folder, chain, disk, fingerprints)
        if end is None:
            appender.begin(new_id(), time)
        else:
            appender.resume(end, time)
        entries = [*map(_torn_entry, torn), *map(abandoned, end.unsettled if end else ())]
        _, error = appender.append(entries, time)
        if error is not None:
            raise error
        if entries:
            appender.sync()
        return 0 if end is None else end.seq  # noqa: TRY300 - all above may fail
    except OSError as failure:
        raise JournalError(
            f"the journal {folder} cannot be opened: {failure.strerror}",
            "make it readable and writable, and free space",
        ) from failure


def _torn_entry(torn: Torn) -> Pending:
    digest = hashlib.sha256(torn.data).hexdigest()
    fields = {"file": torn.file, "bytes": len(torn.data), "digest": digest}
    return Pending("recovered", msgspec.json.encode(fields))
