"""The parts of a JSON Schema: its subschemas, and where its references lead. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Final, cast
from urllib.parse import unquote

from gateway.base.json.pointer import find_value, split_pointer
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
