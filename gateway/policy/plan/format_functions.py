"""`sprintf` and values as text, as OPA and Go write them. Pure.

`%s`, `%d`, `%v`, `%q`, `%x`, `%X`, `%o`, `%b`, `%f` and `%%` are known, some with a width. Anything else fails, and refuses the call.
"""

# pyright: reportUnknownVariableType=false, reportUnknownArgumentType=false
# A value of Rego is of any type, and the type of such a value is unknown.

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from decimal import Decimal
from math import isfinite
from typing import Any, Final

import msgspec

from gateway.policy.plan.operands import array, text
from gateway.policy.plan.text_functions import quote_string
from gateway.policy.plan.values import EvaluationFailed, Value, items, members

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
