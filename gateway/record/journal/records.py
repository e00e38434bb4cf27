"""The records of a call's arguments and of its result. Pure: no I/O, no clock, no randomness.

`digest` records a keyed digest, the size and the names of arguments, and `none` nothing. `full` records also the value, without
credentials.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache
from types import MappingProxyType
from typing import TYPE_CHECKING, Final, Literal

import msgspec

from gateway.record.journal.chain import hmac_states
from gateway.record.journal.redaction import (
    FULL_LIMIT,
    KnownCredentials,
    Spots,
    canonical,
    no_spots,
    redact_arguments,
    redact_names,
    redact_value,
)
from gateway.wire.protocol import sse

if TYPE_CHECKING:
    from collections.abc import Iterator

    from gateway.base.json.walk import Leaves
    from gateway.model.wire import Json, JsonObject

_NAMES: Final = 64
_SHORT: Final = 1_024
"""Characters of all names of a call together, up to which the names are kept."""
_SAFE_NAMES: Final[dict[tuple[bytes, tuple[str, ...]], list[Json]]] = {}
"""The safe names of the last calls: the arguments of a tool have the same names in each call."""
_KEPT: Final = 1_024
_states: Final = lru_cache(maxsize=8)(hmac_states)
"""The hashes with a key taken in. The `hmac` module costs twice as much, and a hit here enters no function."""


def record_arguments(
    arguments: JsonObject,
    mode: Literal["digest", "full", "none"],
    *,
    key: bytes,
    spots: Spots = no_spots,
    known: KnownCredentials | None = None,
    held: Mapping[str, Sequence[str]] | None = MappingProxyType({}),
    walked: Leaves | None = None,
) -> JsonObject:
    """Return the record of a call's arguments.

    `key` is the fingerprint key (`Journal.fingerprint_key`). `spots` finds credentials by their form. `known` are the known
    credentials of the task and its caller, if there are any. Neither values nor names with one of them are recorded.

    `held` maps the pointer of a text to the known credentials in it, as `rule:fingerprint`. Credentials in several texts
    together have an empty pointer. With such a credential, or if `held` is `None`, only a digest is recorded. `walked` are the
    leaves of the arguments, if they were made before.

    `{"mode", "digest", "bytes", "names"}`, and for `full` also `"value"`. The digest is over the arguments as compact
    JSON with sorted names. Arguments beyond `FULL_LIMIT` are recorded as a digest in any case.
    """
    if mode == "none":
        return {"mode": "none"}
    try:
        text = msgspec.json.encode(arguments, order="sorted")
    except (UnicodeEncodeError, TypeError):
        text = canonical(arguments)
    inner, outer = _states(key)
    inner, outer = inner.copy(), outer.copy()
    inner.update(text)
    outer.update(inner.digest())
    names = tuple(sorted(arguments)[:_NAMES])
    safe = _SAFE_NAMES.get((key, names)) if known is None else None
    record: dict[str, Json] = {
        "mode": "digest",
        "digest": outer.hexdigest(),
        "bytes": len(text),
        "names": _safe_names(names, key, known) if safe is None else safe,
    }
    if mode == "full" and len(text) <= FULL_LIMIT and held is not None and "" not in held:
        value, is_whole = redact_arguments(arguments, key=key, spots=spots, held=held, known=known, walked=walked)
        if is_whole:
            record |= {"mode": "full", "value": value}
    return record


def _safe_names(names: tuple[str, ...], key: bytes, known: KnownCredentials | None) -> list[Json]:
    """Return the names of arguments without credentials, and keep short names for the next call."""
    safe = redact_names(names, key, known)
    if known is None and sum(map(len, names)) <= _SHORT:
        if len(_SAFE_NAMES) >= _KEPT:
            _SAFE_NAMES.clear()
        _SAFE_NAMES[key, names] = safe
    return safe


class ResultRecord:
    """Told of the bytes of one answer as they go to the caller: a JSON-RPC response, or server-sent events with one.

    `key` is the fingerprint key (`Journal.fingerprint_key`). With `spots` the answer is kept as well, up to `FULL_LIMIT`
    bytes; a longer one is recorded as a digest in any case.
    """

    def __init__(self, key: bytes, spots: Spots | None = None) -> None:
        self._key = key
        inner, self._outer = _states(key)
        self._inner = inner.copy()
        self._spots = spots
        self._kept = bytearray()
        self.held = 0
        """Bytes that `value` has to look through; without any it is `None`."""

    def update(self, data: bytes, /) -> None:
        """Take in the next bytes of the answer."""
        self._inner.update(data)
        if self._spots is not None:
            self._kept += data
            if len(self._kept) > FULL_LIMIT:
                self._spots = None
                self._kept.clear()
            self.held = len(self._kept)

    def hexdigest(self) -> str:
        """Return the keyed digest of all bytes so far."""
        outer = self._outer.copy()
        outer.update(self._inner.digest())
        return outer.hexdigest()

    def value(self, known: KnownCredentials | None = None) -> Json:
        """Return the `result` of the answer, redacted; `None` if it is not kept, cannot be redacted, or if there is none.
        `known` are the credentials that the task or its caller knows."""
        if self._spots is None:
            return None
        for message in self._messages():
            if "result" in message:
                return redact_value(message["result"], key=self._key, spots=self._spots, known=known)
        return None

    def _messages(self) -> Iterator[dict[str, Json]]:
        """Yield the messages of the answer, the last first: notifications come before the response."""
        body = bytes(self._kept)
        for data in reversed(sse.data_of(body) or [body]):
            try:
                yield msgspec.json.decode(data, type=dict)
            except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
                continue
