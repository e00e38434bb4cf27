"""The keys of a gateway, replaced while it serves. An earlier key stays beside the new one, and still reads.

No call is refused meanwhile. The journal begins a segment under its new key, records are sealed anew, and a new key of
tokens is published before it signs.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final, Literal, NamedTuple

import structlog
from msgspec import Struct

from gateway.base.control.operations import NoFields, Operation
from gateway.base.keys.key_ring import key_id
from gateway.config import keys as key_files
from gateway.config.keys import Keys
from gateway.surfaces.app.content import hold_keys

if TYPE_CHECKING:
    from collections.abc import Mapping

    from gateway.base.control.operations import Control, OperatorName
    from gateway.base.store.records import SealedStore
    from gateway.config import Configuration
    from gateway.inspection.credentials.live_values import LiveValues
    from gateway.model.wire import JsonObject
    from gateway.record.journal.writer import Journal

log = structlog.get_logger("gateway.keys")

RotatedName = Literal["chain", "sealing", "sessions", "tokens"]


class KeyOrder(Struct, frozen=True, forbid_unknown_fields=True):
    """An order to replace a key."""

    key: RotatedName


class KeyChange(Struct, frozen=True):
    """The keys that a gateway now uses, by purpose: the id of the newest. `kept` is the file of the key before."""

    ids: dict[str, str]
    resealed: int
    kept: str | None = None


ROTATE: Final = Operation(
    "keys/rotate",
    "operator",
    "Replace a key of the gateway.",
    KeyChange,
    "",
    KeyOrder,
    ("POST", "/api/keys/rotate"),
    is_recorded=True,
)
RELOAD: Final = Operation(
    "keys/reload",
    "operator",
    "Take over the keys from their files.",
    KeyChange,
    "",
    route=("POST", "/api/keys/reload"),
    is_recorded=True,
)
OPERATIONS: Final = (ROTATE, RELOAD)


class KeyedParts(NamedTuple):
    """The parts of a gateway that use its keys. A command without a gateway has no `live` values."""

    configuration: Configuration
    keys: Keys
    journal: Journal
    store: SealedStore
    live: LiveValues | None = None


class KeyRotation:
    """The replacement of keys, one at a time."""

    def __init__(self, parts: KeyedParts) -> None:
        self._parts = parts
        self._changing = asyncio.Lock()

    async def rotate(self, name: RotatedName, by: Mapping[str, str]) -> KeyChange:
        """Replace a key, and use the new one at once. Raises `GatewayError`."""
        async with self._changing:
            kept = key_files.rotate(self._parts.configuration, name)
            return await self._take_over("rotated", by, name, str(kept))

    async def reload(self, by: Mapping[str, str]) -> KeyChange:
        """Use the keys that the files have now. Raises `GatewayError`: then the former keys are used."""
        async with self._changing:
            return await self._take_over("reloaded", by)

    async def _take_over(
        self, event: str, by: Mapping[str, str], name: RotatedName | None = None, kept: str | None = None
    ) -> KeyChange:
        configuration, keys, journal, store, live = self._parts
        key_files.reload(configuration, keys)
        if live is not None:
            hold_keys(live, keys)
        await journal.change_key()
        resealed = await store.reseal()
        ids = find_ids(keys)
        changed: JsonObject = {} if name is None else {"key": name, "id": ids[name]}
        await journal.append("key", {"event": event, **changed, "by": dict(by)})
        log.info("keys.changed", how=event, key=name, resealed=resealed)
        return KeyChange(ids, resealed, kept)


def find_ids(keys: Keys) -> dict[str, str]:
    """Return the ids of the newest keys, which say nothing about the keys."""
    secrets = {"chain": keys.chain, "sealing": keys.sealing, "sessions": keys.sessions}
    return {name: key_id(ring.newest) for name, ring in secrets.items()} | {"tokens": keys.tokens.newest.kid}


def add_operations(control: Control, parts: KeyedParts) -> None:
    """Add the operations of keys."""
    rotation = KeyRotation(parts)

    async def rotate(asked: KeyOrder, by: OperatorName) -> KeyChange:
        return await rotation.rotate(asked.key, by.describe())

    async def reload(_asked: NoFields, by: OperatorName) -> KeyChange:
        return await rotation.reload(by.describe())

    control.add({ROTATE: rotate, RELOAD: reload})
