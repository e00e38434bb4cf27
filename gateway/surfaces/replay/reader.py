"""Traces from a file, step by step: one JSON object a line, and a line of any length in bounded memory.

`steps` has to be the last member of its object: everything needed by the steps is read before the first.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from json import JSONDecodeError
from pathlib import Path
from typing import Any, Final, NoReturn, TextIO

from gateway.surfaces.replay.trace import Flaw, Step, Trace, TraceInvalid, head, step

PIECE: Final = 65_536
"""Characters read at once."""
MAX_PART: Final = 64 * 2**20
"""Characters of one step, or of one other member."""

_REMEDY: Final = "mend what is named; docs/replay.md describes the format"


def read_traces(path: Path) -> Iterator[Trace]:
    """Yield the traces of a file, in order, without empty lines. The next trace skips unread steps of the previous one.
    Raises `TraceInvalid` with file, line and field when reading reaches the fault."""
    try:
        with path.open(encoding="utf-8", newline="\n") as file:
            yield from _traces(file, path)
    except OSError as error:
        raise TraceInvalid(f"the trace file {path} cannot be read: {error.strerror}", "name a readable file") from None
    except UnicodeDecodeError:
        raise TraceInvalid(f"the trace file {path} is not UTF-8", "save it as UTF-8") from None


def check(path: Path) -> int:
    """Read a file to its end. Returns the number of its steps. Raises `TraceInvalid`."""
    if path.exists() and not path.is_file():
        raise TraceInvalid(f"{path} is not a file, and traces are read twice", "write the traces into a file first")
    traces = steps = 0
    for trace in read_traces(path):
        traces += 1
        for _ in trace.steps:
            steps += 1
    if not traces:
        raise TraceInvalid(f"{path} holds no trace", "put one JSON object on each line")
    return steps


def _traces(file: TextIO, path: Path) -> Iterator[Trace]:
    number = 0
    while True:
        number += 1
        line = _TraceLine(file)
        if line.ended:
            return
        if line.blank():
            continue
        try:
            trace = _trace(line, path, number)
        except Flaw as flaw:
            raise _invalid(path, number, flaw) from None
        yield trace
        for _ in trace.steps:
            pass


def _trace(line: _TraceLine, path: Path, number: int) -> Trace:
    members: dict[str, Any] = {}
    line.take("{", "a trace is a JSON object")
    while True:
        name = line.value("the name of a member")
        if not isinstance(name, str):
            raise Flaw("", "a name of a member is no text")
        line.take(":", f"a colon is missing after {name[:64]!r}")
        if name == "steps":
            break
        if name in members:
            raise Flaw(name[:64], "it is given twice")
        members[name] = line.value(name[:64])
        if line.taken("}"):
            raise Flaw("steps", "it is missing")
        line.take(",", f"a comma is missing after {name[:64]!r}")
    line.take("[", "steps is no list")
    steps = _StepIterator(line, path, number)
    trace = head(members, steps)
    steps.trace = trace.id
    return trace


class _StepIterator(Iterator[Step]):
    """The steps of the trace in reading."""

    def __init__(self, line: _TraceLine, path: Path, number: int) -> None:
        self._line = line
        self._path = path
        self._number = number
        self._count = 0
        self._after: float | None = None
        self._done = False
        self.trace = ""

    def __next__(self) -> Step:
        if self._done:
            raise StopIteration
        try:
            return self._next()
        except Flaw as flaw:
            raise _invalid(self._path, self._number, flaw) from None

    def _next(self) -> Step:
        line, count = self._line, self._count
        if line.taken("]"):
            self._finish()
        if count:
            line.take(",", f"steps[{count - 1}]: a comma is missing after it")
        read = step(line.value(f"steps[{count}]"), count, self.trace, self._after)
        self._after = read.at
        self._count += 1
        return read

    def _finish(self) -> NoReturn:
        self._done = True
        if self._line.taken(","):
            raise Flaw("steps", "it is not the last member; put it after all others")
        self._line.take("}", "the object does not end after steps")
        if not self._line.blank():
            raise Flaw("", "there is more on the line after the object")
        raise StopIteration


class _TraceLine:
    """A line of a file, read as far as needed."""

    def __init__(self, file: TextIO) -> None:
        self._file = file
        self._text = ""
        self._at = 0
        self._whole = False
        self.ended = not self._more()

    def blank(self) -> bool:
        """Return whether only spaces are left."""
        self._skip()
        return self._at == len(self._text)

    def taken(self, mark: str) -> bool:
        """Return whether this mark came next, and skip it."""
        self._skip()
        if self._text[self._at : self._at + 1] != mark:
            return False
        self._at += 1
        return True

    def take(self, mark: str, otherwise: str) -> None:
        if not self.taken(mark):
            raise Flaw("", otherwise)

    def value(self, place: str) -> object:
        """Return the next JSON value."""
        self._skip()
        while True:
            try:
                value, end = _DECODER.raw_decode(self._text, self._at)
            except JSONDecodeError as error:
                if self._whole:
                    raise Flaw(place, f"it is not JSON: {error.msg}") from None
            except _AmbiguousJson as error:
                raise Flaw(place, str(error)) from None
            except RecursionError:
                raise Flaw(place, "it is nested too deeply") from None
            else:
                # A number at the end of what was read may go on.
                if end < len(self._text) or self._whole:
                    self._at = end
                    return value
            if len(self._text) - self._at > MAX_PART:
                raise Flaw(place, f"it is longer than {MAX_PART >> 20} Mi characters")
            self._more()

    def _skip(self) -> None:
        while True:
            while self._text[self._at : self._at + 1] in {" ", "\t", "\r"}:
                self._at += 1
            if self._at < len(self._text) or self._whole:
                return
            self._more()

    def _more(self) -> bool:
        """Read on, and return whether anything was left. Each read doubles the kept text, so a long value is not
        decoded anew for each piece."""
        kept = self._text[self._at :]
        piece = self._file.readline(max(PIECE, len(kept)))
        self._whole = not piece or piece.endswith("\n")
        self._text, self._at = kept + piece.removesuffix("\n"), 0
        return bool(piece)


class _AmbiguousJson(ValueError):
    """JSON with more than one reading."""


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise _AmbiguousJson("a name is given twice in one object")
    return found


def _constant(name: str) -> NoReturn:
    raise _AmbiguousJson(f"{name} is no JSON")


_DECODER: Final = json.JSONDecoder(object_pairs_hook=_unique, parse_constant=_constant)


def _invalid(path: Path, number: int, flaw: Flaw) -> TraceInvalid:
    return TraceInvalid(f"{path}, line {number}: {flaw}", _REMEDY)
