"""Sources of keys: a file, a URL, or the metadata of an issuer (OIDC Discovery 1.0, RFC 8414). Every failure is a `LoadError` with the place and the problem, without received data."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Protocol

from gateway.base.concurrency.background import in_thread
from gateway.identity.jose import text
from gateway.wire.https_client import HttpsClient, NoAnswer, read_metadata
from gateway.wire.protocol.issuers import is_acceptable_url, is_downgrade, metadata_urls

if TYPE_CHECKING:
    from pathlib import Path

MAX_BYTES: Final = 2**20
DEADLINE: Final = 5.0
"""Seconds for one document, from connecting to the last byte."""
MAX_REDIRECTS: Final = 3


class LoadError(Exception):
    """A key document cannot be had."""


class KeySource(Protocol):
    """A place to fetch keys from."""

    @property
    def place(self) -> str:
        """For messages."""
        ...

    async def load(self) -> bytes:
        """Return the key set document. Raises `LoadError`."""
        ...

    async def aclose(self) -> None: ...


@dataclass(frozen=True, slots=True)
class FileSource:
    path: Path

    @property
    def place(self) -> str:
        return str(self.path)

    async def load(self) -> bytes:
        return await in_thread(self._read)

    async def aclose(self) -> None:
        """Close nothing: a file holds nothing open."""

    def _read(self) -> bytes:
        try:
            with self.path.open("rb") as file:
                data = file.read(MAX_BYTES + 1)
        except OSError as error:
            raise LoadError(f"{self.path} cannot be read: {error.strerror}") from error
        if len(data) > MAX_BYTES:
            raise LoadError(f"{self.path} is larger than 1 MiB")
        return data


class UrlSource:
    """A key set at a fixed URL."""

    def __init__(self, url: str) -> None:
        self.place = url
        self._http = HttpsClient(seconds=DEADLINE, largest=MAX_BYTES, redirects=MAX_REDIRECTS)

    async def load(self) -> bytes:
        return await _fetch(self._http, self.place)

    async def aclose(self) -> None:
        await self._http.aclose()


class DiscoverySource:
    """The `jwks_uri` of an issuer's metadata, looked up each time, to follow a moved key set."""

    def __init__(self, issuer: str, urls: tuple[str, ...] | None = None) -> None:
        """Look the metadata up at `urls`; by default at the places for authorization servers."""
        self.place = issuer
        self._urls = metadata_urls(issuer) if urls is None else urls
        self._http = HttpsClient(seconds=DEADLINE, largest=MAX_BYTES, redirects=MAX_REDIRECTS)

    async def load(self) -> bytes:
        return await _fetch(self._http, await self._jwks_uri())

    async def aclose(self) -> None:
        await self._http.aclose()

    async def _jwks_uri(self) -> str:
        if not is_acceptable_url(self.place):
            raise LoadError(f"{self.place} is not https")
        found = await read_metadata(self._http, self.place, self._urls)
        if isinstance(found, NoAnswer):
            raise LoadError(found.problem)
        url, document = found
        uri = text(document.get("jwks_uri"))
        if uri is None:
            raise LoadError(f"{url} has no jwks_uri")
        if not is_acceptable_url(uri) or is_downgrade(uri, self.place):
            raise LoadError(f"{url} names a jwks_uri that is not https")
        return uri


async def _fetch(http: HttpsClient, url: str) -> bytes:
    """Return the body of a 200 answer. Raises `LoadError`."""
    if not is_acceptable_url(url):
        raise LoadError(f"{url} is not https")
    answer = await http.send("GET", url, headers={"accept": "application/json"})
    if isinstance(answer, NoAnswer):
        raise LoadError(answer.problem)
    if answer.status != 200:
        raise LoadError(f"{url} answered {answer.status}")
    return answer.body
