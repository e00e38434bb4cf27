"""The kind of an SQL statement, strictly read. Pure but for the word lists, read once.

Databases read SQL differently. So a statement has a kind only if each common reader takes it apart alike. And each of its words,
marks and functions is known to change nothing. Two statements, comments, a backslash and an unknown function are examples of
the rest, which has no kind.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Final, NamedTuple

from gateway.model.target import StatementKind
from gateway.model.wire import Json

MAX_STATEMENT: Final = 4_096
"""Characters. A longer statement has no kind."""

_LISTS: Final[dict[str, list[str]]] = tomllib.loads(
    Path(__file__).with_name("sql_words.toml").read_text(encoding="utf-8")
)
_FORBIDDEN: Final = frozenset(_LISTS["forbidden"])
_BEFORE_BRACKET: Final = frozenset(_LISTS["before_bracket"])
_FUNCTIONS: Final = frozenset(_LISTS["functions"])
_NAMES_FOLLOW: Final = frozenset(_LISTS["names_follow"])
_VALUES_FOLLOW: Final = frozenset(_LISTS["values_follow"])
_SHOW: Final = frozenset(_LISTS["show"])

_TOKEN: Final = re.compile(
    r"(?P<space>[ \t\r\n]+)"
    r"|(?P<word>[A-Za-z_][A-Za-z0-9_]*)"
    r"|(?P<number>[0-9]+(?:\.[0-9]+)?)"
    r"|(?P<text>'(?:[^'\\]|'')*+')"
    r'|(?P<name>"[A-Za-z0-9_ .-]*"|`[A-Za-z0-9_ .-]*`|\[[A-Za-z0-9_ .,:-]*\])'
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
    return all(_is_plain(token.text) for token in tokens if token.kind == "text")


def _run_together(before: _Token, after: _Token) -> bool:
    """Return whether two tokens may be one to another reader: `E'x'`, `1e5`, `'a'b`, `U&'x'`."""
    if before.kind == "mark":
        return after.kind == "text" and before.text == "&"
    return after.kind != "mark"


def _is_plain(text: str) -> bool:
    """Return whether a quoted text has no mark that a conversion of characters may turn into a quote."""
    return "'''" not in text and all(
        mark.isalpha() and not "\u02b0" <= mark <= "\u02ff" for mark in _HIDDEN.findall(text)
    )


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
    """Return whether no text stands for a table: some databases open it as a file or an address."""
    named = [False]
    before = ""
    for token in tokens:
        if token.kind == "text" and named[-1]:
            return False
        if token.text == "(":
            named.append(named[-1] and before not in _FUNCTIONS)
        elif token.text == ")":
            named.pop()
        elif token.kind == "word" and (token.text in _NAMES_FOLLOW or token.text in _VALUES_FOLLOW):
            named[-1] = token.text in _NAMES_FOLLOW
        before = token.text
    return True


def _only_shows(tokens: Sequence[_Token]) -> bool:
    return bool(tokens) and all(token.kind in {"word", "name", "text"} or token.text == "." for token in tokens)
