"""The inputs of a decision on a call, from its message: target, arguments, task and handles."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final, cast

from msgspec import Struct, structs

from gateway.base.json import strict
from gateway.calls.binding.vault import ConcealedText, Vault
from gateway.calls.pipeline.context import RequestContext
from gateway.calls.pipeline.revocation import Stops
from gateway.history import TaskRegistry
from gateway.history.tasks.tokens import HEADER, TaskTokens, is_token, select_task
from gateway.inspection.credentials import handles
from gateway.inspection.credentials.calls import role_at
from gateway.inspection.credentials.finding import StandIn
from gateway.inspection.credentials.handles import BACKSLASH, SIGN, Place, places
from gateway.inspection.label_cases import labelled_for_call
from gateway.inspection.schemas import ToolSchemas
from gateway.model import reasons
from gateway.model.call import ActionName, Call
from gateway.model.decision import Decision, Reason, Refusal
from gateway.model.error_codes import REFUSED
from gateway.model.task import Task
from gateway.model.wire import Headers, Json, JsonObject, Message, UpstreamRequest
from gateway.upstreams.catalogue.catalogue import Catalogue
from gateway.wire.protocol import methods
from gateway.wire.protocol.classify import is_ambiguous, keep_declared_parameters, parts_beside
from gateway.wire.protocol.headers import PARAM_PREFIX
from gateway.wire.protocol.methods import TABLE

# --- handles of concealed credentials --------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class ResolvedHandles:
    """The handles of a call. `outgoing` is the request with the original values, if all of them belong to the system
    that it goes to. `values` are the values put back."""

    outgoing: UpstreamRequest
    held: Mapping[str, ConcealedText] = field(default_factory=dict[str, ConcealedText])
    values: tuple[str, ...] = field(default=(), repr=False)
    count: int = 0

    def stand_ins(self) -> dict[str, StandIn]:
        """Return the original values of the handles, for the detector."""
        if not self.held:
            return {}
        return {
            handle: StandIn(found.audience, tuple((seen.fingerprint, seen.detector) for seen in found.sightings))
            for handle, found in self.held.items()
        }

    def enforce_audience(self, decision: Decision, audience: str) -> Decision:
        """Return the decision. Refuse a call with a handle of another audience, whatever the policy says."""
        if not self.held or not decision.allowed or all(found.audience == audience for found in self.held.values()):
            return decision
        reason = reasons.CREDENTIAL_CHAIN_PRESENTATION.reason()
        return Decision("deny", (reason,), (), decision.policy)


def resolve_handles(
    vault: Vault,
    request: UpstreamRequest,
    message: Message,
    call: Call,
    found: tuple[Place, ...] | handles.Misplaced,
    *,
    tasks: tuple[str, ...],
) -> ResolvedHandles | Refusal:
    """Return the handles found in the arguments of a call. Refuse a handle of other tasks than these (`TaskRegistry.readings_of`), and
    a handle in a place that cannot take its value."""
    if isinstance(found, handles.Misplaced):
        return reasons.CREDENTIAL_CHAIN_HANDLE.refusal(problem=found.message)
    held: dict[str, ConcealedText] = {}
    for handle in (handle for place in found for handle in place.named()):
        stands_for = next(filter(None, (vault.find(task, handle) for task in tasks)), None)
        if stands_for is None:
            return reasons.CREDENTIAL_CHAIN_HANDLE_UNKNOWN.refusal()
        held[handle] = stands_for
    if any(item.audience != call.target.audience for item in held.values()):
        return ResolvedHandles(request, held, count=_count(found))
    return _put_back(request, message, call, found, held)


def _put_back(
    request: UpstreamRequest, message: Message, call: Call, found: tuple[Place, ...], held: Mapping[str, ConcealedText]
) -> ResolvedHandles | Refusal:
    values = {handle: item.text for handle, item in held.items() if item.text is not None}
    if len(values) < len(held):
        return reasons.CREDENTIAL_CHAIN_HANDLE_TOO_LARGE.refusal()
    uri = call.action == "resources/read"
    for place in found:
        role = role_at(place.scalar.path[2:], call.target.labels.roles)
        for start, end in place.handles:
            if not handles.fits(place, values[place.text[start:end]], (start, end), role, uri=uri):
                return reasons.CREDENTIAL_CHAIN_HANDLE_PLACE.refusal()
    body = handles.restored(message.body, found, values)
    document = strict.read(body)
    if isinstance(document, strict.UnreadableJson):
        return reasons.CREDENTIAL_CHAIN_HANDLE_UNREADABLE.refusal()
    params = document["params"]
    assert isinstance(params, dict)  # noqa: S101 - it was one before
    name = params["uri"] if uri else message.name
    assert name is None or isinstance(name, str)  # noqa: S101 - it was one before
    restored = structs.replace(message, body=body, params=params, name=name)
    headers = handles.mirror_headers(request.headers, found, values)
    outgoing = structs.replace(request, message=restored, headers=headers)
    return ResolvedHandles(outgoing, held, tuple(values.values()), _count(found))


def _count(found: tuple[Place, ...]) -> int:
    return sum(len(place.handles) for place in found)


# --- the call --------------------------------------------------------------------------------------------


class PreparedCall(Struct, frozen=True):
    """A call on its way: the request, the call as policy sees it, its task and its handles. `exposed`: the message has a piece
    of a token of its caller."""

    request: UpstreamRequest
    message: Message
    call: Call
    task: Task
    handles: ResolvedHandles
    exposed: bool


class CurrentTasks(Struct, frozen=True):
    """The tasks of requests: the declared task named by a request, else the implicit task of its caller."""

    registry: TaskRegistry
    tokens: TaskTokens

    def find_task(
        self, context: RequestContext, request: UpstreamRequest, message: Message | None, now: float
    ) -> Task | Refusal:
        """Return the task of a request at `now`, in seconds since the epoch. Refuse (403) a task of another caller, and an ended
        task."""
        fields = context.exchange.fields
        names_none = HEADER not in fields and (message is None or "_meta" not in message.params)
        named = None if names_none else select_task(message, fields)
        if named is None:
            return self.registry.open_implicit(request.principal, now)
        found: str | Task | Reason = named
        if isinstance(found, str) and is_token(found):
            found = self.tokens.task_of(found, request.principal, now)
        if isinstance(found, str):
            found = self.registry.select(request.principal, found, now)
        return Refusal(403, found, REFUSED) if isinstance(found, Reason) else found


class Preparation(Struct, frozen=True):
    """The stage that collects the inputs of a decision."""

    catalogue: Catalogue
    tasks: CurrentTasks
    vault: Vault
    schemas: ToolSchemas
    stops: Stops

    def prepare_call(
        self, context: RequestContext, request: UpstreamRequest, message: Message, *, exposed: bool
    ) -> PreparedCall | Refusal:
        """Collect the inputs of a decision on a call. Refuse an ambiguous call, a call with an unknown task or handle, and a call
        that does not fit its tool's definition."""
        call = self._read_call(context.exchange.upstream, message, request.added)
        if is_ambiguous(call.arguments, call.target.schema):
            return _AMBIGUOUS
        for name, _ in request.headers:
            if name.startswith(PARAM_PREFIX):
                kept = keep_declared_parameters(call.arguments, call.target.schema, request.headers)
                if kept is None:
                    return _CONTRADICTED
                request = structs.replace(request, headers=kept)
                break
        task = self._find_task(context, request, message)
        if isinstance(task, Refusal):
            return task
        body = message.body
        found = places(body, TABLE[call.action].decided) if BACKSLASH in body or SIGN in body else ()
        handles = ResolvedHandles(request, {})
        if found:
            readings = self.tasks.registry.readings_of(task)
            resolved = resolve_handles(self.vault, request, message, call, found, tasks=readings)
            if isinstance(resolved, Refusal):
                return resolved
            handles = resolved
        misfit = self._refuse_misfit(call, handles.outgoing.message or message)
        return misfit or PreparedCall(request, message, call, task, handles, exposed)

    def _refuse_misfit(self, call: Call, sent: Message) -> Refusal | None:
        """Refuse arguments that do not fit the definition. A handle stands for a text of the form that the definition has."""
        if call.target.schema is None:
            return None
        is_completion = TABLE[call.action].target is None
        arguments = call.arguments if is_completion else sent.params.get("arguments", _NOTHING)
        return self.schemas.refuse_arguments(call.target, arguments, len(sent.body))

    def _find_task(self, context: RequestContext, request: UpstreamRequest, message: Message) -> Task | Refusal:
        """Return the task of a call. The call may have waited for a person: refuse it if an operator has stopped it, or removed its
        upstream."""
        if context.exchange.upstream not in self.catalogue.served:
            return _REMOVED
        task = self.tasks.find_task(context, request, message, context.arrived)
        if not self.stops.register.stops or isinstance(task, Refusal):
            return task
        return self.stops.refuse(request.principal, context.exchange.upstream, task) or task

    def _read_call(self, upstream: str, message: Message, added: Headers) -> Call:
        """Return the call as policy sees it: its target with labels and pin, and all that its upstream reads. The arguments of a
        completion stand under their own names."""
        action, row, name = cast("ActionName", message.method), TABLE[message.method or ""], message.name or ""
        if row.target is None:
            asked, beside = methods.read_completion(message.params), methods.find_unknown_of_completion(message.params)
            target = self.catalogue.target(upstream, asked.type, asked.name)
            return Call(action, target, asked.arguments, parts_beside(beside, added))
        beside = (
            parts_beside(message.params, added) if added or not _WITHOUT_MORE.issuperset(message.params) else _NOTHING
        )
        listed = (
            None if row.target == "resource" else self.catalogue.definitions[upstream][row.target].targets.get(name)
        )
        target = listed or self.catalogue.target(upstream, row.target, name)
        given: Json = message.params.get("arguments") if row.decided == "arguments" else {row.decided or "": name}
        # A dictionary, as nearly always, costs no look at an abstract class.
        arguments: JsonObject = given if isinstance(given, (dict, Mapping)) else {}
        return Call(
            action,
            labelled_for_call(target, arguments) if target.labels.cases and row.target == "tool" else target,
            arguments,
            beside,
        )


_NOTHING: Final[JsonObject] = {}
_WITHOUT_MORE: Final = frozenset({"name", "arguments", "uri"})
"""Members of `params` beside which nothing has to be looked for, as in most calls."""
_AMBIGUOUS: Final = reasons.REQUEST_AMBIGUOUS_ARGUMENT.refusal()
_REMOVED: Final = reasons.UPSTREAM_UNKNOWN.refusal()
_CONTRADICTED: Final = reasons.REQUEST_HEADER.refusal(
    problem="a header Mcp-Param does not match the argument that it repeats"
)
