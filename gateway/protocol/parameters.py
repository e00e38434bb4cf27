"""Arguments whose names some reader takes for those of others, and headers that repeat an argument otherwise. Pure.

Go's encoding/json and alias-tolerant models take `Path` and `pa_th` for `path`. A policy that asks about `/path` must not
be passed by an argument that only the upstream reads so. What a tool's definition names is known; a name that it has not,
and that differs from one of its own in writing only, is refused, and so are two names of one call that do.

A definition can have arguments repeated in headers, for whoever routes on them (2026-07-28 streamable-http.mdx, "Custom
Headers from Tool Parameters"): there policy and the router would see two calls.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from decimal import Decimal
from typing import TYPE_CHECKING, Final, cast

from gateway.protocol.headers import PARAM_PREFIX, decode
from gateway.protocol.strict import fold

if TYPE_CHECKING:
    from gateway.model.wire import Headers, Json, JsonObject

_HEADER: Final = "x-mcp-header"
_DEPTH: Final = 16
"""Levels of a definition in which repeated arguments are looked for."""
_NUMBER: Final = re.compile(r"-?[0-9]{1,400}(?:\.[0-9]{1,400})?(?:[eE][+-]?[0-9]{1,3})?")


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


def contradicted(arguments: JsonObject, schema: Json, headers: Headers) -> bool:
    """Whether a header that repeats an argument, by the tool's definition, says something else than the argument, or is
    given twice. One that is missing contradicts nothing."""
    sent = [(_read_as(name), value) for name, value in headers if name.startswith(PARAM_PREFIX)]
    if not sent:
        return False
    for name, value in _repeated(arguments, schema, _DEPTH):
        header = PARAM_PREFIX + _read_as(name.lower().encode("utf-8", "replace"))
        given = [text for key, text in sent if key == header]
        if len(given) > 1 or (given and not _says(given[0], value)):
            return True
    return False


def _read_as(name: bytes) -> bytes:
    """A header's name as the most tolerant server reads it."""
    return name.replace(b"_", b"-")


def _repeated(value: Json, schema: Json, depth: int) -> Iterator[tuple[str, Json]]:
    """The headers of a definition, each with the argument that it repeats; `None` for one that is not there."""
    for name, inner in _properties(schema).items():
        member = value.get(name) if isinstance(value, Mapping) else None
        if isinstance(inner, Mapping) and isinstance(header := inner.get(_HEADER), str):
            yield header, member
        if depth:
            yield from _repeated(member, inner, depth - 1)


def _says(header: bytes, value: Json) -> bool:
    text = decode(header.decode("latin-1").strip(" \t"))
    if text is None:
        return False
    if isinstance(value, bool):
        return text == ("true" if value else "false")
    if isinstance(value, int | float):
        return _NUMBER.fullmatch(text) is not None and Decimal(text) == Decimal(repr(value))
    return text == value
