"""The record of a result: its keyed digest, and for `full` its text without credentials. Pure."""

from __future__ import annotations

import hmac
from typing import TYPE_CHECKING

import msgspec

from gateway.journal.redaction import FULL_LIMIT, KnownCredentials, Spots, redacted

if TYPE_CHECKING:
    from collections.abc import Iterator

    from gateway.model.wire import Json


class ResultRecord:
    """Told of the bytes of one answer as they go to the caller: a JSON-RPC response, or server-sent events with one.

    `key` is the fingerprint key (`Journal.fingerprint_key`). With `spots` the answer is kept as well, up to `FULL_LIMIT`
    bytes; a longer one is recorded as a digest in any case.
    """

    def __init__(self, key: bytes, spots: Spots | None = None) -> None:
        self._key = key
        self._digest = hmac.new(key, digestmod="sha256")
        self._spots = spots
        self._kept = bytearray()

    def update(self, data: bytes, /) -> None:
        self._digest.update(data)
        if self._spots is not None:
            self._kept += data
            if len(self._kept) > FULL_LIMIT:
                self._spots = None
                self._kept.clear()

    @property
    def held(self) -> int:
        """Bytes that `value` has to look through."""
        return len(self._kept)

    def hexdigest(self) -> str:
        return self._digest.hexdigest()

    def value(self, known: KnownCredentials | None = None) -> Json:
        """Return the `result` of the answer, redacted; `None` if it is not kept, cannot be redacted, or if there is none.
        `known` are the credentials that the task or its caller knows."""
        if self._spots is None:
            return None
        for message in self._messages():
            if "result" in message:
                return redacted(message["result"], key=self._key, spots=self._spots, known=known)
        return None

    def _messages(self) -> Iterator[dict[str, Json]]:
        """The last first: what comes before the response are notifications."""
        text = bytes(self._kept)
        events = [line[5:] for line in text.splitlines() if line.startswith(b"data:")]
        for data in reversed(events or [text]):
            try:
                yield msgspec.json.decode(data, type=dict)
            except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
                continue
