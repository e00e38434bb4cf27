"""Everything that a decision on a call needs, gathered from its message: its target, arguments, task and handles."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from msgspec import Struct

from gateway.catalogue.catalogue import Catalogue
from gateway.inspection.label_cases import labelled_for_call
from gateway.model.call import Call
from gateway.model.decision import Reason, Refusal
from gateway.model.task import Task
from gateway.model.wire import Json, JsonObject, Message, UpstreamRequest
from gateway.pipeline.context import Gateway, Visit
from gateway.pipeline.current_task import task_of
from gateway.pipeline.presenting import Presented, presented
from gateway.protocol import completions
from gateway.protocol.error_codes import HEADER_MISMATCH, INVALID_PARAMS
from gateway.protocol.parameters import ambiguous, is_contradicted


class Case(Struct, frozen=True):
    """A call on its way: the request, the call as policy sees it, and its task. `exposed`: the message has a piece of a token
    of its caller."""

    request: UpstreamRequest
    message: Message
    call: Call
    task: Task
    presented: Presented
    exposed: bool


def gather(
    gateway: Gateway, visit: Visit, request: UpstreamRequest, message: Message, *, exposed: bool
) -> Case | Refusal:
    """Collect the inputs of a decision on a call. Refuse an ambiguous call, and a call with an unknown task or handle."""
    call = _call(gateway.catalogue, visit.exchange.upstream, message)
    if ambiguous(call.arguments, call.target.schema):
        return _AMBIGUOUS
    if is_contradicted(call.arguments, call.target.schema, request.headers):
        return _CONTRADICTED
    task = task_of(gateway, visit, request, message, visit.arrived)
    if isinstance(task, Refusal):
        return task
    handles = presented(gateway.vault, request, message, call, gateway.history.readings_of(task))
    return handles if isinstance(handles, Refusal) else Case(request, message, call, task, handles, exposed)


def _call(catalogue: Catalogue, upstream: str, message: Message) -> Call:
    """Return the call as policy sees it: its target with labels and pin, and its outgoing arguments. The arguments of a
    completion stand under their own names."""
    name = message.name or ""
    match message.method:
        case "resources/read":
            return Call("resources/read", catalogue.target(upstream, "resource", name), {"uri": name})
        case "prompts/get":
            return Call("prompts/get", catalogue.target(upstream, "prompt", name), _arguments(message))
        case completions.METHOD:
            asked = completions.read_completion(message.params)
            target = catalogue.target(upstream, asked.type, asked.name)
            return Call("completion/complete", target, asked.arguments)
        case _:
            arguments = _arguments(message)
            return Call("tools/call", labelled_for_call(catalogue.target(upstream, "tool", name), arguments), arguments)


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
