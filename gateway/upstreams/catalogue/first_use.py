"""The pins of first use of all gateways on the same records: the first gateway that sees a definition decides for all.

Each gateway has a lock file of its own, and writes there what was decided. A person's pin replaces the decision for gateways that
meet the definition later. Without a database, the lock file alone decides.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
from typing import TYPE_CHECKING, Final

from msgspec import Struct

from gateway.base.store.records import RecordKind
from gateway.model.errors import StoreError
from gateway.upstreams.catalogue.pins import INSTRUCTIONS, Definition, Pinned, read_definition, read_instructions

if TYPE_CHECKING:
    from collections.abc import Mapping

    from gateway.base.store.records import SealedStore
    from gateway.upstreams.catalogue.pins import Subject

_AT_ONCE: Final = 256
"""Pins that are written together."""


class FirstPin(Struct, frozen=True):
    """A pin. `definition` is the text of the trusted definition, as JSON."""

    definition: str
    at: str


FIRST_PINS: Final = RecordKind(
    "pin", FirstPin, "a gateway without this pin in its lock file trusts the next definition"
)


class FirstPins:
    """The decided pins in the records of all gateways. Each method raises `StoreError`."""

    def __init__(self, store: SealedStore) -> None:
        self._store = store
        self._records = store.of(FIRST_PINS)

    async def agree(self, upstream: str, subject: Subject, fresh: Mapping[str, Pinned]) -> dict[str, Pinned]:
        """Return the pins that hold for all gateways: each of `fresh`, unless another gateway was first."""
        names = list(fresh)
        agreed: dict[str, Pinned] = {}
        for start in range(0, len(names), _AT_ONCE):
            some = names[start : start + _AT_ONCE]
            found = await asyncio.gather(*(self._agree(upstream, subject, name, fresh[name]) for name in some))
            agreed.update(zip(some, found, strict=True))
        return agreed

    async def publish(self, upstream: str, subject: Subject, pins: Mapping[str, Pinned]) -> None:
        """Let other gateways know the pins of a lock file, which may be older than the records. What was decided stays."""
        names = list(pins)
        for start in range(0, len(names), _AT_ONCE):
            some = names[start : start + _AT_ONCE]
            adding = (
                self._records.add(_identify(upstream, subject, name), _write(subject, pins[name])) for name in some
            )
            await asyncio.gather(*adding)

    async def replace(
        self, upstream: str, subject: Subject, before: Mapping[str, Pinned], after: Mapping[str, Pinned]
    ) -> None:
        """Decide anew where a person has pinned another definition, or removed a pin."""
        changes = [
            self._records.changed(_identify(upstream, subject, name), _write(subject, pin))
            for name, pin in after.items()
            if name not in before or before[name].definition != pin.definition
        ]
        changes += [self._records.removed(_identify(upstream, subject, name)) for name in before.keys() - after.keys()]
        for start in range(0, len(changes), _AT_ONCE):
            await self._store.change(*changes[start : start + _AT_ONCE])

    async def _agree(self, upstream: str, subject: Subject, name: str, pin: Pinned) -> Pinned:
        identifier = _identify(upstream, subject, name)
        if await self._records.add(identifier, _write(subject, pin)):
            return pin
        first = await self._records.get(identifier)
        known = None if first is None else _read(subject, first)
        if known is None:
            raise StoreError(
                f"the pin of {upstream}/{name} in the records cannot be read",
                "remove it with `opagate journal state forget pin`",
            )
        return known


def _identify(upstream: str, subject: Subject, name: str) -> str:
    return hashlib.sha256(f"{upstream}\0{subject}\0{name}".encode("utf-8", "surrogatepass")).hexdigest()


def _write(subject: Subject, pin: Pinned) -> FirstPin:
    document = pin.definition.document
    return FirstPin(json.dumps(document[INSTRUCTIONS] if subject == "instructions" else document), pin.at)


def _read(subject: Subject, first: FirstPin) -> Pinned | None:
    """Return a pin, its definition read as strictly as an upstream's."""
    text = first.definition.encode()
    found = read_instructions(text) if subject == "instructions" else read_definition(text)
    return Pinned(found, first.at) if isinstance(found, Definition) else None
