"""The labels of a tool for the arguments of one call, and the kind of an SQL statement, strictly read. Pure.

A case only relaxes labels, and only if each of its conditions is seen to hold. So a missing, strange or unreadable argument
leaves the labels of the tool, which are the worst.

Databases read SQL differently. So a statement has a kind only if each common reader takes it apart alike. And each of its
words, marks and functions is known to change nothing. Two statements, comments, a backslash and an unknown function are
examples of the rest, which has no kind."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import lru_cache
from itertools import pairwise
from typing import Any, Final, NamedTuple, TypeAlias, TypeVar, cast

from gateway.base.json.strict import fold
from gateway.base.json.walk import item_number, split_pointer
from gateway.inspection.credentials.ruleset import Re2Pattern, compiled
from gateway.inspection.destinations.find import texts
from gateway.inspection.word_lists import word_list
from gateway.model.target import ArgumentCondition, Effect, LabelCase, Labels, Sensitivity, StatementKind, Target
from gateway.model.wire import Json, JsonObject

# --- statements --------------------------------------------------------------------------------------

MAX_STATEMENT: Final = 4_096
"""Characters. A longer statement has no kind."""

_FORBIDDEN: Final = word_list("sql_forbidden")
_BEFORE_BRACKET: Final = word_list("sql_before_bracket")
_FUNCTIONS: Final = word_list("sql_functions")
_NAMES_FOLLOW: Final = word_list("sql_names_follow")
_VALUES_FOLLOW: Final = word_list("sql_values_follow")
_SHOW: Final = word_list("sql_show")

_TOKEN: Final = re.compile(
    r"(?P<space>[ \t\r\n]+)"
    r"|(?P<word>[A-Za-z_][A-Za-z0-9_]*)"
    r"|(?P<number>[0-9]+(?:\.[0-9]+)?)"
    r"|(?P<text>'(?:[^'\\]|'')*+')"
    r'|(?P<name>"(?:[\w .,:/$#%&?!+()=-]|"")*+"|`[\w .,/$%&?!+=*-]*`|\[[\w .,:/$%&?!+=-]*\])'
    r"|(?P<parameter>\$[0-9]+|\?)"
    r"|(?P<mark>::|[-+*/%<>=,.()&|^~]|!=)"
)
_COMMENTS: Final = frozenset({"--", "/*", "*/", "//"})
_HIDDEN: Final = re.compile(r"[^\t\r\n\x20-\x7e]")


class _Token(NamedTuple):
    kind: str
    text: str
    """Words are in small letters."""
    spaced: bool
    """Whether white space stands before it."""


def kind_of(statement: Json) -> StatementKind | None:
    """Return the kind of a single statement that changes nothing; `None` for anything else."""
    if not isinstance(statement, str) or len(statement) > MAX_STATEMENT:
        return None
    tokens = _tokens(statement.strip(" \t\r\n").removesuffix(";"))
    if not tokens or not _is_read_alike(tokens) or any(_is_forbidden(*pair) for pair in _with_next(tokens)):
        return None
    first = tokens[0].text
    if first in _SHOW and tokens[0].kind == "word":
        return "show" if _only_shows(tokens[1:]) else None
    rest = tokens[1:] if first == "explain" else tokens
    if _selects(rest) and _calls_known_functions(rest) and _has_no_text_for_a_name(rest):
        return "explain" if first == "explain" else "select"
    return None


def _tokens(text: str) -> list[_Token]:
    """Return the tokens of a text; none if a part of it is no token."""
    found: list[_Token] = []
    at, spaced = 0, False
    while at < len(text):
        match = _TOKEN.match(text, at)
        if match is None or match.lastgroup is None:
            return []
        at = match.end()
        if match.lastgroup == "space":
            spaced = True
            continue
        part = match.group()
        found.append(_Token(match.lastgroup, part.lower() if match.lastgroup == "word" else part, spaced))
        spaced = False
    return found


def _is_read_alike(tokens: Sequence[_Token]) -> bool:
    """Return whether each reader takes the statement apart in the same places."""
    for before, after in pairwise(tokens):
        if not after.spaced and (before.text + after.text in _COMMENTS or _run_together(before, after)):
            return False
    return all(_is_plain(token.text) for token in tokens if token.kind in {"text", "name"})


def _run_together(before: _Token, after: _Token) -> bool:
    """Return whether two tokens may be one to another reader: `E'x'`, `1e5`, `'a'b`, `U&'x'`."""
    if before.kind == "mark":
        return after.kind == "text" and before.text == "&"
    return after.kind != "mark"


def _is_plain(text: str) -> bool:
    """Return whether a quoted text or name has no mark that a conversion of characters may turn into a quote.

    A name has no mark of a comment: the next reader may know no such quotes.
    """
    if "'''" in text or '"""' in text or (text[0] != "'" and any(mark in text for mark in _COMMENTS)):
        return False
    return all(mark.isalpha() and not "\u02b0" <= mark <= "\u02ff" for mark in _HIDDEN.findall(text))


