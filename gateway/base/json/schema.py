"""JSON Schema (2020-12) for arguments and results of tools, compiled once. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final, NamedTuple, Protocol, cast
from urllib.parse import unquote

import jsonschema_rs
import re2
from msgspec import Struct

from gateway.base.json.walk import child, find_value, split_pointer
from gateway.model.wire import Json, JsonObject

_ONE_IN_PLACE: Final = ("not", "if", "then", "else", "$ref", "$dynamicRef", "$recursiveRef")
_LISTS_IN_PLACE: Final = ("allOf", "anyOf", "oneOf")
_MAPS_IN_PLACE: Final = ("dependentSchemas", "dependencies")
_ANCHORS: Final = ("$anchor", "$dynamicAnchor")


class References:
    """The references within one schema. None leads out of it."""

    def __init__(self, document: JsonObject) -> None:
        self._document = document
        self._anchors: dict[str, list[Json]] = {}
        self._found: dict[str, Json] = {"#": document}
        for part in objects_in(document):
            for name in _ANCHORS:
                anchor = part.get(name)
                if isinstance(anchor, str):
                    self._anchors.setdefault(anchor, []).append(part)

    def find(self, reference: str) -> Json:
        """Return the subschema that a reference names: any of all with its anchor. Raise `LookupError` for a reference without one."""
        if reference not in self._found:
            self._found[reference] = self._resolve(reference)
        return self._found[reference]

    def _resolve(self, reference: str) -> Json:
        place = reference.partition("#")
        if place[0] and place[0] not in (self._document.get("$id"), self._document.get("id")):
            raise LookupError(reference)
        if not place[2]:
            return self._document
        if place[2].startswith("/"):
            found = find_value(self._document, split_pointer(unquote(place[2])))
        else:
            parts = self._anchors.get(place[2], [])
            found = parts[0] if len(parts) == 1 else {"anyOf": parts} if parts else None
        if isinstance(found, Mapping | bool):
            return found
        raise LookupError(reference)


def objects_in(document: Json) -> Iterator[JsonObject]:
    """Yield all objects in a document."""
    waiting: list[Json] = [document]
    while waiting:
        item = waiting.pop()
        if isinstance(item, Mapping):
            yield item
            waiting.extend(item.values())
        elif isinstance(item, list | tuple):
            waiting.extend(cast("list[Json]", item))


def schemas_in(value: Json) -> list[Json]:
    """Return the schemas in a list, or in a map, of schemas."""
    if isinstance(value, Mapping):
        return list(value.values())
    return list(cast("list[Json]", value)) if isinstance(value, list | tuple) else []


def parts_in_place(schema: JsonObject, references: References) -> Iterator[Json]:
    """Yield the subschemas that look at the same value as `schema` does. Raise `LookupError` for a reference without one."""
    for name in _LISTS_IN_PLACE:
        if name in schema:
            yield from schemas_in(schema[name])
    for name in _MAPS_IN_PLACE:
        if name in schema:
            yield from (part for part in schemas_in(schema[name]) if isinstance(part, Mapping))
    for name in _ONE_IN_PLACE:
        part = schema.get(name)
        if isinstance(part, str):
            yield references.find(part)
        elif isinstance(part, Mapping):
            yield part


_REST: Final = ("additionalProperties", "unevaluatedProperties")
_ITEMS: Final = ("items", "additionalItems", "unevaluatedItems", "contains", "prefixItems")
_MOST_PARTS: Final = 1_000
_MOST_NODES: Final = 4_096
_SCALARS: Final = (str, int, float, type(None))


class NamePattern(Protocol):
    """The used part of a google-re2 expression, on texts."""

    def search(self, text: str, /) -> object | None: ...


_RE2: Final = cast("Any", re2)
"""Google-re2 has no types."""


class TooManyParts(Exception):
    """A schema with too many subschemas for one value."""


class Members:
    """The named members of a schema, found as values need them."""

    def __init__(self, document: JsonObject, references: References) -> None:
        self._references = references
        self._nodes: dict[tuple[int, ...], _Node] = {}
        self._root = self._node([document])

    def find_unnamed(self, value: Json, node: _Node | None = None, pointer: str = "") -> str | None:
        """Return the pointer of the first unnamed member; `None` for a value without any. Raise `TooManyParts`."""
        node = node or self._root
        if isinstance(value, dict):
            for name, member in value.items():
                parts = node.named.get(name)
                if parts is None or node.patterns:
                    parts = node.find_parts(name)
                if parts is None:
                    return child(pointer, name)
                if not isinstance(member, _SCALARS) and parts:
                    found = self.find_unnamed(member, self._node(parts), child(pointer, name))
                    if found is not None:
                        return found
        elif isinstance(value, list) and node.items:
            items = self._node(node.items)
            for number, member in enumerate(value):
                found = (
                    None if isinstance(member, _SCALARS) else self.find_unnamed(member, items, f"{pointer}/{number}")
                )
                if found is not None:
                    return found
        return None

    def _node(self, parts: list[Json]) -> _Node:
        key = tuple([id(part) for part in parts])
        node = self._nodes.get(key)
        if node is None:
            if len(self._nodes) >= _MOST_NODES:
                raise TooManyParts
            node = self._nodes[key] = _Node(self._all_in_place(parts))
        return node

    def _all_in_place(self, parts: list[Json]) -> list[JsonObject]:
        found: dict[int, JsonObject] = {}
        waiting = list(parts)
        while waiting:
            part = waiting.pop()
            if not isinstance(part, Mapping) or id(part) in found:
                continue
            found[id(part)] = part
            if len(found) > _MOST_PARTS:
                raise TooManyParts
            waiting.extend(parts_in_place(part, self._references))
        return list(found.values())


class _Node:
    """The subschemas that apply to one value."""

    __slots__ = ("_is_open", "_rest", "items", "named", "patterns")

    def __init__(self, parts: list[JsonObject]) -> None:
        self.named: dict[str, list[Json]] = {}
        self.patterns: list[tuple[NamePattern | None, Json]] = []
        self._rest: list[Json] = []
        self.items: list[Json] = []
        describes = False
        for part in parts:
            for name, schema in _object(part.get("properties")).items():
                self.named.setdefault(name, []).append(schema)
            for pattern, schema in _object(part.get("patternProperties")).items():
                self.patterns.append((_compile(pattern), schema))
            describes = describes or "properties" in part or "patternProperties" in part
            self._rest += [part[name] for name in _REST if part.get(name, False) is not False]
            for name in _ITEMS:
                item = part.get(name)
                self.items += [item] if isinstance(item, Mapping) else schemas_in(item)
        self._is_open = bool(self._rest) or not describes

    def find_parts(self, name: str) -> list[Json] | None:
        """Return the parts that look at a member; `None` if its name is neither named nor allowed."""
        named = self.named.get(name)
        matching = [schema for pattern, schema in self.patterns if pattern is None or pattern.search(name)]
        if named is not None or matching:
            return [*(named or ()), *matching]
        return self._rest if self._is_open else None


def _object(value: Json) -> JsonObject:
    return value if isinstance(value, Mapping) else {}


def _compile(pattern: str) -> NamePattern | None:
    """Return a pattern for names. `None` stands for any name: RE2 cannot read the pattern."""
    options = _RE2.Options()
    options.log_errors = False
    options.max_mem = 1 << 20
    try:
        return _RE2.compile(pattern, options)
    except _RE2.error:
        return None


MAX_PARTS: Final = 10_000
"""Objects and lists in one schema."""
MAX_PATTERNS: Final = 256
MAX_EVALUATIONS: Final = 2_000_000
"""Evaluations of subschemas for one value: some 30 ms."""
_EXPLAINED: Final = 50_000
"""Evaluations up to which a misfit is explained: an explanation costs fifty times as much as a check."""
_LISTED_AT_ONCE: Final = 8
"""Items of `enum` or `required` that take the time of one evaluation."""
_DEPTH: Final = 64
"""Levels of a value, as in `strict.MAX_DEPTH`."""
_LONGEST: Final = 200
"""Characters of an explanation."""
_PATTERNS: Final = jsonschema_rs.FancyRegexOptions(backtrack_limit=10_000, size_limit=1 << 20)

_BELOW: Final = (
    "additionalProperties", "unevaluatedProperties", "items", "additionalItems", "unevaluatedItems", "contains", "propertyNames",
)  # fmt: skip


class Misfit(NamedTuple):
    """The place of a value that does not fit, and the unmet part of the schema in words without the value."""

    pointer: str
    problem: str


class UnusableSchema(Struct, frozen=True):
    """A schema that nothing can be checked against. `problem` follows "the schema"."""

    problem: str


class Schema:
    """A compiled schema."""

    def __init__(self, document: JsonObject, validator: Any, references: References) -> None:
        self._document = document
        self._validator = validator
        self._costs = costs = _Costs(references)
        self._worst = costs.of(document, _DEPTH)
        self._members = Members(document, references)
        if costs.of(document, 1) > MAX_EVALUATIONS:
            raise TooManyParts

    def find_misfit(self, value: Json, size: int) -> Misfit | None:
        """Return the first part of a value that does not fit. `size` bounds the number of the value's parts."""
        work = self._worst * size
        if work > MAX_EVALUATIONS:
            depth, count = _measure(value)
            work = self._costs.of(self._document, depth) * count
            if work > MAX_EVALUATIONS:
                return _TOO_LONG
        return None if self._validator.is_valid(value) else self._explain(value)

    def has_name(self, step: str) -> bool:
        """Return whether a step of a pointer is a number, or a name that the schema has."""
        return step.isdecimal() or any(step in part for part in objects_in(self._document))

    def find_unnamed(self, value: Json) -> Misfit | None:
        """Return the first member of a value that the schema neither names nor allows."""
        try:
            found = self._members.find_unnamed(value)
        except TooManyParts:
            return _TOO_LONG
        return None if found is None else Misfit(found, "the schema does not name this member")

    def _explain(self, value: Json) -> Misfit:
        depth, count = _measure(value)
        if self._costs.of(self._document, depth) * count > _EXPLAINED:
            return Misfit("", "the value does not fit the schema")
        error = next(iter(self._validator.iter_errors(value)))
        pointer = ""
        for step in error.instance_path:
            pointer = child(pointer, str(step))
        keyword = error.schema_path[-1] if error.schema_path else ""
        if keyword in _NAMING:
            return Misfit(pointer, "the schema does not allow one of its members")
        return Misfit(pointer, _shorten(error.message))


