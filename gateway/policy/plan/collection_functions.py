"""Built-in functions on arrays, objects, sets and JSON, and on the type of a value. Pure."""

# pyright: reportUnknownVariableType=false, reportUnknownArgumentType=false
# A value of Rego is of any type, and the type of such a value is unknown.

from __future__ import annotations

import re
from collections.abc import Callable
from decimal import Decimal
from typing import Final, cast

from gateway.policy.plan.numbers import array, collection, listed, mapping, text, whole
from gateway.policy.plan.values import (
    EvaluationFailed,
    U,
    Value,
    dot,
    equal,
    key,
    members,
    order_values,
    read_json,
    unkey,
)

NAMES: Final = {
    type(None): "null",
    bool: "boolean",
    int: "number",
    Decimal: "number",
    str: "string",
    list: "array",
    dict: "object",
    set: "set",
}
_LONE: Final = re.compile("[\ud800-\udfff]")


def type_name(value: Value) -> Value:
    return NAMES[type(value)]


def type_test(*kinds: type) -> Callable[[Value], Value]:
    """Return a function that tells the types of values."""
    wanted = frozenset(kinds)
    return lambda value: type(value) in wanted


def count(value: Value) -> Value:
    if type(value) in {str, list, dict, set}:
        return len(value)
    raise EvaluationFailed("operand 1 must be an array, an object, a set or a string")


def sort(value: Value) -> Value:
    return order_values(value) if type(value) is list else listed(value, 1)


def greatest(value: Value) -> Value:
    """Return the greatest item, `U` of nothing."""
    found = listed(value, 1)
    return order_values(found)[-1] if found else U


def least(value: Value) -> Value:
    found = listed(value, 1)
    return order_values(found)[0] if found else U


def member(value: Value, within: Value) -> Value:
    """Return whether an item of an array or object, or a member of a set, is the value."""
    kind = type(within)
    if kind is set:
        return key(value) in within
    if type(value) is str and kind is list:
        return value in within
    if kind is list:
        return any(equal(value, item) for item in within)
    if kind is dict:
        return any(equal(value, item) for item in within.values())
    return False


def member_with_key(name: Value, value: Value, within: Value) -> Value:
    kind = type(within)
    if kind is set:
        return key(name) in within and equal(name, value)
    if kind is list or kind is dict:
        found = dot(within, name)
        return found is not U and equal(value, found)
    return False


def array_concat(a: Value, b: Value) -> Value:
    return [*array(a, 1), *array(b, 2)]


def array_slice(value: Value, start: Value, stop: Value) -> Value:
    found = array(value, 1)
    begin, end = whole(start, 2), whole(stop, 3)
    end = min(max(end, 0), len(found))
    return found[min(max(begin, 0), end) : end]


def array_reverse(value: Value) -> Value:
    return array(value, 1)[::-1]


def set_and(a: Value, b: Value) -> Value:
    return collection(a, 1) & collection(b, 2)


def set_or(a: Value, b: Value) -> Value:
    return collection(a, 1) | collection(b, 2)


def union(value: Value) -> Value:
    found: set[Value] = set()
    for item in map(unkey, collection(value, 1)):
        found |= collection(item, 1)
    return found


def intersection(value: Value) -> Value:
    sets = [collection(unkey(item), 1) for item in collection(value, 1)]
    return set[Value].intersection(*sets) if sets else set[Value]()


def object_get(value: Value, path: Value, default: Value) -> Value:
    found: Value = mapping(value, 1)
    for step in path if type(path) is list else [path]:
        is_field = type(found) is dict and type(step) is str
        found = cast("dict[str, Value]", found).get(step, U) if is_field else dot(found, step)
    return default if found is U else found


def object_keys(value: Value) -> Value:
    return set(mapping(value, 1))


def object_remove(value: Value, names: Value) -> Value:
    """Return an object without some keys. Each call of a tool asks this of a grant, so the usual keys are told here."""
    kind = type(names)
    if type(value) is not dict or kind not in {list, set, dict}:
        return mapping(value, 1), _keys(names)
    left: dict[Value, Value] = dict(value)
    for name in names:
        left.pop(name if type(name) is str or kind is not list else key(name), None)
    return left


def object_filter(value: Value, names: Value) -> Value:
    found, kept = mapping(value, 1), _keys(names)
    return {name: item for name, item in found.items() if name in kept}


