"""The switch of operators: stops of calls, their effects, and their operations."""

from __future__ import annotations

import secrets
import time
from typing import TYPE_CHECKING, Final, Literal, cast

import structlog
from msgspec import Struct, structs

from gateway.authority.stops.model import CAPACITY, ListedStop, Selection, Stop, StopRegister, describe_stop
from gateway.base.concurrency.background import to_the_end
from gateway.base.control.operations import NoFields, Operation
from gateway.base.store.records import FollowedRecords, RecordKind
from gateway.model import reasons
from gateway.model.decision import Reason

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from gateway.base.control.operations import Control, OperatorName
    from gateway.base.store.records import Records
    from gateway.model.wire import JsonObject


log = structlog.get_logger("gateway.stops")

# A stop that is not read would let calls go on.
STOPS: Final = RecordKind("stop", Stop, "the stopped calls go on", is_vital=True)
KIND: Final = "switch"
"""Of entries in the journal. `stop` is the end of a gateway there."""
LONGEST_NAME: Final = 2048
LONGEST_REASON: Final = 500
Action = Literal["stopped", "resumed", "expired"]


class StopOrder(Struct, frozen=True, forbid_unknown_fields=True):
    """An order of an operator. `until` is in seconds since the epoch."""

    chosen: Selection
    reason: str = ""
    until: float | None = None


class StopEffects(Struct, frozen=True):
    """The numbers of leases, answers and questions that a stop ended, and of stopped processes."""

    leases: int = 0
    answers: int = 0
    questions: int = 0
    processes: int = 0


class StopSwitch:
    """The stops of this gateway. `clock` gives seconds since the epoch, and `elapsed` seconds that no setting of the clock changes.

    `end` ends what a stop covers. `find_problem` returns the reason against a selection that cannot cover anything.
    """

    def __init__(
        self,
        register: StopRegister,
        records: Records[Stop],
        append: Callable[[str, JsonObject], Awaitable[None]],
        *,
        clock: Callable[[], float],
        elapsed: Callable[[], float] = time.monotonic,
        end: Callable[[Stop], Awaitable[StopEffects]],
        find_problem: Callable[[Selection], Reason | None] = lambda _chosen: None,
    ) -> None:
        self.register = register
        self._records = records
        self._followed = FollowedRecords(records)
        self._append = append
        self._clock = clock
        self._elapsed = elapsed
        self._end = end
        self._find_problem = find_problem
        self._deadlines: dict[str, float] = {}

    async def begin(self) -> None:
        """Go on with the stops of the gateway before this one, which are in the register. Raises `GatewayError`."""
        for stop in self.register:
            self._put(stop)
            if not stop.is_recorded:
                await self._record(stop)
        if self.register.stops:
            log.warning("stops.restored", stops=len(self.register.stops))

    async def stop(self, order: StopOrder, by: Mapping[str, str]) -> tuple[Stop, StopEffects] | Reason:
        """Stop calls on the word of an operator, also if its connection ends meanwhile.

        Raises `GatewayError` if the stop cannot be kept. It is in force all the same, until the gateway ends.
        """
        refusal = self._find_fault(order)
        if refusal is not None:
            return refusal
        return await to_the_end(self._stop(order, by))

    async def _stop(self, order: StopOrder, by: Mapping[str, str]) -> tuple[Stop, StopEffects]:
        identifier = f"stop-{secrets.token_hex(6)}"
        stop = Stop(identifier, order.chosen, self._clock(), order.until, order.reason.strip(), dict(by))
        self._put(stop)
        try:
            await self._records.put(stop.id, stop)
            self._followed.note(stop.id)
            await self._record(stop)
        finally:
            effects = await self._end(stop)
            log.warning("stop.began", id=stop.id, scope=stop.chosen.scope, **structs.asdict(effects))
        return stop, effects

    async def resume(self, stops: tuple[Stop, ...], by: Mapping[str, str], reason: str) -> None:
        """Let the calls of some stops go on. Other stops stay in force. Raises `GatewayError`: then the stop stays, too."""
        for stop in stops:
            await to_the_end(self._take_out(stop, "resumed", {"by": dict(by), "reason": reason}))

    async def follow(self) -> None:
        """Take over what other gateways on the same records stopped and resumed. Raises `GatewayError`."""
        known = frozenset(self.register.stops)
        changed, gone = await self._followed.look()
        # A stop that is known no more was taken out while the records were read.
        begun = [stop for name, stop in changed.items() if name not in known and name not in self.register.stops]
        # All are in force before any work ends: an error there must lose no stop.
        for stop in begun:
            self._put(stop)
        for stop in begun:
            effects = await self._end(stop)
            log.warning("stop.began", id=stop.id, scope=stop.chosen.scope, **structs.asdict(effects))
        for identifier in gone:
            if (stop := self.register.remove(identifier)) is not None:
                self._deadlines.pop(identifier, None)
                log.warning("stop.over", id=stop.id, scope=stop.chosen.scope, action="elsewhere")

    async def sweep(self) -> None:
        """Take the stops out of force whose time is over. Raises `GatewayError`."""
        now = self._elapsed()
        for identifier, deadline in tuple(self._deadlines.items()):
            stop = self.register.stops.get(identifier)
            if stop is not None and now >= deadline:
                await to_the_end(self._take_out(stop, "expired", {}))

    def find(self, identifier: str, chosen: Selection | None) -> tuple[Stop, ...]:
        """Return the stop with an id, or the stops with exactly this selection."""
        return tuple(
            stop for stop in self.register if stop.id == identifier or (chosen is not None and stop.chosen == chosen)
        )

    async def _take_out(self, stop: Stop, action: Action, more: JsonObject) -> None:
        if stop.id not in self.register.stops:
            return
        entry = {**describe_stop(stop), **more, "action": action, "at": self._clock()}
        await self._append(KIND, entry)
        await self._records.remove(stop.id)
        self.register.remove(stop.id)
        self._deadlines.pop(stop.id, None)
        log.warning("stop.over", id=stop.id, scope=stop.chosen.scope, action=action)

    async def _record(self, stop: Stop) -> None:
        await self._append(KIND, {**describe_stop(stop), "action": "stopped"})
        recorded = structs.replace(stop, is_recorded=True)
        await self._records.put(stop.id, recorded)
        self.register.put(recorded)

    def _put(self, stop: Stop) -> None:
        self.register.put(stop)
        if stop.until is not None:
            # Neither a clock set back nor one set forward changes how long the stop lasts.
            self._deadlines[stop.id] = self._elapsed() + stop.until - self._clock()

    def _find_fault(self, order: StopOrder) -> Reason | None:
        """Return the reason to refuse an order, such as a past end, a missing reason, or too many stops."""
        chosen, reason = order.chosen, order.reason.strip()
        needs_name = chosen.scope != "all"
        if needs_name != bool(chosen.name) or len(chosen.name) > LONGEST_NAME:
            return reasons.STOP_INVALID.reason()
        if chosen.issuer is not None and chosen.scope not in {"agent", "user"}:
            return reasons.STOP_INVALID.reason()
        if not 0 < len(reason) <= LONGEST_REASON:
            return reasons.STOP_REASON.reason(longest=LONGEST_REASON)
        if order.until is not None and not order.until > self._clock():
            return reasons.STOP_PAST.reason()
        if len(self.register.stops) >= CAPACITY:
            return reasons.STOP_TOO_MANY.reason(most=CAPACITY)
        return self._find_problem(chosen)


