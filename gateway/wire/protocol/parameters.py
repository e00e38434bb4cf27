"""Arguments with ambiguous names, and headers in contradiction to an argument. Pure. Go's encoding/json and
alias-tolerant models take `Path` and `pa_th` for `path`. An argument with this meaning to the upstream alone must not
pass a policy about `/path`. The names in a tool's definition are known. The gateway refuses an unknown name with the
letters of a known name, and two such names in one call. A definition can have headers repeat arguments for routers
(2026-07-28 streamable-http.mdx, "Custom Headers from Tool Parameters"). There policy and the router would see two
calls."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from decimal import Decimal
from typing import TYPE_CHECKING, Final, cast

from gateway.base.json.strict import META, RELATED_TASK, fold
from gateway.wire.protocol.headers import PARAM_PREFIX, decode
from gateway.wire.protocol.trace_context import TRACE, is_trace_value

if TYPE_CHECKING:
    from gateway.model.wire import Headers, Json, JsonObject

_HEADER: Final = "x-mcp-header"
_DEPTH: Final = 16
"""Levels of a definition in which repeated arguments are looked for."""
_NUMBER: Final = re.compile(r"-?[0-9]{1,400}(?:\.[0-9]{1,400})?(?:[eE][+-]?[0-9]{1,3})?")


_KNOWN: Final = frozenset({"name", "uri", "arguments", "inputResponses", "requestState", "_meta"})
"""Members of `params` that are part of a call as policy sees it, or that change with each round."""
_OF_TRANSPORT: Final = META - {RELATED_TASK} | {"io.opagate/task"}
"""Members of `_meta` about one request and not about its call."""
_OF_REQUEST: Final = frozenset({"progressToken", "traceparent", "tracestate", "baggage", "io.opagate/task"})
"""Members of `_meta` that differ in each retry. `find_fault_of_meta` bounds them."""


def meta_of_client(params: JsonObject) -> JsonObject:
    """Return the members of `_meta` about the client, which are the same in each retry of a call."""
    meta = params.get("_meta")
    return {name: meta[name] for name in _OF_CLIENT if name in meta} if isinstance(meta, Mapping) else _NOTHING


_OF_CLIENT: Final = sorted(_OF_TRANSPORT - _OF_REQUEST)


def find_fault_of_meta(meta: JsonObject) -> str | None:
    """Return the fault of the members of `_meta` that differ in each request: they have no room for other words."""
    token = meta.get("progressToken")
    if token is not None and (isinstance(token, bool) or not isinstance(token, str | int)):
        return "_meta progressToken is neither a string nor an integer"
    if isinstance(token, str) and len(token) > _LONGEST_TOKEN:
        return f"_meta progressToken is longer than {_LONGEST_TOKEN} characters"
    for name in TRACE & meta.keys():
        value = meta[name]
        if not isinstance(value, str) or not is_trace_value(name, value):
            return f"_meta {name} has not the form of W3C Trace Context or Baggage"
    return None


_LONGEST_TOKEN: Final = 128


def parts_beside(params: JsonObject, added: Headers) -> JsonObject:
    """Return the parts of a call beside its arguments that a server can read: `headers` of the caller that the operator
    lets through, and `params`. These are `task`, unknown members, and the members of `_meta`."""
    beside: dict[str, Json] = {}
    if added:
        beside["headers"] = {name.decode(): value.decode() for name, value in added}
    if not params.keys() <= _KNOWN or "_meta" in params:
        others: dict[str, Json] = {name: value for name, value in params.items() if name not in _KNOWN}
        meta = params.get("_meta")
        if isinstance(meta, Mapping) and not meta.keys() <= _OF_TRANSPORT:
            others["_meta"] = {name: value for name, value in meta.items() if name not in _OF_TRANSPORT}
        if others:
            beside["params"] = others
    return beside or _NOTHING


_NOTHING: Final[JsonObject] = {}


def is_ambiguous(arguments: JsonObject, schema: Json) -> bool:
    """Return whether some reader takes an argument's name for another name. `schema` is the tool's input schema, if
    any. Inside an argument, only objects and lists of objects in the schema are checked. Open parts may hold any names,
    such as variables of an environment."""
    # A dictionary, as nearly always, costs no look at an abstract class.
    properties = schema.get("properties") if isinstance(schema, (dict, Mapping)) else None
    named = properties if isinstance(properties, (dict, Mapping)) else _NO_PROPERTIES
    if not named.keys() >= arguments.keys():
        strange = [name for name in arguments if name not in named]
        folded = {fold(name) for name in named}
        if len({fold(name) for name in strange} | folded) < len(strange) + len(folded):
            return True
    for name, value in arguments.items():
        # Texts and numbers, the usual values, have no members.
        if not isinstance(value, _SCALARS) and name in named and _has_ambiguous_member(value, named[name]):
            return True
    return False


_SCALARS: Final = (str, int, float)
_NO_PROPERTIES: Final[JsonObject] = {}


def _has_ambiguous_member(value: Json, schema: Json) -> bool:
    if isinstance(value, Mapping):
        return bool(_properties(schema)) and is_ambiguous(value, schema)
    if isinstance(value, list | tuple) and isinstance(schema, Mapping):
        items = schema.get("items")
        return any(_has_ambiguous_member(item, items) for item in cast("list[Json]", value))
    return False


def _properties(schema: Json) -> JsonObject:
    properties = schema.get("properties") if isinstance(schema, Mapping) else None
    return properties if isinstance(properties, Mapping) else {}


def find_repeated_arguments(arguments: JsonObject, schema: Json, headers: Headers) -> Headers | None:
    """Return the headers without those `Mcp-Param` headers that the definition does not declare. Return `None` if a
    header has another value than its argument, or is given twice. A missing header contradicts nothing."""
    kept = [field for field in headers if not field[0].startswith(PARAM_PREFIX)]
    sent = [(_read_as(name), name, value) for name, value in headers if name.startswith(PARAM_PREFIX)]
    for name, value in _header_arguments(arguments, schema, _DEPTH):
        header = PARAM_PREFIX + _read_as(name.lower().encode("utf-8", "replace"))
        given = [(spelled, text) for read_as, spelled, text in sent if read_as == header]
        if len(given) > 1 or (given and not _says(given[0][1], value)):
            return None
        kept += given
    return tuple(kept)


def _read_as(name: bytes) -> bytes:
    """Return a header's name in the reading of the most tolerant server."""
    return name.replace(b"_", b"-")


def _header_arguments(value: Json, schema: Json, depth: int) -> Iterator[tuple[str, Json]]:
    """Yield the headers of a definition, each with its argument; `None` for an absent argument."""
    for name, inner in _properties(schema).items():
        member = value.get(name) if isinstance(value, Mapping) else None
        if isinstance(inner, Mapping) and isinstance(header := inner.get(_HEADER), str):
            yield header, member
        if depth:
            yield from _header_arguments(member, inner, depth - 1)


def _says(header: bytes, value: Json) -> bool:
    text = decode(header.decode("latin-1").strip(" \t"))
    if text is None:
        return False
    if isinstance(value, bool):
        return text == ("true" if value else "false")
    if isinstance(value, int | float):
        return _NUMBER.fullmatch(text) is not None and Decimal(text) == Decimal(repr(value))
    return text == value
