"""Visibility for a caller: tools, resources and prompts that policy shows, its own protocol tasks, and pinned
instructions of a server."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, Literal

import structlog

from gateway.catalogue.pins import MAX_LISTED
from gateway.errors import HistoryError
from gateway.inspection.label_cases import label_variants
from gateway.model.target import Pin, Target
from gateway.model.wire import UpstreamRequest
from gateway.pipeline.context import Gateway, Visit
from gateway.pipeline.hidden_tools import TOLD_OF_GRANTS, explain_hidden_tools, usable
from gateway.policy import document
from gateway.protocol.classify import cursor_of
from gateway.protocol.listing import Listing

log = structlog.get_logger("gateway.visibility")

_ASKED_AT_ONCE: Final = 64
"""Targets that policy is asked about in one question: some six milliseconds, in which the event loop stands still."""

_LISTED: Final[Mapping[str, Literal["tool", "resource", "prompt"]]] = {
    "tools/list": "tool",
    "resources/list": "resource",
    "resources/templates/list": "resource",
    "prompts/list": "prompt",
}


async def visible_names(
    gateway: Gateway, visit: Visit, request: UpstreamRequest, method: str, page: Listing
) -> frozenset[str]:
    """The names in a list that policy lets this caller see. One of tools or prompts is also news for the catalogue."""
    upstream, principal = visit.exchange.upstream, request.principal
    if method == "tasks/list":
        return frozenset(i.name for i in page.items if gateway.ownership.renew_if_owner(upstream, i.name, principal))
    kind = _LISTED[method]
    if kind != "resource":
        items = [item.raw for item in page.items]
        if not await gateway.catalogue.observe(upstream, kind, items, complete=_is_complete(request, page)):
            log.warning("list.hidden", id=visit.id, upstream=visit.upstream, problem=f"it has {len(items)} {kind}s")
            return frozenset()
    large = {item.name for item in page.items if len(item.raw) > MAX_LISTED}
    if large:
        problem = f"{len(large)} {kind}s have definitions of more than {MAX_LISTED >> 10} KiB"
        log.warning("list.hidden", id=visit.id, upstream=visit.upstream, problem=problem)
    names = [item.name for item in page.items if item.name not in large]
    targets = {name: gateway.catalogue.target(upstream, kind, name) for name in names}
    ids = await visible_ids(gateway, visit, request, tuple(targets.values()))
    if kind == "tool" and not ids and (tools := usable(targets.values())):
        gateway.hidden_tools.note(principal, upstream, len(tools))
    return frozenset(name for name, target in targets.items() if target.id in ids)


async def trusted_instructions(gateway: Gateway, visit: Visit, said: bytes) -> bool:
    """Return whether a caller may see these instructions (a JSON value): only pinned ones."""
    pin = await gateway.catalogue.instructions(visit.exchange.upstream, said)
    if pin is not Pin.MATCH:
        log.warning("instructions.withheld", id=visit.id, upstream=visit.upstream, state=pin.value)
    return pin is Pin.MATCH


async def notice_for_caller(gateway: Gateway, visit: Visit, request: UpstreamRequest) -> str | None:
    """Return what a server's greeting should say of tools that policy hides from the caller, if anything."""
    upstream, principal = visit.exchange.upstream, request.principal
    if principal.method not in TOLD_OF_GRANTS:
        return None
    await gateway.catalogue.ensure(upstream)
    tools = usable(gateway.catalogue.tools(upstream))
    hidden = bool(tools) and not await visible_ids(gateway, visit, request, tools)
    return explain_hidden_tools(principal, upstream, tools) if hidden else None


async def visible_ids(
    gateway: Gateway, visit: Visit, request: UpstreamRequest, targets: tuple[Target, ...]
) -> frozenset[str]:
    """Return the ids of the targets visible to this caller. For a tool with cases, one permitted case is enough."""
    principal, found = request.principal, set[str]()
    try:
        task = gateway.history.task(principal, visit.arrived)
        facts = gateway.history.facts(task, visit.arrived)
    except HistoryError as error:
        log.warning("list.hidden", id=visit.id, upstream=visit.upstream, code=error.code, problem=error.message)
        return frozenset()
    context = visit.context(request.message, task, signals=gateway.signals.register.facts(principal))
    asked = [variant for target in targets for variant in label_variants(target)]
    for first in range(0, len(asked), _ASKED_AT_ONCE):
        if first:
            await gateway.turns.take(principal.key)
        portion = asked[first : first + _ASKED_AT_ONCE]
        question = document.visibility(principal, portion, context, facts)
        found |= await gateway.policy.visible(question, frozenset(target.id for target in portion))
    return frozenset(found)


def _is_complete(request: UpstreamRequest, page: Listing) -> bool:
    first = request.message is not None and cursor_of(request.message) is None
    return first and page.cursor is None
