"""Stops: the ones in force, and the switch that refuses calls at once and lets them go on."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

from starlette.responses import Response
from starlette.routing import Route

from gateway.authority.stops.model import SCOPES, Selection, describe_stop
from gateway.authority.stops.switch import StopOrder
from gateway.model import reasons
from gateway.model.decision import Reason
from gateway.surfaces.console.rendering import see_other
from gateway.surfaces.console.visits import ConsoleVisit, action_route, page_route, read_reason

if TYPE_CHECKING:
    from gateway.authority.stops.switch import StopSwitch
    from gateway.surfaces.console.visits import ConsoleParts

PATH: Final = "/console/stops"


def stop_routes(console: ConsoleParts) -> list[Route]:
    """Return the routes of stops."""
    return [
        page_route(console, PATH, "viewer", _list),
        action_route(console, f"{PATH}/stop", "operator", _stop),
        action_route(console, f"{PATH}/resume", "operator", _resume),
    ]


def _switch(visit: ConsoleVisit) -> StopSwitch:
    switch = visit.console.gateway.stops.switch
    assert switch is not None  # noqa: S101 - a gateway that serves has a switch
    return switch


async def _list(visit: ConsoleVisit) -> Response:
    found = sorted(_switch(visit).register, key=lambda stop: stop.at)
    return visit.page(
        "stops.html",
        stops=[describe_stop(stop) for stop in found],
        may_stop=visit.session.visitor.has_role("operator"),
        scopes=SCOPES,
        done=visit.request.query_params.get("done", "")[:8],
    )


async def _stop(visit: ConsoleVisit) -> Response:
    """Stop the chosen calls. The journal has the person and the reason."""
    reason = read_reason(visit)
    if isinstance(reason, Reason):
        return visit.refuse(reason)
    order = _read_order(visit, reason)
    found = order if isinstance(order, Reason) else await _switch(visit).stop(order, _describe_person(visit))
    return visit.refuse(found) if isinstance(found, Reason) else see_other(f"{PATH}?done=stopped")


async def _resume(visit: ConsoleVisit) -> Response:
    """Let the calls of one stop go on."""
    reason = read_reason(visit)
    if isinstance(reason, Reason):
        return visit.refuse(reason)
    switch = _switch(visit)
    stops = switch.find(visit.value("id"), None)
    if not stops:
        return visit.refuse(reasons.STOP_UNKNOWN.reason())
    await switch.resume(stops, _describe_person(visit), reason)
    return see_other(f"{PATH}?done=resumed")


def _read_order(visit: ConsoleVisit, reason: str) -> StopOrder | Reason:
    scope, name, until = visit.value("scope"), visit.value("name").strip(), visit.value("until").strip()
    if scope not in SCOPES:
        return reasons.STOP_INVALID.reason()
    chosen = Selection(scope, name, visit.value("issuer").strip() or None)
    try:
        ends = None if not until else datetime.fromisoformat(until)
    except ValueError:
        return reasons.STOP_TIME.reason()
    seconds = None if ends is None else (ends if ends.tzinfo else ends.replace(tzinfo=UTC)).timestamp()
    return StopOrder(chosen, reason, seconds)


def _describe_person(visit: ConsoleVisit) -> dict[str, Any]:
    person = visit.session.visitor.person
    return {"id": person.id, "issuer": person.issuer, "channel": "console"}
