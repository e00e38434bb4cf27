"""The passkeys of an approver: the list, the registration by an invitation, and the removal."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from starlette.responses import Response
from starlette.routing import Route

from gateway.model import reasons
from gateway.model.decision import Reason
from gateway.surfaces.console.approvals import for_approver, options, people_of
from gateway.surfaces.console.rendering import see_other
from gateway.surfaces.console.visits import action_route, page_route

if TYPE_CHECKING:
    from gateway.authority.approvals.rules import Approver
    from gateway.surfaces.console.visits import ConsoleParts, ConsoleVisit

PATH: Final = "/console/passkeys"


def passkey_routes(console: ConsoleParts) -> list[Route]:
    """Return the routes of passkeys; none without a desk."""
    if console.gateway.people is None:
        return []
    return [
        page_route(console, PATH, "approver", for_approver(_list)),
        action_route(console, f"{PATH}/options", "approver", for_approver(_begin)),
        action_route(console, f"{PATH}/register", "approver", for_approver(_register)),
        action_route(console, f"{PATH}/remove", "approver", for_approver(_remove)),
    ]


async def _list(visit: ConsoleVisit, approver: Approver) -> Response:
    return await _show(visit, approver)


async def _show(visit: ConsoleVisit, approver: Approver, refused: Reason | None = None) -> Response:
    """Show the person's passkeys. A refusal is told on the same page."""
    passkeys = people_of(visit).office.passkeys
    return visit.page(
        "passkeys.html",
        status=200 if refused is None else reasons.status_of(refused.code),
        keys=await passkeys.list_of(approver.person),
        problem=passkeys.find_problem(),
        refused=refused,
        person=approver.person,
        done=visit.request.query_params.get("done", ""),
    )


async def _begin(visit: ConsoleVisit, approver: Approver) -> Response:
    """Answer with the options by which the browser makes a passkey."""
    return options(await people_of(visit).office.passkeys.begin_registration(approver.person, visit.value("code")))


async def _register(visit: ConsoleVisit, approver: Approver) -> Response:
    code, name, made = visit.value("code"), visit.value("name"), visit.value("signature")
    key = await people_of(visit).office.passkeys.register(approver.person, code, name, made)
    return await _show(visit, approver, key) if isinstance(key, Reason) else see_other(f"{PATH}?done=registered")


async def _remove(visit: ConsoleVisit, approver: Approver) -> Response:
    if not visit.is_fresh():
        return visit.refuse(reasons.CONSOLE_FRESH.reason())
    by = {"id": approver.person.id, "issuer": approver.person.issuer, "channel": approver.person.channel}
    key = await people_of(visit).office.passkeys.remove(visit.value("id"), by, approver.person)
    return await _show(visit, approver, key) if isinstance(key, Reason) else see_other(f"{PATH}?done=removed")
