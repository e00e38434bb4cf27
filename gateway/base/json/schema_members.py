"""Members of a value that a JSON Schema neither names nor allows. Pure.

JSON Schema allows each member that `additionalProperties` does not forbid, and most schemas say nothing of it. An upstream may read
such a member all the same. Here a member is named if any part of the schema names it, whether or not that part applies.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, Protocol, cast

import re2

from gateway.base.json.pointer import child
from gateway.base.json.schema_parts import References, parts_in_place, schemas_in
from gateway.model.wire import Json, JsonObject

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
