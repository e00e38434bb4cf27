"""The values of Rego in Python, compared and ordered as OPA does it. Pure.

| Rego | Python |
|---|---|
| null, boolean, string | `None`, `bool`, `str` |
| number | `int`, or `Decimal` with a fraction or an exponent |
| array | `list` |
| object | `dict` with keys made by `key` |
| set | `set` with members made by `key` |

A value of another type, such as a tuple or a float, never gets in: `plain` and `read_json` make the values. No function
changes a value that it was given.
"""

# pyright: reportUnknownVariableType=false, reportUnknownArgumentType=false
# A value of Rego is of any type, and the type of such a value is unknown.

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from decimal import Decimal, InvalidOperation
from functools import cmp_to_key
from math import isfinite
from typing import Any, Final, TypeAlias, cast

Value: TypeAlias = Any
"""A value of Rego, or `U`."""


class EvaluationFailed(Exception):
    """A failure that refuses the call: a built-in with a wrong argument, or a rule with two values."""


class Undefined:
    """The type of `U`."""

    __slots__ = ()

    def __repr__(self) -> str:
        return "undefined"


U: Final = Undefined()
"""The absence of a value."""


class Key:
    """A boolean, array, object or set as a key of an object or a member of a set."""

    __slots__ = ("form", "value")

    def __init__(self, value: Value) -> None:
        self.value = value
        self.form = _form(value)

    def __eq__(self, other: object) -> bool:
        return type(other) is Key and self.form == other.form

    def __hash__(self) -> int:
        return hash(self.form)

    def __repr__(self) -> str:
        return f"Key({self.value!r})"


def key(value: Value) -> Value:
    """Return a value as a key. Equal values have equal keys, and `true` is not 1."""
    kind = type(value)
    return value if kind is str or kind is int or kind is Decimal or value is None else Key(value)


def unkey(found: Value) -> Value:
    """Return the value of a key."""
    return found.value if type(found) is Key else found


def _form(value: Value) -> tuple[Any, ...]:
    kind = type(value)
    if kind is bool:
        return ("boolean", value)
    if kind is list:
        return ("array", *map(key, value))
    if kind is dict:
        return ("object", frozenset((name, key(item)) for name, item in value.items()))
    if kind is set:
        return ("set", frozenset(value))
    raise EvaluationFailed(f"a value of the type {kind.__name__} is no value of Rego")


# --- equality and order ------------------------------------------------------------------------------


def equal(a: Value, b: Value) -> bool:
    """Return whether two values are the same. 1 is 1.0, and not true."""
    kind = type(a)
    if kind is type(b):
        if kind is list:
            return len(a) == len(b) and all(map(equal, a, b))
        if kind is dict:
            return len(a) == len(b) and all(equal(item, b.get(name, U)) for name, item in a.items())
        return bool(a == b)
    return (kind is int or kind is Decimal) and type(b) in _NUMBERS and bool(a == b)


_NUMBERS: Final = frozenset({int, Decimal})
_ORDER: Final[Mapping[type, int]] = {
    type(None): 0,
    bool: 1,
    int: 2,
    Decimal: 2,
    str: 3,
    list: 4,
    dict: 5,
    set: 6,
}


def compare(a: Value, b: Value) -> int:
    """Return -1, 0 or 1: null, booleans, numbers, strings, arrays, objects, sets, in this order."""
    order, other = _ORDER[type(a)], _ORDER[type(b)]
    if order != other:
        return -1 if order < other else 1
    if order == 0:
        return 0
    if order <= 3:
        return (a > b) - (a < b)
    return _compare_collections(a, b)


def _compare_collections(a: Value, b: Value) -> int:
    if not a or not b:
        return bool(a) - bool(b)
    if type(a) is list:
        return _compare_each(a, b)
    if type(a) is dict:
        return _compare_each(_flat(a), _flat(b))
    return _compare_each(members(a), members(b))


def _compare_each(a: Sequence[Value], b: Sequence[Value]) -> int:
    for one, other in zip(a, b, strict=False):
        found = compare(one, other)
        if found:
            return found
    return (len(a) > len(b)) - (len(a) < len(b))


def _flat(value: Value) -> list[Value]:
    return [part for item in items(value) for part in item]


def less(a: Value, b: Value) -> bool:
    kind = type(a)
    if kind is type(b) and (kind is int or kind is str):
        return bool(a < b)
    return compare(a, b) < 0


def less_or_equal(a: Value, b: Value) -> bool:
    return not less(b, a)


def greater(a: Value, b: Value) -> bool:
    return less(b, a)


def greater_or_equal(a: Value, b: Value) -> bool:
    return not less(a, b)


def order_values(values: Iterable[Value]) -> list[Value]:
    """Return values in OPA's order."""
    return sorted(values, key=_in_order)


