"""Stops for operators: `opagate stop` and `opagate resume` on the Unix socket `<state>/stops.sock`.

| request | answer |
|---|---|
| `{"do": "list"}` | `{"ok": [stop, …]}` |
| `{"do": "stop", "chosen": {"scope": "agent", "name": …}, "reason": …, "until": …}` (see `Selection`) | `{"ok": {"stop", "ended"}}` |
| `{"do": "resume", "id": …, "reason": …}`, or with `chosen` | `{"ok": [stop, …]}`: these are no longer in force |

A refused request is answered with `{"error": {"code", "message", "remedy"}}`. `OperatorAccounts` names the operators.
"""

from __future__ import annotations

from typing import Any, Literal

from msgspec import Struct, structs

from gateway import reasons
from gateway.authority.stops.model import Selection, describe_stop
from gateway.authority.stops.switch import LONGEST_REASON, StopOrder, StopSwitch
from gateway.errors import GatewayError
from gateway.model.decision import Reason
from gateway.operators import OperatorAccounts, OperatorName, Operators


class StopOperation(Struct, frozen=True, forbid_unknown_fields=True):
    """One request of an operator."""

    do: Literal["list", "stop", "resume"]
    chosen: Selection | None = None
    id: str = ""
    reason: str = ""
    until: float | None = None


class StopOperators(Operators[StopOperation]):
    """Answers to operators about stops."""

    def __init__(self, switch: StopSwitch, accounts: OperatorAccounts) -> None:
        super().__init__(StopOperation, "stop", accounts)
        self._switch = switch

    async def _do(self, request: StopOperation, operator: OperatorName, /) -> Any:
        by = {"id": operator.id, "issuer": operator.issuer, "channel": "socket"}
        try:
            match request.do:
                case "list":
                    return [describe_stop(stop) for stop in sorted(self._switch.register, key=lambda stop: stop.at)]
                case "stop":
                    return await self._stop(request, by)
                case "resume":
                    return await self._resume(request, by)
        except GatewayError as error:
            return reasons.reason_of(error)

    async def _stop(self, request: StopOperation, by: dict[str, str]) -> Any:
        if request.chosen is None:
            return reasons.STOP_INVALID.reason()
        found = await self._switch.stop(StopOrder(request.chosen, request.reason, request.until), by)
        if isinstance(found, Reason):
            return found
        stop, ended = found
        return {"stop": describe_stop(stop), "ended": structs.asdict(ended)}

    async def _resume(self, request: StopOperation, by: dict[str, str]) -> Any:
        if not 0 < len(request.reason.strip()) <= LONGEST_REASON:
            return reasons.STOP_REASON.reason(longest=LONGEST_REASON)
        stops = self._switch.find(request.id, request.chosen)
        await self._switch.resume(stops, by, request.reason.strip())
        return [describe_stop(stop) for stop in stops] or reasons.STOP_UNKNOWN.reason()
