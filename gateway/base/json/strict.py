"""A JSON reader for unambiguous documents alone. The upstream reads the judged bytes with another JSON reader. So all
input with two possible readings is refused. This covers duplicate keys, and keys that differ from a protocol field in
letter case or underscores. It covers integers beyond 2^53 - 1, numbers beyond a double, lone surrogates, and other
encodings than UTF-8 (RFC 8259 sections 4, 6, 8). Size limits come first, on bytes, before any object is built."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from math import isfinite
from typing import Final, NoReturn

from gateway.base.json.lex import brackets, depths, outside_strings, without_escaped_quotes
from gateway.model import reasons
from gateway.model.wire import Json, JsonObject

MAX_DEPTH: Final = 64
"""Levels of nesting, the outermost object included."""

MAX_VALUES: Final = 100_000
"""Keys and values, counted as separators and opening brackets outside of strings."""

_MAX_INTEGER: Final = 2**53 - 1
"""The largest integer that every reader takes for the same number: JavaScript rounds beyond it (RFC 7493 section 2.2)."""
_MAX_NUMBER: Final = 400
"""Characters of one number. A double written out in full has at most 327; the rest is an attack."""

ENVELOPE: Final = frozenset({"jsonrpc", "id", "method", "params", "result", "error"})
"""The members of a JSON-RPC message."""

PARAMS: Final = frozenset(
    {
        "_meta", "name", "arguments", "uri", "cursor", "taskId", "task", "requestState", "inputResponses",
        "protocolVersion", "capabilities", "clientInfo", "ref", "argument", "context", "level", "notifications",
        "requestId", "reason", "progressToken", "progress", "total", "message", "status",
    }
)  # fmt: skip
"""The members of `params` in any client message."""

META: Final = frozenset(
    {
        "progressToken", "traceparent", "tracestate", "baggage",
        "io.modelcontextprotocol/protocolVersion", "io.modelcontextprotocol/clientInfo",
        "io.modelcontextprotocol/clientCapabilities", "io.modelcontextprotocol/logLevel",
        "io.modelcontextprotocol/subscriptionId", "io.modelcontextprotocol/related-task",
    }
)  # fmt: skip
"""The members of `_meta` that the protocol defines (2026-07-28/basic/index.mdx, "_meta")."""

LISTEN: Final = frozenset({"taskIds", "resourceSubscriptions"})
"""The members of `params.notifications` in `subscriptions/listen` that name things."""

RELATED_TASK: Final = "io.modelcontextprotocol/related-task"
"""The member of `_meta` that ties a message to a task (2025-11-25/basic/utilities/tasks.mdx)."""
SUBSCRIPTION_KEY: Final = "io.modelcontextprotocol/subscriptionId"
"""The member of `_meta` that ties a message to a subscription (2026-07-28, "Subscriptions")."""

RELATED: Final = frozenset({"taskId"})

NESTED: Final[Mapping[str, frozenset[str]]] = {
    "notifications": LISTEN,
    "ref": frozenset({"type", "name", "uri"}),
    "argument": frozenset({"name", "value"}),
    "context": frozenset({"arguments"}),
}
"""Members of `params` that have members of their own which are read here, and those: of a subscription, of a completion."""


@dataclass(frozen=True, slots=True)
class UnreadableJson:
    """The fault of a refused document: its reason, and a sentence that repeats nothing of the document."""

    text: reasons.RefusalText
    message: str


class _ScanRefused(Exception):
    """Carries a value out of the C scanner."""

    def __init__(self, unreadable: UnreadableJson) -> None:
        self.unreadable = unreadable


def read(body: bytes) -> JsonObject | UnreadableJson:
    """Read a client's message. Never raises; time and memory are bounded by the size of `body`."""
    document = _read(body, _CLIENT)
    return document if isinstance(document, UnreadableJson) else _ambiguous_key(document) or document


def read_reply(body: bytes) -> JsonObject | UnreadableJson:
    """Read an upstream's message: as `read`, but integers may be of any width, as JSON Schema bounds are."""
    document = _read(body, _UPSTREAM)
    return document if isinstance(document, UnreadableJson) else _look_alike(document, _ENVELOPE_FOLDED) or document


def read_part(body: bytes) -> JsonObject | UnreadableJson:
    """Read an object out of an upstream's message: as `read_reply`, but for no message of its own."""
    return _read(body, _UPSTREAM)


