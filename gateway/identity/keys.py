"""The keys of one issuer, kept fresh: rotation without a restart, and the last good keys during an outage. An unknown
`kid` causes one refresh, at most once in `FORCED_INTERVAL`, however many callers invent ids. Callers share a refresh in
progress. Keys older than `MAX_AGE` no longer count."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import structlog

from gateway.base.concurrency.background import Job
from gateway.identity import keyset
from gateway.identity.fetching import FileSource, LoadError
from gateway.model.errors import IdentityUnavailable

if TYPE_CHECKING:
    from collections.abc import Callable

    from gateway.identity.fetching import KeySource
    from gateway.identity.jose import VerificationKey

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
        self._set: keyset.KeySet | None = None
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

    async def authorities(self) -> keyset.KeySet:
        """Return the key set with the certificate authorities of a trust domain. Raises `IdentityUnavailable`."""
        if self.current() is None:
            await self._refresh_for_caller()
        current = self.current()
        if current is None:
            raise self._unavailable()
        return current

    def current(self) -> keyset.KeySet | None:
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
            found = self._newer(keyset.parse(await self._source.load(), use=self._use))
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

    def _newer(self, found: keyset.KeySet) -> keyset.KeySet:
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
