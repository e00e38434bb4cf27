"""Label patterns with different labels for the same tool or resource. Pure. The later pattern counts, perhaps to its
author's surprise. A tool labelled by its name is no overlap. Neither is a later pattern for a part of the earlier
pattern's tools: in both cases the meant label is clear.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from gateway.config import ToolLabels
    from gateway.model.target import Sensitivity

FIELDS: Final = ("effect", "egress", "sensitivity", "sandbox")
_WILDCARDS: Final = frozenset("*?[")
_SHOWN: Final = 3
"""Names of tools in a sentence. An upstream chooses how many there are, and how long."""
_LONGEST: Final = 64


@dataclass(frozen=True, slots=True)
class Overlap:
    """Two patterns below `place`, such as `upstreams.files.tools`, and the different labels. `names` are the tools of
    both patterns. Resources have no list, and so no names here."""

    place: str
    earlier: str
    later: str
    labels: tuple[str, ...]
    names: tuple[str, ...] = ()

    @property
    def sentence(self) -> str:
        both = f"both match {_join_names(self.names)}" if self.names else "can both match one URI"
        return (
            f"{self.place}: {self.earlier!r} and {self.later!r} {both}, and differ in {' and '.join(self.labels)};"
            f" {self.later!r} counts, because it stands later"
        )


def of_tools(upstream: str, patterns: Mapping[str, ToolLabels], names: Iterable[str]) -> tuple[Overlap, ...]:
    """Return the overlaps among the patterns of an upstream for its listed tools."""
    found: dict[tuple[str, str], dict[str, set[str]]] = {}
    for name in sorted(names):
        for earlier, later, label in _find_overridden(name, patterns):
            found.setdefault((earlier, later), {}).setdefault(label, set()).add(name)
    place = f"upstreams.{upstream}.tools"
    return tuple(
        Overlap(place, earlier, later, tuple(labels), tuple(sorted(set[str]().union(*labels.values()))))
        for (earlier, later), labels in found.items()
        if not is_within(later, earlier)
    )


def of_resources(upstream: str, patterns: Mapping[str, Sensitivity]) -> tuple[Overlap, ...]:
    """Return the overlaps among the patterns of an upstream for URIs."""
    listed, place = list(patterns.items()), f"upstreams.{upstream}.resources"
    return tuple(
        Overlap(place, earlier, later, ("sensitivity",))
        for number, (earlier, sensitivity) in enumerate(listed)
        for later, other in listed[number + 1 :]
        if sensitivity is not other and not is_within(later, earlier) and may_both_match(earlier, later)
    )


def _find_overridden(name: str, patterns: Mapping[str, ToolLabels]) -> Iterator[tuple[str, str, str]]:
    """Yield an earlier pattern, the later pattern (it counts), and the label, for each label of a tool from two
    patterns."""
    said: dict[str, list[tuple[str, object]]] = {}
    for pattern, labels in patterns.items():
        if fnmatchcase(name, pattern):
            for label, value in _values(labels):
                said.setdefault(label, []).append((pattern, value))
    for label, values in said.items():
        if any(not is_pattern(pattern) for pattern, _ in values):
            continue
        later, counts = values[-1]
        for earlier, value in values[:-1]:
            if value != counts:
                yield earlier, later, label


def _values(labels: ToolLabels) -> Iterator[tuple[str, object]]:
    for field in FIELDS:
        if (value := getattr(labels, field)) is not None:
            yield field, value
    yield from ((f"the role of {pointer}", role) for pointer, role in labels.roles.items())
    if labels.has_cases:
        yield "cases", labels.cases


def _join_names(names: Sequence[str]) -> str:
    shown = ", ".join(repr(name if len(name) <= _LONGEST else f"{name[:_LONGEST]}…") for name in names[:_SHOWN])
    more = len(names) - _SHOWN
    return shown if more <= 0 else f"{shown} and {more} more"


# --- patterns ----------------------------------------------------------------------------------------


def is_pattern(key: str) -> bool:
    """Return whether a key has a wildcard."""
    return not _WILDCARDS.isdisjoint(key)


def is_within(part: str, whole: str) -> bool:
    """Return whether `whole` matches all texts of `part`. `False` is no proof: `*?` matches all texts of `?*`."""
    pieces, others = _pieces(part), _pieces(whole)

    def after(i: int, j: int) -> Iterator[tuple[int, int]]:
        if others[j : j + 1] == ["*"]:
            yield i, j + 1
            yield i + 1, j
        elif (
            i < len(pieces) and j < len(others) and (others[j] == pieces[i] or (others[j] == "?" and pieces[i] != "*"))
        ):
            yield i + 1, j + 1

    return _is_reachable((len(pieces), len(others)), after)


def may_both_match(one: str, other: str) -> bool:
    """Return whether some text may match both patterns. A `[…]` counts as any character."""
    pieces, others = _pieces(one), _pieces(other)

    def after(i: int, j: int) -> Iterator[tuple[int, int]]:
        pair = {*pieces[i : i + 1], *others[j : j + 1]}
        if "*" in pair:
            yield i + 1, j
            yield i, j + 1
        elif i < len(pieces) and j < len(others) and (len(pair) == 1 or any(p == "?" or len(p) > 1 for p in pair)):
            yield i + 1, j + 1

    return _is_reachable((len(pieces), len(others)), after)


def _is_reachable(end: tuple[int, int], after: Callable[[int, int], Iterator[tuple[int, int]]]) -> bool:
    """Return whether steps lead from the beginning of two patterns to the end of both."""
    waiting, seen = [(0, 0)], {(0, 0)}
    while waiting and end not in seen:
        fresh = {(i, j) for i, j in after(*waiting.pop()) if i <= end[0] and j <= end[1]} - seen
        seen |= fresh
        waiting.extend(fresh)
    return end in seen


def _pieces(pattern: str) -> list[str]:
    """Return the characters of a pattern, a `[…]` as a single character."""
    return re.findall(r"\[!?\]?[^\]]*\]|.", pattern, re.DOTALL)
