"""The one way through: identify → read → gather → decide → record → forward → settle; `answer` is the way back.

`handle` is that line. Each stage takes the frozen values it needs and gives one back. A refusal is a value; an
exception means that something outside failed, and `handle` turns it into a refusal, in one place.

The body is read after the caller is known: only a verified caller can make the gateway parse anything.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from typing import Final, Literal, cast

import structlog
from msgspec import Struct, structs

from gateway import foreign
from gateway.answer import (
    RPC_REFUSED,
    Settlement,
    append_or_say,
    context_of,
    failure,
    measured,
    note_refusal,
    refuse,
    relay,
    values_of,
)
from gateway.binding.sessions import Session
from gateway.concealing import Presented, concealment, demanded, presented, readable, sightings
from gateway.errors import GatewayError, IdentityUnavailable, UpstreamBroken, UpstreamTimeout, UpstreamUnauthorized
from gateway.inspection import tokens
from gateway.inspection.concealment import Concealment
from gateway.journal.entry import Outcome, call_entry, settled_entry
from gateway.model import (
    Call,
    CallContent,
    Credentials,
    Decision,
    Disposition,
    Era,
    Headers,
    Json,
    JsonObject,
    Message,
    Principal,
    Reason,
    Refusal,
    ResultContent,
    Task,
    UpstreamReply,
    UpstreamRequest,
)
from gateway.observation import Observation, label
from gateway.policy import document
from gateway.protocol.classify import HEADER_MISMATCH, INVALID_PARAMS, classify, state_of, tasks_of
from gateway.protocol.headers import forwardable_request
from gateway.protocol.parameters import ambiguous, contradicted
from gateway.protocol.replies import Reply
from gateway.readings import Readings, unanswered
from gateway.relay import NO_BOUNDS, Bounds, EndedAs, Ending, Relay, Transform, finished
from gateway.tasks.endpoints import Refused, TaskRequest
from gateway.transport.exchange import Exchange
from gateway.visit import Gateway, Port, Visit
from gateway.whose import task_of

log = structlog.get_logger("gateway.pipeline")


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
    """The stages in their order, and the one place where a failure becomes a refusal."""
    principal = await identify(gateway, visit)
    if isinstance(principal, Refusal):
        return await refuse(gateway, visit, principal)
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
    """Take one request to `/tasks` all the way: who asks, what it says, what becomes of it."""
    visit = Visit(gateway.new_id(), exchange, gateway.clock(), gateway.tracing.start(exchange.headers, "tasks"))
    principal = await identify(gateway, visit)
    if isinstance(principal, Refusal):
        return await refuse(gateway, visit, principal)
    body = await exchange.body() if exchange.method == "POST" else b""
    if isinstance(body, Refusal):
        return await refuse(gateway, visit, body, principal)
    reply = await gateway.tasks.handle(TaskRequest(exchange.method, exchange.path, body, principal, visit.arrived))
    if isinstance(reply, Refused):
        await note_refusal(gateway, visit, Refusal(reply.status, reply.reason, RPC_REFUSED), principal)
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
        certificate=exchange.certificate,
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
    exchange = visit.exchange
    port = gateway.upstreams.get(exchange.upstream)
    if port is None:
        return _refusal(404, "upstream/unknown", "There is no such upstream here.", "Ask the operator for its name.")
    headers = forwardable(visit, message)
    if tokens.shows(values_of(exchange.headers, b"authorization"), headers, message.body if message else b""):
        return _refusal(
            400,
            "request/own-token",
            "The call carries the token with which it is made.",
            "Keep your token in the Authorization header; it is for this gateway alone.",
        )
    session = own_session(gateway, exchange, principal, message)
    if isinstance(session, Refusal):
        return session
    method = cast("Literal['POST', 'GET', 'DELETE']", exchange.method)
    request = UpstreamRequest(method, headers, principal, message)
    if session is not None:
        request = structs.replace(request, session=session.id, began=session.began)
    if (refused := await barred(gateway, exchange.upstream, request)) is not None:
        return refused
    if message is not None and message.disposition is Disposition.DECIDE:
        return await decided(gateway, visit, port, request, message)
    return await passed(gateway, visit, port, request)


def forwardable(visit: Visit, message: Message | None) -> Headers:
    """What travels on: without what was for this gateway, and with this gateway's place in the trace."""
    traceparent = visit.trace.traceparent
    left_out = _NOT_STATELESS if _is_stateless(message) else _NONE
    if traceparent is None:
        return forwardable_request(visit.exchange.headers, without=left_out)
    headers = forwardable_request(visit.exchange.headers, without=left_out | {b"traceparent"})
    return (*headers, (b"traceparent", traceparent))


