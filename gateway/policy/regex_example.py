"""A text that a regular expression matches: probes need one to reach the conditions behind the first. Pure.

It reads the expressions that both engines read alike (`rego/gateway/lib/conditions`): no flags, no look-around. For any other
expression the text may match nothing.
"""

from __future__ import annotations

from typing import Final

MAX_LENGTH: Final = 4_096
"""Characters of an example."""

_CONTROLS: Final = {"n": "\n", "r": "\r", "t": "\t"}
_CLASSES: Final = {
    "alpha": "a", "digit": "0", "alnum": "a", "upper": "A", "lower": "a", "space": " ", "blank": " ", "punct": "-",
    "word": "a", "xdigit": "0", "print": "a", "graph": "a", "ascii": "a", "cntrl": "\t",
}  # fmt: skip
_LIKELY: Final = "a0-_/@. ~\t\u00e9\u4e00"


def example(pattern: str) -> str:
    """Return a text that the whole pattern probably matches, of at most `MAX_LENGTH` characters."""
    try:
        return _PatternReader(pattern).alternatives()[:MAX_LENGTH]
    except RecursionError:
        return ""


class _PatternReader:
    """A pattern and how far it is read. Broken patterns end early, with the text so far."""

    def __init__(self, pattern: str) -> None:
        self._pattern = pattern
        self._at = 0

    def alternatives(self) -> str:
        """Return an example of the first alternative, and read all up to the end of the group."""
        first = self._sequence()
        while self._take("|"):
            self._sequence()
        return first

    def _sequence(self) -> str:
        text = ""
        while self._at < len(self._pattern) and self._pattern[self._at] not in "|)":
            part = self._atom()
            text = (text + part * self._times())[:MAX_LENGTH]
        return text

    def _atom(self) -> str:
        char = self._next()
        if char == "(":
            self._take("?:")
            inner = self.alternatives()
            self._take(")")
            return inner
        if char == "[":
            return self._one_of_class()
        if char == "\\":
            return self._read_escape()
        return "" if char in "^$" else "a" if char == "." else char

    def _times(self) -> int:
        """Return how often the part before must be there."""
        times = 1
        if self._peek() in ("*", "?"):
            self._at += 1
            times = 0
        elif self._take("+"):
            times = 1
        elif self._peek() == "{" and (end := self._pattern.find("}", self._at)) > 0:
            least = self._pattern[self._at + 1 : end].partition(",")[0]
            if least.isdecimal():
                times, self._at = min(int(least), MAX_LENGTH), end + 1
        self._take("?")
        return times

    def _read_escape(self) -> str:
        char = self._next()
        if char in {"A", "z", "b", "B"}:
            return ""
        if char != "x":
            return _CONTROLS.get(char, char)
        if self._take("{"):
            digits, _, _ = self._pattern[self._at :].partition("}")
            self._at += len(digits) + 1
        else:
            digits = self._pattern[self._at : self._at + 2]
            self._at += 2
        try:
            return chr(int(digits, 16))
        except (ValueError, OverflowError):
            return ""

    def _one_of_class(self) -> str:
        is_negated = self._take("^")
        ranges: list[tuple[str, str]] = []
        while self._at < len(self._pattern) and not (self._peek() == "]" and ranges):
            ranges.append(self._range())
        self._take("]")
        if not is_negated:
            return ranges[0][0] if ranges else ""
        return next((char for char in _LIKELY if not any(low <= char <= high for low, high in ranges)), "")

    def _range(self) -> tuple[str, str]:
        if self._take("[:"):
            name, _, _ = self._pattern[self._at :].partition(":]")
            self._at += len(name) + 2
            char = _CLASSES.get(name, "a")
            return char, char
        low = self._member()
        if self._peek() == "-" and self._pattern[self._at + 1 : self._at + 2] not in ("]", ""):
            self._at += 1
            return low, self._member()
        return low, low

    def _member(self) -> str:
        char = self._next()
        return self._read_escape() if char == "\\" else char

    def _take(self, text: str) -> bool:
        """Read a text if it comes next."""
        if not self._pattern.startswith(text, self._at):
            return False
        self._at += len(text)
        return True

    def _peek(self) -> str:
        return self._pattern[self._at : self._at + 1]

    def _next(self) -> str:
        char = self._peek()
        self._at += 1
        return char
