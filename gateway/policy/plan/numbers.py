"""Operands of built-in functions, checked as OPA checks them, and arithmetic as OPA does it. Pure.

Arithmetic is exact on integers, else in floats with a mantissa of 64 bits.
"""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from fractions import Fraction
from typing import Final, cast

from gateway.policy.plan.values import EvaluationFailed, Value, integer, members

# pyright: reportUnknownVariableType=false, reportUnknownArgumentType=false
# A value of Rego is of any type, and the type of such a value is unknown.


def text(value: Value, place: int) -> str:
    """Return an operand that is a string. Raise `EvaluationFailed` for another value."""
    if type(value) is str:
        return value
    raise EvaluationFailed(f"operand {place} must be a string")


def whole(value: Value, place: int) -> int:
    """Return an operand that is an integer of 64 bits."""
    found = integer(value)
    if found is None:
        raise EvaluationFailed(f"operand {place} must be an integer")
    return found


def array(value: Value, place: int) -> list[Value]:
    if type(value) is list:
        return value
    raise EvaluationFailed(f"operand {place} must be an array")


def mapping(value: Value, place: int) -> dict[Value, Value]:
    if type(value) is dict:
        return value
    raise EvaluationFailed(f"operand {place} must be an object")


def collection(value: Value, place: int) -> set[Value]:
    """Return an operand that is a set, with its members as keys."""
    if type(value) is set:
        return value
    raise EvaluationFailed(f"operand {place} must be a set")


def listed(value: Value, place: int) -> list[Value]:
    """Return the items of an array, or the members of a set in order."""
    if type(value) is list:
        return value
    if type(value) is set:
        return members(value)
    raise EvaluationFailed(f"operand {place} must be a set or an array")


def texts(value: Value, place: int) -> list[str]:
    """Return the strings of an array or a set. Raise `EvaluationFailed` if another value is in it."""
    found = listed(value, place)
    if {*map(type, found)} - {str}:
        raise EvaluationFailed(f"operand {place} must be a list of strings")
    return found


_MANTISSA: Final = 64
_OF_PRODUCTS: Final = 53
"""Bits of the mantissa in which OPA multiplies the numbers of a collection."""
_SMALL: Final = 2**31
_DIGITS: Final = 40
"""More decimal digits than a mantissa has."""


def number(value: Value, place: int) -> int | Decimal:
    """Return an operand that is a number. Raise `EvaluationFailed` for another value; a boolean is none."""
    if type(value) is int or type(value) is Decimal:
        return value
    raise EvaluationFailed(f"operand {place} must be a number")


def plus(a: Value, b: Value) -> Value:
    if type(a) is int and type(b) is int:
        return a + b
    return _apply(lambda x, y: x + y, number(a, 1), number(b, 2))


def minus(a: Value, b: Value) -> Value:
    """Return the difference of two numbers or two sets."""
    if type(a) is int and type(b) is int:
        return a - b
    if type(a) is set and type(b) is set:
        return cast("set[Value]", a - b)
    return _apply(lambda x, y: x - y, number(a, 1), number(b, 2))


def multiply(a: Value, b: Value) -> Value:
    return _apply(lambda x, y: x * y, number(a, 1), number(b, 2))


def divide(a: Value, b: Value) -> Value:
    x, y = number(a, 1), number(b, 2)
    if y == 0:
        raise EvaluationFailed("divide by zero")
    if type(x) is int and type(y) is int and x and x % y == 0 and max(abs(x), abs(y)) < _SMALL:
        return x // y
    return _decimal(_round_mantissa(_float(x) / _float(y)))


def remainder(a: Value, b: Value) -> Value:
    x, y = exact(number(a, 1)), exact(number(b, 2))
    if x is None or y is None:
        raise EvaluationFailed("modulo on floating-point number")
    if y == 0:
        raise EvaluationFailed("modulo by zero")
    rest = abs(x) % abs(y)
    return -rest if x < 0 else rest


def total(value: Value) -> Value:
    return _fold(plus, 0, value)


def product(value: Value) -> Value:
    return _fold(multiply, 1, value)


def _fold(apply: Callable[[Value, Value], Value], first: int, value: Value) -> Value:
    """Return numbers put together: exactly if all are integers, else in floats from the first on."""
    found = [number(item, 1) for item in listed(value, 1)]
    whole = [exact(item) for item in found]
    if None not in whole:
        found = cast("list[int | Decimal]", whole)
        result: Value = first
        for item in found:
            result = apply(result, item)
        return result
    held, bits = Fraction(first), _MANTISSA if apply is plus else _OF_PRODUCTS
    for item in found:
        held = _round_mantissa(held + _float(item) if apply is plus else held * _float(item), bits)
    return _decimal(held, bits)


