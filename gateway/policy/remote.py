"""A policy that an OPA of one's own holds: whether it is ready, which one it is, and whether its answers will do.

OPA loads and reloads by itself. So nothing here keeps a last good policy: if what OPA holds answers a fixture badly, the
gateway is not ready and says why, and each call is refused on its own answer.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Literal

from gateway.errors import PolicyError
from gateway.policy import fixtures
from gateway.policy.bundle_age import BundleAges
from gateway.policy.embedded import Entrypoint
from gateway.policy.opa_client import OpaClient


class RemotePolicy:
    kind: Literal["embedded", "opa"] = "opa"

    def __init__(self, server: OpaClient, *, stale_after: float, monotonic: Callable[[], float]) -> None:
        """`stale_after` in seconds; if it is infinite, OPA is not asked how old its bundles are."""
        self._server = server
        self._stale_after = stale_after
        self._monotonic = monotonic
        self._ages = BundleAges()
        self._tried: str | None = None
        self._flaw: str | None = "OPA has not been asked yet"
        self._doubt: str | None = None
        """Why nobody can tell whether what answers well is the newest."""
        self._oldest = ""
        self.name = ""
        self.revision = ""
        self.current = monotonic()

    @property
    def ready(self) -> bool:
        return self._flaw is None

    @property
    def problem(self) -> str | None:
        if self._flaw or self._doubt or self._monotonic() - self.current <= self._stale_after:
            return self._flaw or self._doubt
        return (
            f"OPA has not had its bundle {self._oldest!r} anew for longer than policy.stale_after, or could not use what"
            " came; see OPA's log, and mend the bundle or the service that has it"
        )

    async def open(self) -> None:
        """Ask for the first time. An OPA that is not there yet is no error: it may come."""
        await self.look()

    async def look(self) -> bool:
        """Look once; whether another policy came into force. What is wrong is told in `problem`."""
        try:
            await self._server.require_ready()
            held = await self._server.held()
            changed = await self._try(held.revision)
        except PolicyError as error:
            self._flaw = f"{error.message}; {error.remedy}"
            return False
        if self._stale_after < math.inf:
            await self._look_at_ages(held.bundles)
        return changed

    async def _try(self, revision: str) -> bool:
        """Whether it is another than before. Raises `PolicyError` for one that answers badly."""
        if self.ready and revision == self._tried:
            return False
        self.name = await fixtures.require(self._server)
        changed, self._tried = revision != self._tried, revision
        self.revision, self._flaw = revision, None
        return changed

    async def _look_at_ages(self, held: frozenset[str]) -> None:
        begun = self._monotonic()
        try:
            self.current, self._oldest = self._ages.oldest(await self._server.report(), held, begun)
            self._doubt = None
        except PolicyError as error:
            self._doubt = f"{error.message}; {error.remedy}; after policy.stale_after of that, calls are refused"

    async def evaluate(self, entrypoint: Entrypoint, document: bytes) -> object:
        return await self._server.evaluate(entrypoint, document)

    async def malformed_rule(self, document: bytes) -> str | None:
        """Return the rule of a family that gives a finding without a code. Raise a `PolicyError`."""
        return await self._server.malformed_rule(document)

    async def aclose(self) -> None:
        await self._server.aclose()
