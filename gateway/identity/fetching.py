"""Sources of keys: a file, a URL, or the metadata of an issuer (OIDC Discovery 1.0, RFC 8414). Fetching is off the hot
path, and so uses httpx2. Every failure is a `LoadError` with the place and the problem, without received data."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Protocol
from urllib.parse import urljoin, urlsplit

from gateway.background import in_thread
from gateway.identity.jose import load_object, text
from gateway.protocol.issuers import is_acceptable_url, is_downgrade, metadata_urls

if TYPE_CHECKING:
    from pathlib import Path

    import httpx2

    from gateway.model.wire import JsonObject

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
        self._fetcher = Fetcher()

    async def load(self) -> bytes:
        return await self._fetcher.get(self.place)

    async def aclose(self) -> None:
        await self._fetcher.aclose()


class DiscoverySource:
    """The `jwks_uri` of an issuer's metadata, looked up each time, to follow a moved key set."""

    def __init__(self, issuer: str, urls: tuple[str, ...] | None = None) -> None:
        """Look the metadata up at `urls`; by default at the places for authorization servers."""
        self.place = issuer
        self._urls = urls
        self._fetcher = Fetcher()

    async def load(self) -> bytes:
        return await self._fetcher.get(await self._jwks_uri())

    async def aclose(self) -> None:
        await self._fetcher.aclose()

    async def _jwks_uri(self) -> str:
        url, document = await load_metadata(self._fetcher, self.place, self._urls)
        uri = text(document.get("jwks_uri"))
        if uri is None:
            raise LoadError(f"{url} has no jwks_uri")
        if not is_acceptable_url(uri) or is_downgrade(uri, self.place):
            raise LoadError(f"{url} names a jwks_uri that is not https")
        return uri


async def load_metadata(fetcher: Fetcher, issuer: str, urls: tuple[str, ...] | None = None) -> tuple[str, JsonObject]:
    """Return the metadata of an issuer, and its URL, by default a URL for authorization servers. Raises `LoadError`."""
    problem = LoadError(f"{issuer} has no metadata")
    for url in metadata_urls(issuer) if urls is None else urls:
        try:
            data = await fetcher.get(url)
        except LoadError as error:
            problem = error
            continue
        return url, _read_metadata(url, data, issuer)
    raise problem


def _read_metadata(url: str, data: bytes, issuer: str) -> JsonObject:
    try:
        document = load_object(data)
    except (ValueError, RecursionError) as error:
        raise LoadError(f"{url} is not a JSON object") from error
    if document.get("issuer") != issuer:
        raise LoadError(f"{url} is the metadata of another issuer than {issuer}")
    return document


class Fetcher:
    """GET of a bounded document. The client is made at first use: most gateways have a file or a single URL."""

    def __init__(self) -> None:
        self._client: httpx2.AsyncClient | None = None

    async def get(self, url: str) -> bytes:
        """Return the body of a 200 answer. Raises `LoadError`."""
        import httpx2  # noqa: PLC0415 - it takes 2 MB, for those whose keys are fetched

        try:
            async with asyncio.timeout(DEADLINE):
                return await self._follow(url)
        except TimeoutError as error:
            raise LoadError(f"{url} did not answer within {DEADLINE:.0f} s") from error
        except (httpx2.HTTPError, httpx2.InvalidURL) as error:
            raise LoadError(f"{url} cannot be reached: {type(error).__name__}") from error

    async def aclose(self) -> None:
        if self._client is not None:
            await self._client.aclose()
            self._client = None

    async def _follow(self, url: str) -> bytes:
        origin = urlsplit(url)[:2]
        for _ in range(MAX_REDIRECTS + 1):
            if not is_acceptable_url(url) or urlsplit(url)[:2] != origin:
                raise LoadError(f"{origin[0]}://{origin[1]} sends to another host, or is not https")
            answer = await self._once(url)
            if isinstance(answer, bytes):
                return answer
            url = urljoin(url, answer)
        raise LoadError(f"{url} redirects too often")

    async def _once(self, url: str) -> bytes | str:
        """Return the body, or the place of a redirect."""
        if self._client is None:
            import httpx2  # noqa: PLC0415 - as above

            # The environment is not consulted: `config` alone reads it.
            self._client = httpx2.AsyncClient(follow_redirects=False, timeout=DEADLINE, trust_env=False)
        headers = {"accept": "application/json", "accept-encoding": "identity"}
        async with self._client.stream("GET", url, headers=headers) as response:
            if response.has_redirect_location:
                return response.headers["location"]
            if response.status_code != 200:
                raise LoadError(f"{url} answered {response.status_code}")
            data = bytearray()
            async for chunk in response.aiter_bytes():
                data += chunk
                if len(data) > MAX_BYTES:
                    raise LoadError(f"{url} sent more than 1 MiB")
            return bytes(data)
