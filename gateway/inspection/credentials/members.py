"""Reads values in quotes of many languages, and finds credentials that a member of the same object names. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

from msgspec import Struct

from gateway.base.text_cache import short_text_cache
from gateway.inspection.credentials.finding import Hit, SignedSearch
from gateway.inspection.credentials.forms import string
from gateway.inspection.credentials.named import NAMES, SHORT_NAMES, Strength, hit_of, is_plausible, strength
from gateway.inspection.credentials.ruleset import Re2Match, compiled

# --- values ------------------------------------------------------------------------------------------

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


class Value(Struct, frozen=True):
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


_NAMING: Final = "name|key|label|field|id|variable|var|type|attribute|property|header|parameter|option|setting|path"
_VALUED: Final = "value|val|content|contents|body|data|default|text|secret|plaintext|current|currentvalue|literal|string|secretstring"
_MOST_BEFORE: Final = r"(?:[A-Za-z][A-Za-z_.-]{0,20}[_.-]|[A-Za-z]{0,20})"
_IS_NAMING: Final = re.compile(rf"{_MOST_BEFORE}(?:{_NAMING})", re.IGNORECASE)
_IS_VALUED: Final = re.compile(rf"{_MOST_BEFORE}(?:{_VALUED})", re.IGNORECASE)
_REACH: Final = 512
"""Bytes before and after a name in which the other members of its object are."""

_NAMED: Final = rf"[\w ./:$-]*(?:{NAMES}|{SHORT_NAMES})[\w-]*"
_MEMBER: Final = rf"(?:{_NAMING}){QUOTES}\s*(?:=>|[:=])\s*{QUOTES}".replace("{0,6}", "*")
_OPTION: Final = rf"--(?:{_NAMING})(?:=|\s+)[\"']?"
_SIGN: Final = rf"(?i)(?:{_MEMBER}|{_OPTION}){_NAMED}[^\w-]|(?:{NAMES})\w*[\"'\x60]*\s*[:=]?\s*\{{"
_NAME: Final = compiled(
    rf"(?i)(?:(?:^|[^\w.-])((?:[\w.-]*?)(?:{_NAMING})){QUOTES}\s{{0,4}}(?:=>|[:=])\s{{0,4}}{QUOTES}|(--(?:{_NAMING}))\s{{1,4}}[\"']?)"
    rf"({_NAMED})[^\w-]"
)
_OBJECT: Final = compiled(rf"(?i)([\w.-]*(?:{NAMES})[\w-]*){QUOTES}\s{{0,4}}[:=]?\s{{0,4}}\{{")
_VALUE_NAME: Final = re.compile(
    rf"(?:^|[\s,{{(\"'\x60\\;<-])(?:{_MOST_BEFORE})(?:{_VALUED}){QUOTES}\s{{0,8}}(?:=>|[:=])\s{{0,8}}|\s--(?:{_VALUED})\s{{1,4}}".encode(),
    re.IGNORECASE,
)
_WHOLE_OBJECT: Final = re.compile(rb"\{[^{}]*\}")
_BEGINNING: Final = re.compile(rb"[{}\x00]|<(?=[a-z])|\n[ \t]*\r?\n|\n[ \t]*- ", re.IGNORECASE)
_ENDING: Final = re.compile(rb"[{}\x00]|/?>(?:\s|<|$)|\n[ \t]*\r?\n|\n[ \t]*- ")


@short_text_cache(4_096)
def may_name(member: str) -> bool:
    """Return whether the value of a member is the name of another member's value: `name`, `ParameterKey`."""
    return _IS_NAMING.fullmatch(member) is not None


@short_text_cache(4_096)
def may_have_value(member: str) -> bool:
    """Return whether a member has the value for the name in another member: `value`, `secret_value`."""
    return _IS_VALUED.fullmatch(member) is not None


def _siblings(text: bytes) -> Iterator[Hit]:
    """Yield the values beside the names of credentials."""
    read = 0
    for match in _NAME.finditer(text):
        kind = strength(string(match[3] or b""))
        if kind is not None:
            yield from _beside(text, match, kind, read)
        read = match.end(3)


def _beside(text: bytes, name: Re2Match, kind: Strength, read: int) -> Iterator[Hit]:
    """Yield the value in the object of a name: the first after the name, else the last before the name and after `read`."""
    start, end = name.start(), name.end(3)
    again = _NAME.search(text[end : end + _REACH])
    after = _until(text[end : end + (_REACH if again is None else again.start())])
    before = _since(text[max(read, start - _REACH) : start])
    places = [end + found.end() for found in _VALUE_NAME.finditer(after)][:1]
    places += [start - len(before) + found.end() for found in _VALUE_NAME.finditer(before)][-1:]
    for at in places:
        if (hit := _value(text, at, kind)) is not None:
            yield hit
            return


def _inner(text: bytes) -> Iterator[Hit]:
    """Yield the values of objects that stand under the name of a credential."""
    for match in _OBJECT.finditer(text):
        kind = strength(string(match[1] or b""))
        inside = _until(text[match.end() : match.end() + _REACH])
        found = _VALUE_NAME.search(inside) if kind is not None else None
        if (
            kind is not None
            and found is not None
            and (hit := _value(text, match.end() + found.end(), kind)) is not None
        ):
            yield hit


def _value(text: bytes, at: int, kind: Strength) -> Hit | None:
    found = read_value(text, at)
    if found is None:
        return None
    value = string(text[found.start : found.end])
    if found.is_bare:
        value = value.rstrip(CLOSING)
    end = found.start + len(value.encode("utf-8", "surrogatepass"))
    return hit_of(kind, found.start, end, value) if is_plausible(value, kind, structured=False) else None


def _until(text: bytes) -> bytes:
    """Return the beginning of a text up to the end of an object. Whole objects inside of it are blank."""
    text = _WHOLE_OBJECT.sub(_blank, text)
    found = _ENDING.search(text)
    return text if found is None else text[: found.start()]


def _since(text: bytes) -> bytes:
    """Return the end of a text from the beginning of an object."""
    text = _WHOLE_OBJECT.sub(_blank, text)
    last = max((found.end() for found in _BEGINNING.finditer(text)), default=0)
    return text[last:]


def _blank(match: re.Match[bytes]) -> bytes:
    return b" " * len(match[0])


def _members(text: bytes) -> Iterator[Hit]:
    yield from _siblings(text)
    yield from _inner(text)


SEARCHES: Final = (SignedSearch(_SIGN, _members),)
