"""Refusals: the answer to the caller, the record, the count and the log event of each failure."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Final

import structlog
from msgspec import Struct

from gateway.calls.pipeline.completion import run_to_completion
from gateway.calls.pipeline.context import RequestContext
from gateway.calls.pipeline.credentials import CallerCredentials, conceal_refusal
from gateway.calls.pipeline.record import append_or_log
from gateway.inspection.credentials.known_spots import KnownSpots
from gateway.model.caller import Principal
from gateway.model.decision import Refusal
from gateway.model.error_codes import UNAVAILABLE, UPSTREAM_FAILED
from gateway.model.errors import GatewayError, UpstreamError, UpstreamStarting, UpstreamTimeout
from gateway.model.reasons import reason_of
from gateway.model.wire import Json, JsonObject, Message
from gateway.record.journal.entry import refused_entry
from gateway.record.journal.redaction import conceal_known
from gateway.record.journal.refusal_sampler import RefusalSampler
from gateway.record.journal.writer import Journal
from gateway.record.telemetry.metrics import Metrics
from gateway.record.telemetry.tracing import Tracing
from gateway.wire.http.edge import RefusedClient
from gateway.wire.protocol.headers import group_headers
from gateway.wire.protocol.replies import RefusalForm, Reply, render

log = structlog.get_logger("gateway.refusing")

_SERVER_ERROR: Final = 500
"""HTTP statuses from here on say that the fault is not the caller's."""


class Refuser(Struct, frozen=True):
    """The stage that answers, records, counts and logs each failed request. `flood` samples refusals of unknown callers."""

    flood: RefusalSampler
    journal: Journal
    metrics: Metrics
    known: CallerCredentials
    tracing: Tracing
    new_id: Callable[[], str]
    form: RefusalForm

    async def refuse(
        self,
        context: RequestContext,
        refusal: Refusal,
        principal: Principal | None = None,
        message: Message | None = None,
    ) -> Reply:
        """Answer with a refusal, and record it. A refusal that cannot be recorded is a refusal all the same."""
        known = await self.note_refusal(context, refusal, principal, message)
        told, shown = conceal_refusal(refusal, message, known)
        # A stranger learns nothing of a console, and the journal has only a sample of such refusals.
        form = self.form.without_link() if principal is None else self.form
        return render(told, shown, decision_id=context.id, form=form)

    async def note_refusal(
        self,
        context: RequestContext,
        refusal: Refusal,
        principal: Principal | None = None,
        message: Message | None = None,
    ) -> KnownSpots | None:
        """Record a refusal, count it and log it. The refusal of a decision is recorded and counted already.

        Returns the known credentials of the caller.
        """
        known = None if principal is None else self.known.find_known_to_request(context, principal, message)
        if refusal.decision is None:
            self.metrics.count_refusal(refusal.reason.code)
            build = partial(
                refused_entry,
                context.id,
                refusal,
                trace_id=context.trace.trace_id,
                span_id=context.trace.span_id,
                client_ip=context.exchange.client_ip,
                principal=principal,
                message=message,
            )
            entry = conceal_known(build, known)
            await self.record_refusal(entry, refusal, known=principal is not None, upstream=context.upstream)
        else:
            _log_refusal(context.id, refusal, context.upstream)
        code = refusal.reason.code
        context.trace.end({"opagate.decision.id": context.id, "opagate.reason": code}, error=code)
        return known

    async def refuse_early(self, refusal: Refusal, client: RefusedClient) -> Reply:
        """Record and render a refusal that HTTP alone was enough for."""
        decision_id, code = self.new_id(), refusal.reason.code
        self.metrics.count_refusal(code)
        trace = self.tracing.start(group_headers(client.headers), "refused")
        entry = refused_entry(decision_id, refusal, trace_id=trace.trace_id, client_ip=client.ip, span_id=trace.span_id)
        await self.record_refusal(entry, refusal, known=False)
        trace.end({"opagate.decision.id": decision_id, "opagate.reason": code}, error=code)
        return render(refusal, None, decision_id=decision_id, form=self.form.without_link())

    async def record_refusal(
        self, entry: JsonObject, refusal: Refusal, *, known: bool, upstream: str | None = None
    ) -> None:
        """Record and log a request without a decision, even when its caller leaves. Of unknown callers, the gateway records
        so many a minute, and counts the rest."""
        await run_to_completion(self._record_refusal(entry, refusal, known=known, upstream=upstream))

    async def _record_refusal(self, entry: JsonObject, refusal: Refusal, *, known: bool, upstream: str | None) -> None:
        if (rest := self.flood.rest()) is not None:
            log_flood(rest)
            await append_or_log(self, "flood", rest)
        if known or self.flood.admits(refusal.reason.code):
            await append_or_log(self, "refused", entry)
            _log_refusal(entry["id"], refusal, upstream)


def refuse_failure(error: GatewayError) -> Refusal:
    """Return the refusal for an outside failure."""
    reason = reason_of(error)
    if isinstance(error, UpstreamStarting):
        return Refusal(503, reason, UPSTREAM_FAILED)
    if isinstance(error, UpstreamTimeout):
        return Refusal(504, reason, UPSTREAM_FAILED)
    if isinstance(error, UpstreamError):
        return Refusal(502, reason, UPSTREAM_FAILED)
    return Refusal(503, reason, UNAVAILABLE)


def log_flood(rest: JsonObject) -> None:
    """Log the refusals that were only counted (`RefusalSampler.rest`)."""
    log.warning("refused.rest", **rest)


def _log_refusal(decision_id: Json, refusal: Refusal, upstream: str | None) -> None:
    told = {"id": decision_id, "code": refusal.reason.code, "upstream": upstream, "status": refusal.status}
    if refusal.status >= _SERVER_ERROR:
        log.warning("refused", **told, problem=refusal.reason.message)
    else:
        log.info("refused", **told)
