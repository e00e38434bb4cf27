"""The way of a call: identify → read → gather → decide → (ask people) → record → lend → forward → settle.

`for_caller` identifies, `answer` reads, `decide_and_forward` does the rest. `deciding.decide` records the decision.
`forwarding.forward` obtains the credential, and settles the call when its answer has ended. Each stage takes frozen values and
returns one. A refusal is a value. An exception means a failure outside, and `answer` alone turns it into a refusal.

The body is read after the caller is known: only a verified caller can make the gateway parse anything.
"""

from __future__ import annotations

import difflib
from collections.abc import Awaitable, Callable, Iterable
from functools import partial
from typing import Final, TypeVar

from gateway.errors import GatewayError, IdentityUnavailable
from gateway.http.exchange import Exchange
from gateway.model.caller import AuthMethod, Credentials, Principal
from gateway.model.decision import Reason, Refusal
from gateway.model.wire import Disposition, Era, Message, UpstreamRequest, UpstreamTransport
from gateway.pipeline import sessionless, subscriptions
from gateway.pipeline.admit import admitted
from gateway.pipeline.approve import AllowedCall, Prepare, decide_with_people, open_hold, take_back_held_call
from gateway.pipeline.connecting import hold_for_connection
from gateway.pipeline.context import Gateway, Visit
from gateway.pipeline.exposure import refuse_exposure
from gateway.pipeline.forward import forward, pass_through
from gateway.pipeline.known_credentials import with_safe_trace
from gateway.pipeline.places import RequestPlace, waits_for_news
from gateway.pipeline.prepare import Case, gather
from gateway.pipeline.refuse import failure, refuse
from gateway.pipeline.tickets import Resumed, take_out_ticket
from gateway.protocol.classify import classify
from gateway.protocol.error_codes import REFUSED
from gateway.protocol.headers import is_passed_on, texts_of
from gateway.protocol.replies import Reply
from gateway.response.stream import Relay, until_ended

_DECIDE: Final = Disposition.DECIDE
_STATELESS: Final = Era.STATELESS
_ANONYMOUS: Final = AuthMethod.ANONYMOUS

Answer = TypeVar("Answer", bound="Reply | Relay | None")
Outcome = TypeVar("Outcome", bound="Relay | Reply | Refusal")


async def handle(gateway: Gateway, exchange: Exchange) -> Reply | Relay:
    """Take one request all the way. Never raises for anything that a caller, a policy or an upstream did."""
    known = exchange.upstream if exchange.upstream in gateway.upstreams else None
    trace = gateway.tracing.start(exchange.fields, f"{exchange.method} /mcp/{known or '-'}")
    visit = Visit(gateway.new_id(), exchange, gateway.clock(), gateway.monotonic(), trace, known)
    return await for_caller(gateway, visit, answer)


async def for_caller(
    gateway: Gateway, visit: Visit, work: Callable[[Gateway, Visit, Principal, RequestPlace], Awaitable[Answer]]
) -> Answer | Reply:
    """Identify the caller, and do `work` for it if the caller has a place left. `work` returns `None` if it has sent its answer."""
    try:
        principal = await identify(gateway, visit)
        if isinstance(principal, Refusal):
            return await refuse(gateway, visit, principal)
        visit = with_safe_trace(gateway, visit, principal)
        place = gateway.places.enter(_caller(visit, principal))
        if isinstance(place, Refusal):
            return await refuse(gateway, visit, place, principal)
        return await until_ended(work(gateway, visit, principal, place), place.leave)
    except BaseException:
        # The client left, or the gateway has a defect, which the edge tells of.
        visit.trace.end({"opagate.decision.id": visit.id, "opagate.outcome": "cancelled"}, failed=True)
        raise


def _caller(visit: Visit, principal: Principal) -> str:
    """Return the name that a request is counted under. Only addresses tell callers without credentials apart."""
    return visit.exchange.client_ip or "" if principal.method is _ANONYMOUS else principal.key


async def answer(gateway: Gateway, visit: Visit, principal: Principal, place: RequestPlace) -> Reply | Relay:
    """Answer one request of a known caller with the upstream's answer or a refusal. Failures become refusals here alone."""
    message = await read(visit.exchange)
    if isinstance(message, Refusal):
        return await refuse(gateway, visit, message, principal)
    if (message is None or message.disposition is not _DECIDE) and waits_for_news(visit.exchange.method, message):
        if (refusal := place.become_stream()) is not None:
            return await refuse(gateway, visit, refusal, principal, message)
        visit.exchange.become_stream()
    try:
        outcome = await serve(gateway, visit, principal, message)
    except GatewayError as error:
        outcome = failure(error)
    if isinstance(outcome, Refusal):
        return await refuse(gateway, visit, outcome, principal, message)
    return outcome


