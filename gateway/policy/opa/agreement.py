"""The comparison of an OPA with the configured policy: its folder, the grants and the overlay.

OPA loads by itself, and reports nothing of a folder that it could not load. So the gateway compares OPA's contents with the
configured policy. It does so after each change of the folder's files, of OPA's bundles or of the last push, and after OPA was
away. A list of OPA's policies has 2 MB, therefore no other look reads it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Final

from gateway.model.errors import PolicyBroken
from gateway.policy.folder import folders
from gateway.policy.folder.bundle import Bundle, Fingerprint
from gateway.policy.folder.folders import PolicyFolders
from gateway.policy.folder.reload import read_in_thread
from gateway.policy.opa import contents as opa_contents
from gateway.policy.opa.client import Held, OpaClient
from gateway.policy.opa.contents import Difference, HeldModule

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
