"""Arguments whose names some reader takes for those of others. Pure.

Go's encoding/json and alias-tolerant models take `Path` and `pa_th` for `path`. A policy that asks about `/path` must not
be passed by an argument that only the upstream reads so. What a tool's definition names is known; a name that it has not,
and that differs from one of its own in writing only, is refused, and so are two names of one call that do.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, cast

from gateway.protocol.strict import fold

if TYPE_CHECKING:
    from gateway.model import Json, JsonObject


def ambiguous(arguments: JsonObject, schema: Json) -> bool:
    """Whether a name of these arguments may be read as another one. `schema` is the tool's input schema, if it has one.

    Of what is inside of an argument, only objects and lists of objects that the schema describes are looked at: what it
    leaves open may be anything, such as variables of an environment.
    """
    named = _properties(schema)
    strange = [name for name in arguments if name not in named]
    if not strange:
        return _inside(arguments, named)
    folded = {fold(name) for name in named}
    return len({fold(name) for name in strange} | folded) < len(strange) + len(folded) or _inside(arguments, named)


def _inside(arguments: JsonObject, named: JsonObject) -> bool:
    return any(_member(value, named[name]) for name, value in arguments.items() if name in named)


def _member(value: Json, schema: Json) -> bool:
    if isinstance(value, Mapping):
        return bool(_properties(schema)) and ambiguous(value, schema)
    if isinstance(value, list | tuple) and isinstance(schema, Mapping):
        items = schema.get("items")
        return any(_member(item, items) for item in cast("list[Json]", value))
    return False


def _properties(schema: Json) -> JsonObject:
    properties = schema.get("properties") if isinstance(schema, Mapping) else None
    return properties if isinstance(properties, Mapping) else {}
