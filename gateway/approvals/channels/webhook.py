"""A webhook, signed by Standard Webhooks 1.0 (https://www.standardwebhooks.com)."""

from __future__ import annotations

import base64
import hmac
from typing import TYPE_CHECKING

from gateway.approvals.channels.notice import event_of
from gateway.approvals.channels.posting import Poster

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from gateway.approvals.channels.notice import NoticeMessage


class Webhook:
    """Posts each message, with its id, the time of the attempt, and an HMAC-SHA256 of both and the body."""

    def __init__(
        self,
        name: str,
        url: str,
        key: bytes,
        *,
        clock: Callable[[], float],
        ca: Path | None = None,
        tells_end: bool = True,
    ) -> None:
        """Raises `ConfigurationError`. `clock` gives seconds since the epoch."""
        self.name = name
        self.tells_end = tells_end
        self._poster = Poster(url, ca)
        self._key = key
        self._clock = clock

    @property
    def place(self) -> str:
        """The address without path and query."""
        return self._poster.place

    async def send(self, message: NoticeMessage, within: float) -> None:
        """Send a message. Raises `UndeliveredError`."""
        now = self._clock()
        body = event_of(message, now)
        headers = {
            "webhook-id": message.id,
            "webhook-timestamp": str(int(now)),
            "webhook-signature": sign(self._key, message.id, int(now), body),
        }
        await self._poster.post(body, headers, within)

    async def aclose(self) -> None:
        """Close the connections."""
        await self._poster.aclose()


def sign(key: bytes, identifier: str, timestamp: int, body: bytes) -> str:
    """Return the signature of a message (Standard Webhooks 1.0, "Signature scheme", symmetric)."""
    signed = f"{identifier}.{timestamp}.".encode() + body
    return "v1," + base64.b64encode(hmac.digest(key, signed, "sha256")).decode("ascii")