_in_order: Final[Callable[[Value], Any]] = cmp_to_key(compare)


def members(value: set[Value]) -> list[Value]:
    """Return the members of a set in order."""
    if len(value) > 1:
        try:
            return sorted(value)
        except TypeError:  # members of several types, or with no order in Python
            return order_values(map(unkey, value))
    return [unkey(found) for found in value]


def items(value: dict[Value, Value]) -> list[tuple[Value, Value]]:
    """Return the keys and values of an object, in order of the keys."""
    if len(value) > 1:
        try:
            return [(name, value[name]) for name in sorted(value)]
        except TypeError:
            return sorted(((unkey(name), item) for name, item in value.items()), key=_by_key)
    return [(unkey(name), item) for name, item in value.items()]


def _by_key(item: tuple[Value, Value]) -> Any:
    return _in_order(item[0])


# --- what statements of a plan do --------------------------------------------------------------------


def dot(value: Value, name: Value) -> Value:
    """Return the value below a key, an index or a member."""
    kind = type(value)
    if kind is dict:
        return value.get(key(name), U)
    if kind is list:
        index = integer(name)
        return value[index] if index is not None and 0 <= index < len(value) else U
    if kind is set:
        return name if key(name) in value else U
    return U


def integer(value: Value) -> int | None:
    """Return a number that OPA takes for an integer of 64 bits: digits, and after a point zeros alone."""
    if type(value) is Decimal:
        if value.adjusted() > 20 or _exponent(value) > 0 or value != value.to_integral_value():
            return None
        value = int(value)
    return value if type(value) is int and -(2**63) <= value < 2**63 else None


def _exponent(value: Decimal) -> int:
    found = value.as_tuple().exponent
    return found if isinstance(found, int) else 1


def scan(value: Value) -> Iterable[tuple[Value, Value]]:
    """Return the keys and values of a collection, nothing of another value."""
    kind = type(value)
    if kind is list:
        return enumerate(cast("list[Value]", value))
    if kind is dict:
        return items(value)
    if kind is set:
        return [(found, found) for found in members(value)]
    return ()


def length(value: Value) -> int:
    """Return the length of a collection; of a string, of its UTF-8."""
    kind = type(value)
    if kind is str:
        return len(value.encode())
    return len(value) if kind is list or kind is dict or kind is set else 0


def once(held: Value, value: Value) -> Value:
    """Return a value that a rule gives again. Raise `EvaluationFailed` for another value."""
    if equal(held, value):
        return value
    raise EvaluationFailed("a rule or function has two values")


def insert_once(value: dict[Value, Value], name: Value, item: Value) -> None:
    """Put an item into an object. Raise `EvaluationFailed` if another item has the key."""
    found = key(name)
    if found in value and not equal(value[found], item):
        raise EvaluationFailed("an object has two values for one key")
    value[found] = item


def merge(a: Value, b: Value) -> Value:
    """Return two objects merged, the first with precedence."""
    if a is U:
        return b
    if type(a) is not dict or type(b) is not dict:
        return cast("Value", a)
    first, second = cast("dict[Value, Value]", a), cast("dict[Value, Value]", b)
    merged = {**second, **first}
    for name in first.keys() & second.keys():
        merged[name] = merge(first[name], second[name])
    return merged


def upsert(value: Value, path: Sequence[str], item: Value) -> dict[Value, Value]:
    """Return a copy of an object with an item at a path."""
    copied = dict(cast("dict[Value, Value]", value)) if type(value) is dict else dict[Value, Value]()
    copied[path[0]] = item if len(path) == 1 else upsert(copied.get(path[0]), path[1:], item)
    return copied


# --- to and from JSON --------------------------------------------------------------------------------


class Inexact(Exception):
    """A number that engines would read in several ways."""

    def __init__(self, problem: str, remedy: str) -> None:
        super().__init__(problem)
        self.remedy = remedy


class Unchanging(dict[str, Any]):
    """An input, or a part of it, with the same fields for ever. A deep copy is a dictionary, and can be changed."""

    __slots__ = ()

    def _refuse(self, *_: object, **__: object) -> Any:
        raise TypeError("an input of a policy cannot be changed; change a copy")

    __setitem__ = __delitem__ = pop = popitem = clear = _refuse
    setdefault = _refuse  # pyright: ignore[reportAssignmentType] - it has overloads
    update = _refuse  # pyright: ignore[reportAssignmentType]
    __ior__ = _refuse  # pyright: ignore[reportAssignmentType]

    def __deepcopy__(self, memo: dict[int, Any]) -> dict[str, Any]:
        return copy.deepcopy(dict(self), memo)


class Shared(Unchanging):
    """A part of several inputs, with its value of Rego in `plain`."""

    __slots__ = ("plain",)

    def __init__(self, part: dict[str, Any]) -> None:
        super().__init__(part)
        self.plain: Value = plain(part)