_TOO_LONG: Final = Misfit("", "the comparison with the schema would take too long")
_NAMING: Final = frozenset({"additionalProperties", "unevaluatedProperties", "propertyNames"})
"""Keywords whose explanations repeat names of the value."""


def compile_schema(document: Json) -> Schema | UnusableSchema:
    """Return a schema, ready for checks."""
    if not isinstance(document, Mapping):
        return UnusableSchema("is no object")
    problem = _find_excess(document)
    if problem is not None:
        return UnusableSchema(problem)
    try:
        validator = jsonschema_rs.validator_for(
            cast("dict[str, Any]", document),
            offline=True,
            validate_formats=False,
            mask="the value",
            pattern_options=_PATTERNS,
        )
    except (jsonschema_rs.ValidationError, ValueError, TypeError, OverflowError) as error:
        return UnusableSchema(f"cannot be used: {_shorten(str(error))}")
    try:
        return Schema(document, validator, References(document))
    except (LookupError, RecursionError):
        return UnusableSchema("has a reference to itself, or to nothing in the schema")
    except TooManyParts:
        return UnusableSchema("refers to its parts too many times")


def _find_excess(document: JsonObject) -> str | None:
    """Return the problem of a schema that costs too much to compile, or with parts that have an address of their own."""
    parts = patterns = 0
    for part in objects_in(document):
        parts += 1
        patterns += isinstance(part.get("pattern"), str) + len(schemas_in(part.get("patternProperties")))
        if parts > 1 and isinstance(part.get("$id"), str):
            return "has parts with an $id of their own"
    if parts > MAX_PARTS:
        return f"has more than {MAX_PARTS} parts"
    return f"has more than {MAX_PATTERNS} patterns" if patterns > MAX_PATTERNS else None


