"""The keys of one issuer, kept fresh: rotation without a restart, and the last good keys during an outage. An unknown
`kid` causes one refresh, at most once in `FORCED_INTERVAL`, however many callers invent ids. Callers share a refresh in
progress. Keys older than `MAX_AGE` no longer count.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import hashlib
import re
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Final, Protocol

import structlog
from cryptography import x509
from joserfc.errors import JoseError
from joserfc.jwk import ECKey, OKPKey, RSAKey

from gateway.base.concurrency.background import Job, in_thread
from gateway.identity.jose import is_object, load_object, number, suits, text
from gateway.model.errors import IdentityUnavailable
from gateway.wire.https_client import HttpsClient, NoAnswer, read_metadata
from gateway.wire.oauth_flow import is_acceptable_url, is_downgrade, metadata_urls

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from gateway.identity.jose import VerificationKey
    from gateway.model.wire import Json, JsonObject

# --- sources ---------------------------------------------------------------------------------------------


MAX_BYTES: Final = 2**20
DEADLINE: Final = 5.0
"""Seconds for one document, from connecting to the last byte."""
MAX_REDIRECTS: Final = 3
_LONGEST_TOKEN: Final = 16 * 1024
_TOKEN: Final = re.compile(rb"[A-Za-z0-9._~+/=-]+")
"""A bearer token (RFC 6750 section 2.1)."""


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
    """A key set at a fixed URL. `token` is a file with a bearer token for this URL, and no redirect takes it elsewhere."""

    def __init__(self, url: str, ca: Path | None = None, token: Path | None = None) -> None:
        self.place = url
        self._token = token
        redirects = MAX_REDIRECTS if token is None else 0
        self._http = HttpsClient(seconds=DEADLINE, ca=ca, largest=MAX_BYTES, redirects=redirects)

    async def load(self) -> bytes:
        token = None if self._token is None else await in_thread(partial(_read_token, self._token))
        return await _fetch(self._http, self.place, token)

    async def aclose(self) -> None:
        await self._http.aclose()


class DiscoverySource:
    """The `jwks_uri` of an issuer's metadata, looked up each time, to follow a moved key set."""

    def __init__(self, issuer: str, urls: tuple[str, ...] | None = None, ca: Path | None = None) -> None:
        """Look the metadata up at `urls`; by default at the places for authorization servers."""
        self.place = issuer
        self._urls = metadata_urls(issuer) if urls is None else urls
        self._http = HttpsClient(seconds=DEADLINE, ca=ca, largest=MAX_BYTES, redirects=MAX_REDIRECTS)

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


def _read_token(path: Path) -> str:
    """Return the bearer token in a file. Raises `LoadError`, whose text has nothing of it."""
    try:
        with path.open("rb") as file:
            words = file.read(_LONGEST_TOKEN + 1).split()
    except OSError as error:
        raise LoadError(f"{path} cannot be read: {error.strerror}") from error
    if len(words) != 1 or len(words[0]) > _LONGEST_TOKEN or _TOKEN.fullmatch(words[0]) is None:
        raise LoadError(f"{path} has no bearer token, or more than one")
    return words[0].decode("ascii")


async def _fetch(http: HttpsClient, url: str, token: str | None = None) -> bytes:
    """Return the body of a 200 answer. Raises `LoadError`."""
    if not is_acceptable_url(url):
        raise LoadError(f"{url} is not https")
    headers = {"accept": "application/json"}
    if token is not None:
        headers["authorization"] = f"Bearer {token}"
    answer = await http.send("GET", url, headers=headers)
    if isinstance(answer, NoAnswer):
        raise LoadError(answer.problem)
    if answer.status != 200:
        raise LoadError(f"{url} answered {answer.status}")
    return answer.body


# --- key sets --------------------------------------------------------------------------------------------


MAX_KEYS: Final = 256
_RSA_BITS: Final = range(2048, 8193)
"""Shorter is weak (RFC 7518 section 3.3); longer only costs time."""
_TYPES: Final = {"RSA": RSAKey, "EC": ECKey, "OKP": OKPKey}
_PUBLIC: Final = ("kty", "n", "e", "crv", "x", "y", "kid", "alg")
"""The members that are read. `use` and `key_ops` are judged here; private members are never imported."""


