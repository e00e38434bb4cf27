"""The tools of the upstreams: their labels and pins, the differences from the pins, and the acceptance of a changed definition."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final
from urllib.parse import quote

from starlette.responses import Response
from starlette.routing import Route

from gateway.model import reasons
from gateway.model.decision import Reason
from gateway.surfaces.console.rendering import see_other
from gateway.surfaces.console.visits import ConsoleVisit, action_route, page_route, read_reason
from gateway.upstreams.catalogue.pins import PinChange, UnpinnableDefinition, diff

if TYPE_CHECKING:
    from collections.abc import Iterable

    from gateway.model.target import Target
    from gateway.surfaces.console.visits import ConsoleParts
    from gateway.upstreams.catalogue.catalogue import Catalogue

PATH: Final = "/console/tools"


def tool_routes(console: ConsoleParts) -> list[Route]:
    """Return the routes of tools."""
    return [
        page_route(console, PATH, "viewer", _list),
        action_route(console, f"{PATH}/accept", "operator", _accept),
    ]


async def _list(visit: ConsoleVisit) -> Response:
    catalogue = visit.console.gateway.catalogue
    return visit.page(
        "tools.html",
        upstreams=[_describe_upstream(catalogue, status.upstream) for status in catalogue.status()],
        may_accept=visit.session.visitor.has_role("operator"),
        accepted=visit.request.query_params.get("accepted", "")[:200],
    )


def _describe_upstream(catalogue: Catalogue, upstream: str) -> dict[str, Any]:
    status = next(one for one in catalogue.status() if one.upstream == upstream)
    changes = catalogue.changes(upstream)
    return {
        "name": upstream,
        "audience": catalogue.audience(upstream),
        "problem": None if status.listed else status.error or "it was not listed yet",
        "warnings": status.warnings,
        "tools": [_describe_tool(target) for target in catalogue.tools(upstream)],
        "changes": [_describe_change(change, changes) for change in changes],
    }


def _describe_tool(target: Target) -> dict[str, Any]:
    labels = target.labels
    return {
        "name": target.name,
        "effect": labels.effect.value,
        "egress": "sandbox" if labels.in_sandbox else "yes" if labels.egress else "no",
        "sensitivity": labels.sensitivity.value,
        "roles": {pointer: role.value for pointer, role in labels.roles.items()},
        "cases": len(labels.cases),
        "pin": None if target.pin is None else target.pin.value,
    }


def _describe_change(change: PinChange, changes: Iterable[PinChange]) -> dict[str, Any]:
    new = change.new
    is_readable = not isinstance(new, UnpinnableDefinition)
    return {
        "kind": change.kind,
        "subject": change.subject,
        "name": change.name,
        "problem": None if is_readable else new.problem,
        "diff": diff(change.old, new).splitlines() if is_readable else [],
        "shown": None if new is None or not is_readable else digest_changes(change.name, changes),
    }


def digest_changes(name: str, changes: Iterable[PinChange]) -> str:
    """Return the digests of all changed definitions with a name: an acceptance is of what the page showed."""
    found = [
        f"{change.subject}:{change.new.digest}"
        for change in changes
        if change.name == name and change.new is not None and not isinstance(change.new, UnpinnableDefinition)
    ]
    return " ".join(sorted(found))


async def _accept(visit: ConsoleVisit) -> Response:
    """Pin a changed definition, unless it changed again after the page was shown. Raises `ConfigurationError`."""
    catalogue, reason = visit.console.gateway.catalogue, read_reason(visit)
    if isinstance(reason, Reason):
        return visit.refuse(reason)
    upstream, name, shown = visit.value("upstream"), visit.value("name"), visit.value("shown")
    if upstream not in visit.console.configuration.upstreams or not shown:
        return visit.refuse(reasons.CONSOLE_CHANGED.reason())
    if digest_changes(name, catalogue.changes(upstream)) != shown:
        return visit.refuse(reasons.CONSOLE_CHANGED.reason())
    await visit.record("definition-accept", upstream=upstream, name=name, digests=shown, reason=reason)
    # The journal took its time: the upstream may have been listed anew meanwhile.
    if digest_changes(name, catalogue.changes(upstream)) != shown:
        return visit.refuse(reasons.CONSOLE_CHANGED.reason())
    await catalogue.pin(upstream, name)
    return see_other(f"{PATH}?accepted={quote(f'{upstream}/{name}')}")
