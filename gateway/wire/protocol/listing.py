"""List results and instructions of an upstream: items or instructions are taken out, and every other value stays as it was.

Reading is strict: an ambiguous result is not filtered but hidden.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, cast

import msgspec

from gateway.base.json import strict
from gateway.model.wire import JsonObject, RequestId
from gateway.wire.protocol.methods import TABLE, names_where

# --- lists -----------------------------------------------------------------------------------------------


_object: Final = msgspec.json.Decoder(dict[str, msgspec.Raw])
_array: Final = msgspec.json.Decoder(list[msgspec.Raw])
_encode: Final = msgspec.json.Encoder().encode


@dataclass(frozen=True, slots=True)
class Item:
    """An entry of a list: its name, and its value as sent."""

    name: str
    raw: bytes


@dataclass(frozen=True, slots=True)
class Listing:
    """A page of a list. An upstream's error is a page without items, and reveals nothing of the upstream. `cursor` is
    `nextCursor`, if present."""

    body: bytes
    items: tuple[Item, ...]
    field: str
    cursor: str | None = None
    public: bool = False
    error: bool = False

    def only(self, keep: frozenset[str]) -> bytes:
        """Return the response with only the items named in `keep`, in the same order with the same members.
        `nextCursor` stays even on an empty page. A page marked as cacheable for everybody becomes private, since the
        page was filtered for one caller (2026-07-28/server/utilities/caching.mdx)."""
        kept = [msgspec.Raw(item.raw) for item in self.items if item.name in keep]
        if len(kept) == len(self.items) and not self.public:
            return self.body
        envelope = _object.decode(self.body)
        result = _object.decode(envelope["result"])
        result[self.field] = msgspec.Raw(_encode(kept))
        if self.public:
            result["cacheScope"] = msgspec.Raw(b'"private"')
        envelope["result"] = msgspec.Raw(_encode(result))
        return _encode(envelope)


def read_list(body: bytes, method: str, id: RequestId) -> Listing | None:  # noqa: A002 - the field's own name
    """Read the response to a list request sent with `id`. `None` for any other answer; the caller sees nothing of such
    an answer. Raises `KeyError` for a method without a list."""
    items = TABLE[method].items
    if items is None:
        raise KeyError(method)
    field, name = items
    document = strict.read_reply(body)
    if isinstance(document, strict.UnreadableJson) or not answers(document, id):
        return None
    if "error" in document:
        return Listing(body, (), field, error=True) if isinstance(document["error"], dict) else None
    result = document.get("result")
    if not isinstance(result, dict) or not isinstance(entries := result.get(field), list):
        return None
    if strict.look_alike(result, frozenset({field})):
        return None
    raws = _array.decode(_object.decode(_object.decode(body)["result"])[field])
    read = [_item(entry, bytes(raw), name) for entry, raw in zip(entries, raws, strict=True)]
    if None in read:
        return None
    cursor = result.get("nextCursor")
    return Listing(
        body,
        tuple(item for item in read if item is not None),
        field,
        cursor if isinstance(cursor, str) else None,
        result.get("cacheScope") == "public",
    )


def answers(document: JsonObject, id: RequestId) -> bool:  # noqa: A002 - as above
    """Return whether a response belongs to the request. `1`, `"1"` and `true` are different ids. An error without an id
    answers a request unread by the server."""
    given = document.get("id")
    same = "error" in document if given is None else type(given) is type(id) and given == id
    return document.get("jsonrpc") == "2.0" and same and ("result" in document) != ("error" in document)


def _item(entry: object, raw: bytes, field: str) -> Item | None:
    if not isinstance(entry, dict):
        return None
    value = cast("JsonObject", entry)
    name = value.get(field)
    if strict.look_alike(value, frozenset({field})):
        return None
    return Item(name, raw) if isinstance(name, str) else None


# --- instructions ----------------------------------------------------------------------------------------


GREETINGS: Final = names_where(lambda row: row.gives_instructions)
"""The methods whose answers carry instructions."""
INSTRUCTIONS: Final = "instructions"


@dataclass(frozen=True, slots=True)
class Greeting:
    """An answer to a greeting. `said` is the JSON value of its instructions; `None` without any, or for `null`."""

    body: bytes
    said: bytes | None = None

    @property
    def welcomes(self) -> bool:
        """Return whether the answer is a result, with possible instructions, and no error."""
        return "result" in _object.decode(self.body)

    def without(self) -> bytes:
        """Return the answer without its instructions."""
        return self._change(None)

    def replaced(self, text: str) -> bytes:
        """Return the answer with `text` as its instructions."""
        return self._change(text)

    def _change(self, text: str | None) -> bytes:
        envelope = _object.decode(self.body)
        result = _object.decode(envelope["result"])
        result.pop(INSTRUCTIONS, None)
        if text is not None:
            result[INSTRUCTIONS] = msgspec.Raw(_encode(text))
        envelope["result"] = msgspec.Raw(_encode(result))
        return _encode(envelope)


def read_greeting(body: bytes, id: RequestId) -> Greeting | None:  # noqa: A002 - the field's own name
    """Read the answer to a request sent with `id`. `None` for any other answer."""
    document = strict.read_reply(body)
    if isinstance(document, strict.UnreadableJson) or not answers(document, id):
        return None
    if "error" in document:
        return Greeting(body) if isinstance(document["error"], dict) else None
    result = document["result"]
    if not isinstance(result, dict) or strict.look_alike(result, frozenset({INSTRUCTIONS})):
        return None
    if result.get(INSTRUCTIONS) is None:
        return Greeting(body)
    return Greeting(body, bytes(_object.decode(_object.decode(body)["result"])[INSTRUCTIONS]))
