"""The places of each task's calls in a journal: a single pass over the journal, then each task alone. It keeps 16 bytes
a call."""

from __future__ import annotations

from array import array
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

import msgspec

from gateway.model.errors import JournalError
from gateway.record.journal.chain import MAX_LINE
from gateway.record.journal.reader import entry_of, raw_lines
from gateway.record.journal.storage import open_segment, segment_path, segments

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from gateway.model.wire import JsonObject

_OFFSET: Final = 40
"""Bits of a place that are the offset in its segment; those above are the segment's number."""


class _TaskHeading(msgspec.Struct):
    """The part of a line that names its task."""

    kind: str
    id: str | None = None
    effect: str | None = None
    event: str | None = None
    task: msgspec.Raw = msgspec.Raw(b"null")


class _NamedTask(msgspec.Struct):
    id: str


@dataclass(slots=True)
class _TaskPlaces:
    """Of one task. No entry begins at place zero: a segment begins with its heading."""

    declared: int = 0
    calls: array[int] = field(default_factory=lambda: array("Q"))
    ends: array[int] = field(default_factory=lambda: array("Q"))
    readings: int = 0


class Index:
    """Index of the tasks of a journal, oldest first. Each method raises `JournalError`."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._tasks: dict[str, _TaskPlaces] = {}
        self._open: dict[str, tuple[_TaskPlaces, int]] = {}
        self._votes: dict[str, list[int]] = {}
        for number, file in segments(path):
            offset = 0
            for count, line in enumerate(raw_lines(file), 1):
                if line.endswith(b"\n"):
                    self._take(line, number << _OFFSET | offset, f"{file}, line {count}")
                offset += len(line)
        self._open.clear()

    def tasks(self) -> tuple[str, ...]:
        return tuple(self._tasks)

    def declared(self, task: str) -> JsonObject | None:
        """Return the entry that declared a task; `None` for an implicit task."""
        place = self._tasks[task].declared
        return self._read(place) if place else None

    def calls(self, task: str) -> Iterator[tuple[JsonObject, JsonObject | None]]:
        """Yield the `call` entries of a task, each with its outcome; `None` for an open call."""
        places = self._tasks[task]
        for call, end in zip(places.calls, places.ends, strict=True):
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
        path = segment_path(self._path, place >> _OFFSET)
        try:
            with open_segment(path) as file:
                file.seek(place & ((1 << _OFFSET) - 1))
                return entry_of(file.readline(MAX_LINE + 1), path)
        except OSError as error:
            raise JournalError(
                f"the journal segment {path} cannot be read: {error.strerror}", "run this as the gateway's user"
            ) from error