def _keys(names: Value) -> set[Value]:
    kind = type(names)
    if kind is list:
        return set(map(key, names))
    if kind is set or kind is dict:
        return set(names)
    raise EvaluationFailed("operand 2 must be an object, a set or an array")


def object_union(a: Value, b: Value) -> Value:
    """Return two objects merged, the second with precedence."""
    first, second = mapping(a, 1), mapping(b, 2)
    merged = {**first, **second}
    for name in first.keys() & second.keys():
        if type(first[name]) is dict and type(second[name]) is dict:
            merged[name] = object_union(first[name], second[name])
    return merged


def object_union_n(values: Value) -> Value:
    found: Value = {}
    for item in [mapping(one, 1) for one in array(values, 1)]:
        found = object_union(found, item)
    return found


def object_subset(value: Value, part: Value) -> Value:
    """Return whether an object, set or array has all of another; a set may be a part of an array."""
    kind = type(value)
    other = type(part)
    if kind is dict and other is dict:
        return all(name in value and _has(value[name], item) for name, item in part.items())
    if kind is set and other is set:
        return part <= value
    if kind is list and other is list:
        size = len(part)
        return any(equal(value[at : at + size], part) for at in range(len(value) - size + 1))
    if kind is list and other is set:
        return _has_items(value, part)
    raise EvaluationFailed("both arguments object.subset must be of the same type or array and set")


def _has_items(value: list[Value], part: set[Value]) -> bool:
    """Return whether an array has so many items of a set as the set has. OPA counts an item that comes twice as two."""
    left = len(part)
    for item in value:
        left -= key(item) in part
        if left == 0:
            return True
    return False


def _has(value: Value, part: Value) -> bool:
    kind = type(value)
    other = type(part)
    if kind is other and kind in {dict, set, list}:
        return bool(object_subset(value, part))
    return equal(value, part)


def json_unmarshal(value: Value) -> Value:
    found = text(value, 1)
    try:
        return _mend(read_json(found))
    except ValueError:
        raise EvaluationFailed("json.unmarshal: the text is no JSON") from None


def json_is_valid(value: Value) -> Value:
    if type(value) is not str:
        return False
    try:
        read_json(value)
    except ValueError:
        return False
    return True


def _mend(value: Value) -> Value:
    """Return a value with its lone surrogates replaced, as in Go."""
    kind = type(value)
    if kind is str:
        return _LONE.sub("\ufffd", value)
    if kind is list:
        return [_mend(item) for item in value]
    if kind is dict:
        return {_LONE.sub("\ufffd", name): _mend(item) for name, item in value.items()}
    return value


def reachable(graph: Value, start: Value) -> Value:
    """Return the nodes of a graph that edges lead to from some nodes."""
    edges = mapping(graph, 1)
    waiting = [key(node) for node in listed(start, 2)]
    found: set[Value] = set()
    while waiting:
        node = waiting.pop()
        if node in found or node not in edges:
            continue
        found.add(node)
        waiting += [key(other) for other in _nodes(edges[node])]
    return found


def _nodes(value: Value) -> list[Value]:
    if type(value) is list:
        return list(value)
    return members(value) if type(value) is set else []


def format_int(value: Value, base: Value) -> Value:
    """Return an integer in base 2, 8, 10 or 16; a fraction is cut off."""
    if type(value) not in {int, Decimal}:
        raise EvaluationFailed("operand 1 must be a number")
    forms = {2: "b", 8: "o", 10: "d", 16: "x"}
    if type(base) is not int or base not in forms:
        raise EvaluationFailed("operand 2 must be one of 2, 8, 10, 16")
    return format(int(value), forms[base])


def to_number(value: Value) -> Value:
    """Return null as 0, a boolean as 0 or 1, a number, and a string that is a number of JSON."""
    if value is None:
        return 0
    if type(value) is str:
        if not re.fullmatch(r"-?(0|[1-9][0-9]*)(\.[0-9]+)?([eE][+-]?[0-9]+)?", value, re.ASCII):
            raise EvaluationFailed("to_number: the string is no number")
        try:
            return read_json(value)
        except ValueError:
            raise EvaluationFailed("to_number: the string is no number") from None
    if type(value) is bool:
        return int(value)
    if type(value) in {int, Decimal}:
        return value
    raise EvaluationFailed("operand 1 must be null, a boolean, a number or a string")


def not_equal(a: Value, b: Value) -> Value:
    return not equal(a, b)
