"""Opaque values that other gateways on the same records gave out: protocol tasks, request states, and rounds without a state.

Memory (`Ownership`) stays the judge. A value is written before its caller has it, and read into memory when a caller presents it
at a gateway without it. The name of a record has the principal in it, so nobody else finds the value at any gateway.
"""

from __future__ import annotations

import hashlib
from itertools import islice
from typing import TYPE_CHECKING, Final, Literal

from msgspec import Struct

from gateway.base.store.engine import ABSENT
from gateway.base.store.records import RecordKind
from gateway.calls.binding.ownership import LIFETIME, name_round
from gateway.model.call import PastCall
from gateway.model.target import Sensitivity
from gateway.model.task import Task
from gateway.upstreams.catalogue.catalogue import TargetType
from gateway.wire.protocol.classify import NAMES_HANDLES, state_of, tasks_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from gateway.base.store.records import SealedStore
    from gateway.calls.binding.ownership import Ownership
    from gateway.model.caller import Principal
    from gateway.model.target import Target
    from gateway.model.wire import Message


class NotedCall(Struct, frozen=True):
    """A call with a possible late result, as far as another gateway needs it (`PastCall`). Its target is that of a name."""

    task: str
    kind: Literal["declared", "implicit"]
    opened: float
    call: str
    number: int
    type: TargetType
    name: str
    sensitivity: Sensitivity
    used: tuple[str, ...] = ()
    max_bytes: int | None = None


class NotedValue(Struct, frozen=True):
    """A value of an upstream that a principal was given. `digest` tells it from other values in its place. `until` is its end."""

    digest: str
    until: float
    call: NotedCall | None = None


VALUES: Final = RecordKind(
    "value of an upstream", NotedValue, "other gateways refuse the value, and its caller begins anew"
)
CONCEALING: Final = RecordKind(
    "concealed upstream", float, "a late answer at another gateway may show a credential", is_vital=True
)
_PLACE: Final = 4
"""Hexadecimal digits of a place of one principal: 65,536 places, so a flood hurts its own principal alone."""
_ATTEMPTS: Final = 8
_AT_ONCE: Final = 256
"""Values of one message that are looked for."""
_BETWEEN_SWEEPS: Final = 512
"""Written values between two removals of ended ones."""


class SharedValues:
    """The values of all gateways. `find_task` and `find_target` return what this gateway knows by a name. `clock` gives seconds.

    Each method with a wait raises `StoreError`.
    """

    def __init__(
        self,
        store: SealedStore,
        ownership: Ownership,
        *,
        find_task: Callable[[str], Task | None],
        find_target: Callable[[str, TargetType, str], Target],
        clock: Callable[[], float],
    ) -> None:
        self._store = store
        self._records, self._concealing = store.of(VALUES), store.of(CONCEALING)
        self._ownership = ownership
        self._find_task = find_task
        self._find_target = find_target
        self._clock = clock
        self._written = 0
        self._concealed: dict[str, float] = {}

    async def note(self, upstream: str, value: str, principal: Principal, past_call: PastCall | None = None) -> None:
        """Write down that `upstream` gave `value` to `principal`. Without a call, the earlier call of the value stays."""
        digest, places = _name(upstream, value, principal)
        call = None if past_call is None else _describe(past_call)
        for _ in range(_ATTEMPTS):
            found = await self._records.find_all(places)
            own = next((name for name, (each, _) in found.items() if each.digest == digest), None)
            place = own or min(places, key=lambda name: found[name][0].until if name in found else 0.0)
            known, version = found.get(place, (None, ABSENT))
            kept = call or (None if known is None or own is None else known.call)
            now = self._clock()
            if own and known is not None and known.call == kept and known.until > now + LIFETIME / 2:
                return
            until = now + LIFETIME
            change = self._records.changed(place, NotedValue(digest, until, kept), version=version, expires=until)
            if await self._store.change(change) is not None:
                await self._sweep()
                return

    async def fetch_named(self, upstream: str, message: Message, principal: Principal) -> None:
        """Read the values that a message names into memory, unless they are there."""
        if not NAMES_HANDLES.isdisjoint(message.params):
            state = state_of(message)
            await self.fetch(upstream, [*tasks_of(message), *([] if state is None else [state])], principal)
        responses = message.params.get("inputResponses")
        if isinstance(responses, dict) and responses and (key := name_round(upstream, message, responses)) is not None:
            await self.fetch(key[0], [key[1]], principal)

    async def fetch(self, upstream: str, values: Iterable[str], principal: Principal) -> None:
        """Read values of an upstream into memory, unless they are there. Of very many values the last stay unknown.

        One query reads all: a message with many values makes no other caller wait.
        """
        absent = [
            value for value in islice(values, _AT_ONCE) if not self._ownership.is_owner(upstream, value, principal)
        ]
        named = {value: _name(upstream, value, principal) for value in absent}
        found = await self._records.find_all([place for _, places in named.values() for place in places])
        for value, (digest, places) in named.items():
            for noted, _ in (found[place] for place in places if place in found):
                if noted.digest == digest and noted.until > self._clock():
                    call = None if noted.call is None else self._restore(upstream.partition("\0")[0], noted.call)
                    self._ownership.deliver(upstream, value, principal, call)

    async def note_concealed(self, owner: str, upstream: str) -> None:
        """Write down that later answers of an upstream to a caller are to be concealed at all gateways."""
        name, now = _name_concealed(owner, upstream), self._clock()
        if self._concealed.get(name, 0.0) < now + LIFETIME / 2:
            change = self._concealing.changed(name, now, expires=now + LIFETIME)
            await self._store.change(change)
            self._concealed[name] = now + LIFETIME

    async def is_concealed(self, owner: str, upstream: str) -> bool:
        """Return whether another gateway has answers of an upstream to a caller concealed."""
        return await self._concealing.get(_name_concealed(owner, upstream)) is not None

    async def _sweep(self) -> None:
        self._written += 1
        if self._written % _BETWEEN_SWEEPS == 0:
            await self._records.expire()
            await self._concealing.expire()
            now = self._clock()
            self._concealed = {name: end for name, end in self._concealed.items() if end > now}

    def _restore(self, upstream: str, noted: NotedCall) -> PastCall:
        task = self._find_task(noted.task) or Task(noted.task, noted.kind, noted.opened)
        target = self._find_target(upstream, noted.type, noted.name)
        return PastCall(task, noted.call, noted.number, target, noted.sensitivity, noted.used, noted.max_bytes)


def _describe(past_call: PastCall) -> NotedCall:
    task, target = past_call.task, past_call.target
    return NotedCall(
        task.id,
        task.kind,
        task.opened,
        past_call.call,
        past_call.number,
        target.type,
        target.name,
        past_call.sensitivity,
        past_call.used,
        past_call.max_bytes,
    )


def _name(upstream: str, value: str, principal: Principal) -> tuple[str, tuple[str, str]]:
    """Return the digest of a value, and its two possible places among those of the principal."""
    digest = hashlib.sha256(f"{upstream}\0{value}".encode("utf-8", "surrogatepass")).hexdigest()
    owner = hashlib.sha256(principal.key.encode("utf-8", "surrogatepass")).hexdigest()[:32]
    return digest, (f"{owner}-a{digest[:_PLACE]}", f"{owner}-b{digest[_PLACE : 2 * _PLACE]}")


def _name_concealed(owner: str, upstream: str) -> str:
    return hashlib.sha256(f"{owner}\0{upstream}".encode("utf-8", "surrogatepass")).hexdigest()[:32]