_NONE: Final[frozenset[bytes]] = frozenset()
_NOT_STATELESS: Final = frozenset({b"last-event-id"})


def own_session(
    gateway: Gateway, exchange: Exchange, principal: Principal, message: Message | None
) -> Session | Refusal | None:
    """The upstream's session, if the caller names one that is its own. The stateless era has none, and ignores the
    headers of sessions (2026-07-28 streamable HTTP, "Backward Compatibility")."""
    if _is_stateless(message):
        return None
    sealed = values_of(exchange.headers, b"mcp-session-id")
    if not sealed:
        if values_of(exchange.headers, b"last-event-id"):
            return _refusal(400, "session/missing", "A stream is resumed without its session.", "Send Mcp-Session-Id.")
        return None
    session = gateway.sessions.open(sealed[0], upstream=exchange.upstream, principal=principal)
    if session is None or len(sealed) > 1:
        return _refusal(404, "session/unknown", "There is no such session.", "Start a new one with initialize.")
    return session


async def barred(gateway: Gateway, upstream: str, request: UpstreamRequest) -> Refusal | None:
    """Why this must not reach the upstream, whatever policy would say of it."""
    message = request.message
    if message is not None and not owns_handles(gateway, upstream, request.principal, message):
        return _refusal(
            400, "session/foreign", "This task or request state was not given to you.", "Start over without it."
        )
    return await foreign.refusal(gateway, upstream, request)


def owns_handles(gateway: Gateway, upstream: str, principal: Principal, message: Message) -> bool:
    """Whether every protocol task and request state that the message names was given to this caller."""
    state = state_of(message)
    handles = tasks_of(message) if state is None else {state, *tasks_of(message)}
    return all(gateway.handles.belongs(upstream, handle, principal) for handle in handles)


async def passed(gateway: Gateway, visit: Visit, port: Port, request: UpstreamRequest) -> Relay | Refusal:
    """Pass on what needs no decision. What comes back is looked at all the same: whoever has read something can be asked
    about it from then on."""

    upstream = visit.exchange.upstream
    rewrite: Concealment | None = None

    async def settle(ending: Ending) -> None:
        gateway.metrics.handles(upstream, concealed=0 if rewrite is None else rewrite.count, put_back=0)
        measured(gateway, visit, ending)

    if _may_answer_a_call(request) and gateway.vault.conceals(request.principal.key, upstream):
        # It may answer again, or at last, a call whose answer was to be concealed.
        task = task_of(gateway, visit, request, request.message, visit.arrived)
        if isinstance(task, Refusal):
            return task
        rewrite = concealment(gateway, task, gateway.catalogue.target(upstream, "resource", ""), visit.arrived)
    reply = await _accepted(upstream, await port.send(request))
    if rewrite is not None:
        await readable(upstream, reply)
    look = Readings(gateway, visit, request, tuple if rewrite is None else partial(sightings, rewrite))
    return relay(gateway, visit, request, reply, Settlement(settle, rewrite=rewrite, look=look))


# --- what policy decides -----------------------------------------------------------------------------


class Case(Struct, frozen=True):
    """A call on its way: what is to be sent, what policy sees of it, and the task in which it happens."""

    request: UpstreamRequest
    message: Message
    call: Call
    task: Task
    presented: Presented


