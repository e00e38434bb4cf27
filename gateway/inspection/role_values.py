"""The values of arguments at the place of a role. Pure."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Final, cast

from gateway.base.json.pointer import item_number, split_pointer
from gateway.base.json.strict import fold
from gateway.base.text_cache import short_text_cache
from gateway.inspection.destinations.find import MAX_TEXT
from gateway.model.wire import Json


def at(arguments: Json, pointer: str) -> list[Json]:
    """Return the values at a role's pointer (RFC 6901), each with its whole content.

    The step `*` is every item or member. A step also matches a member whose name differs in letter case, `_` or `-`
    alone, since some servers read it so. A step into a text with JSON goes into that JSON. A text that is invalid JSON
    stands for itself, and so does a single value in the place of a list.
    """
    values: list[Json] = [arguments]
    for name in split_pointer(pointer):
        values = [member for value in values for member in _members(value, name)]
    return values


def _members(value: Json, name: str) -> Iterator[Json]:
    if isinstance(value, str) and value.lstrip()[:1] in {"{", "["}:
        read = _parse(value)
        yield from [value] if read is None else _members_of(read, name)
    else:
        yield from _members_of(value, name)


def _members_of(value: Json, name: str) -> Iterator[Json]:
    if isinstance(value, Mapping):
        if name == "*":
            yield from value.values()
            return
        wanted = _folded(name)
        for member, item in value.items():
            if member == name or _folded(member) == wanted:
                yield item
    elif isinstance(value, list | tuple):
        if name == "*":
            yield from value
        elif (number := item_number(name, len(value))) is not None:
            yield value[number]
    elif value is not None and name == "*":
        yield value


_folded: Final = short_text_cache(4_096)(fold)


def _parse(text: str) -> Json:
    if len(text) > MAX_TEXT:
        return None
    try:
        return cast("Json", json.loads(text))
    except (ValueError, RecursionError):
        return None
