"""POST of one small document over HTTPS, for channels. Redirects are not followed, and only the status of an answer
counts."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

from gateway.approvals.channels.channel import UndeliveredError
from gateway.https_client import HttpsClient, NoAnswer

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

_AGAIN: Final = frozenset({408, 425, 429, *range(500, 600)})
"""Statuses after which another attempt may help."""
_SECONDS: Final = 60.0


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