async def decided(
    gateway: Gateway, visit: Visit, port: Port, request: UpstreamRequest, message: Message
) -> Relay | Refusal:
    """Ask policy about a call, record the answer, and forward what is allowed."""
    await gateway.catalogue.ensure(visit.exchange.upstream)
    call = gather(gateway, visit.exchange.upstream, message)
    if ambiguous(call.arguments, call.target.schema):
        return _AMBIGUOUS
    if contradicted(call.arguments, call.target.schema, request.headers):
        return _CONTRADICTED
    task = task_of(gateway, visit, request, message, visit.arrived)
    if isinstance(task, Refusal):
        return task
    handles = presented(gateway, request, message, call, task)
    if isinstance(handles, Refusal):
        return handles
    case = Case(request, message, call, task, handles)
    decision = await decide(gateway, visit, case)
    return await forward(gateway, visit, port, case, decision) if decision.allowed else denied(decision)


def gather(gateway: Gateway, upstream: str, message: Message) -> Call:
    """The call as policy sees it: the target with its labels and pin, the arguments as they will be forwarded."""
    name = message.name or ""
    match message.method:
        case "resources/read":
            return Call("resources/read", gateway.catalogue.target(upstream, "resource", name), {"uri": name})
        case "prompts/get":
            return Call("prompts/get", gateway.catalogue.target(upstream, "prompt", name), _arguments(message))
        case _:
            return Call("tools/call", gateway.catalogue.target(upstream, "tool", name), _arguments(message))


async def decide(gateway: Gateway, visit: Visit, case: Case) -> Decision:
    """Policy's verdict, recorded. The call is counted before it is decided, so that parallel calls cannot race a
    limit, and uncounted again if it does not go on."""
    principal, call, task = case.request.principal, case.call, case.task
    context = context_of(visit, case.message, task)
    depth = len(principal.delegation)
    content = await inspected(gateway, visit, case)
    counted = gateway.history.reserve(task, visit.id, call, content, visit.arrived, depth=depth)
    try:
        asked = gateway.clock()
        decision = await gateway.policy.decide(document.decision(principal, call, context, counted.facts))
        decision = case.presented.judged(decision, call.target.audience)
        seconds = gateway.clock() - asked
        entry = call_entry(
            visit.id, principal, call, task, decision, context, gateway.record(call, counted.facts), counted.facts
        )
        await recorded(gateway, visit, {**entry, "history": counted.fields}, allowed=decision.allowed)
    except BaseException:
        gateway.history.release(task, visit.id, denied=False)
        raise
    if not decision.allowed:
        gateway.history.release(task, visit.id, denied=True)
    code = decision.reasons[0].code if decision.reasons else "allowed"
    gateway.metrics.decided(call.target.upstream, call.action, decision.effect, code, seconds)
    return decision


async def inspected(gateway: Gateway, visit: Visit, case: Case) -> CallContent:
    """What the arguments hold."""
    size, seen = len(case.message.body), gateway.history.seen(case.task)
    quiet = gateway.inspector.suppressions.of(case.call.target, visit.arrived)
    # What a task has seen goes on changing.
    known = dict(seen) if gateway.aside.takes(size) else seen
    look = partial(gateway.inspector.call, case.call, case.task, known, case.presented.stand_ins(), quiet=quiet)
    content = await gateway.aside.look(size, look)
    return await foreign.recalled(gateway, case.request.principal.key, case.task, case.call, content, size=size)


async def recorded(gateway: Gateway, visit: Visit, entry: JsonObject, *, allowed: bool) -> None:
    """Write the decision down. An allowed call whose caller leaves meanwhile is written down as cancelled too, since
    its entry may be on its way to the disk."""
    try:
        await gateway.journal.append("call", entry)
    except asyncio.CancelledError:
        if allowed:
            cancelled = settled_entry(visit.id, Outcome.CANCELLED, duration_ms=_milliseconds(gateway, visit))
            await finished(append_or_say(gateway, "settled", cancelled))
        raise


