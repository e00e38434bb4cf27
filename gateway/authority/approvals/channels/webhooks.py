"""Channels over HTTPS: a webhook, signed by Standard Webhooks 1.0 (https://www.standardwebhooks.com), and Slack.

Redirects are not followed, and only the status of an answer counts. A message to Slack has a link; no click there decides anything.
"""

from __future__ import annotations

import base64
import hmac
import importlib
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

import msgspec

from gateway.authority.approvals.channels.channel import UndeliveredError
from gateway.authority.approvals.channels.notice import event_of, lines_of, title_of
from gateway.wire.https_client import HttpsClient, NoAnswer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from pathlib import Path

    from gateway.authority.approvals.channels.notice import NoticeMessage

_AGAIN: Final = frozenset({408, 425, 429, *range(500, 600)})
"""Statuses after which another attempt may help."""
_SECONDS: Final = 60.0
_LONGEST: Final = 2_800
"""Characters of a text that Slack takes, less the title and the last line."""


class Poster:
    """A sender to one address. Path and query of the address may be a secret, so no message names either.

    Raises `ConfigurationError` for unreadable authorities.
    """

    def __init__(self, url: str, ca: Path | None) -> None:
        parts = urlsplit(url)
        self.place = f"{parts.scheme}://{parts.netloc}"
        self._url = url
        self._http = HttpsClient(seconds=_SECONDS, ca=ca, largest=0, hides_path=True)
        # It takes a tenth of a second, which no call should wait for.
        importlib.import_module("httpx2")

    async def post(self, body: bytes, headers: Mapping[str, str], within: float) -> None:
        """Send a document within so many seconds. Raises `UndeliveredError`."""
        sent = {"content-type": "application/json", "user-agent": "opagate", **headers}
        answer = await self._http.send("POST", self._url, headers=sent, body=body, within=within)
        if isinstance(answer, NoAnswer):
            raise UndeliveredError(answer.problem)
        status = answer.status
        if not 200 <= status < 300:
            problem = f"{self.place} answered {status}" + (", and redirects are not followed" if status < 400 else "")
            raise UndeliveredError(problem, is_final=status not in _AGAIN, after=answer.pause)

    async def aclose(self) -> None:
        """Close the connections."""
        await self._http.aclose()


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


class Slack:
    """Posts each message to one incoming webhook."""

    def __init__(self, name: str, url: str, *, tells_end: bool = True) -> None:
        self.name = name
        self.tells_end = tells_end
        self._poster = Poster(url, None)

    @property
    def place(self) -> str:
        """Return the address without its path: the path is a secret."""
        return self._poster.place

    async def send(self, message: NoticeMessage, within: float) -> None:
        """Send a message. Raises `UndeliveredError`."""
        await self._poster.post(msgspec.json.encode(payload_of(message)), {}, within)

    async def aclose(self) -> None:
        """Close the connections."""
        await self._poster.aclose()


def payload_of(message: NoticeMessage) -> dict[str, Any]:
    """Return the message for Slack. `&`, `<` and `>` are escaped, so no text is a link or a mention."""
    lines = (f"<{line.text}>" if line.kind == "link" else _escape(line.text) for line in lines_of(message))
    title, text = _escape(title_of(message)), _fit(lines)
    # `verbatim`: Slack makes no links of its own, such as of a tool's name.
    section = {"type": "section", "text": {"type": "mrkdwn", "text": f"*{title}*\n{text}", "verbatim": True}}
    return {"text": title, "blocks": [section], "unfurl_links": False, "unfurl_media": False}


def _fit(lines: Iterable[str]) -> str:
    """Return the first lines that fit, each whole: half a line could be read as another."""
    kept, size = list[str](), 0
    for line in lines:
        size += len(line) + 1
        if size > _LONGEST:
            return "\n".join([*kept, "and more: opagate approvals list"])
        kept.append(line)
    return "\n".join(kept)


def _escape(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
