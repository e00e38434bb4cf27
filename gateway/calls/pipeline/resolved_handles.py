"""The handles of concealed credentials in a call: each is replaced by its credential, if that goes back to its own system.

`resolve_handles` looks them up in the vault before policy decides; `credentials.handles` finds and replaces them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from msgspec import structs

from gateway.base.json import strict
from gateway.calls.binding.vault import Concealed, Vault
from gateway.inspection.credentials import handles
from gateway.inspection.credentials.calls import role_at
from gateway.inspection.credentials.finding import StandIn
from gateway.inspection.credentials.handles import Place
from gateway.model import reasons
from gateway.model.call import Call
from gateway.model.decision import Decision, Refusal
from gateway.model.wire import Message, UpstreamRequest


@dataclass(frozen=True, slots=True)
class ResolvedHandles:
    """The handles of a call. `outgoing` is the request with the original values, if all of them belong to the system
    that it goes to. `values` are the values put back."""

    outgoing: UpstreamRequest
    held: Mapping[str, Concealed] = field(default_factory=dict[str, Concealed])
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
    held: dict[str, Concealed] = {}
    for handle in (handle for place in found for handle in place.named()):
        stands_for = next(filter(None, (vault.find(task, handle) for task in tasks)), None)
        if stands_for is None:
            return reasons.CREDENTIAL_CHAIN_HANDLE_UNKNOWN.refusal()
        held[handle] = stands_for
    if any(item.audience != call.target.audience for item in held.values()):
        return ResolvedHandles(request, held, count=_count(found))
    return _put_back(request, message, call, found, held)


def _put_back(
    request: UpstreamRequest, message: Message, call: Call, found: tuple[Place, ...], held: Mapping[str, Concealed]
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
