"""Questions to the policy about leases that are lent already: under a new revision, after a changed pin, and at a signal.

A lease that the policy no longer keeps ends. So does a lease about which the policy gives no valid answer.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import islice
from typing import TYPE_CHECKING, Final, TypeVar, cast

import structlog

from gateway.base.concurrency.background import Job
from gateway.model.call import Context, HeldLease
from gateway.model.errors import HistoryError
from gateway.policy import document

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from gateway.authority.leases import Leases
    from gateway.authority.model import Cause, Lease, LeaseGrounds
    from gateway.history import TaskLedger, TaskRegistry
    from gateway.model.call import SignalFact
    from gateway.model.caller import Principal
    from gateway.model.target import CredentialKind, Target
    from gateway.model.wire import JsonObject
    from gateway.policy.observing import ObserveMode
    from gateway.policy.policy import Policy
    from gateway.upstreams.catalogue.catalogue import Catalogue

log = structlog.get_logger("gateway.leases")

Held = tuple["Lease", "LeaseGrounds"]
_Item = TypeVar("_Item")

ASKED_AT_ONCE: Final = 16
"""Leases in one question: some milliseconds of an embedded engine, in which the event loop stands still."""
_QUESTIONS_AT_ONCE: Final = 8
_LOOK_SECONDS: Final = 1.0
_NO_TRACE: Final = "0" * 32


class LeaseReview:
    """The open leases beside the policy in force. `clock` gives seconds since the epoch."""

    def __init__(
        self,
        leases: Leases,
        policy: Policy,
        tasks: TaskRegistry,
        ledger: TaskLedger,
        catalogue: Catalogue,
        *,
        observing: ObserveMode,
        clock: Callable[[], float],
        open_signals: Callable[[Principal], tuple[SignalFact, ...]] = lambda _principal: (),
    ) -> None:
        self._leases = leases
        self._policy = policy
        self._tasks = tasks
        self._ledger = ledger
        self._catalogue = catalogue
        self._observing = observing
        self._clock = clock
        self._open_signals = open_signals
        self._changed_pins: set[str] = set()
        self._enforced: set[str] = set()
        self._is_due = asyncio.Event()

    def start(self) -> Job:
        """Begin to look, at each change of the policy and each second."""
        self._policy.on_change(self._is_due.set)
        return Job.begin_repeating(self._look, "lease-review")

    def note_pin(self, upstream: str) -> None:
        """Have the policy asked soon about the leases for an upstream whose definitions changed."""
        self._changed_pins.add(upstream)
        self._is_due.set()

    def note_enforced(self, upstreams: Iterable[str]) -> None:
        """Have the policy asked soon about the leases for upstreams whose observe mode has ended."""
        self._enforced.update(upstreams)
        self._is_due.set()

    async def review_outdated(self) -> int:
        """Ask about each lease that another revision of the policy permitted. Return the number of ended leases.

        A call may have been decided just before the revision came into force, so a new lease can be outdated too.
        """
        return await self._ask(self._leases.outdated(self.revision), "policy-changed")

    async def review(self, is_asked: Callable[[Lease, LeaseGrounds], bool], cause: Cause) -> int:
        """Ask about the leases for which `is_asked` is true. End the leases without a yes, and return their number."""
        return await self._ask([held for held in self._leases.permitted() if is_asked(*held)], cause)

    async def _ask(self, leases: Sequence[Held], cause: Cause) -> int:
        """End the leases that the policy does not keep, and return their number."""
        revision, questions, ended = self.revision, [*self._group(leases)], 0
        for some in _portions(questions, _QUESTIONS_AT_ONCE):
            answers = await asyncio.gather(*(self._ask_kept(question) for question in some))
            for question, kept in zip(some, answers, strict=True):
                # A lease may have become active, or ended, while the policy was asked.
                present = [found for lease, _ in question if (found := self._leases.get(lease.id)) is not None]
                ended += self._leases.end((lease for lease in present if lease.id not in kept), cause)
                for lease in present:
                    self._leases.confirm(lease.id, revision)
            # The embedded engine never waits: calls go on between two questions.
            await asyncio.sleep(0)
        if questions:
            log.info("lease.reviewed", leases=sum(map(len, questions)), ended=ended, cause=cause)
        return ended

    @property
    def revision(self) -> str:
        """The revision of the policy in force, as decisions name it."""
        return self._policy.status().revision

    async def _look(self) -> None:
        try:
            async with asyncio.timeout(_LOOK_SECONDS):
                await self._is_due.wait()
        except TimeoutError:
            pass
        self._is_due.clear()
        changed, self._changed_pins = self._changed_pins, set()
        if changed:
            await self.review(lambda lease, _grounds: lease.upstream in changed, "pin-changed")
        enforced, self._enforced = self._enforced, set()
        if enforced:
            await self.review(lambda lease, _grounds: lease.upstream in enforced, "policy-changed")
        await self.review_outdated()

    async def _ask_kept(self, question: Sequence[Held]) -> frozenset[str]:
        """Return the ids of the leases that the policy keeps. The question has leases of one task."""
        try:
            asked = self._question(question)
        except (HistoryError, KeyError) as error:
            log.warning("lease.unasked", id=question[0][0].id, problem=str(error))
            return frozenset()
        return await self._policy.kept(asked, frozenset(lease.id for lease, _ in question))

    def _question(self, question: Sequence[Held]) -> JsonObject:
        """Return the input of policy. Raises `HistoryError`, and `KeyError` for an upstream that is not configured."""
        grounds, now = question[0][1], self._clock()
        task = grounds.task or self._tasks.open_implicit(grounds.principal, now)
        facts = self._ledger.facts(task, now)
        held = [
            HeldLease(
                lease.id,
                self._as_pinned(each.target),
                lease.audience,
                lease.scope.names,
                cast("CredentialKind", lease.kind),
                lease.expires,
            )
            for lease, each in question
        ]
        signals = self._open_signals(grounds.principal)
        enforced = not self._observing.is_on(question[0][0].upstream)
        context = Context(now, _NO_TRACE, None, None, task, signals=signals, enforced=enforced)
        return document.leases(grounds.principal, held, context, facts)

    def _group(self, held: Iterable[Held]) -> Iterable[tuple[Held, ...]]:
        """Return the leases by caller, task and observe mode, in portions for one question each."""
        groups: dict[tuple[str, str, bool], list[Held]] = {}
        for lease, grounds in held:
            key = lease.owner, lease.task, self._observing.is_on(lease.upstream)
            groups.setdefault(key, []).append((lease, grounds))
        for found in groups.values():
            yield from _portions(found, ASKED_AT_ONCE)

    def _as_pinned(self, target: Target) -> Target:
        """Return the target with its present pin. Its labels are those of the call that needed the credential."""
        return replace(target, pin=self._catalogue.target(target.upstream, target.type, target.name).pin)


def _portions(items: Iterable[_Item], size: int) -> Iterator[tuple[_Item, ...]]:
    left = iter(items)
    while portion := tuple(islice(left, size)):
        yield portion
