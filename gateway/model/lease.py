"""Leases in the form for policy."""

from __future__ import annotations

from msgspec import Struct

from gateway.model.target import CredentialKind, Target


class OpenLeases(Struct, frozen=True):
    """The numbers of a task's leases: `open` until their end is proven, and of these `stuck`."""

    open: int
    stuck: int


class HeldLease(Struct, frozen=True):
    """A lent credential, without its value. `target` is the target of its first call. `expires` is in seconds since the epoch."""

    id: str
    target: Target
    audience: str
    scope: tuple[str, ...]
    kind: CredentialKind
    expires: float
