"""The one way through: identify → read → gather → decide → record → forward → settle; `answer` is the way back.

`handle` is that line. Each stage takes the frozen values it needs and gives one back. A refusal is a value; an
exception means that something outside failed, and `handle` turns it into a refusal, in one place.

The body is read after the caller is known: only a verified caller can make the gateway parse anything.
"""

from __future__ import annotations

from functools import partial
from typing import Final

from gateway import credential_chain, sessionless, subscriptions
from gateway.admission import admitted
from gateway.case import gather
from gateway.deciding import decide, denied
from gateway.errors import GatewayError, IdentityUnavailable
from gateway.forwarding import forward, passed
from gateway.model.caller import AuthMethod, Credentials, Principal
from gateway.model.decision import Reason, Refusal
from gateway.model.wire import Disposition, Message, UpstreamRequest, UpstreamTransport
from gateway.protocol.classify import classify
from gateway.protocol.error_codes import REFUSED
from gateway.protocol.headers import passed_on, values_of
from gateway.protocol.replies import Reply
from gateway.refusing import failure, note_refusal, refuse
from gateway.relay import Relay
from gateway.tasks.endpoints import Refused, TaskRequest
from gateway.transport.exchange import Exchange
from gateway.visit import Gateway, Visit


async def handle(gateway: Gateway, exchange: Exchange) -> Reply | Relay:
    """Take one request all the way. Never raises for anything that a caller, a policy or an upstream did."""
    known = exchange.upstream if exchange.upstream in gateway.upstreams else None
    trace = gateway.tracing.start(exchange.headers, f"{exchange.method} /mcp/{known or '-'}")
    visit = Visit(gateway.new_id(), exchange, gateway.clock(), trace, known)
    try:
        return await answered(gateway, visit)
    except BaseException:
        # The client left, or the gateway has a defect, which the edge tells of.
        trace.end({"opagate.decision.id": visit.id, "opagate.outcome": "cancelled"}, failed=True)
        raise


async def answered(gateway: Gateway, visit: Visit) -> Reply | Relay:
    """Who asks, and the answer, if it asks for no more at once than one caller may."""
    principal = await identify(gateway, visit)
    if isinstance(principal, Refusal):
        return await refuse(gateway, visit, principal)
    caller = _caller(visit, principal)
    if not gateway.callers.admit(caller):
        return await refuse(gateway, visit, _TOO_MANY, principal)
    leave = partial(gateway.callers.leave, caller)
    try:
        answer = await staged(gateway, visit, principal)
    except BaseException:
        leave()
        raise
    if isinstance(answer, Relay):
        answer.after(leave)
    else:
        leave()
    return answer


def _caller(visit: Visit, principal: Principal) -> str:
    """Who a request is counted for. Nobody knows callers without credentials apart but by their addresses."""
    anonymous = principal.method is AuthMethod.ANONYMOUS
    return visit.exchange.client_ip or "" if anonymous else principal.key


_TOO_MANY: Final = Refusal(
    429,
    Reason(
        "limit/in-flight-per-caller",
        "As many requests of this caller are being worked on as of one caller may be.",
        "Wait for some of them to end, or close streams that are not needed.",
    ),
    REFUSED,
)


async def staged(gateway: Gateway, visit: Visit, principal: Principal) -> Reply | Relay:
    """The stages in their order, and the one place where a failure becomes a refusal."""
    message = await read(visit.exchange)
    if isinstance(message, Refusal):
        return await refuse(gateway, visit, message, principal)
    try:
        outcome = await serve(gateway, visit, principal, message)
    except GatewayError as error:
        outcome = failure(error)
    if isinstance(outcome, Refusal):
        return await refuse(gateway, visit, outcome, principal, message)
    return outcome


async def handle_task(gateway: Gateway, exchange: Exchange) -> Reply:
    """Take one request to `/tasks` all the way."""
    visit = Visit(gateway.new_id(), exchange, gateway.clock(), gateway.tracing.start(exchange.headers, "tasks"))
    principal = await identify(gateway, visit)
    if isinstance(principal, Refusal):
        return await refuse(gateway, visit, principal)
    caller = _caller(visit, principal)
    if not gateway.callers.admit(caller):
        return await refuse(gateway, visit, _TOO_MANY, principal)
    try:
        return await of_task(gateway, visit, principal)
    finally:
        gateway.callers.leave(caller)


async def of_task(gateway: Gateway, visit: Visit, principal: Principal) -> Reply:
    """What the request says of a task, and what becomes of it."""
    exchange = visit.exchange
    body = await exchange.body() if exchange.method == "POST" else b""
    if isinstance(body, Refusal):
        return await refuse(gateway, visit, body, principal)
    reply = await gateway.tasks.handle(TaskRequest(exchange.method, exchange.path, body, principal, visit.arrived))
    if isinstance(reply, Refused):
        await note_refusal(gateway, visit, Refusal(reply.status, reply.reason, REFUSED), principal)
    else:
        visit.trace.end({"opagate.decision.id": visit.id}, failed=False)
    return reply


async def identify(gateway: Gateway, visit: Visit) -> Principal | Refusal:
    """Who is asking."""
    exchange = visit.exchange
    credentials = Credentials(
        method=exchange.method,
        url=exchange.url,
        authorization=values_of(exchange.headers, b"authorization"),
        dpop=values_of(exchange.headers, b"dpop"),
        certificate=exchange.certificates[0] if exchange.certificates else None,
        issuers=exchange.certificates[1:],
        passed_on=passed_on(exchange.headers),
    )
    try:
        return await gateway.identities.identify(credentials, exchange.client_ip)
    except IdentityUnavailable as error:
        return failure(error)


async def read(exchange: Exchange) -> Message | Refusal | None:
    """What is asked: the body, read strictly. `None` for GET and DELETE, which have none."""
    if exchange.method != "POST":
        return None
    body = await exchange.body()
    return body if isinstance(body, Refusal) else classify(body, exchange.headers)


async def serve(gateway: Gateway, visit: Visit, principal: Principal, message: Message | None) -> Relay | Refusal:
    """What is done about it: what policy decides is decided, the rest is passed on (lists come back filtered)."""
    upstream = visit.exchange.upstream
    transport = gateway.upstreams.get(upstream)
    if transport is None:
        return _UNKNOWN_UPSTREAM
    request = admitted(gateway, visit, principal, message)
    if isinstance(request, Refusal):
        return request
    refused = (
        await credential_chain.refusal(gateway, upstream, request)
        or sessionless.refusal(gateway, upstream, request)
        or await subscriptions.refusal(gateway, visit, request)
    )
    if refused is not None:
        return refused
    if message is not None and message.disposition is Disposition.DECIDE:
        work = decided(gateway, visit, transport, request, message)
    else:
        work = passed(gateway, visit, transport, request)
    return await sessionless.during(gateway, upstream, request, work)


_UNKNOWN_UPSTREAM: Final = Refusal(
    404,
    Reason("upstream/unknown", "There is no such upstream here.", "Ask the operator for its name."),
    REFUSED,
)


async def decided(
    gateway: Gateway, visit: Visit, transport: UpstreamTransport, request: UpstreamRequest, message: Message
) -> Relay | Refusal:
    """Ask policy about a call, record the answer, and forward what is allowed."""
    await gateway.catalogue.ensure(visit.exchange.upstream)
    case = gather(gateway, visit, request, message)
    if isinstance(case, Refusal):
        return case
    decision = await decide(gateway, visit, case)
    return await forward(gateway, visit, transport, case, decision) if decision.allowed else denied(decision)