def plain(value: Any) -> Value:
    """Return a value that JSON can write as a value of Rego, in new lists and dictionaries or those of `Shared`.

    Raise `Inexact`, `UnicodeEncodeError` for text that is no Unicode, and `RecursionError`.
    """
    return _PLAIN.get(type(value), _scalar)(value)


def _fields(value: dict[Any, Any]) -> Value:
    """Return a dictionary as an object. A call has dozens of scalars, so the loop tells the usual ones itself."""
    fields: dict[Value, Value] = {}
    for name, item in value.items():
        kind = type(item)
        if kind is str:
            if not item.isascii():
                item.encode()
        elif kind is int:
            if not _LEAST <= item < _BEYOND:
                raise _beyond()
        elif kind is not bool and item is not None:
            item = _EMPTY[kind]() if kind in _EMPTY and not item else _PLAIN.get(kind, _scalar)(item)  # noqa: PLW2901 - see above
        fields[name if type(name) is str and name.isascii() else _name(name)] = item
    return fields


def _items(value: Sequence[Any]) -> Value:
    found: list[Value] = []
    for item in value:
        is_ready = (type(item) is str and item.isascii()) or item is None
        found.append(item if is_ready else _PLAIN.get(type(item), _scalar)(item))
    return found


def _unwrap_shared(value: Shared) -> Value:
    return value.plain


_PLAIN: Final[Mapping[type, Callable[[Any], Value]]] = {
    dict: _fields,
    list: _items,
    tuple: _items,
    Shared: _unwrap_shared,
}
_EMPTY: Final[Mapping[type, type]] = {list: list, tuple: list, dict: dict}


def _scalar(value: Any) -> Value:
    kind = type(value)
    if kind is str:
        value.encode()
        return value
    if kind is bool or value is None:
        return value
    if kind is int:
        if _LEAST <= value < _BEYOND:
            return value
        raise _beyond()
    return _other(value)


def _name(name: object) -> str:
    found = str.__str__(name) if isinstance(name, str) else str(name)
    found.encode()
    return found


_LEAST: Final = -(2**63)
_BEYOND: Final = 2**64


def _beyond() -> Inexact:
    return Inexact("an integer beyond 64 bits", "send such a number as a string")


def _other(value: object) -> Value:
    if isinstance(value, str):
        return plain(str.__str__(value))
    if isinstance(value, float):
        if not isfinite(value):
            raise Inexact("a number that is not finite", "send numbers that JSON can write")
        return number(repr(float(value)))
    if isinstance(value, Mapping):
        return plain(dict(cast("Mapping[Any, Any]", value)))
    raise TypeError(f"a policy input holds a {type(value).__name__}")


def number(text: str) -> Decimal:
    """Return a number with a fraction or an exponent. Raise `ValueError` for another text, or a number beyond all measure."""
    try:
        found = Decimal(text)
    except InvalidOperation:
        raise ValueError(f"{text[:20]!r} is no number that can be worked with") from None
    if not found.is_finite() or abs(found.adjusted()) > 10_000:
        raise ValueError(f"{text[:20]!r} is no number that can be worked with")
    return found


def read_json(text: str) -> Value:
    """Return a value of Rego from JSON. Raise `ValueError`, and `RecursionError` for deeply nested JSON."""
    return json.loads(text, parse_float=number, parse_constant=_refuse_constant)


def _refuse_constant(name: str) -> Value:
    raise ValueError(f"{name} is no JSON")


def to_json(value: Value) -> Any:
    """Return a value as JSON has it, with sets as lists in order."""
    kind = type(value)
    if kind is dict:
        fields: dict[str, Any] = {}
        for name, item in value.items():
            of = type(item)
            if of is list and not item:
                item = []  # noqa: PLW2901 - most lists of an answer are empty
            elif of is not str and of is not int and of is not bool:
                item = to_json(item)  # noqa: PLW2901
            fields[name if type(name) is str else _json_name(unkey(name))] = item
        return fields
    if kind is list:
        return [*map(to_json, value)] if value else []
    if kind is set:
        return [*map(to_json, members(value))] if value else []
    if kind is Decimal:
        return float(value)
    if value is U:
        raise EvaluationFailed("an undefined value got into an answer")
    return value


def _json_name(name: Value) -> str:
    return json.dumps(to_json(name), ensure_ascii=False, separators=(",", ":"), sort_keys=True)


def walk(value: Value) -> list[Value]:
    """Return the paths and values of everything in a value, itself first."""
    return [[path, found] for path, found in _walk([], value)]


def _walk(path: list[Value], value: Value) -> Iterator[tuple[list[Value], Value]]:
    yield path, value
    if type(value) in {list, dict, set}:
        for name, item in scan(value):
            yield from _walk([*path, name], item)