def _read(body: bytes, decoder: json.JSONDecoder) -> JsonObject | UnreadableJson:
    # Nearly every message is too short for too many values, and has too few brackets to be deep.
    is_small = len(body) <= MAX_VALUES and len(body.translate(None, _NOT_OPENING)) <= MAX_DEPTH
    if not is_small and (too_large := bulk(body)) is not None:
        return too_large
    try:
        document: Json = decoder.decode(body.decode())
        if _SURROGATE.search(body) is not None:
            json.dumps(document, ensure_ascii=False).encode()
    except _ScanRefused as refused:
        return refused.unreadable
    except UnicodeEncodeError:
        return UnreadableJson(reasons.REQUEST_ENCODING, "the body has half of a surrogate pair, which is no character")
    except ValueError as error:
        return _encoding_or_json(body, error)
    if isinstance(document, dict):
        return document
    return _BATCH if isinstance(document, list) else _NO_OBJECT


_SURROGATE: Final = re.compile(rb"\\u[dD][89a-fA-F]")
"""An escape that may be half of a surrogate pair: whether it is can only be told from the decoded text."""

_BATCH: Final = UnreadableJson(reasons.REQUEST_BATCH, "the body is an array, and batches are not accepted")
_NO_OBJECT: Final = UnreadableJson(reasons.REQUEST_ENVELOPE, "the body is not a JSON object")


def _encoding_or_json(body: bytes, error: ValueError) -> UnreadableJson:
    """Return why the body is not JSON. UTF-16 and UTF-32 of ASCII text decode as UTF-8 with NULs, and so does a byte
    order mark."""
    try:
        body.decode()
    except UnicodeDecodeError:
        return UnreadableJson(reasons.REQUEST_ENCODING, "the body is not UTF-8")
    if b"\0" in body[:4] or body.startswith(b"\xef\xbb\xbf"):
        return UnreadableJson(
            reasons.REQUEST_ENCODING, "the body is not plain UTF-8: it has a byte order mark or NUL bytes"
        )
    where = f", from its character {error.pos + 1} on" if isinstance(error, json.JSONDecodeError) else ""
    return UnreadableJson(reasons.REQUEST_JSON, f"the body is not JSON{where}")


# --- size ------------------------------------------------------------------------------------------


def bulk(body: bytes) -> UnreadableJson | None:
    """Refuse a too deep document, or too many values, without building objects. Nearly every message is settled by counting
    bytes, also those in strings.
    """
    # One pass leaves the marks, however long the texts are.
    marks = body.translate(None, _NOT_MARKS)
    opens = marks.count(b"{") + marks.count(b"[")
    if opens <= MAX_DEPTH and (len(body) <= MAX_VALUES or _has_few_marks(marks, opens)):
        return None
    return _outside_of_strings(body)


def _has_few_marks(marks: bytes, opens: int) -> bool:
    """Return whether a document has fewer marks than values are allowed, whatever of them stands in strings."""
    return (
        opens + marks.count(b",") + marks.count(b":") < MAX_VALUES
        and marks.count(b'"') <= 2 * MAX_VALUES
        and opens + marks.count(b"}") + marks.count(b"]") <= 2 * MAX_VALUES
    )


def _outside_of_strings(body: bytes) -> UnreadableJson | None:
    """Refuse a document by its marks outside of strings."""
    plain = without_escaped_quotes(body)
    if plain.count(b'"') > 2 * MAX_VALUES:
        return _TOO_MANY
    structure, _ = outside_strings(plain)
    opens = structure.count(b"{") + structure.count(b"[")
    if opens + structure.count(b",") + structure.count(b":") >= MAX_VALUES:
        return _TOO_MANY
    marks = brackets(structure)
    if len(marks) > 2 * MAX_VALUES:
        return _TOO_MANY
    if max(depths(marks), default=0) > MAX_DEPTH:
        return UnreadableJson(reasons.REQUEST_DEPTH, f"the body is nested more than {MAX_DEPTH} levels deep")
    return None


_NOT_OPENING: Final = bytes(set(range(256)) - set(b"{["))
_NOT_MARKS: Final = bytes(set(range(256)) - set(b'{}[],:"'))
_TOO_MANY: Final = UnreadableJson(reasons.REQUEST_SIZE, f"the body has more than {MAX_VALUES} keys and values")


# --- values ----------------------------------------------------------------------------------------


