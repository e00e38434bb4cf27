"""Members of JSON objects in messages of an upstream, which may be no JSON at all. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import msgspec

from gateway.model.error_codes import UPSTREAM_FAILED
from gateway.model.wire import RequestId

UNREADABLE: Final = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)
"""What msgspec raises for what an upstream sent as JSON: it is none, it is not UTF-8, or it is nested too deep."""

SHORTEST_MEMBER: Final = len('"id":7,')
"""Bytes of the shortest member of an envelope, with a comma."""

OBJECT: Final = msgspec.json.Decoder(dict[str, msgspec.Raw])
_decode: Final = msgspec.json.decode
_encode: Final = msgspec.json.encode


def failure_response(identifier: RequestId | None, text: str) -> bytes:
    """Return a JSON-RPC error response of the gateway's own."""
    return _encode({"jsonrpc": "2.0", "id": identifier, "error": {"code": UPSTREAM_FAILED, "message": text}})


def repeats_member(data: bytes, members: Mapping[str, msgspec.Raw]) -> bool:
    """Return whether an object names a member twice. A second member needs more room than `members` take; for the rest,
    the quotes are counted."""
    room = len(data) - 1
    for name, value in members.items():
        room -= len(name) + len(value) + 4
    if room < SHORTEST_MEMBER:
        return False
    return data.count(b'"') != 2 * len(members) + sum(bytes(value).count(b'"') for value in members.values())


def request_id(raw: bytes | msgspec.Raw) -> RequestId | None:
    """Return the id of a request; `None` for any other value."""
    value = decode_value(raw)
    return value if isinstance(value, int | str) and not isinstance(value, bool) else None


def decode_value(raw: bytes | msgspec.Raw) -> object:
    """Return the value; `None` for bytes without a value, such as a number beyond all bounds."""
    try:
        return _decode(raw)
    except UNREADABLE:
        return None


def members_of(raw: bytes | msgspec.Raw) -> dict[str, bytes]:
    """Return the members of a JSON object, still encoded; none for anything else."""
    try:
        return {name: bytes(value) for name, value in OBJECT.decode(raw).items()}
    except UNREADABLE:
        return {}
