"""Operands that can never fit: a number compared with a text, a text that a field never has. Pure."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Final, cast

from gateway.policy import syntax, value_types
from gateway.policy.syntax import Node
from gateway.policy.value_types import DataPlace, Scalar, Type

_ORDER: Final = frozenset({"Lt", "Le", "Gt", "Ge"})
_WORDS: Final = {
    "string": "a text",
    "number": "a number",
    "boolean": "true or false",
    "null": "null",
    "array": "a list",
    "set": "a set",
    "object": "a mapping",
}


@dataclass(frozen=True, slots=True)
class Value:
    """Known type of a value. `firm` is false for a parameter and its items: a function may accept more than today's
    arguments."""

    type: Type
    firm: bool = True


UNKNOWN: Final = Value(None)


@dataclass(frozen=True, slots=True)
class Operand:
    """A part of an expression, and what is known of its value."""

    node: Node
    value: Value

    @property
    def shown(self) -> str:
        """The operand as its author would write it."""
        kind, inner = next(iter(self.node.items()), ("", cast("Node", {})))
        if kind in {"String", "RawString", "Number", "Bool", "Null"}:
            return json.dumps(inner["value"], ensure_ascii=False)
        if kind in {"Var", "RefDot", "RefBrack"}:
            return f"`{syntax.show_reference(self.node)}`"
        return f"`{syntax.show_reference(inner['fcn'])}(…)`" if kind == "Call" else "the other side"

    @property
    def is_literal(self) -> bool:
        """Return whether the operand is written out."""
        return bool(self.node.keys() & {"String", "RawString", "Number", "Bool", "Null"})


def compare(operator: str, left: Operand, right: Operand) -> str | None:
    """Return why a comparison always has the same outcome, `None` if it may have either."""
    # `x != null` asks whether there is an x; `x < []` asks for its kind, in the order of all values.
    is_idiom = operator == "Ne" or operator in _ORDER
    if is_idiom and (_is_empty(left.node) or _is_empty(right.node)):
        return None
    if _never_meet(left.value, right.value):
        known, other = (right, left) if left.is_literal else (left, right)
        kind = describe(other.value.type)
        shown = f"{other.shown}, {kind}" if other.is_literal and other.shown != kind else kind
        return f"{_says(known)}, and is compared with {shown}"
    return None if operator in _ORDER else _foreign_text(left, right)


def is_member(item: Operand, collection: Operand) -> str | None:
    """Return why an item can never be in a collection."""
    if written_items(collection.node) or not collection.value.firm or collection.value.type is None:
        return None
    if all(isinstance(each, Scalar) for each in collection.value.type):
        return f"{_says(collection)}, and has no items"
    items = Value(value_types.items(collection.value.type))
    if _never_meet(item.value, items):
        return f"{_says(item)}, and each item of {collection.shown} is {describe(items.type)}"
    return _foreign_text(item, Operand(collection.node, items))


def written_items(node: Node) -> list[Node]:
    """Return the items of a list or a set that is written out."""
    return cast("Node", node.get("Array") or node.get("Set") or {"items": []})["items"]


def is_one_of(item: Operand, listed: Operand) -> str | None:
    """Return why an item of a list that is written out can never be the value that is looked for."""
    return None if _is_empty(listed.node) else compare("Eq", item, listed)


def fits(kinds: frozenset[str] | None, operand: Operand) -> bool:
    """Return whether an operand may be of one of these kinds."""
    return not (operand.value.firm and _are_known_apart(value_types.of_kinds(kinds), operand.value.type))


def describe(value: Type) -> str:
    """Return the kinds of a type in words."""
    return " or ".join(_WORDS[kind] for kind in sorted(value_types.kinds(value)))


def words(kinds: frozenset[str]) -> str:
    """Return kinds in words."""
    return " or ".join(_WORDS[kind] for kind in sorted(kinds))


def _says(operand: Operand) -> str:
    return f"{operand.shown} is {describe(operand.value.type)}"


def _never_meet(left: Value, right: Value) -> bool:
    return left.firm and right.firm and _are_known_apart(left.type, right.type)


def _are_known_apart(left: Type, right: Type) -> bool:
    """Return whether two types share no kind. Data may become something else; nothing is said of their kind."""
    placed = any(isinstance(item, DataPlace) for item in (*(left or ()), *(right or ())))
    return not placed and value_types.are_disjoint(left, right)


def _foreign_text(left: Operand, right: Operand) -> str | None:
    for literal, other in ((left, right), (right, left)):
        text, known = syntax.literal_text(literal.node), value_types.texts(other.value.type)
        if text is not None and known is not None and other.value.firm and text not in known:
            meant = syntax.nearest(text, known)
            return f'"{text}" is none of the texts that {other.shown} can be ({", ".join(sorted(known))}){meant}'
    return None


def _is_empty(node: Node) -> bool:
    """Return whether a node is null, or a text, list, set or mapping without content."""
    if "Null" in node:
        return True
    if "Call" in node:
        return node["Call"]["fcn"].get("Var", {}).get("value") == "set"
    return syntax.literal_text(node) == "" or any(
        not node[kind][part]
        for kind, part in (("Array", "items"), ("Set", "items"), ("Object", "fields"))
        if kind in node
    )
