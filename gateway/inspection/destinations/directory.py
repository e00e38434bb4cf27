"""The people, accounts, hosts and repositories that an operator knows. Pure.

An entry gives authority to a value, as the goal of a task does. A pattern is literal text with one `*`, in the form that
docs/destinations.md gives destinations: `*@corp.example`, `*.corp.example`, `acme/*`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from gateway.inspection.destinations.find import listed
from gateway.inspection.destinations.normalise import Destination, fold_text
from gateway.inspection.words.own_words import parts_of

_LITERAL: Final = 3
"""Letters and digits that a pattern has beside its star: fewer would name half of the world."""
_ONE: Final = frozenset('@,;|<>"()\\%!、，；｜＠')
"""Marks that part destinations, or hide one: the star of a pattern with an end stands for none of them."""


class StarPattern(NamedTuple):
    """The text before the star, and the text after it."""

    head: str
    tail: str

    def matches(self, value: str) -> bool:
        """Return whether a destination follows the pattern, its two ends apart."""
        if len(value) < len(self.head) + len(self.tail):
            return False
        if not (value.startswith(self.head) and value.endswith(self.tail)):
            return False
        run = value[len(self.head) : len(value) - len(self.tail)]
        return not self.tail or not any(_parts(mark, self.tail) for mark in run)


def _parts(mark: str, tail: str) -> bool:
    """Return whether a mark may end one destination and begin another, before the text that a pattern ends with."""
    return mark in _ONE or mark.isspace() or not mark.isprintable() or (mark == "/" and "/" not in tail)


@dataclass(frozen=True, slots=True, eq=False)
class Directory:
    """The entries of one deployment. `names` maps a destination to the names of its people. Compared by identity."""

    values: frozenset[str] = frozenset()
    patterns: tuple[StarPattern, ...] = ()
    names: Mapping[str, frozenset[str]] = field(default_factory=dict[str, frozenset[str]])
    parts: frozenset[bytes] = frozenset()
    """Parts of its words, without numbers and shorter parts: of those anybody could put any word together."""
    """Parts of the words of all entries and names."""

    def __len__(self) -> int:
        return len(self.values) + len(self.patterns)

    def knows(self, destination: Destination) -> bool:
        """Return whether a destination is an entry, or follows a pattern."""
        if destination.mixed:
            return False
        value = destination.value
        return value in self.values or any(pattern.matches(value) for pattern in self.patterns)

    def knows_name(self, name: str, of: Destination) -> bool:
        """Return whether a known destination is that of a person or a thing with this name."""
        return fold_text(name) in self.names.get(of.value, ())


EMPTY: Final = Directory()


class DirectoryEntry(NamedTuple):
    """A destination in the spelling of its source, and the names of its people."""

    text: str
    names: tuple[str, ...] = ()


def directory_of(entries: Iterable[DirectoryEntry]) -> Directory:
    """Return the directory of some entries. Raises `ValueError`, which names the entry, for a pattern that says too little."""
    values: set[str] = set()
    patterns: set[StarPattern] = set()
    names: dict[str, set[str]] = {}
    for entry in entries:
        if "*" in entry.text:
            patterns.add(_pattern(entry.text))
            continue
        found = [destination.value for destination in listed(entry.text)]
        values.update(found)
        for value in found:
            if named := {fold_text(name) for name in (*entry.names, *_display_name(entry.text)) if name.strip()}:
                names.setdefault(value, set()).update(named)
    ends = [end for pattern in patterns for end in pattern]
    written = [*values, *ends, *(name for given in names.values() for name in given)]
    return Directory(
        frozenset(values),
        tuple(sorted(patterns)),
        {value: frozenset(given) for value, given in names.items()},
        frozenset(part for part in parts_of("\n".join(written)) if len(part) >= _LITERAL and not part.isdigit()),
    )


def _pattern(text: str) -> StarPattern:
    head, star, tail = text.strip().partition("*")
    if not star or "*" in tail:
        raise ValueError(f"{text!r} has more than one `*`; write a pattern with one, like *@corp.example")
    if sum(mark.isalnum() for mark in head + tail) < _LITERAL:
        raise ValueError(f"{text!r} would name nearly everything; write more of it, like *@corp.example")
    if head[-1:].isalnum() or tail[:1].isalnum():
        raise ValueError(
            f"{text!r} would name strangers too: write a mark beside the star, like *@corp.example or acme/*"
        )
    # Paths keep their case; all other destinations are in lower case.
    return StarPattern(head, tail) if "/" in text else StarPattern(head.lower(), tail.lower())


def _display_name(text: str) -> tuple[str, ...]:
    """Return the name in `Name <address>`."""
    name, angle, _ = text.partition("<")
    return (name.strip().strip('"'),) if angle else ()
