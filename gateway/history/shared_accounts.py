"""The accounts of declared facts of many gateways: a log of each account, in the store that the gateways share.

A reservation goes to the end of each account that it counts in, in the same statement as into the log of its caller. It
depends on no version there, so calls of different callers do not race. The gateway then reads the account, and takes the
facts of a call at the place of its reservation. So no two calls miss each other, and none is refused for a later one.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final
from weakref import WeakValueDictionary

import msgspec
import structlog
from msgspec import Struct

from gateway.base.store.batches import Batches
from gateway.base.store.engine import Append, Log
from gateway.base.store.records import RecordKind
from gateway.history.declared.accounts import VERSION, Account
from gateway.history.declared.marks import AccountReading
from gateway.history.declared.tables import Mark, Tables, of_owner
from gateway.history.events import Confirmed, Released, Reserved, Settled, list_ends
from gateway.model.errors import HistoryError, StoreError
from gateway.model.facts import join_facts

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Sequence

    from gateway.base.store.records import SealedStore
    from gateway.history.events import Event
    from gateway.history.shared_forms import Sealing
    from gateway.model.facts import DeclaredFacts

log = structlog.get_logger("gateway.history")

FORM: Final = 1
"""The form of an entry."""
_NAME: Final = "facts"
"""The name of each log."""
_AT_ONCE: Final = 256
"""Accounts that are read one after another for callers that wait together."""
_SNAPSHOT_AFTER: Final = 256
"""Entries after which an account is written down whole."""
_KEPT: Final = 10_000
"""Accounts in memory. One that is not there is read again."""
_LOST: Final = list_ends(Settled("", "unknown"))


class AccountEntry(Struct, frozen=True, omit_defaults=True):
    """A reservation with its marks on the account, the end of an open call, or with both the end of an unknown call. `replica`
    is the gateway that wrote it."""

    form: int
    replica: str
    call: str
    at: float = 0.0
    marks: tuple[Mark, ...] = ()
    ends: tuple[str, ...] = ()


class AccountSnapshot(Struct, frozen=True):
    """An account after the event `version` of its log, in the form `tables` (`accounts.VERSION`)."""

    tables: int
    version: int
    held: bytes


ACCOUNTS: Final = RecordKind("facts", AccountSnapshot, "nothing: the whole logs are read instead")


@dataclass(slots=True)
class _Kept:
    """An account in memory. `snapshot` is the version of the last snapshot of it."""

    account: Account
    log: Log
    version: int = 0
    snapshot: int = 0
    is_cold: bool = True


class SharedAccounts:
    """The accounts in a shared store. `replica` names this gateway."""

    def __init__(self, store: SealedStore, sealing: Sealing, replica: str) -> None:
        self._store = store
        self._snapshots = store.of(ACCOUNTS)
        self._sealing = sealing
        self._replica = replica
        self._kept: dict[str, _Kept] = {}
        self._expected = WeakValueDictionary[str, AccountReading]()
        self._reads = Batches[str, None](self._read_all, _AT_ONCE, "accounts of facts")

    def seal_event(self, event: Event | None, names: Collection[str]) -> Iterator[tuple[Log, bytes]]:
        """Yield the entries of an event of a call for the ends of accounts."""
        for name in sorted(names):
            account = self._find_log(name)
            if isinstance(event, Reserved):
                marks = tuple(of_owner(event.facts, name))
                yield account, self._seal(account, AccountEntry(FORM, self._replica, event.call, event.at, marks))
            elif isinstance(event, Released | Settled):
                entry = AccountEntry(FORM, self._replica, event.call, ends=list_ends(event))
                yield account, self._seal(account, entry)
            elif isinstance(event, Confirmed):
                marks = tuple(of_owner(event.facts, name))
                entry = AccountEntry(FORM, self._replica, event.call, event.at, marks, (event.end,))
                yield account, self._seal(account, entry)

    def expect(self, reading: AccountReading) -> None:
        """Take the facts of a call once its reservation is read. The caller keeps `reading` alive until then."""
        self._expected[reading.call] = reading

    async def read_tables(self, name: str) -> Tables | None:
        """Return the tables of an account up to now. Raises `HistoryError`."""
        await self._catch_up(name)
        kept = self._kept.get(name)
        return None if kept is None else kept.account.held.tables

    async def _catch_up(self, name: str) -> None:
        try:
            await self._reads.add(name)
        except StoreError as error:
            raise _make_error(error.message) from error

    async def read(self, reading: AccountReading) -> DeclaredFacts:
        """Return the facts of a call whose reservation the store has. Raises `HistoryError`."""
        found: list[DeclaredFacts] = []
        for name in reading.names:
            if name not in reading.found:
                await self._catch_up(name)
            if name in reading.counted and name not in reading.found:
                raise _make_error("an account lacks a call that it had")
            kept = self._kept.get(name)
            if name in reading.found:
                found.append(reading.found[name])
            elif kept is not None:
                found.append(reading.read(name, kept.account.held.tables))
        return join_facts(found)

    def has_calls_elsewhere(self) -> bool:
        """Return whether an account in memory has an open call of another gateway."""
        return any(
            held.replica != self._replica for kept in self._kept.values() for held in kept.account.held.open.values()
        )

    async def close_lost_calls(self, living: Collection[str]) -> None:
        """End the open calls of gateways that have ended. Several gateways may do so. Raises `StoreError`."""
        present = {*living, self._replica}
        for kept in tuple(self._kept.values()):
            lost = [call for call, held in kept.account.held.open.items() if held.replica not in present]
            entries = [AccountEntry(FORM, self._replica, call, ends=_LOST) for call in lost]
            if entries:
                events = [(kept.log, self._seal(kept.log, entry)) for entry in entries]
                await self._store.engine.append(Append({}, events, frozenset({kept.log})))
                await self._reads.add(kept.account.name)

    async def write_snapshots(self) -> None:
        """Write accounts down whose logs have grown. Raises `StoreError`."""
        for kept in tuple(self._kept.values()):
            if not kept.is_cold and kept.version - kept.snapshot >= _SNAPSHOT_AFTER:
                kept.snapshot = kept.version
                snapshot = AccountSnapshot(VERSION, kept.version, kept.account.encode())
                await self._snapshots.put(kept.log.owner.hex(), snapshot)

    def sweep(self, now: float) -> None:
        """Forget what is beyond every window, and the accounts that were read before all others."""
        for kept in self._kept.values():
            kept.account.sweep(now)
        for name in list(self._kept)[: -_KEPT or None]:
            del self._kept[name]

    # --- the logs --------------------------------------------------------------------------------------

    async def _read_all(self, names: Sequence[str]) -> list[Exception | None]:
        """Read accounts up to now. An account that cannot be read leaves the others alone."""
        outcomes: dict[str, HistoryError | None] = {}
        for name in dict.fromkeys(names):
            try:
                outcomes[name] = await self._read(name)
            except HistoryError as error:
                outcomes[name] = error
        return [outcomes[name] for name in names]

    async def _read(self, name: str) -> None:
        """Fold the later entries of an account. Raises `StoreError` and `HistoryError`."""
        kept = self._kept.pop(name, None) or _Kept(Account(name), self._find_log(name))
        self._kept[name] = kept
        if kept.is_cold:
            await self._load(kept)
        for sealed in await self._store.engine.read_log(kept.log, kept.version):
            self._fold(kept.account, self._open(kept.log, sealed))
            kept.version += 1

    async def _load(self, kept: _Kept) -> None:
        snapshot = await self._snapshots.get(kept.log.owner.hex())
        if snapshot is not None and snapshot.tables == VERSION:
            kept.account.restore(snapshot.held)
            kept.version = kept.snapshot = snapshot.version
        kept.is_cold = False

    def _fold(self, account: Account, entry: AccountEntry) -> None:
        if not entry.marks:
            account.end(entry.call, entry.ends)
        elif entry.ends:
            account.correct(entry.call, entry.at, entry.marks, entry.ends[0])
        elif account.begin(entry.call, entry.at, entry.marks, entry.replica):
            reading = self._expected.get(entry.call)
            if reading is not None and account.name in reading.names:
                reading.found[account.name] = reading.read(account.name, account.held.tables)

    def _find_log(self, name: str) -> Log:
        return Log(self._sealing.digest(f"account {name}"), _NAME)

    def _seal(self, account: Log, entry: AccountEntry) -> bytes:
        return self._store.seal(_describe(account), msgspec.msgpack.encode(entry))

    def _open(self, account: Log, sealed: bytes) -> AccountEntry:
        return self._sealing.open(_describe(account), sealed, _ENTRIES, FORM)


def list_accounts(event: Reserved | Confirmed) -> frozenset[str]:
    """Return the names of the accounts that count a call."""
    return frozenset(mark.owner for mark in event.facts if mark.owner)


_ENTRIES: Final = msgspec.msgpack.Decoder(AccountEntry)


def _describe(account: Log) -> str:
    return f"facts of {account.owner.hex()}"


def _make_error(problem: str) -> HistoryError:
    return HistoryError(f"declared facts cannot be used: {problem}", "see the setting `store`, and the server")