class ResumeOrder(Struct, frozen=True, forbid_unknown_fields=True):
    """An order to let calls go on: the id of a stop, or exactly its selection."""

    id: str = ""
    chosen: Selection | None = None
    reason: str = ""


class BegunStop(Struct, frozen=True):
    """A stop in force, and its effects."""

    stop: ListedStop
    ended: StopEffects


LIST: Final = Operation(
    "stops/list", "operator", "List the stops in force.", list[ListedStop], "", route=("GET", "/api/stops")
)
STOP: Final = Operation(
    "stops/stop", "operator", "Refuse calls at once.", BegunStop, "", StopOrder, ("POST", "/api/stops")
)
RESUME: Final = Operation(
    "stops/resume", "operator", "Let calls go on.", list[ListedStop], "", ResumeOrder, ("POST", "/api/stops/resume")
)
OPERATIONS: Final = (LIST, STOP, RESUME)


def add_operations(control: Control, switch: StopSwitch) -> None:
    """Add the operations of stops."""

    async def list_stops(_asked: NoFields, _by: OperatorName) -> list[ListedStop]:
        return [_list_stop(each) for each in sorted(switch.register, key=lambda each: each.at)]

    async def stop(asked: StopOrder, by: OperatorName) -> BegunStop | Reason:
        found = await switch.stop(asked, by.describe())
        return found if isinstance(found, Reason) else BegunStop(_list_stop(found[0]), found[1])

    async def resume(asked: ResumeOrder, by: OperatorName) -> list[ListedStop] | Reason:
        if not 0 < len(asked.reason.strip()) <= LONGEST_REASON:
            return reasons.STOP_REASON.reason(longest=LONGEST_REASON)
        stops = switch.find(asked.id, asked.chosen)
        await switch.resume(stops, by.describe(), asked.reason.strip())
        return [_list_stop(each) for each in stops] or reasons.STOP_UNKNOWN.reason()

    control.add({LIST: list_stops, STOP: stop, RESUME: resume})


def _list_stop(found: Stop) -> ListedStop:
    return cast("ListedStop", describe_stop(found))
