"""Requests to brokers, and the search for values where none may be."""

from __future__ import annotations

import base64
import json
import time
from typing import TYPE_CHECKING, Any

from gateway.authority.model import BrokerRefusal, Issued, Lease, LeaseRequest, Scope
from gateway.model.caller import AuthMethod, Principal, User

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from gateway.authority.model import Cause

UPSTREAM = "crm"
AUDIENCE = "https://crm.example"


def jwt_text(claims: Mapping[str, Any]) -> str:
    """Return a token in the form of a signed JWT, with a signature of nothing."""
    parts = (json.dumps({"alg": "RS256", "typ": "at+jwt"}), json.dumps(claims))
    head, body = (base64.urlsafe_b64encode(part.encode()).rstrip(b"=").decode() for part in parts)
    return f"{head}.{body}.c2lnbmF0dXJl"


def lease_request(
    *, issuer: str = "https://idp.example", subject: str | None = None, seconds: float = 60.0, **changes: Any
) -> LeaseRequest:
    asked = time.time()
    fields: dict[str, Any] = {
        "id": "lease-1",
        "task": "task-1",
        "principal": Principal("agent-1", issuer, AuthMethod.JWT, user=User("ada")),
        "upstream": UPSTREAM,
        "audience": AUDIENCE,
        "scope": Scope(("crm.read",)),
        "asked": asked,
        "expires": asked + seconds,
        "subject_token": subject,
    }
    return LeaseRequest(**{**fields, **changes})


def lease_of(request: LeaseRequest, handle: dict[str, str], *, cause: Cause = "task-completed") -> Lease:
    """Return the lease that the journal has of a request, at its end."""
    return Lease(
        id=request.id,
        task=request.task,
        owner=request.principal.key,
        user="ada",
        agent="agent-1",
        upstream=request.upstream,
        audience=request.audience,
        broker="broker",
        kind="kind",
        scope=request.scope,
        requested=request.asked,
        expires=request.expires,
        dies=request.expires,
        state="ending",
        handle=handle,
        cause=cause,
    )


def issued(outcome: Issued | BrokerRefusal) -> Issued:
    assert isinstance(outcome, Issued), outcome
    return outcome


def refused(outcome: object, code: str) -> BrokerRefusal:
    assert isinstance(outcome, BrokerRefusal), outcome
    assert outcome.code == code, outcome
    assert outcome.reason.remedy
    return outcome


def prepared(outcome: dict[str, str] | BrokerRefusal) -> dict[str, str]:
    assert isinstance(outcome, dict), outcome
    return outcome


def values_shown(secrets: Iterable[str], *texts: object) -> list[str]:
    """Return each secret that some text shows: as it is, in base64 at any offset, or in hex."""
    everything = "\0".join(str(text) for text in texts) + "\0" + "\0".join(repr(text) for text in texts)
    return [secret for secret in secrets if any(form in everything for form in _forms(secret))]


def _forms(secret: str) -> set[str]:
    data = secret.encode()
    found = {secret, data.hex(), data.hex().upper()}
    for encode in (base64.b64encode, base64.urlsafe_b64encode):
        for offset in range(3):
            # The characters that no neighbour of the secret decides.
            text = encode(b"\0" * offset + data).decode().rstrip("=")
            found.add(text[-(-offset * 8 // 6) : len(text) - 2])
    return found
