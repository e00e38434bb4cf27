"""The journal, read: checked, listed, searched and followed. Reads line by line, in bounded memory, beside a writer."""

from __future__ import annotations

import re
import time
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, BinaryIO, Final, cast

import msgspec

from gateway.model.errors import JournalError
from gateway.record.journal import verification
from gateway.record.journal.chain import MAX_LINE, Chain, ChainKeys
from gateway.record.journal.compression import DamagedSegment
from gateway.record.journal.entry import closed_by, opened_by
from gateway.record.journal.storage import find_segment, has_begun, open_segment, segment_size, segments
from gateway.record.journal.verification import (
    Fault,
    JournalProblem,
    KnownEntry,
    LinePlace,
    Position,
    compare_end,
    follow,
    lost,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator
    from pathlib import Path

    from gateway.model.wire import JsonObject
    from gateway.record.journal.verification import PruningMark

_ENDS: Final = re.compile(rb'"kind":"(?:settled|abandoned)"')
_MAX_PROBLEMS: Final = 100
_PROGRESS_STEP: Final = 2**20
_HALF_WRITTEN: Final = (0.0, 0.05, 0.2)
"""Seconds between looks at a last line without an end: a running gateway may be in the middle of a write."""


@dataclass(frozen=True, slots=True)
class Verification:
    """The findings of `verify`. `entries` counts whole lines; `head` is the link of the last one, `None` if there is none.

    `stopped` is whether the last line is a `stop`: if it is not, a gateway is running, or crashed, or lines were cut off.
    `problems` holds the first hundred; `problem_count` counts all. `known` is the entry up to which another record knows
    the journal, `None` if there was no such record. `cuts` counts the starts at which a gateway found the end missing.
    """

    journal: str | None
    segments: int
    entries: int
    head: str | None
    stopped: bool
    problems: tuple[JournalProblem, ...]
    problem_count: int
    known: int | None = None
    cuts: int = 0

    @property
    def ok(self) -> bool:
        return self.problem_count == 0


def verify(
    path: Path,
    *,
    key: ChainKeys,
    head: str | None = None,
    known: KnownEntry | None = None,
    on_progress: Callable[[int, int], None] | None = None,
    pause: Callable[[float], None] = time.sleep,
) -> Verification:
    """Check every line of the journal in a folder. Raises `JournalError` if it cannot be read.

    `key` has the deployment's journal keys (`keys.read_chain`), `head` a head that was noted earlier: the journal has to
    hold the line that it belongs to. `known` was read before this call: the journal has to go as far. `on_progress` is called with bytes read and bytes in all, each MiB.
    `pause` waits for a running gateway that is in the middle of a line.
    """
    check = _Check(Chain.of(key), head, known, on_progress, pause)
    found = segments(path)
    check.total = sum(_size(file) for _, file in found)
    check.begin(path, found[0][0] if found else 1)
    for index, (number, file) in enumerate(found):
        check.segment(number, file, last=index == len(found) - 1)
    return check.result(path)


class _Check:
    """A run of `verify`: its position and its findings."""

    def __init__(
        self,
        chain: Chain,
        head: str | None,
        known: KnownEntry | None,
        on_progress: Callable[[int, int], None] | None,
        pause: Callable[[float], None],
    ) -> None:
        self._chain = chain
        self._head = head
        self._known = known
        self._on_progress = on_progress
        self._pause = pause
        self._position = Position()
        self._place = LinePlace("", 0, 0)
        self._expected = 1
        self._segments = 0
        self._entries = 0
        self._cuts = 0
        self._count = 0
        self._problems: list[JournalProblem] = []
        self._read = 0
        self.total = 0

    def begin(self, folder: Path, first: int) -> None:
        """Begin where a pruned journal does. Segments below the floor are those that could not be removed."""
        line = floor_line(folder)
        if line is None:
            return
        floor = verification.read_mark(self._chain, line)
        if floor is None:
            message = "it is not what was written with this key: nobody can say which segments were pruned"
            self._report(JournalProblem(Fault.EDITED, verification.FLOOR_FILE, 1, message))
            return
        self._position = verification.start_position(floor, first)
        self._expected = min(first, floor.segment + 1)
        self._line_seen(self._position.link)

    def segment(self, number: int, path: Path, *, last: bool) -> None:
        if number != self._expected:
            first, until = self._expected, number - 1
            missing = f"segment {first} is" if first == until else f"segments {first} to {until} are"
            self._report(JournalProblem(Fault.MISSING_SEGMENT, path.name, 0, f"{missing} missing before it"))
            self._position = lost(self._position)
        self._expected = number + 1
        self._segments += 1
        self._place = LinePlace(path.name, number, 0)
        try:
            self._lines(path, number, last=last)
        except DamagedSegment as error:
            self._report(JournalProblem(Fault.EDITED, path.name, self._place.line + 1, error.message))
            self._position = lost(self._position)
        else:
            if self._place.line == 0 and not last:
                self._report(JournalProblem(Fault.GAP, path.name, 0, "the segment is empty"))

    def _lines(self, path: Path, number: int, *, last: bool) -> None:
        for line in raw_lines(path, self._pause):
            self._place = LinePlace(path.name, number, self._place.line + 1)
            if not line.endswith(b"\n"):
                self._report_unfinished(line, self._place, last=last)
                break
            if self._line(line[:-1], self._place) is Fault.WRONG_KEY:
                break

    def result(self, path: Path) -> Verification:
        if self._segments == 0:
            self._report(JournalProblem(Fault.MISSING_SEGMENT, path.name, 0, "there is no journal in this folder"))
        if self._head is not None:
            message = "no line has the expected head: the end was cut off or rewritten, it was pruned, or this is another journal"
            self._report(JournalProblem(Fault.HEAD_MISSING, path.name, 0, message))
        position = self._position
        if self._known is not None and (cut := compare_end(self._known, position, path.name)) is not None:
            self._report(cut)
        if self._on_progress is not None:
            self._on_progress(self._read, max(self.total, self._read))
        return Verification(
            journal=position.journal,
            segments=self._segments,
            entries=self._entries,
            head=position.link if self._entries else None,
            stopped=position.kind == "stop",
            problems=tuple(self._problems),
            problem_count=self._count,
            known=None if self._known is None else self._known.seq,
            cuts=self._cuts,
        )

    def _line(self, line: bytes, place: LinePlace) -> Fault | None:
        self._progress(len(line) + 1)
        self._entries += 1
        self._position, problem = follow(self._chain, self._position, line, place)
        if problem is not None:
            self._report(problem)
            return problem.fault
        self._cuts += self._position.kind == "cut"
        self._line_seen(self._position.link)
        return None

    def _line_seen(self, link: str | None) -> None:
        if link == self._head:
            self._head = None

    def _report_unfinished(self, line: bytes, place: LinePlace, *, last: bool) -> None:
        self._progress(len(line))
        if len(line) > MAX_LINE:
            problem = JournalProblem(
                Fault.EDITED, place.segment, place.line, f"the line is longer than {MAX_LINE} bytes"
            )
        elif last:
            message = f"the last {len(line)} bytes are no whole line: a crash, or an edit; the gateway moves them aside"
            problem = JournalProblem(Fault.TORN, place.segment, place.line, message)
        else:
            problem = JournalProblem(Fault.EDITED, place.segment, place.line, "the last line of the segment has no end")
        self._report(problem)

    def _report(self, problem: JournalProblem) -> None:
        self._count += 1
        if len(self._problems) < _MAX_PROBLEMS:
            self._problems.append(problem)

    def _progress(self, size: int) -> None:
        before = self._read // _PROGRESS_STEP
        self._read += size
        if self._on_progress is not None and self._read // _PROGRESS_STEP > before:
            self._on_progress(self._read, max(self.total, self._read))


def floor_of(folder: Path, chain: Chain) -> PruningMark | None:
    """Return the start of a pruned journal, `None` without pruning. Raises `JournalError` for an unreadable file. A
    file from another key counts as none, and `verify` reports it."""
    line = floor_line(folder)
    return None if line is None else verification.read_mark(chain, line)


def floor_line(folder: Path) -> bytes | None:
    """Return the unchecked line with the start of a pruned journal. Raises `JournalError` if unreadable."""
    path = folder / verification.FLOOR_FILE
    try:
        with path.open("rb") as file:
            return file.read(MAX_LINE)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise _unreadable(path, error) from error


def lines_of(path: Path) -> Iterator[JsonObject]:
    """Yield the entries of one segment, unchecked. Raises `JournalError`."""
    for number, line in enumerate(raw_lines(path), 1):
        if line.endswith(b"\n"):
            yield entry_of(line, path, number)


def entries(path: Path, *, after: int = 0) -> Iterator[JsonObject]:
    """Yield the entries of a journal with a number above `after`, oldest first, unchecked. A last line without an end is left
    out. Raise `JournalError` for a line that is no entry; `verify` says more of such a line."""
    files = [file for _, file in segments(path)]
    if not files:
        _require_no_journals_below(path)
    while after and len(files) > 1 and _number(first_of(files[1])) <= after:
        del files[0]
    for file in files:
        yield from (entry for entry in lines_of(file) if not after or _number(entry) > after)


def _require_no_journals_below(path: Path) -> None:
    """Refuse to take the folder of several workers for a journal without entries. Raises `JournalError`."""
    below = sorted(folder.name for folder in path.iterdir() if folder.is_dir() and has_begun(folder))
    if below:
        raise JournalError(
            f"{path} is no journal: the journals of workers are in {', '.join(below)}",
            "name one of these folders as `journal.path`, in a copy of the configuration",
        )


def _number(entry: JsonObject) -> int:
    """Return the number of an entry; one beyond all for a segment without an entry yet."""
    found = entry.get("seq")
    return found if isinstance(found, int) else 2**63


def first_of(path: Path) -> JsonObject:
    """Return the first entry of a segment, unchecked; nothing if it has none yet. Raises `JournalError`."""
    nothing: JsonObject = {}
    return next(lines_of(path), nothing)


def find(path: Path, decision_id: str, *, key: ChainKeys = None) -> tuple[JsonObject, ...]:
    """Return the entries about one decision, oldest first; no entry for an unknown decision.

    With the deployment's journal keys (`keys.read_chain`) each entry is checked. Raises `JournalError`, also for an edited entry.
    """
    mark, chain = msgspec.json.encode(decision_id), None if key is None else Chain.of(key)
    return tuple(
        entry
        for _, file in segments(path)
        for number, line in enumerate(raw_lines(file), 1)
        if mark in line
        and line.endswith(b"\n")
        and (entry := _check_line(line, file, number, chain)).get("id") == decision_id
    )


def tasks(path: Path, ids: Collection[str], *, key: ChainKeys = None) -> Iterator[JsonObject]:
    """Yield the entries about some tasks and the outcomes of their calls, oldest first, checked as in `find`. Kept are the
    ids of open calls. Raises `JournalError`."""
    marks, chain, calls = list(map(msgspec.json.encode, ids)), None if key is None else Chain.of(key), set[str]()
    for _, file in segments(path):
        for number, line in enumerate(raw_lines(file), 1):
            if not line.endswith(b"\n") or not (any(mark in line for mark in marks) or (calls and _ENDS.search(line))):
                continue
            entry = _check_line(line, file, number, chain)
            if _is_of(entry, ids, calls):
                yield entry


def with_texts(path: Path, texts: Collection[str], *, key: ChainKeys = None) -> Iterator[JsonObject]:
    """Yield the `call` entries with one of some texts, and the outcomes of their calls, oldest first, checked as in `find`.

    Raises `JournalError`.
    """
    marks, chain, calls = list(map(msgspec.json.encode, texts)), None if key is None else Chain.of(key), set[str]()
    for _, file in segments(path):
        for number, line in enumerate(raw_lines(file), 1):
            if not line.endswith(b"\n") or not (any(mark in line for mark in marks) or (calls and _ENDS.search(line))):
                continue
            entry = _check_line(line, file, number, chain)
            if entry.get("kind") == "call":
                calls.add(str(entry.get("id")))
                yield entry
            elif entry.get("id") in calls:
                yield entry


def _is_of(entry: JsonObject, ids: Collection[str], calls: set[str]) -> bool:
    """Return whether an entry is about one of the tasks. `calls` are their open calls, which this updates."""
    if (call := opened_by(str(entry.get("kind")), entry)) is None:
        ended = closed_by(str(entry.get("kind")), entry)
        if ended is not None:
            known = ended in calls
            calls.discard(ended)
            return known
    named = entry.get("task")
    if (named.get("id") if isinstance(named, dict) else named) not in ids:
        return False
    if call is not None:
        calls.add(call)
    return True


def tail(path: Path) -> Iterator[JsonObject | None]:
    """Follow a journal: yield the entries of its last segment, then each new one, over segments. Yield `None` if there is nothing new.

    Raises `JournalError`.
    """
    found = segments(path)
    number = found[-1][0] if found else 1
    while True:
        file = find_segment(path, number)
        if file is None:
            yield None
        else:
            yield from _follow_segment(file, partial(find_segment, path, number + 1))
            number += 1


def _follow_segment(path: Path, find_next: Callable[[], Path | None]) -> Iterator[JsonObject | None]:
    """Yield the entries of a segment until the next segment exists, and `None` if there is nothing new."""
    number, rest = 0, b""
    with _open_file(path) as file:
        while True:
            finished = find_next() is not None
            while line := file.readline(MAX_LINE + 1):
                rest += line
                if rest.endswith(b"\n"):
                    number += 1
                    yield entry_of(rest, path, number)
                    rest = b""
            if finished:
                return
            yield None


def raw_lines(path: Path, pause: Callable[[float], None] | None = None) -> Iterator[bytes]:
    """Yield the lines of a file with their newlines; one without is the last. Raises `JournalError`."""
    with _open_file(path) as file:
        try:
            while line := file.readline(MAX_LINE + 1):
                whole = line if line.endswith(b"\n") or pause is None else _finish_line(file, line, pause)
                yield whole
                if not whole.endswith(b"\n"):
                    return
        except OSError as error:
            raise _unreadable(path, error) from error


def _finish_line(file: BinaryIO, line: bytes, pause: Callable[[float], None]) -> bytes:
    """Return a half line with its rest, read for as long as a writer still writes it."""
    for seconds in _HALF_WRITTEN:
        if len(line) > MAX_LINE:
            break
        pause(seconds)
        line += file.readline(MAX_LINE + 1 - len(line))
        if line.endswith(b"\n"):
            break
    return line


def _open_file(path: Path) -> BinaryIO:
    try:
        return open_segment(path)
    except OSError as error:
        raise _unreadable(path, error) from error


def _size(path: Path) -> int:
    try:
        return segment_size(path)
    except DamagedSegment:
        return 0
    except OSError as error:
        raise _unreadable(path, error) from error


def _unreadable(path: Path, error: OSError) -> JournalError:
    return JournalError(
        f"the journal segment {path} cannot be read: {error.strerror}", "run this as the gateway's user"
    )


def _check_line(line: bytes, path: Path, number: int, chain: Chain | None) -> JsonObject:
    if chain is not None and chain.find_link(line[:-1]) is None:
        raise JournalError(f"{path}, line {number} is not as it was written", "run `opagate journal verify`")
    return entry_of(line, path, number)


def entry_of(line: bytes, path: Path, number: int | None = None) -> JsonObject:
    """Return the entry of a line; `path` and `number` give its place. Raises `JournalError`."""
    try:
        entry: object = msgspec.json.decode(line)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        entry = None
    if not isinstance(entry, dict):
        where = path if number is None else f"{path}, line {number}"
        raise JournalError(f"{where} is no journal entry", "run `opagate journal verify`")
    return cast("JsonObject", entry)
