"""The principal of each opaque value of an upstream: `requestState` (2026-07-28, multi round-trip requests) and
`taskId` (tasks). An upstream sees one caller, the gateway, and cannot tell the gateway's clients apart. So the gateway
keeps the digest of each value with its recipient, and refuses the value from all other callers. The gateway also keeps
the call behind each value: a later result counts as a result of this call."""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Final

from gateway.model.call import PastCall
from gateway.model.caller import Principal

LIFETIME: Final = 24 * 3600.0
"""Seconds that a value is remembered after it was last delivered or used."""
PER_PRINCIPAL: Final = 4096
"""Values of one principal; beyond it the oldest are forgotten, which only ever hurts their owner."""
IN_ALL: Final = 131_072
"""Values of all principals, in 55 to 130 MB. Beyond it those who have the most forget their oldest, until an eighth of it is
free: nobody loses any to one who has more. Of more principals than values those go that were idle for longest."""

_NEVER: Final[tuple[float, PastCall | None]] = (0.0, None)
_NOTHING: Final[Mapping[bytes, tuple[float, PastCall | None]]] = MappingProxyType({})


class Ownership:
    """A memory of the recipient of each value. `clock` gives seconds."""

    def __init__(self, clock: Callable[[], float], *, in_all: int = IN_ALL) -> None:
        self._clock = clock
        self._in_all = in_all
        self._size = 0
        self._owned: OrderedDict[str, OrderedDict[bytes, tuple[float, PastCall | None]]] = OrderedDict()

    def deliver(
        self, upstream: str, value: str, principal: Principal, past_call: PastCall | None = None, *, once: bool = False
    ) -> None:
        """Note that `upstream` gave `value` to `principal` in the answer to the call `made`. Without a call, the
        earlier call of the value stays. `once`: the value is unique, so a second delivery makes its call unknown."""
        owned = self._owned.setdefault(principal.key, OrderedDict())
        self._owned.move_to_end(principal.key)
        digest = _digest(upstream, value)
        known = owned.get(digest)
        if known is not None:
            past_call = None if once else past_call or known[1]
        self._size += known is None
        owned[digest] = (self._clock() + LIFETIME, past_call)
        owned.move_to_end(digest)
        if len(owned) > PER_PRINCIPAL:
            self._forget_oldest(owned)
        if self._size > self._in_all:
            self._make_room()

    def renew_if_owner(self, upstream: str, value: str, principal: Principal) -> bool:
        """Return whether `upstream` gave `value` to `principal`. A use extends the time of the value."""
        owned = self._owned.get(principal.key)
        if owned is None:
            return False
        digest = _digest(upstream, value)
        if owned.get(digest, _NEVER)[0] <= self._clock():
            return False
        self.deliver(upstream, value, principal)
        return True

    def past_call(self, upstream: str, value: str, principal: Principal) -> PastCall | None:
        """Return the call with `value` in the answer of `upstream` to `principal`, if known."""
        return self._owned.get(principal.key, _NOTHING).get(_digest(upstream, value), _NEVER)[1]

    def expire(self) -> None:
        """Forget old values. Called now and then."""
        now = self._clock()
        for key, owned in tuple(self._owned.items()):
            while owned and next(iter(owned.values()))[0] <= now:
                self._forget_oldest(owned)
            if not owned:
                del self._owned[key]

    def _make_room(self) -> None:
        room = self._in_all - self._in_all // 8
        most = _level([len(owned) for owned in self._owned.values()], room)
        for owned in self._owned.values():
            while len(owned) > most:
                self._forget_oldest(owned)
        while self._size > room:
            _, owned = self._owned.popitem(last=False)
            self._size -= len(owned)

    def _forget_oldest(self, owned: OrderedDict[bytes, tuple[float, PastCall | None]]) -> None:
        owned.popitem(last=False)
        self._size -= 1


def _level(sizes: list[int], room: int) -> int:
    """Return the largest share with room for all shares together, and at least 1."""
    left = len(sizes)
    for size in sorted(sizes):
        if size * left > room:
            return max(room // left, 1)
        room -= size
        left -= 1
    return max(sizes)


def _digest(upstream: str, value: str) -> bytes:
    return hashlib.sha256(f"{upstream}\0{value}".encode()).digest()[:16]