async def identify(gateway: Gateway, visit: Visit) -> Principal | Refusal:
    """Return the verified caller of a request, from its headers and its connection alone."""
    exchange = visit.exchange
    credentials = Credentials(
        method=exchange.method,
        url=exchange.url,
        authorization=texts_of(exchange.fields, b"authorization"),
        dpop=texts_of(exchange.fields, b"dpop"),
        certificate=exchange.certificates[0] if exchange.certificates else None,
        issuers=exchange.certificates[1:],
        passed_on=is_passed_on(exchange.fields),
    )
    try:
        return await gateway.identities.identify(credentials, exchange.client_ip)
    except IdentityUnavailable as error:
        return failure(error)


async def read(exchange: Exchange) -> Message | Refusal | None:
    """Return the message of a request, strictly read; `None` for GET and DELETE, which have none."""
    if exchange.method != "POST":
        return None
    body = await exchange.body()
    return body if isinstance(body, Refusal) else classify(body, exchange.fields)


async def serve(
    gateway: Gateway, visit: Visit, principal: Principal, message: Message | None
) -> Relay | Reply | Refusal:
    """Serve a message that the caller may send: decide on calls, pass the rest on, and filter lists."""
    upstream = visit.exchange.upstream
    transport = gateway.upstreams.get(upstream)
    if transport is None:
        return _unknown_upstream(upstream, gateway.upstreams, principal)
    resumed = take_out_ticket(gateway, principal, message, visit.arrived)
    if isinstance(resumed, Refusal):
        return resumed
    message = message if resumed is None else resumed.message
    request = admitted(gateway, visit, principal, message)
    if isinstance(request, Refusal):
        return request
    exposed = await refuse_exposure(gateway, visit, request)
    if isinstance(exposed, Refusal):
        return exposed
    return await _carry_out(gateway, visit, transport, request, exposed=exposed, resumed=resumed)


async def _carry_out(
    gateway: Gateway,
    visit: Visit,
    transport: UpstreamTransport,
    request: UpstreamRequest,
    *,
    exposed: bool,
    resumed: Resumed | None,
) -> Relay | Reply | Refusal:
    """Decide on a call and forward it, or pass another message on."""
    upstream, message = visit.exchange.upstream, request.message
    if message is not None and message.disposition is _DECIDE:
        prepare = partial(_prepare, gateway, request, message, exposed)
        work = decide_and_forward(gateway, visit, request, prepare, resumed)
    else:
        refused = sessionless.refusal(gateway.sessionless_exchanges, upstream, request)
        refused = refused or await subscriptions.refusal(gateway, visit, request)
        if refused is not None:
            return refused
        take_back_held_call(gateway, upstream, request)
        work = pass_through(gateway, visit, transport, request)
    if message is not None and message.era is _STATELESS:
        return await work
    return await sessionless.during(gateway.sessionless_exchanges, upstream, request, work)


def _unknown_upstream(name: str, known: Iterable[str], principal: Principal) -> Refusal:
    """Refuse a name that no upstream has. A caller with credentials learns the nearest name."""
    near = difflib.get_close_matches(name[:_LONGEST_NAME], known, n=1, cutoff=0.6)
    remedy = "Ask the operator for its name."
    if near and principal.method is not AuthMethod.ANONYMOUS:
        remedy = f"The nearest name is {near[0]!r}. {remedy}"
    return Refusal(404, Reason("upstream/unknown", "There is no such upstream here.", remedy), REFUSED)


_LONGEST_NAME: Final = 63
"""Characters of an upstream's name. A longer text is cut before it is compared."""


def _prepare(
    gateway: Gateway,
    request: UpstreamRequest,
    message: Message,
    exposed: bool,  # noqa: FBT001 - the message has a piece of a token of its caller
    visit: Visit,
) -> Case | Refusal:
    return gather(gateway, visit, request, message, exposed=exposed)


async def decide_and_forward(
    gateway: Gateway, visit: Visit, request: UpstreamRequest, prepare: Prepare, resumed: Resumed | None
) -> Relay | Reply | Refusal:
    """Have policy, and people where it asks for them, decide on a call, and forward an allowed call."""
    upstream = visit.exchange.upstream
    await gateway.catalogue.ensure(upstream)
    if (unconnected := await hold_for_connection(gateway, request, resumed)) is not None:
        return _end_trace(visit, unconnected, "credential/connect")
    with open_hold(gateway, upstream, request) as hold:
        outcome = await decide_with_people(gateway, visit, prepare, resumed, hold)
    if not isinstance(outcome, AllowedCall):
        return _end_trace(visit, outcome, "approval/pending")
    transport, ends = gateway.upstreams[upstream], outcome.approval_ends
    forwarded = await forward(
        gateway, outcome.visit, transport, outcome.case, outcome.decision, resumed=resumed, approval_ends=ends
    )
    return _end_trace(visit, forwarded, "credential/connect")


def _end_trace(visit: Visit, outcome: Outcome, reason: str) -> Outcome:
    """End the trace of a request whose client is asked to come again. `refuse` and `Relay` end the others."""
    if isinstance(outcome, Reply):
        visit.trace.end({"opagate.decision.id": visit.id, "opagate.reason": reason}, failed=False)
    return outcome
