"""Spans of requests, by the semantic conventions of OpenTelemetry for MCP: the request, its decision, and its upstream.

A span has names that the gateway knows, and never an argument, a URI or a name that only the caller chose.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Final

from msgspec import structs

from gateway.model.target import Pin, Target
from gateway.model.wire import Kind, Message, UpstreamRequest
from gateway.record.telemetry.tracing import Attributes
from gateway.wire.protocol.headers import TRACE, VERSION
from gateway.wire.protocol.methods import TABLE, VERSIONS

if TYPE_CHECKING:
    from gateway.calls.pipeline.context import RequestContext
    from gateway.calls.pipeline.credentials import CallerCredentials
    from gateway.model.caller import Principal
    from gateway.model.decision import Decision
    from gateway.record.telemetry.tracing import TraceContext, Tracing

_REQUEST_ID: Final = re.compile(r"[A-Za-z0-9_.:-]{1,64}")
_SESSION_DIGITS: Final = 32
_OTHER: Final = "_OTHER"
"""The conventions' word for a name that is not to be repeated."""


def join_message_trace(
    tracing: Tracing, known: CallerCredentials, context: RequestContext, principal: Principal, message: Message
) -> RequestContext:
    """Return the request in the trace that its message names, if any: the span of the MCP client is the parent then.

    The conventions put a link to the trace of the HTTP request beside it.
    """
    meta, before = message.params.get("_meta"), context.trace
    sent = meta.get("traceparent") if isinstance(meta, Mapping) else None
    if isinstance(meta, Mapping) and isinstance(sent, str) and sent.encode() != before.joined:
        fields = {name.encode(): (str(meta[name]).encode(),) for name in TRACE if name in meta}
        trace = tracing.start(fields, before.name, at=context.arrived, link=before.joined)
        if trace.joined is not None and is_safe_trace(known, principal, trace):
            before.give_way_to(trace)
            context = structs.replace(context, trace=trace)
    if context.trace.recording is not None:
        attributes = _describe_message(message, context)
        identifier = str(message.id)
        if message.kind is Kind.REQUEST and _may_be_told(identifier, known, context, principal, message):
            attributes["jsonrpc.request.id"] = identifier
        context.trace.describe(_name_method(message), attributes)
    return context


def _may_be_told(
    identifier: str, known: CallerCredentials, context: RequestContext, principal: Principal, message: Message
) -> bool:
    """Return whether the id of a request is short, and no credential: callers choose it."""
    if _REQUEST_ID.fullmatch(identifier) is None or known.detector.hits(identifier.encode()):
        return False
    spots = known.find_known_to_request(context, principal, message)
    return spots is None or not spots.holds_any([identifier])


def is_safe_trace(known: CallerCredentials, principal: Principal, trace: TraceContext) -> bool:
    """Return whether the caller's trace holds no known credential, and its state no credential of any form."""
    texts = [value.decode("latin-1") for value in (trace.joined or b"", *(value for _, value in trace.state))]
    spots = known.find_known(principal.job)
    if spots is not None and spots.holds_any(texts):
        return False
    return not (trace.state and known.detector.hits("\n".join(texts[1:]).encode()))


def record_decision_span(
    context: RequestContext, message: Message, target: Target, decision: Decision, *, asked: float, seconds: float
) -> None:
    """Record the policy's decision as a child span, and the target in the span of the request. `asked` is monotonic."""
    trace = context.trace
    if trace.recording is None:
        return
    attributes: Attributes = {
        "opagate.effect": decision.effect,
        "opagate.policy.name": decision.policy.name,
        "opagate.policy.revision": decision.policy.revision,
    }
    if decision.reasons:
        attributes = {**attributes, "opagate.reason": decision.reasons[0].code}
    began = context.arrived + asked - context.began
    trace.recording.add_child("opagate.decide", began, began + seconds, attributes)
    trace.describe(_name_method(message, target), _describe_target(message, target))


def begin_upstream_span(
    context: RequestContext, request: UpstreamRequest, target: Target | None = None
) -> UpstreamRequest:
    """Return the request with the span of the exchange with its upstream in `traceparent`. The span ends with the request's."""
    recording, message = context.trace.recording, request.message
    if recording is None or message is None:
        return request
    attributes = {"mcp.method.name": _method(message), "opagate.upstream": context.upstream or _OTHER}
    if target is not None:
        attributes |= _describe_target(message, target)
    if request.session is not None:
        attributes["mcp.session.id"] = _digest_session(request.session)
    parent = recording.open_upstream(_name_method(message, target), attributes)
    headers = tuple((name, parent if name == b"traceparent" else value) for name, value in request.headers)
    return structs.replace(request, headers=headers)


def _describe_message(message: Message, context: RequestContext) -> dict[str, str]:
    fields = context.exchange.fields
    found = {"mcp.method.name": _method(message), "network.transport": "tcp", "network.protocol.name": "http"}
    version = fields.get(VERSION, (b"",))[0].decode("latin-1")
    if version in VERSIONS:
        found["mcp.protocol.version"] = version
    if b"mcp-session-id" in fields:
        found["mcp.session.id"] = _digest_session(fields[b"mcp-session-id"][0].decode("latin-1"))
    return found


def _describe_target(message: Message, target: Target) -> dict[str, str]:
    """Return the attributes of a listed target. Another name is the caller's choice: it may be anything, and any number."""
    if not _is_listed(target):
        return {}
    if message.method == "tools/call":
        return {"gen_ai.operation.name": "execute_tool", "gen_ai.tool.name": target.name}
    return {"gen_ai.prompt.name": target.name} if message.method == "prompts/get" else {}


def _name_method(message: Message, target: Target | None = None) -> str:
    """Return the name of a span: the method, and the listed tool or prompt."""
    is_named = target is not None and message.method in {"tools/call", "prompts/get"} and _is_listed(target)
    return f"{_method(message)} {target.name}" if target is not None and is_named else _method(message)


def _method(message: Message) -> str:
    if message.kind is Kind.RESPONSE:
        return "response"
    return message.method if message.method is not None and message.method in TABLE else _OTHER


def _is_listed(target: Target) -> bool:
    return target.pin is not None and target.pin is not Pin.UNKNOWN


def _digest_session(session: str) -> str:
    """Return a name of a session. The id itself is half of a credential."""
    return hashlib.sha256(session.encode()).hexdigest()[:_SESSION_DIGITS]
