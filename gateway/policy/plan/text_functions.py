"""Built-in functions on strings, and `sprintf`, as OPA and Go write them. Pure.

Go maps letters one by one, where Python knows final sigmas and letters that become two. Tables for these come from comparing
both over all of Unicode. `sprintf` knows `%s`, `%d`, `%v`, `%q`, `%x`, `%X`, `%o`, `%b`, `%f` and `%%`, some with a width.
Anything else fails, and refuses the call.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from decimal import Decimal
from math import isfinite
from typing import Any, Final

import msgspec

from gateway.policy.plan.numbers import array, mapping, text, texts, whole
from gateway.policy.plan.values import EvaluationFailed, Value, items, members

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


# pyright: reportUnknownVariableType=false, reportUnknownArgumentType=false
# A value of Rego is of any type, and the type of such a value is unknown.


_DIRECTIVE: Final = re.compile(r"%([-+ 0]*)([0-9]{0,3})(\.[0-9]{0,3})?(.?)", re.DOTALL | re.ASCII)
_KINDS: Final = {int: "int", Decimal: "float64", str: "string"}
_LONGEST: Final = 21
"""Digits before the point from which Go writes an exponent."""
_INTEGER: Final = frozenset("dxXo")


def sprintf(template: Value, values: Value) -> Value:
    pattern, given = text(template, 1), array(values, 2)
    arguments = [_argument(value) for value in given]
    used = 0

    def filled(match: re.Match[str]) -> str:
        nonlocal used
        flags, verb = match[0][1 : -len(match[4]) or None], match[4]
        if verb == "%" and not flags:
            return "%"
        if not verb and not flags:
            return "%!(NOVERB)"
        if not ("a" <= verb.lower() <= "z"):
            raise EvaluationFailed(f"sprintf: the directive {match[0]} is not known")
        if used >= len(arguments):
            return f"%!{verb}(MISSING)"
        used += 1
        return _format(flags, verb, arguments[used - 1])

    found = _DIRECTIVE.sub(filled, pattern)
    if used == len(arguments):
        return found
    extra = ", ".join(f"{_kind(value)}={_plainly(value)}" for value in arguments[used:])
    return f"{found}%!(EXTRA {extra})"


def _argument(value: Value) -> Value:
    """Return a value as OPA gives it to Go: a collection as text."""
    if type(value) is Decimal and not isfinite(float(value)):
        raise EvaluationFailed("sprintf: a number is too large for a float of 64 bits")
    return value if type(value) in _KINDS else written(value)


def _format(flags: str, verb: str, value: Value) -> str:
    kind = type(value)
    if flags:
        return _with_flags(flags, verb, value)
    if verb == "v" or (verb == "s" and (kind is str or _is_big(value))) or (verb == "d" and kind is int):
        return _plainly(value)
    if verb == "q" and kind is str:
        return quote_string(value)
    if verb == "b" and kind is int:
        return format(value, "b")
    if (verb in _INTEGER and kind is int) or (verb == "f" and kind is Decimal):
        return _with_flags("", verb, value)
    if verb in {"s", "d"}:
        return f"%!{verb}({_kind(value)}={_plainly(value)})"
    raise EvaluationFailed(f"sprintf: %{verb} of a {_kind(value)} is not known")


def _with_flags(flags: str, verb: str, value: Value) -> str:
    """Return what Go and Python write alike."""
    kind = type(value)
    if (verb in _INTEGER and kind is int and "." not in flags) or (
        verb == "s" and kind is str and not set(flags) & set("+ ")
    ):
        return f"%{flags}{verb}" % value
    if verb == "f" and kind is Decimal:
        return f"%{flags}f" % float(value)
    raise EvaluationFailed(f"sprintf: the directive %{flags}{verb} of a {_kind(value)} is not known")


def _is_big(value: Value) -> bool:
    return type(value) is int and not -(2**63) <= value < 2**63


def _kind(value: Value) -> str:
    if type(value) is int:
        return "*big.Int" if _is_big(value) else "int64"
    return _KINDS[type(value)]


def _plainly(value: Value) -> str:
    return value if type(value) is str else number_text(value)


def number_text(value: int | Decimal) -> str:
    """Return a number as Go's `%v` writes an integer or a float of 64 bits."""
    if isinstance(value, int):
        return str(value)
    short = repr(float(value))
    mantissa, _, exponent = short.partition("e")
    size = Decimal(short).adjusted() if float(value) else 0
    if not -4 <= size < _LONGEST:
        digits = "".join(map(str, Decimal(short).normalize().as_tuple().digits))
        sign = "-" if value < 0 else ""
        return (
            f"{sign}{digits[0]}{'.' + digits[1:] if len(digits) > 1 else ''}e{'-' if size < 0 else '+'}{abs(size):02d}"
        )
    if exponent:
        mantissa = format(Decimal(short), "f")
    return mantissa.removesuffix(".0")


def written(value: Value) -> str:
    """Return a value as the text of a term of Rego."""
    return _TERMS[type(value)](value)


def _array(value: list[Value]) -> str:
    return f"[{', '.join(map(written, value))}]"


def _object(value: dict[Value, Value]) -> str:
    return "{" + ", ".join(f"{written(name)}: {written(item)}" for name, item in items(value)) + "}"


def _set(value: set[Value]) -> str:
    return "{" + ", ".join(map(written, members(value))) + "}" if value else "set()"


def term_text(value: Decimal) -> str:
    """Return a number as it stood in JSON. The encoder of policy inputs writes large and small floats."""
    found = str(value)
    return msgspec.json.encode(float(value)).decode() if "E" in found else found


_TERMS: Final[Mapping[type, Callable[[Any], str]]] = {
    type(None): lambda _: "null",
    bool: lambda value: "true" if value else "false",
    str: quote_string,
    int: str,
    Decimal: term_text,
    list: _array,
    dict: _object,
    set: _set,
}
