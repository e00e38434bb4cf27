"""Built-in functions on regular expressions. The engine is RE2, from which Go's was made. Pure."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from functools import lru_cache
from typing import Any, Final, Protocol, cast

import re2

from gateway.policy.plan.numbers import text, whole
from gateway.policy.plan.values import EvaluationFailed, Value

_LONGEST: Final = 4096
"""Characters of an expression that is kept."""
_MEMORY: Final = 64 * 2**20
_TEMPLATE: Final = re.compile(r"\$(?:(\$)|(\w+)|\{(\w+)\})")
_ONLY_HERE: Final = re.compile(r"(?:^|[^\\])(?:\\\\)*\\C")
"""RE2 has `\\C`, a single byte, and Go has not."""


class _Match(Protocol):
    def start(self, group: int = 0) -> int: ...
    def end(self, group: int = 0) -> int: ...
    def __getitem__(self, group: int | str) -> str | None: ...


class _Pattern(Protocol):
    @property
    def groups(self) -> int: ...
    @property
    def groupindex(self) -> dict[str, int]: ...
    def finditer(self, text: str) -> Iterator[_Match]: ...


def is_valid(expression: Value) -> Value:
    if type(expression) is not str:
        return False
    try:
        _compile_kept(expression)
    except EvaluationFailed:
        return False
    return True


def match(expression: Value, value: Value) -> Value:
    pattern, found = text(expression, 1), text(value, 2)
    return matcher(pattern)(found)


def split(expression: Value, value: Value) -> Value:
    pattern, found = text(expression, 1), text(value, 2)
    compiled = _compile_kept(pattern)
    if pattern and not found:
        return [""]
    parts: list[Value] = []
    begin = end = 0
    for hit in _matches(compiled, found):
        end = hit.start()
        if hit.end() != 0:
            parts.append(found[begin:end])
        begin = hit.end()
    if end != len(found):
        parts.append(found[begin:])
    return parts


def find_n(expression: Value, value: Value, limit: Value) -> Value:
    pattern, found, most = text(expression, 1), text(value, 2), whole(limit, 3)
    hits = _matches(_compile_kept(pattern), found)
    return [hit[0] for hit in _first(hits, most)]


def find_all_submatches(expression: Value, value: Value, limit: Value) -> Value:
    pattern, found, most = text(expression, 1), text(value, 2), whole(limit, 3)
    compiled = _compile_kept(pattern)
    groups = range(compiled.groups + 1)
    return [[hit[group] or "" for group in groups] for hit in _first(_matches(compiled, found), most)]


def replace(value: Value, expression: Value, template: Value) -> Value:
    found, pattern, new = text(value, 1), text(expression, 2), text(template, 3)
    compiled = _compile_kept(pattern)
    parts: list[str] = []
    end = 0
    for hit in _matches(compiled, found):
        parts += [found[end : hit.start()], _expand(new, compiled, hit)]
        end = hit.end()
    return "".join([*parts, found[end:]])


def _expand(template: str, pattern: _Pattern, hit: _Match) -> str:
    """Return a template with the groups of a match: `$1`, `${name}`, and `$$` for a dollar sign."""

    def group(found: re.Match[str]) -> str:
        if found[1]:
            return "$"
        name = found[2] or found[3]
        if name.isdecimal():
            index = int(name) if len(name) < 9 else pattern.groups + 1
        else:
            index = pattern.groupindex.get(name, pattern.groups + 1)
        return (hit[index] or "") if index <= pattern.groups else ""

    return _TEMPLATE.sub(group, template)


def _first(hits: Iterator[_Match], most: int) -> Iterator[_Match]:
    for number, hit in enumerate(hits):
        if 0 <= most <= number:
            return
        yield hit


def _matches(pattern: _Pattern, value: str) -> Iterator[_Match]:
    """Return the matches that Go finds, without empty matches directly after another match."""
    end = -1
    for hit in pattern.finditer(value):
        touching = hit.start() == hit.end() == end
        end = hit.end()
        if not touching:
            yield hit


def _compile_kept(expression: str) -> _Pattern:
    return _kept(expression) if len(expression) <= _LONGEST else _compile(expression)


def _compile(expression: str) -> _Pattern:
    engine = _ENGINE
    options = engine.Options()
    options.log_errors = False
    options.max_mem = _MEMORY
    if _ONLY_HERE.search(expression):
        raise EvaluationFailed("a regular expression has a fault: \\C")
    try:
        return cast("_Pattern", engine.compile(expression, options))
    except engine.error:
        raise EvaluationFailed("a regular expression has a fault") from None


_kept = lru_cache(maxsize=256)(_compile)


def matcher(expression: str) -> Callable[[str], bool]:
    """Return the test whether an expression has a match in a text. An expression with a fault fails in each test."""
    return _kept_matcher(expression) if len(expression) <= _LONGEST else _matcher(expression)


def _matcher(expression: str) -> Callable[[str], bool]:
    engine: list[Any] = []

    def has_match(value: str) -> bool:
        if not engine:
            # The wrapper counts letters up to each match, in several functions. A test needs no place.
            engine.append(cast("Any", _compile_kept(expression))._regexp)  # noqa: SLF001 - see above
        content = value.encode()
        return engine[0].Match(_ANYWHERE, content, 0, len(content))[0] != _NOWHERE

    return has_match


_kept_matcher = lru_cache(maxsize=256)(_matcher)
_ENGINE: Final[Any] = re2
_ANYWHERE: Final = _ENGINE._re2.RE2.Anchor.UNANCHORED  # noqa: SLF001 - as above
_NOWHERE: Final = (-1, -1)
