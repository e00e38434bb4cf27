"""Types of Rego values, from a schema or an expression. Pure.

A type is a tuple of alternatives, or `None` for an unknown type. If two sources disagree, both are alternatives. A mistake
is reported only if every alternative has it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final, TypeAlias, cast

_MOST = 24
"""More alternatives than this are taken for an unknown value."""


@dataclass(frozen=True, slots=True)
class Scalar:
    """A text, number, boolean or null. `texts` are the only ones that a text can be, `None` if it may be any."""

    kind: str
    texts: frozenset[str] | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Object:
    """A mapping. `name` is its path for people. A key that is not in `fields` is an error if `closed`, else its value is
    of the type `rest`."""

    name: str
    fields: Mapping[str, Type]
    required: frozenset[str] = frozenset()
    closed: bool = True
    rest: Type = None


@dataclass(frozen=True, slots=True)
class Collection:
    """An array or a set, and the type of its items. `parts` are the types of each item of an array of known length."""

    kind: str
    items: Type = None
    parts: tuple[Type, ...] | None = None


@dataclass(frozen=True, slots=True)
class DataPlace:
    """A place in the document `data`, below which rules, packages or data stand."""

    path: tuple[str, ...]


Alternative: TypeAlias = Scalar | Object | Collection | DataPlace
Type: TypeAlias = tuple[Alternative, ...] | None

TEXT: Final[Type] = (Scalar("string"),)
NUMBER: Final[Type] = (Scalar("number"),)
BOOLEAN: Final[Type] = (Scalar("boolean"),)
NULL: Final[Type] = (Scalar("null"),)
OPEN: Final = Object("", {}, closed=False)
"""A mapping of which nothing else is known."""


def union(types: Iterable[Type]) -> Type:
    """Return the union of types. `None` stands for an unknown type, and for a union too large."""
    found: dict[Alternative, None] = {}
    for item in types:
        if item is None:
            return None
        found.update(dict.fromkeys(item))
    return tuple(found) if 0 < len(found) <= _MOST else None


def of_kinds(kinds: frozenset[str] | None) -> Type:
    """Return the type of a value of one of these kinds."""
    return None if kinds is None else tuple(_of_kind(kind) for kind in sorted(kinds))


def _of_kind(kind: str) -> Alternative:
    if kind == "object":
        return OPEN
    return Collection(kind) if kind in {"array", "set"} else Scalar(kind)


def kinds(value: Type) -> frozenset[str]:
    """Return the kinds that a value of this type may have. Raise `TypeError` for an unknown value."""
    if value is None:
        raise TypeError("nothing is known of this value")
    return frozenset(_kind(item) for item in value)


def _kind(item: Alternative) -> str:
    return item.kind if isinstance(item, Scalar | Collection) else "object"


def are_disjoint(first: Type, second: Type) -> bool:
    """Return whether no value is of both types."""
    return first is not None and second is not None and not kinds(first) & kinds(second)


def texts(value: Type) -> frozenset[str] | None:
    """Return the only texts that a value of this type can be; `None` if it may be any text, or nothing is known."""
    if value is None:
        return None
    found = [item.texts for item in value if isinstance(item, Scalar) and item.kind == "string"]
    return (
        frozenset[str]().union(*(item for item in found if item is not None)) if found and None not in found else None
    )


def keys(value: Type) -> Type:
    """Return the type of a key or index of a collection."""
    if value is None:
        return None
    return union(_keys(item) for item in value)


def _keys(item: Alternative) -> Type:
    if isinstance(item, Collection):
        return NUMBER if item.kind == "array" else item.items
    return TEXT if isinstance(item, Object) else None


def items(value: Type) -> Type:
    """Return the type of an item of a collection, or of a value of a mapping."""
    if value is None:
        return None
    return union(_items(item) for item in value if not isinstance(item, Scalar))


def _items(item: Alternative) -> Type:
    if isinstance(item, Collection):
        return item.items
    if isinstance(item, Object):
        return union([*item.fields.values(), *([] if item.closed else [item.rest])])
    return None


def parts(value: Type, count: int) -> tuple[Type, ...]:
    """Return the types of the items of an array with this many items."""
    known = [item.parts for item in value or () if isinstance(item, Collection) and item.parts is not None]
    if value is None or len(known) < len(value) or any(len(item) != count for item in known):
        return (items(value),) * count
    return tuple(union(item[index] for item in known) for index in range(count))


def from_schema(schema: Mapping[str, Any], name: str) -> Type:
    """Return the type that a JSON Schema without references describes. `name` is the path of the value, for people."""
    if "anyOf" in schema:
        return union(from_schema(cast("Mapping[str, Any]", item), name) for item in schema["anyOf"])
    if "enum" in schema:
        return _from_values(cast("list[object]", schema["enum"]))
    kind = schema.get("type")
    if kind == "object":
        return (_from_object(schema, name),)
    if kind == "array":
        return (Collection("array", from_schema(schema.get("items", {}), f"{name}[_]")),)
    return {"string": TEXT, "integer": NUMBER, "number": NUMBER, "boolean": BOOLEAN, "null": NULL}.get(str(kind))


def _from_values(values: list[object]) -> Type:
    if all(isinstance(value, str) for value in values):
        return (Scalar("string", frozenset(cast("list[str]", values))),)
    return union(NUMBER if isinstance(value, int | float) else None for value in values)


def _from_object(schema: Mapping[str, Any], name: str) -> Object:
    fields = {key: from_schema(value, f"{name}.{key}") for key, value in schema.get("properties", {}).items()}
    rest = schema.get("additionalProperties", {})
    closed = rest is False
    return Object(
        name,
        fields,
        frozenset(schema.get("required", ())),
        closed,
        None if closed or rest is True else from_schema(cast("Mapping[str, Any]", rest), f"{name}[_]"),
    )