def _shorten(text: str) -> str:
    first = text.split("\n", 1)[0]
    return first if len(first) <= _LONGEST else f"{first[:_LONGEST]}…"


def _measure(value: Json) -> tuple[int, int]:
    """Return the levels of a value, and the number of its parts."""
    deepest = count = 0
    waiting: list[tuple[Json, int]] = [(value, 1)]
    while waiting:
        item, depth = waiting.pop()
        deepest, count = max(deepest, depth), count + 1
        if isinstance(item, Mapping):
            waiting.extend((member, depth + 1) for member in item.values())
        elif isinstance(item, list | tuple):
            waiting.extend((member, depth + 1) for member in cast("list[Json]", item))
    return deepest, count


class _Costs:
    """Bounds on the evaluations of subschemas for one way into a value, by the levels of the value.

    Two references to one schema, at each of 30 levels, are a thousand million evaluations.
    """

    def __init__(self, references: References) -> None:
        self._references = references
        self._known: dict[tuple[int, int], int | None] = {}

    def of(self, schema: Json, depth: int) -> int:
        """Return a bound for a subschema and a value of so many levels. Raise `LookupError` for a circle of references."""
        if not isinstance(schema, Mapping):
            return 1
        key = id(schema), depth
        if key not in self._known:
            self._known[key] = None
            self._known[key] = min(self._count(schema, depth), 10 * MAX_EVALUATIONS)
        known = self._known[key]
        if known is None:
            raise LookupError("a circle")
        return known

    def _count(self, schema: JsonObject, depth: int) -> int:
        total = 1 + sum(self.of(part, depth) for part in parts_in_place(schema, self._references))
        total += sum(len(schemas_in(schema.get(name))) // _LISTED_AT_ONCE for name in ("enum", "required"))
        if depth > 1:
            below = depth - 1
            total += sum(self.of(schema[name], below) for name in _BELOW if isinstance(schema.get(name), Mapping))
            total += max((self.of(part, below) for part in schemas_in(schema.get("properties"))), default=0)
            for name in ("prefixItems", "items"):
                if isinstance(schema.get(name), list):
                    total += max((self.of(part, below) for part in schemas_in(schema[name])), default=0)
            total += sum(self.of(part, below) for part in schemas_in(schema.get("patternProperties")))
        return total
