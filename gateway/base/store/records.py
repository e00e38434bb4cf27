"""Records of one kind, read and written as values. Each is sealed with AES-256-GCM (NIST SP 800-38D) under its kind and id.

An edited or moved record does not open. Each has the number of its form, and a record of an earlier form is brought up
to date as it is read.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final, Generic, Literal, TypeVar

import msgspec
import structlog
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from gateway.base.keys.key_ring import key_id, subkey
from gateway.base.store.engine import ABSENT, Change
from gateway.model.errors import StoreError

if TYPE_CHECKING:
    from gateway.base.keys.key_ring import KeyRing
    from gateway.base.store.engine import Claim, Engine, Record

log = structlog.get_logger("gateway.store")

Form = TypeVar("Form")
Upgrade = Callable[[Any], Any]
"""Makes the decoded JSON of a record from that of the form before."""

_NONCE: Final = 12
_SEALED: Final = b"\x02"
"""The form of a sealed value: this byte, eight bytes of the key's id, the nonce, and the encrypted value."""


@dataclass(frozen=True, slots=True)
class RecordKind(Generic[Form]):
    """A kind of records. `upgrades` lead from each form to the next; the first form has the number 1.

    `lost` says what goes with a record. `is_vital`: without such a record the gateway would allow more, or leave a credential
    open. A start that cannot read it is refused.
    """

    name: str
    form: type[Form]
    lost: str
    is_vital: bool = False
    upgrades: tuple[Upgrade, ...] = ()

    @property
    def number(self) -> int:
        """Return the number of the present form."""
        return len(self.upgrades) + 1


class SealedStore:
    """An engine with the keys that seal its values. The newest key seals, and each value names its key.

    `claim` is the right of this process to use the records, `None` for records in the state folder.
    """

    def __init__(self, engine: Engine, keys: KeyRing[bytes], claim: Claim | None = None) -> None:
        self.engine = engine
        self.claim = claim
        self._keys = keys
        self._ciphers: dict[bytes, AESGCM] = {}

    def of(self, kind: RecordKind[Form]) -> Records[Form]:
        """Return the records of a kind."""
        return Records(self, kind)

    async def change(self, *changes: Change) -> int | None:
        """Carry out changes of any kinds, all or none: see `Engine.change`. Raises `StoreError`."""
        return await self.engine.change(*changes)

    def derive_key(self, name: str) -> bytes:
        """Return a key for a use outside the records, the same at all gateways on these."""
        return subkey(self._keys.newest, name)

    def seal(self, name: str, value: bytes) -> bytes:
        """Return a value encrypted under a name with the newest key."""
        nonce, key = os.urandom(_NONCE), self._keys.newest
        return _mark(key) + nonce + self._cipher(key).encrypt(nonce, value, name.encode())

    def open(self, name: str, sealed: bytes) -> bytes | None:
        """Return the value sealed under a name. Return `None` for the value of another name, or if the key is missing."""
        for key in self._keys.keys:
            if sealed.startswith(mark := _mark(key)):
                return self._decrypt(key, name, sealed[len(mark) :])
        # The values of form 1 name no key.
        opened = (self._decrypt(key, name, sealed) for key in self._keys.keys)
        return next((value for value in opened if value is not None), None)

    async def reseal(self) -> int:
        """Seal the values of earlier keys with the newest key, and return their number. Raises `StoreError`.

        A value stays as it is if its key is missing. Its reader reports that.
        """

        def change(kind: str, identifier: str, sealed: bytes) -> bytes | None:
            name = _name(kind, identifier)
            value = self.open(name, sealed)
            return None if value is None else self.seal(name, value)

        return await self.engine.rewrite(change, unless=_mark(self._keys.newest))

    def close(self) -> None:
        """Close the engine."""
        self.engine.close()

    def _decrypt(self, key: bytes, name: str, sealed: bytes) -> bytes | None:
        try:
            return self._cipher(key).decrypt(sealed[:_NONCE], sealed[_NONCE:], name.encode())
        except (InvalidTag, ValueError):
            return None

    def _cipher(self, key: bytes) -> AESGCM:
        if key not in self._ciphers:
            self._ciphers[key] = AESGCM(key)
        return self._ciphers[key]


@lru_cache(maxsize=16)
def _mark(key: bytes) -> bytes:
    """Return the beginning of values sealed with a key: the number of their form, and the id of the key."""
    return _SEALED + bytes.fromhex(key_id(key))


def _name(kind: str, identifier: str) -> str:
    """Return the name for the seal: no record opens as one of another kind."""
    return f"{kind} {identifier}"