def _with_next(tokens: Sequence[_Token]) -> list[tuple[_Token, str]]:
    return list(zip(tokens, [*(token.text for token in tokens[1:]), ""], strict=True))


def _is_forbidden(token: _Token, after: str) -> bool:
    if token.kind != "word":
        return False
    return token.text in _FORBIDDEN or (token.text == "replace" and after != "(")


def _selects(tokens: Sequence[_Token]) -> bool:
    """Return whether the statement is a `SELECT`, in brackets or behind a `WITH`."""
    words = [token for token in tokens if token.text != "("]
    first = words[0].text if words and words[0].kind == "word" else ""
    return first == "select" or (first == "with" and tokens[0].text == "with" and _selects_outside(tokens))


def _selects_outside(tokens: Sequence[_Token]) -> bool:
    """Return whether a `SELECT` stands outside of all brackets."""
    depth = 0
    for token in tokens:
        depth += (token.text == "(") - (token.text == ")")
        if depth == 0 and token.text == "select":
            return True
    return False


def _calls_known_functions(tokens: Sequence[_Token]) -> bool:
    """Return whether brackets are balanced, and each opening one stands where nothing unknown is called."""
    depth, before = 0, _Token("mark", "", spaced=False)
    qualified = False
    for token in tokens:
        depth += (token.text == "(") - (token.text == ")")
        if depth < 0 or (token.text == "(" and not _may_precede_bracket(before, qualified=qualified)):
            return False
        qualified = before.text == "."
        before = token
    return depth == 0


def _may_precede_bracket(before: _Token, *, qualified: bool) -> bool:
    if before.kind == "mark":
        return before.text not in {")", "."}
    if before.kind != "word" or qualified:
        return False
    return before.text in _BEFORE_BRACKET or before.text in _FUNCTIONS


def _has_no_text_for_a_name(tokens: Sequence[_Token]) -> bool:
    """Return whether no text and no path stands for a table: some databases open it as a file or an address."""
    named = [False]
    before = ""
    for token in tokens:
        if named[-1] and (token.kind == "text" or (token.kind == "name" and _is_path(token.text))):
            return False
        if token.text == "(":
            named.append(named[-1] and before not in _FUNCTIONS)
        elif token.text == ")":
            named.pop()
        elif token.kind == "word" and (token.text in _NAMES_FOLLOW or token.text in _VALUES_FOLLOW):
            named[-1] = token.text in _NAMES_FOLLOW
        before = token.text
    return True


def _is_path(name: str) -> bool:
    return "/" in name or (":" in name and not name.startswith("["))


def _only_shows(tokens: Sequence[_Token]) -> bool:
    return bool(tokens) and all(token.kind in {"word", "name", "text"} or token.text == "." for token in tokens)


# --- labels ------------------------------------------------------------------------------------------

MAX_TEXT: Final = 65_536
"""Characters of a text that a regular expression is tried on. No expression holds for a longer text."""
_HANDLE: Final = "cred://"
"""Another text goes to the server in its place, which no condition has seen."""
_MISSING: Final = object()
_EFFECTS: Final = list(Effect)
_SENSITIVITIES: Final = list(Sensitivity)
_Value = TypeVar("_Value")


def labelled_for_call(target: Target, arguments: JsonObject) -> Target:
    """Return the target with the labels of a call: those of the first case that holds, else the worst."""
    cases = target.labels.cases
    if not cases:
        return target
    holding = next((case for case in cases if _holds(case, arguments)), None)
    plain = replace(target.labels, cases=())
    return replace(target, labels=plain if holding is None else _relax(plain, holding))


def label_variants(target: Target) -> tuple[Target, ...]:
    """Return the target with the labels that each case gives, and with the worst."""
    if not target.labels.cases:
        return (target,)
    plain = replace(target.labels, cases=())
    relaxed = (_relax(plain, case) for case in target.labels.cases)
    return tuple(replace(target, labels=labels) for labels in (plain, *relaxed))


