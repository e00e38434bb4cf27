"""A Slack channel, by an incoming webhook. The message has a link; no click in Slack decides anything."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import msgspec

from gateway.approvals.channels.notice import lines_of, title_of
from gateway.approvals.channels.posting import Poster

if TYPE_CHECKING:
    from collections.abc import Iterable

    from gateway.approvals.channels.notice import NoticeMessage

_LONGEST: Final = 2_800
"""Characters of a text that Slack takes, less the title and the last line."""


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
