"""Credentials kept from agents: which answers have handles in their place, and what they stand for."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING, Final

from msgspec import structs

from gateway.answer import RPC_REFUSED
from gateway.errors import UpstreamBroken
from gateway.inspection import handles
from gateway.inspection.concealment import Concealment, Recalling
from gateway.inspection.credentials.calls import role_at
from gateway.inspection.credentials.finding import StandIn
from gateway.model import Decision, Message, Reason, Refusal, Sighting, Task, UpstreamReply, UpstreamRequest
from gateway.protocol import strict

if TYPE_CHECKING:
    from gateway.binding.vault import Concealed, Vault
    from gateway.inspection.credentials.finding import Finding
    from gateway.inspection.handles import Place
    from gateway.model import Call, Target
    from gateway.visit import Gateway

OBLIGATION: Final = "conceal_credentials"

_PLAIN: Final = frozenset({"utf-8", "utf8", "us-ascii", "ascii", "iso-8859-1", "latin1"})
"""Character encodings in which a credential is written as it is in UTF-8."""


def demanded(decision: Decision) -> bool:
    """Whether policy wants the credentials of the answer concealed."""
    return any(item.id == OBLIGATION for item in decision.obligations)


def concealment(gateway: Gateway, task: Task, target: Target, now: float, values: tuple[str, ...] = ()) -> Concealment:
    """What rewrites one answer to a call of `task`. `values` were put back in the call: they do not come back, whether
    or not they look like credentials there."""
    detector = gateway.inspector.detector
    looking = Recalling(detector, values) if values else detector
    quiet, seen = gateway.inspector.suppressions.of(target, now), gateway.history.seen(task)
    keep = partial(_keep, gateway.vault, task.id, target.audience)
    return Concealment(looking, keep, none=lambda finding: quiet.covers(finding, seen))


def sightings(concealed: Concealment) -> tuple[Sighting, ...]:
    """The credentials that it has concealed since this was last asked, as history takes them in."""
    return tuple(map(_sighting, concealed.found()))


async def readable(upstream: str, reply: UpstreamReply) -> UpstreamReply:
    """An answer in which credentials can be found. Raises `UpstreamBroken` for one in a character encoding that hides
    them."""
    if _charset(reply) in _PLAIN:
        return reply
    await reply.close()
    raise UpstreamBroken(
        f"the answer of upstream {upstream} was withheld: what it holds is to be concealed, and it is not in UTF-8",
        "have the upstream answer in UTF-8",
    )


def _charset(reply: UpstreamReply) -> str:
    types = [value.decode("latin-1") for name, value in reply.headers if name == b"content-type"]
    parameters = [part.strip().lower().partition("=") for value in types for part in value.split(";")[1:]]
    return next((value.strip(" \"'") for name, _, value in parameters if name.strip() == "charset"), "utf-8")


def _keep(vault: Vault, task_id: str, audience: str, findings: tuple[Finding, ...], text: str | None) -> str | None:
    seen = tuple(replace(_sighting(finding), shingles=frozenset()) for finding in findings)
    return vault.keep(task_id, audience, seen, text)


def _sighting(finding: Finding) -> Sighting:
    return Sighting(
        finding.fingerprint, finding.detector, form=finding.form, shingles=finding.shingles, ordinary=finding.ordinary
    )


# --- handles in a call -------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Presented:
    """The handles that a call presents. `outgoing` is the request with what they stand for in their place, if all of
    them are of the system that it goes to; `values` are what was put back."""

    outgoing: UpstreamRequest
    held: Mapping[str, Concealed] = field(default_factory=dict[str, "Concealed"])
    values: tuple[str, ...] = field(default=(), repr=False)
    count: int = 0

    def stand_ins(self) -> dict[str, StandIn]:
        """What they stand for, as detection is told of it."""
        return {
            handle: StandIn(found.audience, tuple((seen.fingerprint, seen.detector) for seen in found.sightings))
            for handle, found in self.held.items()
        }

    def judged(self, decision: Decision, audience: str) -> Decision:
        """The verdict, unless a policy allows what no policy can: a handle is put back for no other audience."""
        if not decision.allowed or all(found.audience == audience for found in self.held.values()):
            return decision
        reason = Reason(
            "credential-chain/presentation",
            "The call carries a credential that another system answered with.",
            "Use the handle only where it came from.",
            ("ASI03", "NHI2", "NHI9", "MCP01"),
        )
        return Decision("deny", (reason,), (), decision.policy)


def presented(
    gateway: Gateway, request: UpstreamRequest, message: Message, call: Call, task: Task
) -> Presented | Refusal:
    """The handles in the arguments of a call. Refuses one that was not made in this task, and one that stands where
    its value cannot be put."""
    decided = "uri" if call.action == "resources/read" else "arguments"
    found = handles.places(message.body, decided)
    if isinstance(found, handles.Misplaced):
        return _refusal(found.message, "Leave the handle alone in an argument, as it was given to you.")
    if not found:
        return Presented(request)
    held: dict[str, Concealed] = {}
    for handle in (handle for place in found for handle in place.named()):
        stands_for = gateway.vault.find(task.id, handle)
        if stands_for is None:
            return _refusal(
                "A handle is not known in this task.", "Read again what gave it to you, and use the new one."
            )
        held[handle] = stands_for
    count = sum(len(place.handles) for place in found)
    if any(item.audience != call.target.audience for item in held.values()):
        return Presented(request, held, count=count)
    return _put_back(request, message, call, found, held, count)


def _put_back(  # noqa: PLR0917 - what was found, and where
    request: UpstreamRequest,
    message: Message,
    call: Call,
    found: tuple[Place, ...],
    held: Mapping[str, Concealed],
    count: int,
) -> Presented | Refusal:
    values = {handle: item.text for handle, item in held.items() if item.text is not None}
    if len(values) < len(held):
        return _refusal(
            "A handle stands for more than could be kept.", "Read the credential again in a smaller result."
        )
    uri = call.action == "resources/read"
    for place in found:
        role = role_at(place.scalar.path[2:], call.target.labels.roles)
        for start, end in place.handles:
            if not handles.fits(place, values[place.text[start:end]], (start, end), role, uri=uri):
                return _refusal(
                    "What a handle stands for cannot be put where the handle stands.",
                    "Give the handle alone, or after a word such as Bearer, in an argument for a credential.",
                )
    body = handles.restored(message.body, found, values)
    document = strict.read(body)
    if isinstance(document, strict.Unreadable):
        return _refusal(
            "What a handle stands for cannot be sent.", "Read the credential again, and use the new handle."
        )
    params = document["params"]
    assert isinstance(params, dict)  # noqa: S101 - it was one before
    name = params["uri"] if uri else message.name
    assert name is None or isinstance(name, str)  # noqa: S101 - it was one before
    restored = structs.replace(message, body=body, params=params, name=name)
    headers = handles.mirrored(request.headers, found, values)
    outgoing = structs.replace(request, message=restored, headers=headers)
    return Presented(outgoing, held, tuple(values.values()), count)


def _refusal(message: str, remedy: str) -> Refusal:
    return Refusal(200, Reason("credential-chain/handle", message, remedy, ("ASI03", "NHI2", "MCP01")), RPC_REFUSED)
