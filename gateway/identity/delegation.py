"""Delegation chains of tokens: `act` and `may_act` (RFC 8693 sections 4.1 and 4.4). Pure. A security token service with
separate checks of the subject's and the actor's token may join unrelated links (chain splicing). The audience (`aud`)
of a link must be the next link in the chain. A token's `may_act` must name the present actor."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from gateway.identity import spiffeid
from gateway.identity.jose import is_object, text, texts
from gateway.identity.outcomes import CredentialFault
from gateway.model import reasons
from gateway.model.caller import Actor

if TYPE_CHECKING:
    from gateway.model.wire import Json, JsonObject

MAX_DEPTH: Final = 8
"""Links. A longer chain is refused, whatever policy would say of it."""


@dataclass(frozen=True, slots=True)
class Trust:
    """The trust for a chain: the configured issuers, and the audiences of this gateway."""

    issuers: frozenset[str]
    audiences: frozenset[str]


def chain(act: Json, trust: Trust) -> tuple[Actor, ...] | CredentialFault:
    """Return the actors of an `act` claim, the present actor first."""
    actors: list[Actor] = []
    successors = trust.audiences
    link: Json = act
    while True:
        if len(actors) == MAX_DEPTH:
            return _fault(f"the delegation chain is longer than {MAX_DEPTH} links")
        if not is_object(link):
            return _fault("a link of the delegation chain is not an object")
        actor = _actor(link, trust.issuers)
        if isinstance(actor, CredentialFault):
            return actor
        if "aud" in link and not _made_out_to(link, successors):
            return _fault("a link of the delegation chain was made out to somebody else than the next actor")
        actors.append(actor)
        if "act" not in link:
            return tuple(actors)
        successors = frozenset({actor.id})
        link = link["act"]


def permits(may_act: Json, actor: Actor) -> CredentialFault | None:
    """Check that a `may_act` claim names the present actor. `actor.issuer` is never `None` here."""
    if not is_object(may_act) or text(may_act.get("sub")) is None:
        return _fault("may_act does not name anybody")
    if may_act["sub"] != actor.id or may_act.get("iss", actor.issuer) != actor.issuer:
        return _fault("may_act names somebody else than the present actor")
    return None


def identifier(value: Json) -> str | None:
    """Return the id of an agent or a user; an id in the form of a SPIFFE ID must be valid."""
    name = text(value)
    if name is None or (name.lower().startswith(spiffeid.SCHEME) and spiffeid.workload(name) is None):
        return None
    return name


def _actor(link: JsonObject, issuers: frozenset[str]) -> Actor | CredentialFault:
    name = identifier(link.get("sub"))
    if name is None:
        return _fault("a link of the delegation chain has no usable sub")
    if "iss" not in link:
        return Actor(name, None)
    issuer = text(link["iss"])
    if issuer is None or issuer not in issuers:
        return _fault("a link of the delegation chain comes from an issuer that is not configured")
    return Actor(name, issuer)


def _made_out_to(link: JsonObject, successors: frozenset[str]) -> bool:
    names = texts(link["aud"])
    return names is not None and not successors.isdisjoint(names)


def _fault(detail: str) -> CredentialFault:
    return CredentialFault(reasons.IDENTITY_DELEGATION, detail)
