"""Which principal an opaque value of an upstream was given to: `requestState` (2026-07-28, multi round-trip
requests) and `taskId` (tasks).

An upstream sees one caller, the gateway, and cannot tell its clients apart. So the gateway remembers to whom it
delivered each value, by digest, and refuses it from anybody else, or if it never delivered it.
"""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Callable
from typing import Final

from gateway.model import Principal

LIFETIME: Final = 24 * 3600.0
"""Seconds that a value is remembered after it was last delivered or used."""
PER_PRINCIPAL: Final = 4096
"""Values of one principal; beyond it the oldest are forgotten, which only ever hurts their owner."""


class Handles:
    """Remembers deliveries. `clock` gives seconds."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._owned: dict[str, OrderedDict[bytes, float]] = {}

    def deliver(self, upstream: str, handle: str, principal: Principal) -> None:
        """Note that `principal` was given `handle` by `upstream`."""
        owned = self._owned.setdefault(principal.key, OrderedDict())
        digest = _digest(upstream, handle)
        owned[digest] = self._clock() + LIFETIME
        owned.move_to_end(digest)
        if len(owned) > PER_PRINCIPAL:
            owned.popitem(last=False)

    def belongs(self, upstream: str, handle: str, principal: Principal) -> bool:
        """Whether `principal` was given `handle` by `upstream`."""
        owned = self._owned.get(principal.key)
        if owned is None:
            return False
        digest = _digest(upstream, handle)
        if owned.get(digest, 0.0) <= self._clock():
            return False
        self.deliver(upstream, handle, principal)
        return True

    def expire(self) -> None:
        """Forget what is too old. Called now and then."""
        now = self._clock()
        for key, owned in tuple(self._owned.items()):
            while owned and next(iter(owned.values())) <= now:
                owned.popitem(last=False)
            if not owned:
                del self._owned[key]


def _digest(upstream: str, handle: str) -> bytes:
    return hashlib.sha256(f"{upstream}\0{handle}".encode()).digest()[:16]