def _members(pairs: list[tuple[str, Json]]) -> dict[str, Json]:
    members = dict(pairs)
    if len(members) != len(pairs):
        raise _ScanRefused(
            UnreadableJson(reasons.REQUEST_DUPLICATE_KEY, "an object of the body has the same key twice")
        )
    return members


def _integer(digits: str) -> int:
    if len(digits) < 16:
        return int(digits)
    if len(digits) > 20 or not -_MAX_INTEGER <= (value := int(digits)) <= _MAX_INTEGER:
        raise _ScanRefused(
            UnreadableJson(
                reasons.REQUEST_NUMBER, "the body has an integer beyond 2^53 - 1, which not every reader takes exactly"
            )
        )
    return value


def _float(digits: str) -> float:
    if len(digits) > _MAX_NUMBER:
        raise _ScanRefused(
            UnreadableJson(reasons.REQUEST_NUMBER, f"the body has a number of more than {_MAX_NUMBER} characters")
        )
    value = float(digits)
    if not isfinite(value) or (value == 0 and _significant(digits)):
        raise _ScanRefused(UnreadableJson(reasons.REQUEST_NUMBER, "the body has a number beyond the range of a double"))
    return value


def _significant(digits: str) -> bool:
    """Return whether a number read as zero is another number: 1e-400 is zero only to some readers."""
    return bool(digits.lower().partition("e")[0].strip("-0."))


def _constant(_name: str) -> NoReturn:
    raise _ScanRefused(UnreadableJson(reasons.REQUEST_NUMBER, "the body has NaN or Infinity, which are not JSON"))


_CLIENT: Final = json.JSONDecoder(
    object_pairs_hook=_members, parse_int=_integer, parse_float=_float, parse_constant=_constant
)
_UPSTREAM: Final = json.JSONDecoder(object_pairs_hook=_members, parse_float=_float, parse_constant=_constant)


# --- keys ------------------------------------------------------------------------------------------


def fold(key: str) -> str:
    """Return the key in the reading of the most tolerant reader: any letter case of Unicode, with or without `_` and
    `-`."""
    return key.upper().casefold().replace("\u0307", "").replace("_", "").replace("-", "")


def _fold_keys(keys: frozenset[str]) -> tuple[frozenset[str], frozenset[str]]:
    return keys, frozenset(fold(key) for key in keys)


def look_alike(keys: Iterable[str], known: frozenset[str]) -> bool:
    """Return whether some reader takes an unknown key for a known name."""
    return any(key not in known and fold(key) in _fold_all(known) for key in keys)


@cache
def _fold_all(known: frozenset[str]) -> frozenset[str]:
    return frozenset(map(fold, known))


_ENVELOPE_FOLDED: Final = _fold_keys(ENVELOPE)
_PARAMS_FOLDED: Final = _fold_keys(PARAMS)
_META_FOLDED: Final = _fold_keys(META)
_NESTED_NAMES: Final = frozenset(NESTED)
_NESTED_FOLDED: Final = tuple((name, _fold_keys(known)) for name, known in NESTED.items())
_RELATED_FOLDED: Final = _fold_keys(RELATED)


def _ambiguous_key(document: JsonObject) -> UnreadableJson | None:
    """Find a key mistaken by some reader for a protocol field, at a level defined by the protocol."""
    if not ENVELOPE.issuperset(document) and (found := _look_alike(document, _ENVELOPE_FOLDED)) is not None:
        return found
    params = document.get("params")
    if not isinstance(params, dict):
        return None
    found = None if PARAMS.issuperset(params) else _look_alike(params, _PARAMS_FOLDED)
    if not _NESTED_NAMES.isdisjoint(params):
        for name, known in _NESTED_FOLDED:
            if name in params:
                found = found or _look_alike(params[name], known)
    meta = params.get("_meta")
    if found is not None or not isinstance(meta, dict):
        return found
    found = _look_alike(meta, _META_FOLDED)
    if found is None and RELATED_TASK in meta:
        found = _look_alike(meta[RELATED_TASK], _RELATED_FOLDED)
    return found


def _look_alike(value: Json, known: tuple[frozenset[str], frozenset[str]]) -> UnreadableJson | None:
    if not isinstance(value, dict):
        return None
    exact, folded = known
    if exact.issuperset(value):
        return None
    for key in value:
        if key not in exact and fold(key) in folded:
            return UnreadableJson(
                reasons.REQUEST_AMBIGUOUS_KEY, "a key of the body differs from a protocol field only in writing"
            )
    return None
