"""Refusals: the answer to the caller, the record, the count and the log event of each failure."""

from __future__ import annotations

from functools import partial
from typing import Final

import structlog

from gateway.credentials.known_spots import KnownSpots
from gateway.errors import GatewayError, UpstreamError, UpstreamTimeout
from gateway.http.edge import RefusedClient
from gateway.journal.entry import refused_entry
from gateway.journal.redaction import conceal_known
from gateway.model.caller import Principal
from gateway.model.decision import Refusal
from gateway.model.wire import Json, JsonObject, Message
from gateway.pipeline.context import Gateway, Visit
from gateway.pipeline.known_credentials import known_to_request, reworded
from gateway.pipeline.record import append_or_log
from gateway.pipeline.shielding import shielded
from gateway.protocol.error_codes import UNAVAILABLE, UPSTREAM_FAILED
from gateway.protocol.headers import group_headers
from gateway.protocol.replies import Reply, render
from gateway.reasons import reason_of

log = structlog.get_logger("gateway.refusing")

_SERVER_ERROR: Final = 500
"""HTTP statuses from here on say that the fault is not the caller's."""


async def refuse(
    gateway: Gateway,
    visit: Visit,
    refusal: Refusal,
    principal: Principal | None = None,
    message: Message | None = None,
) -> Reply:
    """Answer with a refusal, and record it. A refusal that cannot be recorded is a refusal all the same."""
    known = await note_refusal(gateway, visit, refusal, principal, message)
    told, shown = reworded(refusal, message, known)
    return render(told, shown, decision_id=visit.id, style=gateway.style)


async def note_refusal(
    gateway: Gateway,
    visit: Visit,
    refusal: Refusal,
    principal: Principal | None = None,
    message: Message | None = None,
) -> KnownSpots | None:
    """Record a refusal, count it and log it. The refusal of a decision is recorded and counted already.

    Returns the known credentials of the caller.
    """
    known = None if principal is None else known_to_request(gateway, visit, principal, message)
    if refusal.decision is None:
        gateway.metrics.refused(refusal.reason.code)
        build = partial(
            refused_entry,
            visit.id,
            refusal,
            trace_id=visit.trace.trace_id,
            client_ip=visit.exchange.client_ip,
            principal=principal,
            message=message,
        )
        entry = conceal_known(build, known)
        await record_refusal(gateway, entry, refusal, known=principal is not None, upstream=visit.upstream)
    else:
        _log_refusal(visit.id, refusal, visit.upstream)
    visit.trace.end({"opagate.decision.id": visit.id, "opagate.reason": refusal.reason.code}, failed=True)
    return known


async def refuse_early(gateway: Gateway, refusal: Refusal, client: RefusedClient) -> Reply:
    """Record and render a refusal that HTTP alone was enough for."""
    decision_id, code = gateway.new_id(), refusal.reason.code
    gateway.metrics.refused(code)
    trace = gateway.tracing.start(group_headers(client.headers), "refused")
    entry = refused_entry(decision_id, refusal, trace_id=trace.trace_id, client_ip=client.ip)
    await record_refusal(gateway, entry, refusal, known=False)
    trace.end({"opagate.decision.id": decision_id, "opagate.reason": code}, failed=True)
    return render(refusal, None, decision_id=decision_id, style=gateway.style)


def failure(error: GatewayError) -> Refusal:
    """The refusal that an outside failure becomes."""
    reason = reason_of(error)
    if isinstance(error, UpstreamTimeout):
        return Refusal(504, reason, UPSTREAM_FAILED)
    if isinstance(error, UpstreamError):
        return Refusal(502, reason, UPSTREAM_FAILED)
    return Refusal(503, reason, UNAVAILABLE)


async def record_refusal(
    gateway: Gateway, entry: JsonObject, refusal: Refusal, *, known: bool, upstream: str | None = None
) -> None:
    """Record and log a request without a decision, even when its caller leaves. Of unknown callers, the gateway records
    so many a minute, and counts the rest."""
    await shielded(_record_refusal(gateway, entry, refusal, known=known, upstream=upstream))


async def _record_refusal(
    gateway: Gateway, entry: JsonObject, refusal: Refusal, *, known: bool, upstream: str | None
) -> None:
    if (rest := gateway.flood.rest()) is not None:
        log_flood(rest)
        await append_or_log(gateway, "flood", rest)
    if known or gateway.flood.admits(refusal.reason.code):
        await append_or_log(gateway, "refused", entry)
        _log_refusal(entry["id"], refusal, upstream)


def log_flood(rest: JsonObject) -> None:
    """Log what was only counted (`Flood.rest`)."""
    log.warning("refused.rest", **rest)


def _log_refusal(decision_id: Json, refusal: Refusal, upstream: str | None) -> None:
    told = {"id": decision_id, "code": refusal.reason.code, "upstream": upstream, "status": refusal.status}
    if refusal.status >= _SERVER_ERROR:
        log.warning("refused", **told, problem=refusal.reason.message)
    else:
        log.info("refused", **told)
