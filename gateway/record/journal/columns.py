"""The values of a journal's line that pages search for. Pure.

An index finds lines and proves nothing. A reader checks the found line, and compares the names there. A line that cannot be
read fits every search, so an edit hides no line.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final, Literal, NamedTuple, TypeAlias, get_args

import msgspec

if TYPE_CHECKING:
    from gateway.model.wire import JsonObject

Column: TypeAlias = Literal["id", "task", "agent", "user", "upstream", "tool", "arguments"]
COLUMNS: Final[tuple[Column, ...]] = get_args(Column)

OTHER: Final = 0
ALLOWED: Final = 1
ASKED: Final = 2
DENIED: Final = 3
REFUSED: Final = 4
ENDED: Final = 5
"""The outcome of a call."""
LEASE: Final = 6
"""A step of a lent credential."""
UNREADABLE: Final = 255
CALLS: Final = frozenset({ALLOWED, ASKED, DENIED})
EFFECTS: Final[Mapping[str, int]] = {"allow": ALLOWED, "ask": ASKED, "deny": DENIED, "refused": REFUSED}


class Search(NamedTuple):
    """The values that a line has to have. `kinds` are the kinds of lines; empty: all."""

    values: Mapping[Column, str] = {}
    code: str | None = None
    kinds: frozenset[int] = frozenset()
    hours: tuple[int, int] | None = None
    """The first and the last hour since the epoch."""
    any_of: Mapping[Column, str] = {}
    """Values of which a line has to have one."""


class IndexedLine(NamedTuple):
    """The searched values of one line."""

    kind: int
    values: Mapping[Column, str | None] = {}
    codes: tuple[str, ...] = ()
    time: str = ""


class _IndexedPart(msgspec.Struct, frozen=True):
    id: str | None = None
    upstream: str | None = None
    user: str | None = None
    digest: str | None = None


class _Coded(msgspec.Struct, frozen=True):
    code: str


class _IndexedHeading(msgspec.Struct, frozen=True):
    """The parts of a line that searches look at. Some kinds of entries have texts in the places of objects."""

    kind: str
    time: str = ""
    id: str | None = None
    effect: str | None = None
    task: _IndexedPart | str | None = None
    principal: _IndexedPart | str | None = None
    target: _IndexedPart | str | None = None
    arguments: _IndexedPart | None = None
    reasons: tuple[_Coded, ...] = ()


_HEADINGS: Final = msgspec.json.Decoder(_IndexedHeading)


def read_columns(line: bytes) -> IndexedLine:
    """Return the searched values of a line, of a line that is no entry the kind `UNREADABLE` alone."""
    try:
        heading = _HEADINGS.decode(line)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return IndexedLine(UNREADABLE)
    return IndexedLine(
        _kind_of(heading), _values_of(heading), tuple({one.code for one in heading.reasons}), heading.time
    )


def find_value(entry: JsonObject, column: Column) -> str | None:
    """Return the value of a column in an entry."""
    part: Any = entry.get(_PARTS.get(column, column))
    value = part.get(_FIELDS[column]) if isinstance(part, Mapping) else part  # pyright: ignore[reportUnknownMemberType, reportUnknownVariableType]
    return value if isinstance(value, str) else None


_PARTS: Final[Mapping[Column, str]] = {
    "agent": "principal",
    "user": "principal",
    "upstream": "target",
    "tool": "target",
}
_FIELDS: Final[Mapping[Column, str]] = {
    "id": "id",
    "task": "id",
    "agent": "id",
    "user": "user",
    "upstream": "upstream",
    "tool": "id",
    "arguments": "digest",
}
"""Column → its part of an entry, if the part has another name, and its field there."""


def _kind_of(heading: _IndexedHeading) -> int:
    match heading.kind:
        case "call":
            return EFFECTS.get(heading.effect or "", UNREADABLE)
        case "refused":
            return REFUSED
        case "settled" | "abandoned":
            return ENDED
        case "lease":
            return LEASE
        case _:
            return OTHER


def _values_of(heading: _IndexedHeading) -> dict[Column, str | None]:
    task, principal, target = heading.task, heading.principal, heading.target
    return {
        "id": heading.id,
        "task": task.id if isinstance(task, _IndexedPart) else task,
        "agent": principal.id if isinstance(principal, _IndexedPart) else None,
        "user": principal.user if isinstance(principal, _IndexedPart) else None,
        "upstream": target.upstream if isinstance(target, _IndexedPart) else None,
        "tool": target.id if isinstance(target, _IndexedPart) else None,
        "arguments": None if heading.arguments is None else heading.arguments.digest,
    }
