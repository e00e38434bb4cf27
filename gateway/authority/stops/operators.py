"""Stops as operations of the control interface, for operators: `opagate stop` and `opagate resume`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, cast

from msgspec import Struct

from gateway.authority.stops.model import ListedStop, Selection, Stop, describe_stop
from gateway.authority.stops.switch import LONGEST_REASON, StopEffects, StopOrder, StopSwitch
from gateway.base.control.operations import NoFields, Operation
from gateway.model import reasons
from gateway.model.decision import Reason

if TYPE_CHECKING:
    from gateway.base.control.operations import Control
    from gateway.base.control.operators import OperatorName


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
