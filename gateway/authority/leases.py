"""The leases of this gateway: lent to calls, and ended at once. `fleet.Fleet` has those of other gateways.

A lease is on disk and in the journal before its broker is asked. When it ends, its value leaves memory in the same turn of the event
loop: from then on no call carries it. Only then the broker is asked to end it (`ending.LeaseEnder`).
"""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Final

import structlog
from msgspec import Struct, structs

from gateway.authority import state
from gateway.authority.model import BrokerRefusal, Issued, Lease, LeaseRequest
from gateway.authority.narrowing import PermittedLeases, find_excess
from gateway.authority.register import LeaseRegister, Terms, terms_of
from gateway.base.concurrency.background import to_the_end
from gateway.base.steady_clock import SteadyClock
from gateway.model import reasons
from gateway.model.call import OpenLeases
from gateway.model.errors import GatewayError

if TYPE_CHECKING:
    from gateway.authority.broker import Broker
    from gateway.authority.ending import LeaseEnder, LeaseRecord
    from gateway.authority.model import Cause, Credential, LeaseGrounds
    from gateway.model.caller import Principal

log = structlog.get_logger("gateway.leases")

ISSUE: Final = 15.0
"""Seconds for a broker to issue a credential."""
MARGIN: Final = 2.0
"""Seconds of life below which a lease serves no further call."""
MAX_OPEN: Final = 20_000
MAX_OF_TASK: Final = 256
MAX_FAILURES: Final = 10_000
SWEPT: Final = 256
"""Leases that a sweep looks at in one turn of the event loop."""
_UNKNOWN_LIFE: Final = 3600.0
"""Seconds that a credential may live whose issuer was asked and whose answer was lost."""
_FIRST_PAUSE: Final = 0.5
_LONGEST_PAUSE: Final = 30.0


class Lent(Struct, frozen=True):
    """A lease that a call may carry, with its value."""

    lease: Lease
    credential: Credential

    def __repr__(self) -> str:
        return f"Lent({self.lease.id!r})"


class Failures(Struct):
    """Failed requests for the same terms in a row, and the time before which the broker is not asked again."""

    count: int = 0
    until: float = 0.0


async def _know_all(_task: str) -> None:
    """Return at once: no other gateway ends a task."""


class LeaseFunctions(Struct, frozen=True):
    """Functions of the gateway for its leases.

    `clock` gives seconds since the epoch, `elapsed` seconds that no setting of the clock changes. `is_open` tells whether a task
    still is. `fingerprint` names a value. `on_issued` hears of each value before any call carries it, and of the values
    kept since the gateway before this one. `is_barred` tells whether nothing may be lent for a request: the login behind it was
    ended, or an operator has stopped it. `catch_up` takes in what other gateways did with a task. `replica` names this gateway.
    """

    clock: Callable[[], float]
    is_open: Callable[[str, float], bool]
    fingerprint: Callable[[str], str]
    on_issued: Callable[[Lease, Credential], None] = lambda _lease, _credential: None
    on_ending: Callable[[Lease, Cause], None] = lambda _lease, _cause: None
    is_barred: Callable[[LeaseRequest], bool] = lambda _request: False
    elapsed: Callable[[], float] = time.monotonic
    catch_up: Callable[[str], Awaitable[None]] = _know_all
    replica: str = ""


