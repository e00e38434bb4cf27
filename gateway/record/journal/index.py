"""The places of each task's calls in journals: a single pass over these, then each task alone. It keeps 24 bytes a call.

Calls of a task that several gateways carried out have the order of their own numbers.
"""

from __future__ import annotations

import re
from array import array
from dataclasses import dataclass, field
from heapq import merge
from typing import TYPE_CHECKING, Final

import msgspec

from gateway.model.errors import JournalError
from gateway.record.journal.chain import MAX_LINE
from gateway.record.journal.reader import entry_of, raw_lines
from gateway.record.journal.storage import open_segment, segment_path, segments

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from gateway.model.wire import JsonObject

_OFFSET: Final = 40
"""Bits of a place that are the offset in its segment; those above count the segments of all journals."""
_TIME: Final = re.compile(rb'"time":"([^"]+)"')


class _Numbered(msgspec.Struct):
    """The history of a call."""

    number: int = 0


class _TaskHeading(msgspec.Struct):
    """The part of a line that names its task."""

    kind: str
    id: str | None = None
    effect: str | None = None
    event: str | None = None
    task: msgspec.Raw = msgspec.Raw(b"null")
    history: _Numbered | None = None


class _NamedTask(msgspec.Struct):
    id: str


@dataclass(slots=True)
class _TaskPlaces:
    """Of one task. No entry begins at place zero: a segment begins with its heading."""

    declared: int = 0
    calls: array[int] = field(default_factory=lambda: array("Q"))
    ends: array[int] = field(default_factory=lambda: array("Q"))
    numbers: array[int] = field(default_factory=lambda: array("Q"))
    readings: int = 0


class Index:
    """Index of the tasks of a journal, oldest first. Each method raises `JournalError`."""

    def __init__(self, folders: Sequence[Path]) -> None:
        self._folders = folders
        self._segments: list[tuple[Path, int]] = []
        self._tasks: dict[str, _TaskPlaces] = {}
        self._open: dict[str, tuple[_TaskPlaces, int]] = {}
        self._votes: dict[str, list[int]] = {}
        for line in merge(*map(self._read_lines, folders), key=_time_of):
            self._take(*line)
        self._open.clear()

    def _read_lines(self, folder: Path) -> Iterator[tuple[bytes, int, str]]:
        """Yield the whole lines of a journal, each with its place and the words for it."""
        for number, file in segments(folder):
            begin, offset = len(self._segments) << _OFFSET, 0
            self._segments.append((folder, number))
            for count, line in enumerate(raw_lines(file), 1):
                if line.endswith(b"\n"):
                    yield line, begin | offset, f"{file}, line {count}"
                offset += len(line)

    def tasks(self) -> tuple[str, ...]:
        return tuple(self._tasks)

    def declared(self, task: str) -> JsonObject | None:
        """Return the entry that declared a task; `None` for an implicit task."""
        place = self._tasks[task].declared
        return self._read(place) if place else None

    def calls(self, task: str) -> Iterator[tuple[JsonObject, JsonObject | None]]:
        """Yield the `call` entries of a task, each with its outcome; `None` for an open call."""
        places = self._tasks[task]
        found = zip(places.numbers, places.calls, places.ends, strict=True)
        for _, call, end in found if len(self._folders) == 1 else sorted(found):
            yield self._read(call), self._read(end) if end else None

    def votes(self, approval: str) -> Iterator[JsonObject]:
        """Yield the entries of the votes for an approval that was granted."""
        yield from map(self._read, self._votes.get(approval, ()))

    def readings(self, task: str) -> int:
        """Return the number of a task's entries about data read outside of calls."""
        return self._tasks[task].readings

    def _take(self, line: bytes, place: int, where: str) -> None:
        try:
            heading = msgspec.json.decode(line, type=_TaskHeading)
            match heading.kind:
                case "call" if heading.id is not None:
                    places = self._tasks.setdefault(
                        msgspec.json.decode(heading.task, type=_NamedTask).id, _TaskPlaces()
                    )
                    if heading.effect == "allow":
                        self._open[heading.id] = (places, len(places.calls))
                    places.numbers.append(0 if heading.history is None else heading.history.number)
                    places.calls.append(place)
                    places.ends.append(0)
                case "settled" | "abandoned" if heading.id in self._open:
                    places, at = self._open.pop(heading.id)
                    places.ends[at] = place
                case "observed" if heading.event == "read":
                    self._tasks.setdefault(msgspec.json.decode(heading.task, type=str), _TaskPlaces()).readings += 1
                case "approval" if heading.id is not None and heading.event in {"vote", "granted"}:
                    self._votes.setdefault(heading.id, []).append(place)
                case "task" if heading.event == "opened":
                    places = self._tasks.setdefault(msgspec.json.decode(heading.task, type=str), _TaskPlaces())
                    places.declared = places.declared or place
                case _:
                    pass
        except (msgspec.MsgspecError, UnicodeDecodeError):
            raise JournalError(f"{where} is no journal entry", "run `opagate journal verify`") from None

    def _read(self, place: int) -> JsonObject:
        path = segment_path(*self._segments[place >> _OFFSET])
        try:
            with open_segment(path) as file:
                file.seek(place & ((1 << _OFFSET) - 1))
                return entry_of(file.readline(MAX_LINE + 1), path)
        except OSError as error:
            raise JournalError(
                f"the journal segment {path} cannot be read: {error.strerror}", "run this as the gateway's user"
            ) from error


def _time_of(line: tuple[bytes, int, str]) -> bytes:
    found = _TIME.search(line[0], 0, 200)
    return b"" if found is None else found[1]
