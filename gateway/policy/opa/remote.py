"""The policy that an OPA holds: whether it is ready, its revision, and whether its answers follow the contract.

OPA loads and reloads by itself, and reports nothing of a folder that it could not load. So this module keeps no last good policy,
and compares OPA's contents with the configured policy, if there is one. Calls are refused until OPA has held it once.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import partial
from typing import Final, Literal

from gateway.model.errors import PolicyBroken, PolicyError, PolicyLate, PolicyUnavailable
from gateway.model.wire import JsonObject
from gateway.policy import document as documents
from gateway.policy.contract import Entrypoint
from gateway.policy.facts import NO_FACTS, FactBook, read_facts
from gateway.policy.folder import folders
from gateway.policy.folder.bundle import Bundle, Fingerprint
from gateway.policy.folder.folders import PolicyFolders
from gateway.policy.folder.reload import read_in_thread
from gateway.policy.opa import contents as opa_contents
from gateway.policy.opa.client import Held, OpaClient
from gateway.policy.opa.contents import BundleAges, Difference, HeldModule
from gateway.policy.plan.program import CompiledPolicy
from gateway.policy.trials import load_checks
from gateway.wire.http.tls_files import TlsFiles

_MISSES: Final = 2
"""Looks in a row that may come too late before the policy counts as one that does not answer. One alone says little."""

_LONGEST_PAUSE: Final = 60.0
"""Seconds between two comparisons while nothing changes and OPA holds another policy."""


class Agreement:
    """The comparison of one OPA with the configured policy. `grace` is in seconds: OPA may still be loading for so long."""

    def __init__(
        self, server: OpaClient, place: PolicyFolders, *, grace: float, monotonic: Callable[[], float]
    ) -> None:
        self._server = server
        self._folders = place
        self._grace = grace
        self._monotonic = monotonic
        self._policy: Bundle | None = None
        self._agreed: Bundle | None = None
        self._seen: Fingerprint = ()
        self._mark: object = None
        self._changed = self._due = -math.inf
        self._pause = 0.0
        self.problem: str | None = "OPA has not been compared with the configured policy yet"
        self.facts = NO_FACTS
        self.revision = ""
        """Names the policy that OPA holds: of the configured policy, or `opa+` and a digest for another policy."""

    @property
    def is_reached(self) -> bool:
        """Return whether OPA has held the configured policy since the gateway started."""
        return self._agreed is not None

    def forget(self) -> None:
        """Compare at the next look: OPA was away, and may hold another policy."""
        self._mark = None

    async def look(self, held: Held) -> None:
        """Compare if the folder or OPA has changed. Raise a `PolicyError` if OPA does not answer."""
        try:
            policy = await self._read()
        except PolicyBroken as error:
            self._seen = ()
            self.problem = f"the configured policy cannot be compared with OPA: {error.message}; {error.remedy}"
            return
        if (held.revision, held.pushed) != self._mark:
            self._mark = held.revision, held.pushed
            self._begin()
        if self._monotonic() >= self._due:
            await self._compare(policy, held)

    async def _read(self) -> Bundle:
        seen = await read_in_thread(folders.fingerprint, self._folders)
        if self._policy is None or seen != self._seen:
            self._policy = await read_in_thread(folders.read_policy, self._folders)
            self._seen = seen
            self._begin()
        return self._policy

    def _begin(self) -> None:
        self._changed = self._due = self._monotonic()
        self._pause = 0.0

    async def _compare(self, policy: Bundle, held: Held) -> None:
        modules = await self._server.modules()
        difference = await self._difference(policy, modules)
        pushed = "" if held.bundles else held.pushed.revision
        if not difference and pushed in {"", policy.revision}:
            self.facts = read_facts(policy.decoded_data())
            self._agreed, self.revision = policy, policy.revision
            self.problem, self._due = None, math.inf
            return
        now = self._monotonic()
        if self._agreed is not None and now - self._changed < self._grace:
            return
        self._pause = min(max(2 * self._pause, 1.0), _LONGEST_PAUSE)
        self._due = now + self._pause
        self.problem = self._explain(difference, held)
        if self._agreed is None or await self._difference(self._agreed, modules):
            within = opa_contents.modules_within(modules, opa_contents.owned_roots(policy))
            self.revision = f"opa+{opa_contents.digest(within)}"

    async def _difference(self, policy: Bundle, modules: Sequence[HeldModule]) -> Difference:
        paths = opa_contents.pieces(policy.decoded_data(), modules)
        found = {path: await self._server.value(path) for path in paths}
        return opa_contents.compare(policy, modules, found)

    def _explain(self, difference: Difference, held: Held) -> str:
        reason = difference.sentence() if difference else f"the last push was of revision {held.pushed.revision}"
        remedy = "run `opagate policy push`"
        if held.bundles:
            remedy = (
                "mend the folder (`opagate policy check` has OPA's own errors), or restart OPA if the folder is right"
            )
        return f"OPA has not taken the configured policy from {self._folders.policy}: {reason}; {remedy}"


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
        """Take the OPA. `stale_after` is in seconds. If it is infinite, or with an agreement, OPA is not asked for the age of its bundles."""
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
    def facts(self) -> FactBook:
        """Return the declared facts of the configured policy that OPA holds. Of another policy the gateway knows none."""
        return NO_FACTS if self._agreement is None else self._agreement.facts

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
