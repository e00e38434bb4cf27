"""Observe mode: the gateway decides and records each call as ever, and lets calls pass that policy would refuse.

Some refusals stand all the same: `policy_codes.ALWAYS_ENFORCED`. Pure, but for the clock that `ObserveMode` is given.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterable, Mapping
from itertools import chain
from typing import TYPE_CHECKING

from msgspec import Struct, structs

from gateway.model.reasons.policy_codes import ALWAYS_ENFORCED, FLOWS
from gateway.policy.document import timestamp
from gateway.policy.verdict import APPROVERS

if TYPE_CHECKING:
    from gateway.model.decision import Decision, Reason
    from gateway.model.facts import SystemFact
    from gateway.model.wire import Json


class ObservedUpstream(Struct, frozen=True):
    """An upstream for which policy is not enforced. `until` is in seconds since the epoch, infinite without an end.

    `behind` are the systems behind an aggregator.
    """

    audience: str
    until: float
    behind: tuple[str, ...] = ()


class ObserveMode(Struct):
    """The upstreams for which policy is not enforced, by name. `clock` gives seconds since the epoch and never goes back.

    `enforced` are the audiences of the other upstreams. Both change with the configuration.
    """

    upstreams: Mapping[str, ObservedUpstream]
    enforced: frozenset[str]
    clock: Callable[[], float]
    tell: Callable[[], object] = lambda: None
    """Called after a change of the configuration."""

    def adopt(self, mode: ObserveMode) -> None:
        """Observe the upstreams of a changed configuration from now on."""
        self.upstreams, self.enforced = mode.upstreams, mode.enforced
        self.tell()

    def is_on(self, upstream: str) -> bool:
        """Return whether calls of an upstream pass that policy would refuse."""
        found = self.upstreams.get(upstream)
        return found is not None and self.clock() < found.until

    def find_open(self) -> dict[str, float]:
        """Return the end for each upstream that is observed now."""
        now = self.clock()
        return {name: found.until for name, found in self.upstreams.items() if now < found.until}

    def is_guarded(self, systems: Iterable[SystemFact]) -> bool:
        """Return whether any of these systems is not only observed. A system that the configuration has no more may have been
        enforced when it was read."""
        names, ended, observed = {system.audience for system in systems}, set[str](), set[str]()
        for name, found in self.upstreams.items():
            if self.is_on(name):
                observed.update((found.audience, *found.behind))
            else:
                ended.add(found.audience)
        return not names <= observed - ended - self.enforced


def describe_ends(observed: Mapping[str, float]) -> dict[str, Json]:
    """Return the end of observe mode for each upstream in RFC 3339; `null` without an end."""
    return {name: None if math.isinf(until) else timestamp(until) for name, until in sorted(observed.items())}


def let_pass(decision: Decision, supported: Collection[str], *, is_guarded: bool) -> Decision:
    """Return the decision on a call in observe mode: permission with the verdict in `would`, or a refusal that stands.

    `supported` are the obligations that the gateway carries out. `is_guarded`: the task has read confidential data of a system
    for which policy is enforced. Such data leaves through no observed upstream.
    """
    if decision.effect == "allow" or decision.undecided:
        return decision
    beside = decision.unenforced
    if decision.effect == "deny" and beside is None:
        # A policy of an older contract does not say what its denial hides.
        return decision
    reasons = tuple(_each_code_once(decision.reasons, () if beside is None else beside.asks))
    standing = [reason for reason in reasons if _stands(reason.code, is_guarded=is_guarded)]
    if standing:
        rest = [reason for reason in reasons if reason not in standing]
        return structs.replace(decision, reasons=(*standing, *rest), unenforced=None)
    obligations = decision.obligations if beside is None else beside.obligations
    owed = tuple(each for each in obligations if each.id != APPROVERS)
    if any(each.id not in supported for each in owed):
        return structs.replace(decision, unenforced=None)
    return structs.replace(
        decision, effect="allow", reasons=reasons, obligations=owed, unenforced=None, would=decision.effect
    )


def _stands(code: str, *, is_guarded: bool) -> bool:
    return code in ALWAYS_ENFORCED or (is_guarded and code in FLOWS)


def _each_code_once(denials: Iterable[Reason], asks: Iterable[Reason]) -> Iterable[Reason]:
    """Yield the reasons of a denial, then the questions with other codes."""
    told = set[str]()
    for reason in chain(denials, asks):
        if reason.code not in told:
            told.add(reason.code)
            yield reason
