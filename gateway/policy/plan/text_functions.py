"""Built-in functions on strings. Pure.

Go maps letters one by one, where Python knows final sigmas and letters that become two. Tables for these come from comparing
both over all of Unicode.
"""

from __future__ import annotations

import re
from typing import Final

from gateway.policy.plan.operands import mapping, text, texts, whole
from gateway.policy.plan.values import EvaluationFailed, Value

_SPACE: Final = "\t\n\v\f\r \x85\xa0\u1680\u2000\u2001\u2002\u2003\u2004\u2005\u2006\u2007\u2008\u2009\u200a\u2028\u2029\u202f\u205f\u3000"
_ESCAPES: Final = {"\a": "\\a", "\b": "\\b", "\f": "\\f", "\n": "\\n", "\r": "\\r", "\t": "\\t", "\v": "\\v"}


def concat(separator: Value, parts: Value) -> Value:
    joint = text(separator, 1)
    return joint.join(texts(parts, 2))


def contains(value: Value, part: Value) -> Value:
    return text(part, 2) in text(value, 1)


def startswith(value: Value, part: Value) -> Value:
    return text(value, 1).startswith(text(part, 2))


def endswith(value: Value, part: Value) -> Value:
    return text(value, 1).endswith(text(part, 2))


def any_prefix_match(values: Value, parts: Value) -> Value:
    found, wanted = _one_or_more(values, 1), tuple(_one_or_more(parts, 2))
    return any(value.startswith(wanted) for value in found)


def any_suffix_match(values: Value, parts: Value) -> Value:
    found, wanted = _one_or_more(values, 1), tuple(_one_or_more(parts, 2))
    return found[0].endswith(wanted) if len(found) == 1 else any(value.endswith(wanted) for value in found)


def _one_or_more(value: Value, place: int) -> list[str]:
    return [value] if type(value) is str else texts(value, place)


def lower(value: Value) -> Value:
    found = text(value, 1)
    return found.lower() if found.isascii() else "".join(map(_lower, found))


def upper(value: Value) -> Value:
    found = text(value, 1)
    return found.upper() if found.isascii() else "".join(map(_upper, found))


def _lower(letter: str) -> str:
    if letter in _LOWER:
        return _LOWER[letter]
    found = letter.lower()
    return found if len(found) == 1 else letter


def _upper(letter: str) -> str:
    if letter in _UPPER:
        return _UPPER[letter]
    found = letter.upper()
    return found if len(found) == 1 else letter


_LOWER: Final = {"\u0130": "i"}
_UPPER: Final[dict[str, str]] = {
    **{chr(0x1F80 + low): chr(0x1F88 + low) for low in range(8)},
    **{chr(0x1F90 + low): chr(0x1F98 + low) for low in range(8)},
    **{chr(0x1FA0 + low): chr(0x1FA8 + low) for low in range(8)},
    "\u1fb3": "\u1fbc",
    "\u1fc3": "\u1fcc",
    "\u1ff3": "\u1ffc",
}
"""Greek letters with an iota below, which Python writes as two capitals."""


def split(value: Value, separator: Value) -> Value:
    found, part = text(value, 1), text(separator, 2)
    return found.split(part) if part else list(found)


def replace(value: Value, old: Value, new: Value) -> Value:
    found, part, other = text(value, 1), text(old, 2), text(new, 3)
    if not part and not found.isascii():
        raise EvaluationFailed("replace: an empty string cannot be replaced in this text")
    return found.replace(part, other)


def replace_n(patterns: Value, value: Value) -> Value:
    pairs, found = mapping(patterns, 1), text(value, 2)
    if {*map(type, pairs), *map(type, pairs.values())} - {str}:
        raise EvaluationFailed("operand 1 must be an object of strings")
    if "" in pairs:
        raise EvaluationFailed("strings.replace_n: an empty string cannot be replaced")
    if not any(map(found.__contains__, pairs)):
        return found
    return re.sub("|".join(map(re.escape, sorted(pairs))), lambda match: pairs[match[0]], found)


def trim(value: Value, cut: Value) -> Value:
    return text(value, 1).strip(text(cut, 2))


def trim_left(value: Value, cut: Value) -> Value:
    return text(value, 1).lstrip(text(cut, 2))


def trim_right(value: Value, cut: Value) -> Value:
    return text(value, 1).rstrip(text(cut, 2))


def trim_prefix(value: Value, part: Value) -> Value:
    return text(value, 1).removeprefix(text(part, 2))


def trim_suffix(value: Value, part: Value) -> Value:
    return text(value, 1).removesuffix(text(part, 2))


def trim_space(value: Value) -> Value:
    return text(value, 1).strip(_SPACE)


def substring(value: Value, start: Value, size: Value) -> Value:
    found, begin, many = text(value, 1), whole(start, 2), whole(size, 3)
    if begin < 0:
        raise EvaluationFailed("negative offset")
    return found[begin:] if many < 0 else found[begin : begin + many]


def indexof(value: Value, part: Value) -> Value:
    found, wanted = text(value, 1), text(part, 2)
    if not wanted:
        raise EvaluationFailed("empty search character")
    return found.find(wanted)


def indexof_n(value: Value, part: Value) -> Value:
    found, wanted = text(value, 1), text(part, 2)
    if not wanted:
        raise EvaluationFailed("empty search character")
    places: list[Value] = []
    place = found.find(wanted)
    while place >= 0:
        places.append(place)
        place = found.find(wanted, place + 1)
    return places


def count_in(value: Value, part: Value) -> Value:
    return text(value, 1).count(text(part, 2))


def reverse(value: Value) -> Value:
    return text(value, 1)[::-1]


def quote_string(value: str) -> str:
    """Return a string in quotation marks, as Go writes it."""
    return '"' + "".join(map(_quote_letter, value)) + '"'


def _quote_letter(letter: str) -> str:
    if letter in {'"', "\\"}:
        return f"\\{letter}"
    if letter == " " or (letter.isprintable() and letter not in _ESCAPES):
        return letter
    if letter in _ESCAPES:
        return _ESCAPES[letter]
    code = ord(letter)
    if code < 0x20 or code == 0x7F:
        return f"\\x{code:02x}"
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"
