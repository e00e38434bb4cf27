"""Records of one kind, read and written as values. Each is sealed with AES-256-GCM (NIST SP 800-38D) under its kind and id.

An edited or moved record does not open. Each has the number of its form, and a record of an earlier form is brought up
to date as it is read.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Generic, TypeVar

import msgspec
import structlog
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from gateway.base.store.engine import Change
from gateway.model.errors import StoreError

if TYPE_CHECKING:
    from gateway.base.store.engine import Engine

log = structlog.get_logger("gateway.store")

Form = TypeVar("Form")
Upgrade = Callable[[Any], Any]
"""Makes the decoded JSON of a record from that of the form before."""

_NONCE: Final = 12


@dataclass(frozen=True, slots=True)
class RecordKind(Generic[Form]):
    """A kind of records. `upgrades` lead from each form to the next; the first form has the number 1.

    `is_vital`: without such a record the gateway would allow more, or leave a credential open. A start without it is refused.
    """

    name: str
    form: type[Form]
    is_vital: bool = False
    upgrades: tuple[Upgrade, ...] = ()

    @property
    def number(self) -> int:
        """Return the number of the present form."""
        return len(self.upgrades) + 1


class SealedStore:
    """An engine with the key that seals its values."""

    def __init__(self, engine: Engine, key: bytes) -> None:
        self.engine = engine
        self._cipher = AESGCM(key)

    def of(self, kind: RecordKind[Form]) -> Records[Form]:
        """Return the records of a kind."""
        return Records(self, kind)

    async def change(self, *changes: Change) -> int | None:
        """Carry out changes of any kinds, all or none: see `Engine.change`. Raises `StoreError`."""
        return await self.engine.change(*changes)

    def seal(self, name: str, value: bytes) -> bytes:
        """Return a value encrypted under a name."""
        nonce = os.urandom(_NONCE)
        return nonce + self._cipher.encrypt(nonce, value, name.encode())

    def open(self, name: str, sealed: bytes) -> bytes | None:
        """Return the value sealed under a name, `None` for the value of another name."""
        try:
            return self._cipher.decrypt(sealed[:_NONCE], sealed[_NONCE:], name.encode())
        except (InvalidTag, ValueError):
            return None

    def close(self) -> None:
        """Close the engine."""
        self.engine.close()


class Records(Generic[Form]):
    """The records of one kind. Each method with a wait raises `StoreError`."""

    def __init__(self, store: SealedStore, kind: RecordKind[Form]) -> None:
        self._store = store
        self._kind = kind

    async def load(self) -> dict[str, Form]:
        """Return the readable records by their ids. The log names every other one, and a vital one is an error."""
        return {name: form for name, (form, _) in (await self.load_versions()).items()}

    async def load_versions(self) -> Mapping[str, tuple[Form, int]]:
        """Return the same, each with its version."""
        opened = {
            row.id: (self._open(row.id, row.value), row.version)
            for row in await self._store.engine.list(self._kind.name)
        }
        unreadable = sorted(name for name, (form, _) in opened.items() if form is None)
        if unreadable:
            self._report(unreadable)
        return {name: (form, version) for name, (form, version) in opened.items() if form is not None}

    async def get(self, identifier: str) -> Form | None:
        """Return a record, `None` if it is not there or cannot be read."""
        found = await self._store.engine.read(self._kind.name, identifier)
        return None if found is None else self._open(identifier, found.value)

    async def count(self) -> int:
        """Return the number of records."""
        return await self._store.engine.count(self._kind.name)

    async def put(self, identifier: str, record: Form) -> None:
        """Write a record in the place of an earlier one. It is on disk when this returns."""
        await self._store.change(self.changed(identifier, record))

    async def remove(self, *identifiers: str) -> None:
        """Remove records, if they are there."""
        await self._store.change(*map(self.removed, identifiers))

    async def expire(self) -> None:
        """Remove the records that have ended."""
        await self._store.engine.expire(self._kind.name)

    def changed(
        self, identifier: str, record: Form, *, version: int | None = None, expires: float | None = None
    ) -> Change:
        """Return the change that writes a record: see `Change`."""
        text = b"%d %b" % (self._kind.number, msgspec.json.encode(record))
        return Change(self._kind.name, identifier, self._store.seal(self._name(identifier), text), version, expires)

    def removed(self, identifier: str) -> Change:
        """Return the change that removes a record."""
        return Change(self._kind.name, identifier, None)

    def _open(self, identifier: str, sealed: bytes) -> Form | None:
        text = self._store.open(self._name(identifier), sealed)
        if text is None:
            return None
        number, _, content = text.partition(b" ")
        form = int(number)
        if form > self._kind.number:
            raise StoreError(
                f"a later release of the gateway wrote the {self._kind.name} {identifier}", "start that release"
            )
        try:
            if form < self._kind.number:
                content = self._bring_up(content, form)
            return msgspec.json.decode(content, type=self._kind.form)
        except msgspec.MsgspecError:
            return None

    def _bring_up(self, content: bytes, form: int) -> bytes:
        """Return a record of an earlier form in the present form."""
        record = msgspec.json.decode(content)
        for upgrade in self._kind.upgrades[form - 1 :]:
            record = upgrade(record)
        return msgspec.json.encode(record)

    def _name(self, identifier: str) -> str:
        """Return the name for the seal: no record opens as one of another kind."""
        return f"{self._kind.name} {identifier}"

    def _report(self, unreadable: list[str]) -> None:
        log.error("store.unreadable", kind=self._kind.name, ids=unreadable)
        if self._kind.is_vital:
            named = ", ".join(unreadable[:20]) + (", …" if len(unreadable) > 20 else "")
            raise StoreError(
                f"{len(unreadable)} records of the kind {self._kind.name!r} cannot be read: {named}",
                "put back the file and the journal's key that belong together; to forget all of them, move records.db away",
            )