@dataclass(frozen=True, slots=True)
class KeySet:
    """The usable keys of one issuer. `refresh_hint` in seconds, from a SPIFFE bundle."""

    keys: tuple[VerificationKey, ...]
    digest: str
    """Of the whole document: another digest is another generation."""
    authorities: tuple[x509.Certificate, ...] = ()
    """The certificate authorities of a SPIFFE trust domain."""
    refresh_hint: float | None = None
    sequence: float | None = None
    """Of a SPIFFE bundle: a lower number is an older bundle."""
    warnings: tuple[str, ...] = field(default=(), compare=False)

    def candidates(self, kid: str | None, alg: str) -> tuple[VerificationKey, ...]:
        """Return the keys for verification. Without a `kid`, only a sole suitable key will do: no trying around."""
        found = tuple(key for key in self.keys if (kid is None or key.kid == kid) and suits(key, alg))
        return found if kid is not None or len(found) == 1 else ()

    def is_older_than(self, other: KeySet) -> bool:
        """Return whether a newer bundle has replaced this bundle (SPIFFE Trust Domain and Bundle, section 4.1.1)."""
        return self.sequence is not None and other.sequence is not None and self.sequence < other.sequence

    def knows(self, kid: str | None) -> bool:
        return kid is None or any(key.kid == kid for key in self.keys)


def parse(data: bytes, *, use: str = "sig") -> KeySet:
    """Read a JWKS, or a SPIFFE bundle with `use="jwt-svid"`. Raises `ValueError` without a usable key. An unusable key
    is left out and named in `warnings`: a single odd key must not lock everybody out.
    """
    document = load_object(data)
    entries = document.get("keys")
    if not isinstance(entries, list) or len(entries) > MAX_KEYS:
        raise ValueError("it is not a key set")
    keys: list[VerificationKey] = []
    authorities: list[x509.Certificate] = []
    warnings: list[str] = []
    for index, entry in enumerate(entries):
        try:
            if is_object(entry) and entry.get("use") == "x509-svid" and use == "jwt-svid":
                authorities.append(_authority(entry))
            elif is_object(entry) and _is_wanted(entry, use):
                keys.append(import_public(entry))
        except ValueError as error:
            warnings.append(f"key {index} is left out: {error}")
    if not keys and not authorities:
        raise ValueError("there is no usable key in it")
    hint = number(document.get("spiffe_refresh_hint"))
    digest = hashlib.sha256(data).hexdigest()
    sequence = number(document.get("spiffe_sequence"))
    return KeySet(tuple(keys), digest, tuple(authorities), hint, sequence, tuple(warnings))


def import_public(entry: JsonObject) -> VerificationKey:
    """Return the public key of a JWK. Raises `ValueError` for an unaccepted type or strength."""
    kind = _TYPES.get(text(entry.get("kty")) or "")
    if kind is None:
        raise ValueError("its type is not RSA, EC or OKP")
    members = {name: value for name in _PUBLIC if (value := text(entry.get(name))) is not None}
    try:
        key = kind.import_key({**members})
        public = key.public_key
    except (JoseError, ValueError, KeyError) as error:
        raise ValueError("it is malformed") from error
    if isinstance(key, RSAKey) and getattr(public, "key_size", 0) not in _RSA_BITS:
        raise ValueError("its RSA modulus is not between 2048 and 8192 bits")
    return key


def _is_wanted(entry: JsonObject, use: str) -> bool:
    """Return whether a key is for verifying signatures. `use` may be absent in a JWKS, but not in a SPIFFE bundle."""
    default: Json = "sig" if use == "sig" else None
    operations = entry.get("key_ops", ["verify"])
    return entry.get("use", default) == use and isinstance(operations, list) and "verify" in operations


def _authority(entry: JsonObject) -> x509.Certificate:
    """Return the certificate of an `x509-svid` entry: exactly one, in `x5c` (SPIFFE X509-SVID section 6.2)."""
    chain = entry.get("x5c")
    if not isinstance(chain, list) or len(chain) != 1 or not isinstance(chain[0], str):
        raise ValueError("it has not exactly one certificate")
    try:
        return x509.load_der_x509_certificate(base64.b64decode(chain[0], validate=True))
    except (binascii.Error, ValueError) as error:
        raise ValueError("its certificate is malformed") from error


# --- freshness -------------------------------------------------------------------------------------------


MAX_AGE: Final = 24 * 3600.0
"""Seconds that keys are used for after they were last confirmed."""
FORCED_INTERVAL: Final = 10.0
"""Seconds between two refreshes that callers cause."""
_REMOTE_INTERVAL: Final = 300.0
_FILE_INTERVAL: Final = 5.0
_HINTS: Final = (30.0, 3600.0)
"""The bounds within which a bundle's `spiffe_refresh_hint` is followed, in seconds."""


def _log() -> structlog.typing.FilteringBoundLogger:
    """Return the log, in the configuration of the moment."""
    return structlog.get_logger("gateway.identity")