class FollowedRecords(Generic[Form]):
    """The records of a kind that other gateways change, too. Each look tells of the changes since the look before it."""

    def __init__(self, records: Records[Form]) -> None:
        self._records = records
        self._versions: dict[str, int] = {}

    def note(self, identifier: str, version: int | None = None) -> None:
        """Note an own record: a look tells of its removal elsewhere. With a `version`, a look does not tell of the record itself."""
        if version is None:
            self._versions.setdefault(identifier, ABSENT)
        else:
            self._versions[identifier] = version

    def forget(self, identifier: str) -> bool:
        """Forget a record that this gateway removed. Return whether it was known."""
        return self._versions.pop(identifier, None) is not None

    def find_version(self, identifier: str) -> int | None:
        """Return the known version of a record, `None` for an unknown one."""
        return self._versions.get(identifier)

    async def load(self) -> dict[str, Form]:
        """Return all readable records, whose later changes a look tells of. Raises `StoreError`."""
        found = await self._records.load_versions()
        self._versions = {name: version for name, (_, version) in found.items()}
        return {name: form for name, (form, _) in found.items()}

    async def look(self) -> tuple[dict[str, Form], frozenset[str]]:
        """Return the changed records by their ids, and the ids of the removed ones. Raises `StoreError`.

        The own changes of a gateway are among them, unless their versions were noted.
        """
        known = dict(self._versions)
        stored = await self._records.list_versions()
        news = [name for name, version in stored.items() if known.get(name) != version]
        found = await self._records.find_all(news)
        # A record that this gateway has written meanwhile is newer than what was read.
        fresh = {name: found.get(name) for name in news if self._versions.get(name) == known.get(name)}
        gone = [name for name, version in known.items() if name not in stored and self._versions.get(name) == version]
        # An unreadable record is reported once.
        self._versions.update((name, stored[name] if one is None else one[1]) for name, one in fresh.items())
        for name in gone:
            del self._versions[name]
        return {name: one[0] for name, one in fresh.items() if one is not None}, frozenset(gone)


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
        return self.open_rows(await self.read_rows())

    async def read_rows(self) -> list[Record]:
        """Return the records as they are stored."""
        return await self._store.engine.list(self._kind.name)

    def open_rows(self, rows: Iterable[Record]) -> dict[str, tuple[Form, int]]:
        """Return the readable ones of stored records, each with its version. Unreadable ones are as for `load`."""
        opened = {row.id: (self._open(row.id, row.value), row.version) for row in rows}
        unreadable = sorted(name for name, (form, _) in opened.items() if form is None)
        if unreadable:
            self._report(unreadable)
        return {name: (form, version) for name, (form, version) in opened.items() if form is not None}

    async def get(self, identifier: str) -> Form | None:
        """Return a record, or `None` if it is missing or unreadable. The log names an unreadable record; a vital one is an error."""
        found = await self.find(identifier)
        return None if found is None else found[0]

    async def find(self, identifier: str) -> tuple[Form, int] | None:
        """Return a record with its version. Missing and unreadable records are as for `get`."""
        found = await self._store.engine.read(self._kind.name, identifier)
        return None if found is None else self.open_rows([found]).get(identifier)

    async def find_all(self, identifiers: Sequence[str]) -> dict[str, tuple[Form, int]]:
        """Return some records with their versions. Missing and unreadable records are as for `load`."""
        return self.open_rows(await self._store.engine.read_some(self._kind.name, identifiers) if identifiers else ())

    async def list_versions(self) -> dict[str, int]:
        """Return the versions of all records by their ids, without a look at the values."""
        return await self._store.engine.list_versions(self._kind.name)

    def find_problem(self, identifier: str, sealed: bytes) -> Literal["unreadable", "later"] | None:
        """Return the problem of a stored value: no key for it, or a later release as its writer."""
        try:
            return "unreadable" if self._open(identifier, sealed) is None else None
        except StoreError:
            return "later"

    async def count(self) -> int:
        """Return the number of records."""
        return await self._store.engine.count(self._kind.name)

    async def add(self, identifier: str, record: Form, *, expires: float | None = None) -> bool:
        """Write a record that is not there yet. Return whether this was the first one."""
        change = self.changed(identifier, record, version=ABSENT, expires=expires)
        return await self._store.change(change) is not None

    async def put(self, identifier: str, record: Form) -> None:
        """Write a record in the place of an earlier one. It is on disk when this returns."""
        await self._store.change(self.changed(identifier, record))

    async def remove(self, *identifiers: str) -> None:
        """Remove records, if they are there."""
        await self._store.change(*map(self.removed, identifiers))

    async def expire(self) -> None:
        """Remove the records that have ended."""
        await self._store.engine.expire(self._kind.name)

    async def make_room(self, capacity: int, order: Callable[[Form], Any]) -> None:
        """Make room for another record. Of a full kind an eighth goes: the first records in an order."""
        if await self.count() < capacity:
            return
        await self.expire()
        found = sorted((await self.load()).items(), key=lambda item: order(item[1]))
        if len(found) >= capacity:
            await self.remove(*(name for name, _ in found[: len(found) - capacity + 1 + capacity // 8]))

    def changed(
        self, identifier: str, record: Form, *, version: int | None = None, expires: float | None = None
    ) -> Change:
        """Return the change that writes a record: see `Change`."""
        text = b"%d %b" % (self._kind.number, msgspec.json.encode(record))
        return Change(
            self._kind.name, identifier, self._store.seal(_name(self._kind.name, identifier), text), version, expires
        )

    def removed(self, identifier: str) -> Change:
        """Return the change that removes a record."""
        return Change(self._kind.name, identifier, None)

    def _open(self, identifier: str, sealed: bytes) -> Form | None:
        text = self._store.open(_name(self._kind.name, identifier), sealed)
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

    def _report(self, unreadable: list[str]) -> None:
        log.error("store.unreadable", kind=self._kind.name, ids=unreadable)
        if self._kind.is_vital:
            named = ", ".join(unreadable[:20]) + (", …" if len(unreadable) > 20 else "")
            raise StoreError(
                f"{len(unreadable)} records of the kind {self._kind.name!r} cannot be read: {named}",
                "put back the file and the sealing key that belong together; or: "
                f"opagate journal state forget {self._kind.name.replace(' ', '-')}",
            )
