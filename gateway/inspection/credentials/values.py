"""Reads the value at a place in a text: in quotes of many languages, or bare up to a mark. Pure."""

from __future__ import annotations

import re
from typing import Final, NamedTuple

QUOTES: Final = r"(?:[\"'\x60\\]|&(?:quot|apos|#3[49]);){0,6}"
"""Of an expression: the quotes around a name or a value, also escaped ones and those of HTML."""

_SIZE: Final = "{4,2048}"
_VALUE: Final = re.compile(
    rf"\\{{0,6}}\"\"\"\s{{0,4}}([^\"\\\r\n\x00]{_SIZE}?)\s{{0,4}}\\{{0,6}}\"\"\""
    rf"|'''\s{{0,4}}([^'\\\r\n\x00]{_SIZE}?)\s{{0,4}}'''"
    rf"|R\"[^\s()\"]{{0,16}}\(([^()\"\r\n\x00]{_SIZE})\)"
    rf"|[A-Za-z@$]{{0,2}}#{{0,3}}\\{{0,6}}\"([^\"\\\r\n\x00]{_SIZE})"
    rf"|[A-Za-z@$]{{0,2}}\\{{0,6}}'([^'\\\r\n\x00]{_SIZE})"
    rf"|\x60([^\x60\r\n\x00]{_SIZE})\x60"
    rf"|\$[A-Za-z_]{{0,16}}\$([^$\r\n\x00]{_SIZE})\$"
    rf"|&(?:quot|apos|#3[49]);([^&\r\n\x00]{_SIZE})&"
    r"|(?:“|”|„|‘|«[ \xa0]?|「)([^\r\n\x00]{4,256}?)[ \xa0]?(?:”|“|’|»|」)"
    rf"|([^\s\"'\x60,;&<>(){{}}\[\]|\\\x00]{_SIZE})".encode()
)
"""Values in quotes, in quotes with the letters of a language before them, and bare ones."""
_PROSE: Final = _VALUE.groups - 1
"""The groups from here on are of prose: typographic quotes, and none."""
CLOSING: Final = ".!?*"
"""Marks after a bare value that end a sentence, or emphasis."""


class Value(NamedTuple):
    """The place of a value. A bare value has no quotes, or the quotes of prose."""

    start: int
    end: int
    is_bare: bool


def read_value(text: bytes, at: int) -> Value | None:
    """Return the value that begins at a place; `None` where none does."""
    match = _VALUE.match(text, at)
    if match is None or match.lastindex is None:
        return None
    start, end = match.span(match.lastindex)
    return Value(start, end, match.lastindex >= _PROSE)
