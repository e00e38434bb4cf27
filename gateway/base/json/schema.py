"""Values checked against a JSON Schema of an upstream. Pure: no reference is ever fetched.

The upstream wrote the schema, and its caller or itself the value. So all work has a bound: of the schema's size, of its patterns, and
of the evaluations for one value. `schema_members` finds the members that a schema does not name.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, NamedTuple, cast

import jsonschema_rs
from msgspec import Struct

from gateway.base.json.pointer import child
from gateway.base.json.schema_members import Members, TooManyParts
from gateway.base.json.schema_parts import References, objects_in, parts_in_place, schemas_in
from gateway.model.wire import Json, JsonObject

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