def denied(decision: Decision) -> Refusal:
    """What the caller is told of a verdict that is not an allow."""
    if decision.effect == "ask":
        reason = Reason(
            "approval/unavailable",
            "This call needs a person's approval, and this gateway cannot ask for one yet.",
            "Have the operator grant it without approval, or do it by hand.",
        )
        return Refusal(200, reason, RPC_REFUSED, decision=replace(decision, reasons=(*decision.reasons, reason)))
    return Refusal(200, decision.reasons[0], RPC_REFUSED, decision=decision)


async def forward(gateway: Gateway, visit: Visit, port: Port, case: Case, decision: Decision) -> Relay:
    """Send an allowed call on, and make sure that it is settled exactly once, however it ends."""
    kept = gateway.result_record()
    upstream, target = visit.exchange.upstream, case.call.target
    rewrite, values = None, case.presented.values
    if demanded(decision) or values:
        rewrite = concealment(gateway, case.task, target, visit.arrived, values)
        gateway.vault.conceal(case.request.principal.key, upstream)

    made = partial(gateway.history.made, case.task, visit.id, target, label(decision))
    session, identifier = case.request.session, case.message.id
    if session is not None and identifier is not None:
        # A session's answer may come on another stream, before it is known that the first has ended.
        request = unanswered(session, identifier)
        gateway.unanswered.deliver(upstream, request, case.request.principal, made(), once=True)

    async def settle(ending: Ending) -> None:
        gateway.history.settle(case.task, visit.id)
        content = None if kept is None else await gateway.aside.look(kept.held, kept.value)
        entry = settled_entry(
            visit.id,
            _outcome(ending),
            duration_ms=_milliseconds(gateway, visit),
            status=ending.status,
            size=ending.size,
            result=ending.digest,
            content=content,
            concealed=None if rewrite is None else rewrite.count,
            put_back=case.presented.count,
        )
        await append_or_say(gateway, "settled", entry)
        made = 0 if rewrite is None else rewrite.count
        gateway.metrics.handles(upstream, concealed=made, put_back=case.presented.count)
        measured(gateway, visit, ending)

    try:
        reply, left = await sent(upstream, port, case.presented.outgoing, bounds(decision))
        if rewrite is not None:
            await readable(upstream, reply)
        seen = partial(observed, gateway, visit, case, decision, rewrite)
        settlement = Settlement(settle, left, kept, seen, rewrite, made=made)
        return relay(gateway, visit, case.request, reply, settlement)
    except BaseException as error:
        ended: EndedAs = "failed"
        if isinstance(error, asyncio.CancelledError):
            ended = "cancelled"
        elif isinstance(error, Overdue):
            ended = "limited"
        await finished(settle(Ending(ended)))
        raise


def observed(  # noqa: PLR0917 - all but the last are given beforehand
    gateway: Gateway,
    visit: Visit,
    case: Case,
    decision: Decision,
    rewrite: Concealment | None,
    inner: Transform | None,
) -> Observation:
    """What looks at the call's result on its way back."""

    async def fold(content: ResultContent) -> JsonObject | None:
        marked = await foreign.marked(gateway, case.request, content)
        return gateway.history.observe(case.task, visit.id, marked, label=label(decision))

    return Observation(
        gateway.inspector.result(
            case.call,
            case.task,
            quiet=gateway.inspector.suppressions.of(case.call.target, visit.arrived),
            seen=gateway.history.seen(case.task),
        ),
        fold,
        partial(gateway.journal.append, "observed"),
        inner,
        tuple if rewrite is None else partial(sightings, rewrite),
    )


class Overdue(UpstreamTimeout):
    """The time that policy allows a call is over."""