class Leases:
    """Credentials lent to tasks. `others` has the leases of other gateways, as of the last look. All methods run on one event loop."""

    def __init__(
        self,
        register: LeaseRegister,
        brokers: Mapping[str, Broker],
        record: LeaseRecord,
        ender: Callable[[Callable[[], float]], LeaseEnder],
        hooks: LeaseFunctions,
        *,
        others: LeaseRegister,
    ) -> None:
        self._register = register
        self._brokers = brokers
        self._record = record
        self._hooks = hooks
        self._clock = SteadyClock(hooks.clock, hooks.elapsed)
        self._ender = ender(self.now)
        self._values: dict[str, Credential] = {}
        self._deadlines: dict[str, float] = {}
        self._permitted = PermittedLeases()
        self._by_terms: dict[Terms, str] = {}
        self._terms: dict[str, Terms] = {}
        self._flights: dict[Terms, asyncio.Task[Lent | BrokerRefusal]] = {}
        self._doomed: dict[str, Cause] = {}
        self._failures: dict[Terms, Failures] = {}
        self.others = others

    def now(self) -> float:
        """Return the time. It never goes back."""
        return self._clock.now()

    # --- for calls -------------------------------------------------------------------------------------

    def find(self, request: LeaseRequest) -> Lent | None:
        """Return the lease with the terms of a request. It ends no later than the request permits."""
        identifier = self._by_terms.get(terms_of(request.task, request.upstream, request.scope))
        if identifier is None or self._is_due(identifier, request.renew_early):
            return None
        return self._find_lent(identifier, request.expires)

    async def lend(self, broker: str, request: LeaseRequest, decision: str | None = None) -> Lent | BrokerRefusal:
        """Return the lease with the terms of a request. Parallel calls share one request to the broker.

        `decision` is the id of the call. Raises `JournalError` and `StoreError`.
        """
        terms = terms_of(request.task, request.upstream, request.scope)
        while (present := self.find(request)) is None:
            flight, is_own = self._flights.get(terms), False
            if flight is None:
                refusal = self._object(broker, request, terms)
                if refusal is not None:
                    return refusal
                flight, is_own = (
                    asyncio.ensure_future(self._issue(self._brokers[broker], request, terms, decision)),
                    True,
                )
                self._flights[terms] = flight
                flight.add_done_callback(lambda _done: self._flights.pop(terms, None))
            lent = await asyncio.shield(flight)
            if isinstance(lent, BrokerRefusal):
                return lent
            if self._find_lent(lent.lease.id, lent.lease.expires) is None:
                return _ENDED
            if is_own:
                return lent
        return present

    def note_rejected(self, lent: Lent) -> None:
        """Note that the upstream rejected a credential (401). The lease ends once, and the next request for one has to wait longer each time."""
        terms = self._terms.get(lent.lease.id)
        if terms is not None and lent.lease.id in self._values:
            self.end([lent.lease], "upstream-401")
            self._note_failure(terms)

    def note_accepted(self, lent: Lent) -> None:
        """Note that the upstream accepted a credential."""
        if self._failures and (terms := self._terms.get(lent.lease.id)) is not None:
            self._failures.pop(terms, None)

    # --- ends ------------------------------------------------------------------------------------------

    def end_task(self, task: str, cause: Cause) -> int:
        """End all leases of a task, and return their number."""
        return self.end(self._register.of_task(task), cause)

    def end_all(self, chosen: Callable[[Lease], bool], cause: Cause) -> int:
        """End the leases for which `chosen` is true, and return their number."""
        return self.end([lease for lease in self._register if chosen(lease)], cause)

    def end_callers(self, is_chosen: Callable[[Principal], bool], cause: Cause) -> int:
        """End the leases of callers for which `is_chosen` is true, and return their number."""
        return self.end([lease for lease, grounds in self.permitted() if is_chosen(grounds.principal)], cause)

    def end(self, leases: Iterable[Lease], cause: Cause) -> int:
        """End leases. No call carries their values once this returns. Returns the number of leases whose end began."""
        now, ended = self.now(), 0
        for lease in leases:
            if lease.state == "requested":
                # The broker is being asked. The end begins with its answer.
                self._doomed.setdefault(lease.id, cause)
                ended += 1
            elif lease.state == "active":
                self._begin_end(lease, cause, now)
                ended += 1
        return ended

    def permitted(self) -> tuple[tuple[Lease, LeaseGrounds], ...]:
        """Return the leases that a policy permitted and that have not begun to end, with the grounds."""
        return self._with_grounds(self._permitted.all())

    def outdated(self, revision: str) -> tuple[tuple[Lease, LeaseGrounds], ...]:
        """Return the permitted leases that no policy of this revision permitted."""
        return self._with_grounds(self._permitted.outdated(revision))

    def _with_grounds(self, found: Iterable[tuple[str, LeaseGrounds]]) -> tuple[tuple[Lease, LeaseGrounds], ...]:
        leases = ((self._register.get(identifier), grounds) for identifier, grounds in found)
        return tuple((lease, grounds) for lease, grounds in leases if lease is not None)

    def confirm(self, identifier: str, revision: str) -> None:
        """Note that the policy of this revision permits a lease too."""
        self._permitted.confirm(identifier, revision)

    async def abandon(self, identifier: str, reason: str) -> Lease | None:
        """Give up the end of a lease, on the word of an operator. Returns `None` unless the lease is ending or stuck."""
        lease = self._register.get(identifier)
        if lease is None or lease.state not in {"ending", "stuck"}:
            return None
        abandoned = state.abandon(lease, reason)
        self._ender.stop(identifier)
        self._register.remove(identifier)
        await to_the_end(self._record.note(abandoned, self.now()))
        return abandoned

    # --- life ------------------------------------------------------------------------------------------

    def take_over(self, lease: Lease, value: Credential | None) -> None:
        """End a lease of a gateway that has ended. `value` is its kept value."""
        ending = state.begin_end(lease, "restart", self.now())
        self._register.put(ending)
        if value is not None:
            self._hooks.on_issued(ending, value)
        self._ender.start(ending, value)

    def list_tasks(self) -> frozenset[str]:
        """Return the tasks with a lease that calls may carry."""
        return frozenset(
            each.task for each in self._register if each.is_of_task and each.state in {"requested", "active"}
        )

    async def sweep(self) -> None:
        """End leases after their time, and leases of closed tasks. Restart each end after a defect."""
        for number, identifier in enumerate([lease.id for lease in self._register]):
            if number % SWEPT == SWEPT - 1:
                await asyncio.sleep(0)
            if (lease := self._register.get(identifier)) is not None:
                self._sweep_one(lease, self.now())
        now = self.now()
        for terms in [terms for terms, failed in self._failures.items() if failed.until + _LONGEST_PAUSE < now]:
            del self._failures[terms]

    def _sweep_one(self, lease: Lease, now: float) -> None:
        if lease.state == "active" and self._is_over(lease):
            self.end([lease], lease.ends_by)
        elif lease.state == "active" and not self._hooks.is_open(lease.task, now):
            self.end([lease], "task-expired")
        elif lease.state in {"ending", "stuck"}:
            self._ender.start(lease, None)

    async def catch_up(self) -> None:
        """Write the entries that the journal owes since an outage."""
        await self._record.catch_up()

    async def drain(self, seconds: float) -> tuple[Lease, ...]:
        """End all leases, wait for their proofs at most so many seconds, and return the leases without proof."""
        loop = asyncio.get_running_loop()
        latest = loop.time() + seconds
        self.end_all(lambda _lease: True, "shutdown")
        if self._flights:
            # A broker that is being asked may still answer with a credential.
            await asyncio.wait(list(self._flights.values()), timeout=seconds)
        self._ender.stop_waiting()
        await self._ender.settle(max(0.0, latest - loop.time()))
        await self._ender.aclose()
        await self._record.catch_up()
        return tuple(self._register)

    # --- for people ------------------------------------------------------------------------------------

    def own(self) -> tuple[Lease, ...]:
        """Return the open leases of this gateway."""
        return tuple(self._register)

    def all(self) -> tuple[Lease, ...]:
        """Return the open leases of all gateways."""
        return (*self._register, *self.others)

    def get(self, identifier: str) -> Lease | None:
        """Return an open lease of any gateway."""
        return self._register.get(identifier) or self.others.get(identifier)

    def count(self, task: str) -> OpenLeases | None:
        """Return the numbers of a task's open and stuck leases, `None` if it has no open lease."""
        found = self.of_task(task)
        return OpenLeases(len(found), sum(lease.state == "stuck" for lease in found)) if found else None

    def of_task(self, task: str) -> tuple[Lease, ...]:
        """Return the open leases of a task at all gateways."""
        return (*self._register.of_task(task), *self.others.of_task(task))

    # --- small parts -----------------------------------------------------------------------------------

    def _is_due(self, identifier: str, early: float) -> bool:
        """Return whether a lease is so near its end that the next call gets another."""
        lease = self._register.get(identifier)
        return lease is not None and self._is_over(lease, early * (lease.expires - lease.requested))

    def _find_lent(self, identifier: str, until: float) -> Lent | None:
        credential, lease = self._values.get(identifier), self._register.get(identifier)
        if credential is None or lease is None or lease.expires > until or self._is_over(lease, MARGIN):
            return None
        return Lent(lease, credential)

    def _is_over(self, lease: Lease, margin: float = 0.0) -> bool:
        return self._clock.is_over(lease.expires, self._deadlines.get(lease.id, math.inf), margin)

    def _object(self, broker: str, request: LeaseRequest, terms: Terms) -> BrokerRefusal | None:
        """Return the refusal of a request that no broker is asked about."""
        found = self._brokers.get(broker)
        if found is None:
            return BrokerRefusal(reasons.CREDENTIAL_BROKER.reason(broker=broker))
        if self._register.has_stuck(broker) or self.others.has_stuck(broker):
            return _STUCK
        if request.seconds < max(found.min_ttl, MARGIN):
            return _TOO_SHORT
        if len(self._register) >= MAX_OPEN or len(self.of_task(request.task)) >= MAX_OF_TASK:
            return _TOO_MANY
        failed = self._failures.get(terms)
        if failed is not None and self.now() < failed.until:
            seconds = max(1, round(failed.until - self.now()))
            return BrokerRefusal(reasons.CREDENTIAL_PAUSED.reason(seconds=seconds), may_retry=True)
        return None

    async def _issue(
        self, broker: Broker, request: LeaseRequest, terms: Terms, decision: str | None
    ) -> Lent | BrokerRefusal:
        if self._hooks.is_barred(request):
            return _ENDED
        lease = _make_lease(request, broker, self._hooks.replica)
        self._register.put(lease)
        if request.grounds is not None:
            self._permitted.put(lease.id, request.grounds)
        try:
            await self._record.request(lease, decision)
        except BaseException:
            self._register.remove(lease.id)
            self._permitted.remove(lease.id)
            self._doomed.pop(lease.id, None)
            raise
        answer, prepared = await self._ask(broker, request, lease)
        lease = structs.replace(lease, handle=prepared)
        self._register.put(lease)
        if isinstance(answer, BrokerRefusal):
            self._note_failure(terms)
            await self._give_up(lease, answer, may_exist=not answer.is_certain and (bool(prepared) or answer.may_retry))
            return answer
        return await self._accept(lease, answer, terms, find_excess(broker.kind, broker.revocable, request, answer))

    async def _ask(
        self, broker: Broker, request: LeaseRequest, lease: Lease
    ) -> tuple[Issued | BrokerRefusal, dict[str, str]]:
        """Return the broker's answer, and its prepared handle. Never raises for the broker."""
        prepared: dict[str, str] = {}
        try:
            async with asyncio.timeout(ISSUE):
                before = await broker.prepare(request)
                if isinstance(before, BrokerRefusal):
                    return before, prepared
                if before:
                    prepared = before
                    await self._record.keep(structs.replace(lease, handle=prepared))
                return await broker.issue(request, prepared), prepared
        except TimeoutError:
            return _late(broker.name), prepared
        except GatewayError as error:
            told = reasons.reason_of(error)
            reason = reasons.CREDENTIAL_FAILED.reason(broker=broker.name, problem=error.message, remedy=told.remedy)
            return BrokerRefusal(reason, may_retry=True), prepared
        except Exception:
            log.exception("defect", broker=broker.name)
            return _late(broker.name), prepared

    async def _accept(
        self, lease: Lease, issued: Issued, terms: Terms, excess: BrokerRefusal | None
    ) -> Lent | BrokerRefusal:
        """Put an issued credential into use, unless its lease was ended meanwhile or it is wider than the request."""
        now = self.now()
        fingerprints = tuple(map(self._hooks.fingerprint, issued.credential.secrets()))
        active = state.activate(lease, issued, fingerprints)
        self._register.put(active)
        self._values[lease.id] = issued.credential
        self._deadlines[lease.id] = self._clock.deadline(active.expires)
        self._hooks.on_issued(active, issued.credential)
        cause = self._doomed.pop(lease.id, None)
        if cause is None and not self._hooks.is_open(lease.task, now):
            cause = "task-expired"
        if cause is not None or excess is not None:
            self.end([active], cause or "not-issued")
            return excess or _ENDED
        try:
            await self._record.issue(active, issued.credential, now)
            # Another gateway may have ended the task before the record of this lease was there to be seen.
            if active.is_of_task:
                await self._hooks.catch_up(active.task)
        except BaseException:
            self.end([active], "journal-outage")
            raise
        if lease.id not in self._values:
            return _ENDED
        self._by_terms[terms] = lease.id
        self._terms[lease.id] = terms
        return Lent(active, issued.credential)

    async def _give_up(self, lease: Lease, refusal: BrokerRefusal, *, may_exist: bool) -> None:
        """Record a refusal. If the issuer may have made a credential all the same, end it."""
        cause = self._doomed.pop(lease.id, None)
        if may_exist:
            self._begin_end(lease, cause or "not-issued", self.now())
            return
        self._register.remove(lease.id)
        self._permitted.remove(lease.id)
        await self._record.note(state.fail(lease, refusal), self.now())

    def _begin_end(self, lease: Lease, cause: Cause, now: float) -> None:
        credential = self._values.pop(lease.id, None)
        self._deadlines.pop(lease.id, None)
        self._permitted.remove(lease.id)
        terms = self._terms.pop(lease.id, None)
        if terms is not None and self._by_terms.get(terms) == lease.id:
            del self._by_terms[terms]
        ending = state.begin_end(lease, cause, now)
        self._register.put(ending)
        self._ender.start(ending, credential)
        self._hooks.on_ending(ending, cause)

    def _note_failure(self, terms: Terms) -> None:
        failed = self._failures.setdefault(terms, Failures())
        failed.until = self.now() + min(_FIRST_PAUSE * 2**failed.count, _LONGEST_PAUSE)
        failed.count += 1
        while len(self._failures) > MAX_FAILURES:
            del self._failures[next(iter(self._failures))]


def _make_lease(request: LeaseRequest, broker: Broker, replica: str) -> Lease:
    principal = request.principal
    return Lease(
        id=request.id,
        task=request.task,
        owner=principal.key,
        user=None if principal.user is None else principal.user.id,
        agent=principal.id,
        upstream=request.upstream,
        audience=request.audience,
        broker=broker.name,
        kind=broker.kind,
        scope=request.scope,
        requested=request.asked,
        expires=request.expires,
        dies=request.asked + max(request.seconds, _UNKNOWN_LIFE),
        ends_by=request.ends_by,
        known_as=principal.known_as,
        replica=replica,
    )


def _late(broker: str) -> BrokerRefusal:
    return BrokerRefusal(reasons.CREDENTIAL_LATE.reason(broker=broker), may_retry=True)


_ENDED: Final = BrokerRefusal(reasons.CREDENTIAL_ENDED.reason())
_STUCK: Final = BrokerRefusal(reasons.CREDENTIAL_STUCK.reason())
_TOO_SHORT: Final = BrokerRefusal(reasons.CREDENTIAL_TTL.reason())
_TOO_MANY: Final = BrokerRefusal(reasons.CREDENTIAL_TOO_MANY.reason())
