"""Admission of requests before policy: their caller, their place, and the form in which they travel on."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Final, Literal, cast

import msgspec
from msgspec import Struct, structs

from gateway.base.json.walk import MAX_BYTES, leaves
from gateway.calls.binding.ownership import Ownership, Session, Sessions
from gateway.calls.pipeline.context import RequestContext
from gateway.calls.pipeline.credentials import CallerCredentials
from gateway.calls.pipeline.refuse import refuse_failure
from gateway.calls.pipeline.spans import is_safe_trace
from gateway.identity.identities import Identities
from gateway.model import reasons
from gateway.model.caller import Credentials, Principal
from gateway.model.decision import Refusal
from gateway.model.errors import IdentityUnavailable
from gateway.model.wire import Disposition, Era, Json, Kind, Message, UpstreamRequest
from gateway.record.telemetry.tracing import Tracing
from gateway.upstreams.served import ServedUpstreams
from gateway.wire.http.exchange import Exchange
from gateway.wire.http.limits import RequestPlaces
from gateway.wire.protocol.classify import NAMES_HANDLES, TASKS_EXTENSION, declares_tasks, state_of, tasks_of
from gateway.wire.protocol.headers import (
    USUAL_NAMES,
    HeaderFault,
    added_headers,
    forwardable_request,
    is_passed_on,
    texts_of,
)
from gateway.wire.protocol.methods import names_where

_STATELESS: Final = Era.STATELESS
_DECIDE: Final = Disposition.DECIDE
_RESPONSE: Final = Kind.RESPONSE
_TOO_LONG: Final = reasons.REQUEST_LENGTH.refusal(limit=MAX_BYTES // 1024)
_TOO_LONG_ANSWER: Final = replace(_TOO_LONG, status=400)
"""The stateful transport answers a response that it does not accept with this status."""
_OF_DATA: Final = frozenset({"data", "blob"})
_BASE64: Final = re.compile(r"[A-Za-z0-9+/]*={0,2}")
_NO_NAMES: Final[frozenset[bytes]] = frozenset()
_OF_SESSIONS: Final = frozenset({b"mcp-session-id", b"last-event-id"})


class Admission(Struct, frozen=True):
    """The stage before policy: it verifies the caller, gives the request a place, and checks all names in the request. `served`
    has the names of the headers that the operator lets through."""

    identities: Identities
    places: RequestPlaces
    sessions: Sessions
    ownership: Ownership
    known: CallerCredentials
    tracing: Tracing
    served: ServedUpstreams

    async def identify(self, context: RequestContext) -> Principal | Refusal:
        """Return the verified caller of a request, from its headers and its connection alone."""
        exchange = context.exchange
        fields = exchange.fields
        credentials = Credentials(
            method=exchange.method,
            url=exchange.url,
            authorization=texts_of(fields, b"authorization") if b"authorization" in fields else (),
            dpop=texts_of(fields, b"dpop") if b"dpop" in fields else (),
            certificate=exchange.certificates[0] if exchange.certificates else None,
            issuers=exchange.certificates[1:],
            passed_on=not USUAL_NAMES.issuperset(fields) and is_passed_on(fields),
        )
        try:
            identified = await self.identities.identify(credentials, exchange.client_ip)
        except IdentityUnavailable as error:
            return refuse_failure(error)
        if isinstance(identified, Principal):
            exchange.welcome()
        return identified

    def replace_unsafe_trace(self, context: RequestContext, principal: Principal) -> RequestContext:
        """Return the request in a new trace, if the caller's trace holds a known credential, or its state any credential.

        Callers choose the ids of a trace. The record and the exporter repeat them, and upstreams get them. The span in the
        caller's trace is not ended, and so not exported.
        """
        trace = context.trace
        if trace.joined is None or is_safe_trace(self.known, principal, trace):
            return context
        return structs.replace(context, trace=self.tracing.start({}, trace.name, at=context.arrived))

    def admit(
        self, context: RequestContext, principal: Principal, message: Message | None
    ) -> UpstreamRequest | Refusal:
        """Return the request in its outgoing form if the caller owns everything that it names, else a refusal."""
        exchange = context.exchange
        is_stateless = message is not None and message.era is _STATELESS
        is_call = message is not None and message.disposition is _DECIDE
        if message is not None and _is_too_long(message):
            return _TOO_LONG if message.kind is not _RESPONSE else _TOO_LONG_ANSWER
        headers = forwardable_request(
            exchange.fields,
            is_post=message is not None,
            has_session=not is_stateless,
            repeats_arguments=is_call,
        )
        if context.trace.traceparent is not None:
            # The request travels on with this gateway's place in the trace.
            headers = (*headers, *context.trace.headers)
        names = self.served.current.headers.get(exchange.upstream, _NO_NAMES)
        added = added_headers(exchange.fields, names) if names else ()
        if isinstance(added, HeaderFault):
            return reasons.REQUEST_HEADER.refusal(problem=added.message)
        session = None
        # The stateless era has no sessions, and ignores their headers (2026-07-28 streamable HTTP, "Backward Compatibility").
        if not is_stateless and not _OF_SESSIONS.isdisjoint(exchange.fields):
            session = self._find_session(exchange, principal)
            if isinstance(session, Refusal):
                return session
        if message is not None and not NAMES_HANDLES.isdisjoint(message.params):
            handles, state, renew_if_owner = tasks_of(message), state_of(message), self.ownership.renew_if_owner
            named = handles if state is None else handles | {state}
            # Its caller must have been given every protocol task and request state that a message names.
            if not all(renew_if_owner(exchange.upstream, handle, principal) for handle in named):
                return refuse_foreign(message)
        method = cast("Literal['POST', 'GET', 'DELETE']", exchange.method)
        if session is None:
            return UpstreamRequest(method, headers, principal, message, added=added)
        urls = session.opens_urls
        return UpstreamRequest(method, headers, principal, message, session=session.id, opens_urls=urls, added=added)

    def _find_session(self, exchange: Exchange, principal: Principal) -> Session | Refusal | None:
        """Return the named session of the caller. Refuse the session of another, and a stream without its session."""
        sealed = exchange.fields.get(b"mcp-session-id")
        if sealed is None:
            return reasons.SESSION_MISSING.refusal()
        session = self.sessions.open(sealed[0].decode("latin-1"), upstream=exchange.upstream, principal=principal)
        if session is None or len(sealed) > 1:
            return reasons.SESSION_UNKNOWN.refusal()
        return session


def _is_too_long(message: Message) -> bool:
    """Return whether a message is too long for each search. Length comes before content."""
    if len(message.body) <= MAX_BYTES:
        return False
    searched = message.params if message.kind is not _RESPONSE else _leave_out_data(msgspec.json.decode(message.body))
    return not leaves(searched).complete


def _leave_out_data(value: Json) -> Json:
    """Return an answer without the base64 of images, sounds and files: a server may ask for these.

    Base64 has one encoding to undo. Any other text in its place counts.
    """
    if isinstance(value, dict):
        return {
            name: ""
            if name in _OF_DATA and isinstance(item, str) and _BASE64.fullmatch(item)
            else _leave_out_data(item)
            for name, item in value.items()
        }
    return [_leave_out_data(item) for item in value] if isinstance(value, list) else value


def refuse_foreign(message: Message) -> Refusal:
    """Return the error of a server that does not know a task or a state (SEP-2663, "Protocol Errors"). A client without
    support for tasks gets that error first."""
    if message.era is _STATELESS and tasks_of(message) and not declares_tasks(message):
        return _UNDECLARED
    return _FOREIGN


_FOREIGN: Final = reasons.SESSION_FOREIGN.refusal()
_UNDECLARED: Final = Refusal(
    reasons.SESSION_FOREIGN_UNDECLARED.status,
    reasons.SESSION_FOREIGN_UNDECLARED.reason(extension=TASKS_EXTENSION),
    reasons.SESSION_FOREIGN_UNDECLARED.rpc_code,
    data={"requiredCapabilities": {"extensions": {TASKS_EXTENSION: {}}}},
)


_LISTENING: Final = names_where(lambda row: row.waits_for_news)


def waits_for_news(http_method: str, message: Message | None) -> bool:
    """Return whether a request opens a stream for news rather than for the result of a call."""
    return http_method == "GET" if message is None else message.method in _LISTENING
