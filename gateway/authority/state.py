"""Transitions of a lease. Pure. Each function returns a new lease, and raises `ValueError` for an impossible step.

`requested` → `active` → `ending` → `revoked`, `expired` or `lapsed`. A broker's refusal leads to `failed`. An end without proof
becomes `stuck`. The gateway tries it on until its proof or its time, or until an operator gives it up (`abandoned`).
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from msgspec import structs

from gateway.authority.lifetime import SKEW
from gateway.authority.model import OUTLIVING

if TYPE_CHECKING:
    from gateway.authority.model import BrokerRefusal, Cause, Issued, Lease, NotEnded, Proof


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