def absolute(a: Value) -> Value:
    return _unary(abs, number(a, 1))


def floor(a: Value) -> Value:
    return _unary(_floor, number(a, 1))


def ceil(a: Value) -> Value:
    return _unary(_ceil, number(a, 1))


def rounded(a: Value) -> Value:
    return _unary(_round, number(a, 1))


def _unary(apply: Callable[[Fraction], Fraction], value: int | Decimal) -> Value:
    if type(value) is int and -_SMALL <= value < _SMALL:
        return abs(value) if apply is abs else value
    return _decimal(_round_mantissa(apply(_float(value))))


def _floor(value: Fraction) -> Fraction:
    whole = Fraction(int(value))
    return whole if whole >= 0 or whole == value else whole - 1


def _ceil(value: Fraction) -> Fraction:
    """Return the ceiling. OPA's of a number between -1 and 0 is 1."""
    whole = Fraction(int(value))
    return whole if whole < 0 or whole == value else whole + 1


def _round(value: Fraction) -> Fraction:
    half = Fraction(1, 2)
    return Fraction(int(_round_mantissa(value - half if value < 0 else value + half)))


def exact(value: int | Decimal) -> int | None:
    """Return a whole number, such as 1.0 or 1e3, as an integer. Return `None` for a fraction."""
    if type(value) is int:
        return value
    return int(value) if value == cast("Decimal", value).to_integral_value() else None


def _apply(apply: Callable[[Fraction, Fraction], Fraction], a: int | Decimal, b: int | Decimal) -> Value:
    x, y = exact(a), exact(b)
    if x is not None and y is not None:
        return int(apply(Fraction(x), Fraction(y)))
    return _decimal(_round_mantissa(apply(_float(a), _float(b))))


def _float(value: int | Decimal) -> Fraction:
    return _round_mantissa(Fraction(value))


def _round_mantissa(value: Fraction, bits: int = _MANTISSA) -> Fraction:
    """Return the nearest number with a mantissa of so many bits, an even one of two."""
    if value == 0:
        return value
    shift = bits - (abs(value.numerator).bit_length() - value.denominator.bit_length())
    scaled = abs(value) * Fraction(2) ** shift
    while scaled >= 2**bits:
        shift, scaled = shift - 1, scaled / 2
    while scaled < 2 ** (bits - 1):
        shift, scaled = shift + 1, scaled * 2
    found = round(scaled) / Fraction(2) ** shift
    return -found if value < 0 else found


def _decimal(value: Fraction, bits: int = _MANTISSA) -> Value:
    """Return the shortest decimal that stands for a float."""
    if value.denominator == 1 and abs(value) < 2**bits:
        return int(value)
    for digits in range(1, _DIGITS):
        found = _with_digits(value, digits)
        if _round_mantissa(Fraction(found), bits) == value:
            return int(found) if value.denominator == 1 else found
    raise EvaluationFailed("a number has no decimal form")


def _with_digits(value: Fraction, digits: int) -> Decimal:
    """Return the nearest decimal of some digits."""
    size = abs(value)
    exponent = len(str(size.numerator)) - len(str(size.denominator)) - digits
    scaled = size / Fraction(10) ** exponent
    while scaled >= 10**digits:
        exponent, scaled = exponent + 1, scaled / 10
    while scaled < 10 ** (digits - 1):
        exponent, scaled = exponent - 1, scaled * 10
    written = tuple(int(digit) for digit in str(round(scaled)))
    return Decimal((1 if value < 0 else 0, written, exponent))


def bits_and(a: Value, b: Value) -> Value:
    return _integer(a, 1) & _integer(b, 2)


def bits_or(a: Value, b: Value) -> Value:
    return _integer(a, 1) | _integer(b, 2)


def bits_xor(a: Value, b: Value) -> Value:
    return _integer(a, 1) ^ _integer(b, 2)


def bits_negate(a: Value) -> Value:
    return ~_integer(a, 1)


def _integer(value: Value, place: int) -> int:
    """Return an operand that is an integer of any size."""
    found = number(value, place)
    if found != int(found):
        raise EvaluationFailed(f"operand {place} must be an integer")
    return int(found)