def _relax(labels: Labels, case: LabelCase) -> Labels:
    """Return the milder of two labels, each by itself."""
    return replace(
        labels,
        effect=_milder(labels.effect, case.effect, _EFFECTS.index),
        egress=_milder(labels.egress, case.egress, int),
        sensitivity=_milder(labels.sensitivity, case.sensitivity, _SENSITIVITIES.index),
        sandbox=labels.sandbox or case.sandbox is True,
        roles={**labels.roles, **case.roles},
    )


def _milder(worst: _Value, said: _Value | None, rank: Callable[[_Value], int]) -> _Value:
    return worst if said is None or rank(said) > rank(worst) else said


# --- conditions --------------------------------------------------------------------------------------


def _holds(case: LabelCase, arguments: JsonObject) -> bool:
    if case.arguments is not None and not arguments.keys() <= case.arguments:
        return False
    return all(_holds_at(pointer, condition, arguments) for pointer, condition in case.when.items())


def _holds_at(pointer: str, condition: ArgumentCondition, arguments: JsonObject) -> bool:
    try:
        found = _at(arguments, pointer)
    except _AmbiguousPointer:
        return False
    if found is _MISSING or found == []:
        return condition.optional or "absent" in condition.tests
    value = cast("Json", found)
    if any(_HANDLE in text.casefold() for text in texts(value)):
        return False
    return all(_passes(name, expected, value) for name, expected in condition.tests.items())


class _AmbiguousPointer(Exception):
    """A pointer that a server may follow to another value: two names of an object differ only in spelling."""


def _at(arguments: Json, pointer: str) -> object:
    """Return the value at a pointer, or `_MISSING`. Raise `_AmbiguousPointer` if a server may read another value there."""
    found: Json = arguments
    for name in split_pointer(pointer):
        if isinstance(found, Mapping):
            if any(other != name and fold(other) == fold(name) for other in found):
                raise _AmbiguousPointer
            if name not in found:
                return _MISSING
            found = found[name]
        elif isinstance(found, list | tuple) and (number := item_number(name, len(found))) is not None:
            found = found[number]
        else:
            raise _AmbiguousPointer
    return found


def _passes(name: str, expected: Any, found: Json) -> bool:
    """Return whether a test holds for a value: if it is of items, for each item of a list."""
    if name in _OF_VALUES:
        return _OF_VALUES[name](expected, found)
    items: list[Json] = list(found) if isinstance(found, list | tuple) else [found]
    return name in _OF_ITEMS and all(_OF_ITEMS[name](expected, item) for item in items)


def _is_same(expected: Json, found: Json) -> bool:
    """Return whether two values are equal and of one JSON type."""
    if isinstance(expected, bool) or isinstance(found, bool):
        return expected is found
    return _kind(expected) == _kind(found) and expected == found


def _kind(value: Json) -> str:
    if _is_number(value):
        return "number"
    if isinstance(value, Mapping):
        return "object"
    return "list" if isinstance(value, list | tuple) else type(value).__name__


def _is_number(value: Json) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _matches(expression: str, text: str) -> bool:
    if len(text) > MAX_TEXT:
        return False
    try:
        data = text.encode()
    except UnicodeEncodeError:
        return False
    return _compile(expression).search(data) is not None


def _is_short(longest: int, found: Json) -> bool:
    return not isinstance(found, str | Mapping) and (len(found) if isinstance(found, list | tuple) else 1) <= longest


_Test: TypeAlias = Callable[[Any, Json], bool]
_OF_VALUES: Final[Mapping[str, _Test]] = {
    "equals": _is_same,
    "max_items": _is_short,
    "present": lambda _, __: True,
    "absent": lambda _, __: False,
}
_OF_ITEMS: Final[Mapping[str, _Test]] = {
    "one_of": lambda choices, item: any(_is_same(choice, item) for choice in choices),
    "matches": lambda expression, item: isinstance(item, str) and _matches(expression, item),
    "statement": lambda kinds, item: kind_of(item) in kinds,
    "min": lambda least, item: _is_number(item) and cast("float", item) >= least,
    "max": lambda most, item: _is_number(item) and cast("float", item) <= most,
}


@lru_cache(maxsize=1024)
def _compile(expression: str) -> Re2Pattern:
    return compiled(rf"\A(?:{expression})\z", groups=False)
