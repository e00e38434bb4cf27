"""The work that the engine's parser has with Rego, estimated before it begins. Pure.

The parser cannot be interrupted, and reads a list, a set or an object twice: as a comprehension, then as a value. So its work
doubles with each level of `[` and `{`. Twenty levels take half a minute, and 120 levels take for ever.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Final

from gateway.errors import PolicyBroken

MAX_RULES: Final = 2**18
"""Steps for all files that decide, 6 times the steps of the shipped policy. A step takes at most 10 µs."""
MAX_TESTS: Final = 2**21
"""Steps for all files of tests, 10 times the steps of the shipped tests. A process of its own reads them, so they hold up no call."""

_TOKEN = re.compile(r'#[^\n]*|"(?:[^"\\\n]|\\.)*"?|`[^`]*`?|\w+|[^\s\w]|\n')
_MOST_LEVELS: Final = 64
"""More levels cost the same: far too much."""


@dataclass(frozen=True, slots=True)
class _Line:
    place: str
    steps: int
    levels: int


def require(modules: Iterable[tuple[str, str]], limit: int) -> None:
    """Raise `PolicyBroken` for modules (names and texts) that take more steps to parse than `limit`."""
    lines = [line for name, text in modules for line in _lines(name, text)]
    if sum(line.steps for line in lines) > limit:
        worst = max(lines, key=lambda line: line.steps)
        raise PolicyBroken(
            f"{worst.place}: the engine would take too long to read the Rego files, most of it for this line, where brackets"
            f" are nested {worst.levels} deep",
            "move large or nested values to data files, or give their inner parts names",
        )


def _lines(name: str, text: str) -> Iterator[_Line]:
    number, levels, steps, most = 1, 0, 0, 0
    for match in _TOKEN.finditer(text):
        found = match[0]
        if found == "\n":
            yield _Line(f"{name}:{number}", steps, most)
            number, steps, most = number + 1, 0, levels
            continue
        if found in "[{":
            levels += 1
            most = max(most, levels)
        elif found in "]}":
            levels = max(0, levels - 1)
        if found[0] != "#":
            steps += 2 ** min(levels, _MOST_LEVELS)
        number += found.count("\n")
    yield _Line(f"{name}:{number}", steps, most)
