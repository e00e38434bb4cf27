"""Entries of the journal about leases. Pure. No entry has a value: fingerprints name credentials, as elsewhere.

| event | when |
|---|---|
| `requested` | before the broker is asked |
| `issued`, `failed` | after the broker's answer |
| `ending` | the end began: from now on no call carries the credential |
| `withdrawn` | the processes that the credential was handed over to have ended (`processes`) |
| `stuck` | no proof of the end for `authority.stuck_after` |
| `revoked`, `expired`, `lapsed` | the end is proven by the issuer, proven by time, or time passed without the issuer's word |
| `abandoned` | an operator gave up an end that could not be proven |
"""

from __future__ import annotations

from hashlib import sha256
from typing import TYPE_CHECKING, Any, Final

import msgspec

if TYPE_CHECKING:
    from gateway.authority.model import Lease
    from gateway.model.wire import JsonObject

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
