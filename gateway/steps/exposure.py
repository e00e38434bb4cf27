"""Keeps from upstreams the credentials that stand beside the arguments of a call, in one message or in several."""

from __future__ import annotations

from gateway.history.exposure import expose
from gateway.model.decision import Refusal
from gateway.model.wire import UpstreamRequest
from gateway.steps.credential_chain import FOREIGN
from gateway.steps.current_task import task_of
from gateway.steps.visit import Gateway, Visit


async def refuse_exposure(gateway: Gateway, visit: Visit, request: UpstreamRequest) -> Refusal | None:
    """Refuse a request with another system's credential, or the rest of one, beside its arguments. Pieces of less than half
    are counted and recorded before they go on."""
    upstream = visit.exchange.upstream
    audience = gateway.catalogue.audience(upstream)
    pieces = await gateway.credential_chain.beside_arguments(request, audience, trace=visit.trace.traceparent)
    if isinstance(pieces, Refusal):
        return pieces
    if not pieces:
        return None
    task = task_of(gateway, visit, request, request.message, visit.arrived)
    if isinstance(task, Refusal):
        return task
    target = gateway.catalogue.target(upstream, "resource", "")
    fields = expose(gateway.history, task, target, pieces, request=visit.id, now=visit.arrived)
    if fields is None:
        return FOREIGN
    await gateway.journal.append("exposed", fields)
    return None
