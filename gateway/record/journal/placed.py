"""The journal, read by places: pages of entries from the end, and lines around an entry.

A place is a segment and the offset of a line in it. A page costs the bytes of that page, whatever the size of the journal.
Where a filter fits few entries, it costs at most `budget` bytes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple

from gateway.model.errors import JournalError
from gateway.record.journal.chain import MAX_LINE, Chain, ChainKeys
from gateway.record.journal.reader import entry_of
from gateway.record.journal.storage import open_segment, segment_path, segment_size, segments

if TYPE_CHECKING:
    from gateway.model.wire import JsonObject

_BLOCK: Final = 256 * 2**10
BUDGET: Final = 64 * 2**20


class EntryPlace(NamedTuple):
    """The beginning of a line: the number of its segment, and its offset there."""

    segment: int
    offset: int


class PlacedLine(NamedTuple):
    """A whole line of the journal, without its newline, and its place."""

    place: EntryPlace
    line: bytes


class EntryPage(NamedTuple):
    """Entries that fit, the newest first. `before` is the place to go on from, `None` at the beginning of the journal."""

    found: list[tuple[EntryPlace, JsonObject]]
    before: EntryPlace | None
    searched: int


def lines_before(folder: Path, before: EntryPlace | None = None) -> Iterator[PlacedLine]:
    """Yield the journal's lines that begin before a place, newest first. Raises `JournalError`."""
    for number, path in reversed(segments(folder)):
        if before is not None and number > before.segment:
            continue
        end = before.offset if before is not None and number == before.segment else None
        for offset, line in _lines_of(path, end):
            yield PlacedLine(EntryPlace(number, offset), line)


def _lines_of(path: Path, end: int | None) -> Iterator[tuple[int, bytes]]:
    """Yield the whole lines of a file before an offset, the last one first."""
    try:
        with open_segment(path) as file:
            length = file.seek(0, 2)
            # A place of an address may be far beyond the end.
            at = length if end is None else min(end, length)
            # The bytes after the last newline that was seen: the beginning of their line is in an earlier block.
            rest, is_last = b"", end is None
            while at > 0:
                size = min(_BLOCK, at)
                at -= size
                file.seek(at)
                pieces = (file.read(size) + rest).split(b"\n")
                rest = pieces[0]
                offset = at + sum(len(piece) + 1 for piece in pieces)
                for piece in reversed(pieces[1:]):
                    offset -= len(piece) + 1
                    if piece and not is_last:
                        yield offset, piece
                    # A writer may be in the middle of the very last line.
                    is_last = False
                if len(rest) > MAX_LINE:
                    raise JournalError(f"{path} has a line that is too long", "run `opagate journal verify`")
            if rest and not is_last:
                yield 0, rest
    except OSError as error:
        raise unreadable(path, error) from error


def lines_from(folder: Path, place: EntryPlace) -> Iterator[PlacedLine]:
    """Yield the lines from a place on, in their order. Raises `JournalError`."""
    for number, path in segments(folder):
        if number < place.segment:
            continue
        offset = place.offset if number == place.segment else 0
        try:
            with open_segment(path) as file:
                file.seek(offset)
                while (line := file.readline(MAX_LINE + 1)).endswith(b"\n"):
                    yield PlacedLine(EntryPlace(number, offset), line[:-1])
                    offset += len(line)
        except OSError as error:
            raise unreadable(path, error) from error


def find_last_line(path: Path) -> bytes | None:
    """Return the last whole line of a segment, `None` without one. Raises `JournalError`."""
    return next((line for _, line in _lines_of(path, None)), None)


def place_after(folder: Path, place: EntryPlace, size: int) -> EntryPlace:
    """Return the place so many bytes after a place, or in the last segment beyond its end. Raises `JournalError`."""
    number, offset = place.segment, place.offset + size
    following = [(one, path) for one, path in segments(folder) if one >= number]
    for number, path in following:
        try:
            end = segment_size(path)
        except OSError as error:
            raise unreadable(path, error) from error
        if offset <= end or number == following[-1][0]:
            break
        offset -= end
    return EntryPlace(number, offset)


def unreadable(path: Path, error: OSError) -> JournalError:
    """Return the error for a segment that cannot be read."""
    return JournalError(
        f"the journal segment {path} cannot be read: {error.strerror}", "run this as the gateway's user"
    )


def find_page(
    folder: Path,
    fits: Callable[[bytes], bool],
    *,
    before: EntryPlace | None = None,
    count: int = 50,
    budget: int = BUDGET,
    key: ChainKeys = None,
) -> EntryPage:
    """Return the last entries before a place whose line fits, each checked with the journal's key.

    Raises `JournalError`, also for an edited entry.
    """
    chain = None if key is None else Chain.of(key)
    found: list[tuple[EntryPlace, JsonObject]] = []
    searched = 0
    for place, line in lines_before(folder, before):
        if len(found) == count:
            return EntryPage(found, found[-1][0], searched)
        if searched >= budget:
            return EntryPage(found, EntryPlace(place.segment, place.offset + len(line) + 1), searched)
        searched += len(line) + 1
        if fits(line):
            found.append((place, read_line(folder, place, line, chain)))
    return EntryPage(found, None, searched)


def read_line(folder: Path, place: EntryPlace, line: bytes, chain: Chain | None) -> JsonObject:
    """Return the entry of a line. Raises `JournalError` for an edited line."""
    path = segment_path(folder, place.segment)
    if chain is not None and chain.find_link(line) is None:
        raise JournalError(f"{path}, byte {place.offset} is not as it was written", "run `opagate journal verify`")
    return entry_of(line, path)


def read_at(folder: Path, place: EntryPlace, *, key: ChainKeys = None) -> JsonObject:
    """Return the entry at a place. Raises `JournalError` if no line begins there."""
    path = segment_path(folder, place.segment)
    try:
        with open_segment(path) as file:
            file.seek(max(place.offset - 1, 0))
            is_begin = place.offset == 0 or file.read(1) == b"\n"
            line = file.readline(MAX_LINE + 1)
    except OSError as error:
        raise JournalError(
            f"the journal segment {path} cannot be read: {error.strerror}", "look at a newer page"
        ) from error
    if not is_begin or not line.endswith(b"\n"):
        raise JournalError("no entry of the journal begins at this place", "look at the list of decisions again")
    return read_line(folder, place, line[:-1], None if key is None else Chain.of(key))