@dataclass(frozen=True, slots=True)
class KeyStatus:
    """State of the keys of one issuer. `ready`: callers can be verified."""

    issuer: str
    ready: bool
    keys: int
    problem: str | None


class IssuerKeys:
    """The keys of one issuer."""

    def __init__(self, issuer: str, source: KeySource, *, clock: Callable[[], float], use: str = "sig") -> None:
        self.issuer = issuer
        self.generation = 0
        """Grows with every change of the document."""
        self._source = source
        self._use = use
        self._clock = clock
        self._set: KeySet | None = None
        self._refreshed: float | None = None
        self._problem: str | None = "not loaded yet"
        self._forced: float | None = None
        self._refreshing: Job | None = None
        self._background: Job | None = None

    async def start(self) -> None:
        """Load the keys, and keep the keys fresh until `stop`. An absent server is only a warning."""
        await self.refresh()
        self._background = Job.begin_repeating(self._refresh_in_time, f"keys of {self.issuer}")

    async def stop(self) -> None:
        for job in (self._background, self._refreshing):
            if job is not None:
                await job.stop()
        await self._source.aclose()

    async def find(self, kid: str | None, alg: str) -> tuple[VerificationKey, ...]:
        """Return the keys for a token, none without a suitable key. Raises `IdentityUnavailable` when the server is
        away and no kept key serves.
        """
        current = self.current()
        if current is None or not current.knows(kid):
            await self._refresh_for_caller()
            current = self.current()
        if current is None or (self._problem is not None and not current.knows(kid)):
            raise self._unavailable()
        return current.candidates(kid, alg)

    async def authorities(self) -> KeySet:
        """Return the key set with the certificate authorities of a trust domain. Raises `IdentityUnavailable`."""
        if self.current() is None:
            await self._refresh_for_caller()
        current = self.current()
        if current is None:
            raise self._unavailable()
        return current

    def current(self) -> KeySet | None:
        """Return the keys, unless too old to be relied on."""
        return self._set if self._clock() < self.usable_until() else None

    def usable_until(self) -> float:
        return self._refreshed + MAX_AGE if self._refreshed is not None else 0.0

    def status(self) -> KeyStatus:
        current = self.current()
        count = len(current.keys) + len(current.authorities) if current else 0
        return KeyStatus(self.issuer, current is not None, count, self._problem)

    async def refresh(self) -> None:
        """Load the keys anew. Callers share a refresh in progress, and cannot cancel it."""
        if self._refreshing is None or self._refreshing.is_done():
            self._refreshing = Job(self._refresh, f"refresh of {self.issuer}")
        await self._refreshing.wait()

    async def _refresh_for_caller(self) -> None:
        now = self._clock()
        if self._refreshing is None or self._refreshing.is_done():
            if self._forced is not None and now < self._forced + FORCED_INTERVAL:
                return
            self._forced = now
        await self.refresh()

    async def _refresh(self) -> None:
        try:
            found = self._newer(parse(await self._source.load(), use=self._use))
        except (LoadError, ValueError, RecursionError) as error:
            problem = str(error) if isinstance(error, LoadError) else f"{self._source.place}: {error}"
            if problem != self._problem:
                _log().warning("identity.keys-unavailable", issuer=self.issuer, problem=problem, kept=bool(self._set))
            self._problem = problem
            return
        if self._set is None or found.digest != self._set.digest:
            self.generation += 1
            for warning in found.warnings:
                _log().warning("identity.key-left-out", issuer=self.issuer, problem=warning)
            _log().info("identity.keys-loaded", issuer=self.issuer, keys=len(found.keys) + len(found.authorities))
        self._set, self._refreshed, self._problem = found, self._clock(), None

    def _newer(self, found: KeySet) -> KeySet:
        if self._set is not None and found.is_older_than(self._set):
            raise ValueError("it is an older bundle than the one in use (spiffe_sequence)")
        return found

    async def _refresh_in_time(self) -> None:
        await asyncio.sleep(self.interval())
        await self.refresh()

    def interval(self) -> float:
        """Return seconds until the next look."""
        if isinstance(self._source, FileSource):
            return _FILE_INTERVAL
        hint = self._set.refresh_hint if self._set else None
        wished = min(max(hint, _HINTS[0]), _HINTS[1]) if hint is not None else _REMOTE_INTERVAL
        return wished if self._problem is None else min(wished, FORCED_INTERVAL)

    def _unavailable(self) -> IdentityUnavailable:
        return IdentityUnavailable(
            f"the keys of {self.issuer} cannot be had: {self._problem or 'they are too old'}",
            "make the key server reachable from the gateway, or give its keys as a file",
        )
