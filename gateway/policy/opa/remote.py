"""The policy that an OPA holds: whether it is ready, its revision, and whether its answers follow the contract.

OPA loads and reloads by itself, so this module keeps no last good policy. If OPA's policy answers a fixture badly, the gateway
is not ready and says why, and each call is refused on its own answer. Where a policy is configured, calls are refused until
OPA has held it once (`agreement.py`).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import Final, Literal

from gateway.model.errors import PolicyError, PolicyLate, PolicyUnavailable
from gateway.model.wire import JsonObject
from gateway.policy import document as documents
from gateway.policy.entrypoint import Entrypoint
from gateway.policy.opa.agreement import Agreement
from gateway.policy.opa.bundle_age import BundleAges
from gateway.policy.opa.client import Held, OpaClient
from gateway.policy.plan.program import CompiledPolicy
from gateway.policy.trials import load_checks
from gateway.wire.http.tls_files import TlsFiles

_MISSES: Final = 2
"""Looks in a row that may come too late before the policy counts as one that does not answer. One alone says little."""


class RemotePolicy:
    """A policy in an OPA. Without an `agreement` the gateway takes any policy that OPA holds."""

    kind: Literal["embedded", "opa"] = "opa"
    plan: str | None = None
    compiled: CompiledPolicy | None = None

    def __init__(
        self,
        server: OpaClient,
        *,
        stale_after: float,
        monotonic: Callable[[], float],
        agreement: Agreement | None = None,
    ) -> None:
        """`stale_after` in seconds. If it is infinite, or with an agreement, OPA is not asked for the age of its bundles."""
        self._server = server
        self._agreement = agreement
        self._stale_after = stale_after
        self._monotonic = monotonic
        self._ages = BundleAges()
        self._tried: str | None = None
        self._flaw: str | None = "OPA has not been asked yet"
        self._doubt: str | None = None
        """Why nobody can tell whether what answers well is the newest."""
        self._misses = 0
        """Looks in a row that came too late."""
        self._oldest = ""
        self.name = ""
        self.revision = ""
        self.current = monotonic()

    @property
    def ready(self) -> bool:
        return self._flaw is None

    @property
    def problem(self) -> str | None:
        differs = self._agreement.problem if self._agreement is not None else None
        if self._flaw or differs or self._doubt or self._monotonic() - self.current <= self._stale_after:
            return self._flaw or differs or self._doubt
        return (
            f"OPA has not had its bundle {self._oldest!r} anew for longer than policy.stale_after, or could not use what"
            " came; see OPA's log, and mend the bundle or the service that has it"
        )

    async def open(self) -> None:
        """Ask for the first time. An OPA that is not there yet is no error: it may come."""
        await self.look()

    async def look(self) -> bool:
        """Look once; whether another policy came into force. What is wrong is told in `problem`."""
        begun = self._monotonic()
        try:
            held = await self._ask_held()
            changed = await self._try(await self._revision(held))
        except PolicyError as error:
            self._misses = self._misses + 1 if isinstance(error, PolicyLate) else _MISSES
            if self._misses >= _MISSES or not self.ready:
                self._flaw = f"{error.message}; {error.remedy}"
            return False
        self._misses = 0
        if self._agreement is not None:
            self.current = self.current if self._agreement.problem else begun
        elif self._stale_after < math.inf:
            await self._look_at_ages(held.bundles)
        return changed

    async def _ask_held(self) -> Held:
        try:
            await self._server.require_ready()
            return await self._server.held()
        except PolicyError:
            if self._agreement is not None:
                self._agreement.forget()
            raise

    async def _revision(self, held: Held) -> str:
        """Return the revision of the policy in OPA. Raise a `PolicyError` during a push, and before the first agreement."""
        if held.pushed.pushing:
            raise PolicyUnavailable(
                f"a push of revision {held.pushed.pushing} to OPA has not ended",
                "if it was killed, run `opagate policy push --take-over`",
            )
        if self._agreement is None:
            return held.revision
        await self._agreement.look(held)
        if not self._agreement.is_reached:
            raise PolicyUnavailable(self._agreement.problem or "", "calls are refused until OPA holds it")
        return self._agreement.revision

    async def _try(self, revision: str) -> bool:
        """Return whether another policy came into force. Raise a `PolicyError` for a policy that answers badly."""
        if self.ready and revision == self._tried:
            return False
        self.name = await load_checks.require(partial(self._ask, is_look=True))
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

    async def evaluate(self, entrypoint: Entrypoint, document: JsonObject) -> object:
        """Return OPA's answer to one input. Raise a `PolicyError`, always so before the first agreement."""
        if self._agreement is not None and not self._agreement.is_reached:
            raise PolicyUnavailable("OPA does not hold the configured policy", "see /readyz or the log, which say why")
        return await self._ask(entrypoint, document)

    async def _ask(self, entrypoint: Entrypoint, document: JsonObject, *, is_look: bool = False) -> object:
        return await self._server.evaluate(entrypoint, documents.encode(document), is_look=is_look)

    async def malformed_rule(self, document: JsonObject) -> str | None:
        """Return the rule of a family that gives a finding without a code. Raise a `PolicyError`."""
        return await self._server.malformed_rule(documents.encode(document))

    @property
    def authorities(self) -> TlsFiles | None:
        """Return the certificate authorities that OPA's certificate is verified with."""
        return self._server.authorities

    async def aclose(self) -> None:
        await self._server.aclose()