async def sent(upstream: str, port: Port, request: UpstreamRequest, allowed: Bounds) -> tuple[UpstreamReply, Bounds]:
    """The answer, as far as it has begun, and what is left of the bounds for the rest of it."""
    if allowed.seconds is None:
        return await _accepted(upstream, await port.send(request)), allowed
    loop = asyncio.get_running_loop()
    began = loop.time()
    try:
        async with asyncio.timeout(allowed.seconds):
            reply = await _accepted(upstream, await port.send(request))
    except TimeoutError:
        raise Overdue(
            f"upstream {upstream} did not begin to answer within the {allowed.seconds} s that policy allows",
            "ask for less, or have the operator raise the limit",
        ) from None
    return reply, replace(allowed, seconds=allowed.seconds - (loop.time() - began))


def bounds(decision: Decision) -> Bounds:
    """What the `limit` obligation asks for. Of several, the tightest."""
    if not decision.obligations:
        return NO_BOUNDS
    limits = [cast("Mapping[str, int]", item.properties) for item in decision.obligations if item.id == "limit"]
    seconds = [limit["timeout_seconds"] for limit in limits if "timeout_seconds" in limit]
    sizes = [limit["max_bytes"] for limit in limits if "max_bytes" in limit]
    return Bounds(min(seconds, default=None), min(sizes, default=None))


# --- small parts -------------------------------------------------------------------------------------

_OUTCOMES: Final[Mapping[EndedAs, Outcome]] = {
    "completed": Outcome.COMPLETED,
    "cancelled": Outcome.CANCELLED,
    "failed": Outcome.UPSTREAM_FAILED,
    "limited": Outcome.REFUSED,
}


def _outcome(ending: Ending) -> Outcome:
    if ending.ended == "completed" and (ending.status or 0) >= 400:
        return Outcome.ERROR
    return _OUTCOMES[ending.ended]


def _is_stateless(message: Message | None) -> bool:
    return message is not None and message.era is Era.STATELESS


async def _accepted(upstream: str, reply: UpstreamReply) -> UpstreamReply:
    """An answer that may be passed on. One that says that the gateway's own credential is not accepted may not: its
    challenge names the upstream, and would send the caller to fetch a token for it. Nor one that is compressed, for
    nobody can look into it; the gateway asks for none that is."""
    if reply.status in {401, 403}:
        await reply.close()
        raise UpstreamUnauthorized(
            f"upstream {upstream} does not accept this gateway (HTTP {reply.status})",
            "have the operator check the upstream's credential",
        )
    if any(coding.strip().lower() != "identity" for coding in values_of(reply.headers, b"content-encoding")):
        await reply.close()
        raise UpstreamBroken(
            f"upstream {upstream} compressed its answer, though it was asked not to, so it cannot be looked into",
            "have the operator turn compression off there",
        )
    return reply


def _may_answer_a_call(request: UpstreamRequest) -> bool:
    return request.method == "GET" or (
        request.message is not None and request.message.disposition is not Disposition.FILTER
    )


def _milliseconds(gateway: Gateway, visit: Visit) -> float:
    return (gateway.clock() - visit.arrived) * 1000


def _arguments(message: Message) -> JsonObject:
    arguments: Json = message.params.get("arguments", {})
    return arguments if isinstance(arguments, Mapping) else {}


_AMBIGUOUS: Final = Refusal(
    400,
    Reason(
        "request/ambiguous-key",
        "The arguments cannot be read in one way only: names of them differ in writing alone.",
        "Write the names of arguments as the tool's definition does, and each once.",
    ),
    INVALID_PARAMS,
)
_CONTRADICTED: Final = Refusal(
    400,
    Reason(
        "request/header",
        "Header mismatch: a header Mcp-Param does not match the argument that it repeats.",
        "Send routing headers once, and equal to the body.",
    ),
    HEADER_MISMATCH,
)


def _refusal(status: int, code: str, message: str, remedy: str) -> Refusal:
    return Refusal(status, Reason(code, message, remedy), RPC_REFUSED)
