"""Accounts: the declared facts of agents, users, tenants and of the whole gateway, beside the tasks.

An account is folded from the marks in the events of calls, in the order of these events. Its row in the snapshots stands
beside those of the tasks, with the number of the last journal entry in it. After a restart the entries after that are folded.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, cast

import msgspec
from msgspec import Struct, field

from gateway.history.declared import tables
from gateway.history.declared.tables import Mark, Table, Tables
from gateway.history.events import Confirmed, Released, Reserved, Settled, end_of, from_fields, list_ends, verdict_of
from gateway.history.kept_rows import Kept, KeptRows

if TYPE_CHECKING:
    from gateway.history.store import Store, StoredTask
    from gateway.model.wire import JsonObject

VERSION: Final = 4
"""The version of the form in snapshots. Raise it with each change of `_Stored` or of a table."""
MOST_CORRECTED: Final = 10_000
"""Calls of one account whose unknown outcome is settled. Later ones count as unknown until their windows are over."""


class _Open(Struct, array_like=True):
    """An open call with its marks on one account. `replica` is its gateway, where several share the account."""

    at: float
    marks: tuple[Mark, ...]
    replica: str = ""


class _Stored(Struct, omit_defaults=True):
    """An account in the snapshots."""

    tables: Tables = field(default_factory=dict[str, Table])
    open: dict[str, _Open] = field(default_factory=dict[str, _Open])
    corrected: dict[str, float] = field(default_factory=dict[str, float])
    """Calls whose unknown outcome was settled, each with the time at which all its windows are over."""


class _Meta(Struct):
    """The row of an account beside its tables."""

    version: int


class Account(Kept):
    """The facts of one party."""

    held: _Stored = field(default_factory=_Stored)

    def begin(self, call: str, at: float, marks: tuple[Mark, ...], replica: str = "") -> bool:
        """Count a call as open. Return whether it was not open yet."""
        if call in self.held.open:
            return False
        tables.reserve(self.held.tables, call, at, marks)
        self.held.open[call] = _Open(at, marks, replica)
        self.changed = True
        return True

    def end(self, call: str, ends: tuple[str, ...]) -> None:
        """End a call if it is open. `ends` says how."""
        ended = self.held.open.pop(call, None)
        if ended is not None:
            tables.close(self.held.tables, call, ended.at, ended.marks, ends)
            self.changed = True

    def correct(self, call: str, at: float, marks: tuple[Mark, ...], end: str) -> None:
        """Count a call of unknown outcome as done or failed, once. Several gateways may say so."""
        if call in self.held.corrected or len(self.held.corrected) >= MOST_CORRECTED:
            return
        tables.correct(self.held.tables, call, at, marks, end)
        self.held.corrected[call] = at + max(mark.width for mark in marks) * (tables.PARTS + 1)
        self.changed = True

    def sweep(self, now: float) -> None:
        """Forget what is beyond every window."""
        before = len(self.held.tables)
        tables.sweep(self.held.tables, now)
        self.held.corrected = {call: over for call, over in self.held.corrected.items() if over >= now}
        self.changed |= len(self.held.tables) < before

    def encode(self) -> bytes:
        """Return the facts of the party, for a snapshot."""
        return msgspec.msgpack.encode(self.held)

    def restore(self, data: bytes) -> None:
        """Take over the facts of a snapshot. Raises `msgspec.MsgspecError`."""
        self.held = msgspec.msgpack.decode(data, type=_Stored)


class FactAccounts(KeptRows[Account]):
    """All accounts by name."""

    prefix = "account:"

    def __init__(self) -> None:
        super().__init__()
        self._calls: dict[str, tuple[Account, ...]] = {}

    def encode(self, record: Account, /) -> tuple[bytes, bytes]:
        """Return the number of the form, and the facts of an account."""
        return msgspec.msgpack.encode(_Meta(VERSION)), record.encode()

    def tables(self, name: str) -> Tables | None:
        """Return the tables of an account, or `None` if the account is empty."""
        account = self._by_name.get(name)
        return None if account is None else account.held.tables

    def names(self) -> tuple[str, ...]:
        """Return the names of all accounts."""
        return tuple(self._by_name)

    def reserve(self, event: Reserved, seq: int | None = None) -> None:
        """Count a call as open in each account of its marks. `seq` is the number of its journal entry, in a restart."""
        touched: list[Account] = []
        by_owner: dict[str, list[Mark]] = {}
        for mark in event.facts:
            if mark.owner:
                by_owner.setdefault(mark.owner, []).append(mark)
        for name, marks in by_owner.items():
            account = self._by_name.get(name)
            if account is None:
                account = self.add(Account(name))
            if seq is not None and seq <= account.seq:
                continue
            if account.begin(event.call, event.at, tuple(marks)):
                touched.append(account)
        if touched:
            self._calls[event.call] = (*self._calls.get(event.call, ()), *touched)

    def close(self, event: Released | Settled, seq: int | None = None) -> None:
        """End an open call in its accounts."""
        for account in self._calls.pop(event.call, ()):
            if seq is None or seq > account.seq:
                account.end(event.call, list_ends(event))

    def correct(self, event: Confirmed, seq: int | None = None) -> None:
        """Count a call of unknown outcome as done or failed in its accounts. An account that is gone has nothing of it."""
        by_owner: dict[str, list[Mark]] = {}
        for mark in event.facts:
            by_owner.setdefault(mark.owner, []).append(mark)
        for name, marks in by_owner.items():
            account = self._by_name.get(name)
            if account is not None and (seq is None or seq > account.seq):
                account.correct(event.call, event.at, tuple(marks), event.end)

    def sweep(self, now: float) -> None:
        """Forget what is beyond every window."""
        for name, account in tuple(self._by_name.items()):
            account.sweep(now)
            if not account.held.tables and not account.held.open:
                self.drop(name)

    # --- the journal ---------------------------------------------------------------------------------

    def take(self, entry: JsonObject) -> None:
        """Fold an entry of the journal, where the snapshots lack it. Raises `ValueError` for a damaged entry."""
        seq, kind = cast("int", entry["seq"]), entry["kind"]
        if kind == "call":
            fields = cast("JsonObject | None", entry.get("history"))
            if fields is None or not fields.get("facts"):
                return
            event = from_fields(fields)
            if isinstance(event, Reserved):
                self.reserve(event, seq)
                verdict = verdict_of(entry, event.call)
                if isinstance(verdict, Released):
                    self.close(verdict, seq)
        elif kind == "settled":
            self.close(Settled(cast("str", entry["id"]), end_of(str(entry.get("outcome", "")))), seq)
        elif kind == "confirmed" and (fields := cast("JsonObject | None", entry.get("history"))) is not None:
            event = from_fields(fields)
            if isinstance(event, Confirmed):
                self.correct(event, seq)
        elif kind == "abandoned":
            self.close(Settled(cast("str", entry["id"]), "unknown"), seq)

    def abandon(self) -> None:
        """End the open calls of the gateway before this one, with an unknown outcome."""
        for call in tuple(self._calls):
            self.close(Settled(call, "unknown"))

    @property
    def known(self) -> int:
        """Return the number of the last journal entry in any account."""
        return max((account.seq for account in self._by_name.values()), default=0)

    # --- the snapshots -------------------------------------------------------------------------------

    def restore(self, stored: StoredTask, store: Store) -> bool:
        """Take over a row of the snapshots. Return whether it is one of an account. Raises `ValueError` for a damaged row."""
        name = self.find_name(stored.id)
        if name is None:
            return False
        try:
            if msgspec.msgpack.decode(stored.meta, type=_Meta).version != VERSION:
                raise ValueError("the accounts have another version")
            account = Account(name, seq=stored.seq, stored=True)
            account.restore(store.state(stored.id, stored.digest))
        except msgspec.MsgspecError as error:
            raise ValueError(f"no account: {error}") from error
        self.add(account)
        for call in account.held.open:
            self._calls[call] = (*self._calls.get(call, ()), account)
        return True
