"""The states of a lease and their entries in the journal. Pure."""

from __future__ import annotations

import math
from hashlib import sha256
from typing import TYPE_CHECKING, Any, Final

import msgspec
from msgspec import structs

from gateway.authority.model import OUTLIVING
from gateway.authority.narrowing import SKEW

if TYPE_CHECKING:
    from gateway.authority.model import BrokerRefusal, Cause, Issued, Lease, NotEnded, Proof
    from gateway.model.wire import JsonObject


def activate(lease: Lease, issued: Issued, fingerprints: tuple[str, ...]) -> Lease:
    """Return the lease with its issued credential. The issuer may shorten the life, never lengthen it."""
    _require(lease, "requested")
    return structs.replace(
        lease,
        state="active",
        expires=min(lease.expires, issued.expires),
        # Issuers count whole seconds.
        ends_by=lease.ends_by if issued.expires > lease.expires - 1 else "lease-expired",
        dies=issued.expires,
        scope=structs.replace(lease.scope, names=issued.scope),
        handle={**lease.handle, **issued.handle},
        fingerprints=fingerprints,
    )


def fail(lease: Lease, refusal: BrokerRefusal) -> Lease:
    """Return the lease that its broker refused before anything was issued."""
    _require(lease, "requested")
    return structs.replace(lease, state="failed", problem=refusal.reason.message)


def begin_end(lease: Lease, cause: Cause, now: float) -> Lease:
    """Return the lease whose end began. The first cause stays."""
    if lease.state in {"ending", "stuck"}:
        return lease
    _require(lease, "requested", "active")
    return structs.replace(lease, state="ending", cause=cause, ending_since=now)


def note_attempt(lease: Lease, result: NotEnded, now: float, stuck_after: float) -> Lease:
    """Return the lease after an attempt without proof. After `stuck_after` seconds it is stuck, unless it waits for its time."""
    _require(lease, "ending", "stuck")
    since = now if lease.ending_since is None else lease.ending_since
    is_late = not result.waits and now - since >= stuck_after
    state = "stuck" if lease.state == "stuck" or is_late else "ending"
    return structs.replace(lease, state=state, attempts=lease.attempts + 1, waits=result.waits, problem=result.problem)


def prove(lease: Lease, proof: Proof) -> Lease:
    """Return an ended lease with its proof: `expired` if time ended the lease, else `revoked`."""
    _require(lease, "ending", "stuck")
    state = "expired" if proof.kind == "time" else "revoked"
    return structs.replace(lease, state=state, attempts=lease.attempts + 1, proof=proof, problem="")


def lapse(lease: Lease, proof: Proof) -> Lease:
    """Return the lease that time ended before its issuer confirmed the end."""
    _require(lease, "ending", "stuck")
    return structs.replace(lease, state="lapsed", proof=proof)


def abandon(lease: Lease, reason: str) -> Lease:
    """Return the lease that an operator gave up. Its credential may still work."""
    _require(lease, "ending", "stuck")
    return structs.replace(lease, state="abandoned", problem=reason)


def life_left(lease: Lease, now: float) -> float:
    """Return the seconds until every clock agrees that the credential has expired, infinity if time alone proves nothing."""
    return math.inf if lease.kind in OUTLIVING else lease.dies + SKEW - now


def _require(lease: Lease, *states: str) -> None:
    if lease.state not in states:
        raise ValueError(f"a lease in the state {lease.state} cannot make this step")


KIND: Final = "lease"


def requested_entry(lease: Lease, decision: str | None) -> JsonObject:
    """Return the fields of a `requested` entry. `decision` is the id of the call that needs the credential."""
    fields: dict[str, Any] = {
        "id": lease.id,
        "event": "requested",
        "at": lease.requested,
        "task": lease.task,
        "owner": lease.owner,
        "user": lease.user,
        "agent": lease.agent,
        "upstream": lease.upstream,
        "audience": lease.audience,
        "broker": lease.broker,
        "credential": lease.kind,
        "scope": list(lease.scope.names),
        "expires": lease.expires,
        "handle": lease.handle,
        "decision": decision,
    }
    if lease.scope.details:
        fields["details"] = (
            "sha256:" + sha256(msgspec.json.encode(lease.scope.details, order="deterministic")).hexdigest()
        )
    return {name: value for name, value in fields.items() if value is not None}


def changed_entry(lease: Lease, now: float, event: str | None = None) -> JsonObject:
    """Return the fields of the entry for a lease that changed. By default the event is its state."""
    fields: dict[str, Any] = {
        "id": lease.id,
        "event": event or ("issued" if lease.state == "active" else lease.state),
        "at": now,
        "task": lease.task,
        "upstream": lease.upstream,
        "broker": lease.broker,
        "cause": lease.cause,
        "problem": lease.problem or None,
        "attempts": lease.attempts or None,
        "proof": None if lease.proof is None else msgspec.to_builtins(lease.proof),
        "processes": lease.processes,
    }
    if lease.state == "active":
        fields |= {
            "expires": lease.expires,
            "scope": list(lease.scope.names),
            "handle": lease.handle,
            "fingerprints": list(lease.fingerprints),
        }
    return {name: value for name, value in fields.items() if value is not None}
