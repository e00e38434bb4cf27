"""Admission of requests to an upstream before policy, and the form in which they travel on."""

from __future__ import annotations

from typing import Final, Literal, cast

from msgspec import structs

from gateway.binding.sessions import Session, Sessions
from gateway.http.exchange import Exchange
from gateway.model.caller import Principal
from gateway.model.decision import Reason, Refusal
from gateway.model.wire import Era, Headers, Message, UpstreamRequest
from gateway.pipeline.context import Gateway, Visit
from gateway.protocol.classify import TASKS_EXTENSION, declares_tasks, state_of, tasks_of
from gateway.protocol.error_codes import INVALID_PARAMS, MISSING_CAPABILITY, REFUSED
from gateway.protocol.headers import forwardable_request

_STATELESS: Final = Era.STATELESS
_NONE: Final[frozenset[bytes]] = frozenset()
_NOT_STATELESS: Final = frozenset({b"last-event-id"})


def admitted(
    gateway: Gateway, visit: Visit, principal: Principal, message: Message | None
) -> UpstreamRequest | Refusal:
    """Return the request in its outgoing form if the caller owns everything that it names, else a refusal."""
    exchange = visit.exchange
    headers = forwardable(visit, message)
    session = own_session(gateway.sessions, exchange, principal, message)
    if isinstance(session, Refusal):
        return session
    if message is not None and (handles := handles_of(message)):
        renew_if_owner = gateway.ownership.renew_if_owner
        if not all(renew_if_owner(exchange.upstream, handle, principal) for handle in handles):
            return foreign(message)
    method = cast("Literal['POST', 'GET', 'DELETE']", exchange.method)
    request = UpstreamRequest(method, headers, principal, message)
    return request if session is None else structs.replace(request, session=session.id, opens_urls=session.opens_urls)


def forwardable(visit: Visit, message: Message | None) -> Headers:
    """Return the headers that travel on: without the headers for this gateway, and with this gateway's place in the
    trace."""
    traceparent = visit.trace.traceparent
    left_out = _NOT_STATELESS if message is not None and message.era is _STATELESS else _NONE
    if traceparent is None:
        return forwardable_request(visit.exchange.headers, without=left_out)
    headers = forwardable_request(visit.exchange.headers, without=left_out | {b"traceparent"})
    return (*headers, (b"traceparent", traceparent))


def own_session(
    sessions: Sessions, exchange: Exchange, principal: Principal, message: Message | None
) -> Session | Refusal | None:
    """Return the named session of the caller. Refuse the session of another. The stateless era has none, and ignores the headers
    of sessions (2026-07-28 streamable HTTP, "Backward Compatibility")."""
    if message is not None and message.era is _STATELESS:
        return None
    sealed = exchange.fields.get(b"mcp-session-id")
    if sealed is None:
        if b"last-event-id" in exchange.fields:
            return _refusal(400, "session/missing", "A stream is resumed without its session.", "Send Mcp-Session-Id.")
        return None
    session = sessions.open(sealed[0].decode("latin-1"), upstream=exchange.upstream, principal=principal)
    if session is None or len(sealed) > 1:
        return _refusal(404, "session/unknown", "There is no such session.", "Start a new one with initialize.")
    return session


def handles_of(message: Message) -> frozenset[str]:
    """Return every protocol task and request state that a message names. Its caller must have been given all of them."""
    state, tasks = state_of(message), tasks_of(message)
    return tasks if state is None else tasks | {state}


def foreign(message: Message) -> Refusal:
    """Return the error of a server that does not know a task or a state (SEP-2663, "Protocol Errors"). A client without
    support for tasks gets that error first."""
    if message.era is _STATELESS and tasks_of(message) and not declares_tasks(message):
        return _UNDECLARED
    return _FOREIGN


_FOREIGN: Final = Refusal(
    400,
    Reason("session/foreign", "This task or request state was not given to you.", "Start over without it."),
    INVALID_PARAMS,
)
_UNDECLARED: Final = Refusal(
    400,
    Reason(
        "session/foreign",
        "This task was not given to you, and the request does not declare that its client takes tasks.",
        f"Start over without it, and declare the extension {TASKS_EXTENSION} with each request.",
    ),
    MISSING_CAPABILITY,
    data={"requiredCapabilities": {"extensions": {TASKS_EXTENSION: {}}}},
)


def _refusal(status: int, code: str, message: str, remedy: str) -> Refusal:
    return Refusal(status, Reason(code, message, remedy), REFUSED)
