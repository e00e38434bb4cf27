"""The marks of a call on declared facts, and the facts of a call for policy. Pure: no I/O, no clock, no randomness.

Keys are keyed digests, so no value of an argument is kept. A key of a limit (`count`, `sum`, `distinct`) ignores case, width and
spaces of a text. So no caller can write its way out of a limit. A key of a time (`first`, `last`) takes texts as they are:
reading one file is no ground to delete another.
"""

from __future__ import annotations

import math
import unicodedata
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal, InvalidOperation
from hashlib import blake2b
from typing import TYPE_CHECKING, Final, NamedTuple, TypeAlias, cast

from msgspec import structs

from gateway.base.json.walk import find_value, split_pointer
from gateway.history.declared.tables import NOTHING, Amount, Mark, Reading, Table, Tables, add, read
from gateway.model.facts import DeclaredFacts
from gateway.model.target import Role
from gateway.policy.document import timestamp
from gateway.policy.facts import Pair, Scope

if TYPE_CHECKING:
    from gateway.history.declared.accounts import FactAccounts
    from gateway.history.events import Reserved
    from gateway.model.call import Call
    from gateway.model.caller import Principal
    from gateway.model.content import CallContent
    from gateway.model.wire import Json
    from gateway.policy.facts import Declaration, FactBook, Selection

Keys: TypeAlias = dict[tuple[Sequence[str | Pair], bool], str | None]
"""The digests of one call by their keys: facts often have the same."""
_LIMITS: Final = frozenset({"count", "sum", "distinct"})
_MOST_DIGITS: Final = 30
_LARGEST: Final = Decimal(10) ** 30


class Subject(NamedTuple):
    """A call under decision, as declared facts see it. `content` is `None` for arguments that nobody looked at."""

    principal: Principal
    call: Call
    task: str
    content: CallContent | None


class Unreadable(Exception):
    """A value that is there, and is no key or no number."""


class FactMarker:
    """The maker of marks and of facts. `key` is for the digests."""

    def __init__(self, key: bytes) -> None:
        self._key = key

    def mark(self, book: FactBook, subject: Subject) -> tuple[Mark, ...]:
        """Return one mark of a call for each fact that counts the call."""
        counted, begun = book.find_fitting(subject.call.target)
        if not counted and not begun:
            return ()
        owners = self.owners(book, subject)
        keys: Keys = {}
        marks = [self._mark(each, subject, owners, keys) for each in counted if _meets(book, each.fact.of, subject)]
        marks += [
            self._begin(each, subject, owners, keys)
            for each in begun
            if each.fact.since is not None and _meets(book, each.fact.since, subject)
        ]
        return tuple(mark for mark in marks if mark is not None)

    def read(
        self, book: FactBook, subject: Subject, holders: Mapping[Scope, Tables], call: str, now: float
    ) -> DeclaredFacts:
        """Return the facts of a reserved call. `holders` are the tables of its task and of its accounts, by scope."""
        values: dict[str, int | float | str] = {}
        before: dict[str, int | float | str] = {}
        incomplete: list[str] = []
        keys: Keys = {}
        for each in book.all:
            tables = holders.get(each.scope)
            table = None if tables is None else tables.get(each.table)
            if table is None:
                continue
            found = self._read(each, subject, table, call, now, keys=keys)
            if found is NOTHING:
                continue
            if found.before is not None:
                _put(before, each, found.before, now)
            if found.mine is None:
                _put(values, each, found.before, now)
            else:
                _put(values, each, add(found.before, found.mine), now)
            if found.incomplete:
                incomplete.append(each.name)
        return DeclaredFacts(values, before, tuple(incomplete))

    def owners(self, book: FactBook, subject: Subject) -> dict[Scope, str]:
        """Return the names of the accounts of a call, by scope; empty for its task. A party that the call lacks has none."""
        found: dict[Scope, str] = {"task": "", "all": "all"}
        for scope in book.scopes:
            named = None if scope in found else _name(scope, subject)
            if named is not None:
                found[scope] = f"{scope}:{self._digest([scope, named])}"
        return found

    def _mark(self, declared: Declaration, subject: Subject, owners: Mapping[Scope, str], keys: Keys) -> Mark | None:
        fact, owner = declared.fact, owners.get(declared.scope)
        if owner is None:
            return None
        try:
            key = self._find_key(declared, subject, keys, earlier=True)
        except Unreadable:
            key = ""
        if key is None:
            return None
        number, members, unreadable = "0", (), False
        try:
            if fact.sum is not None:
                number = str(_read_number(subject.call, fact.sum))
            elif fact.distinct is not None:
                members = tuple(self._members(fact.distinct, subject))
        except Unreadable:
            unreadable = True
        return Mark(
            declared.table, owner, key, declared.ends, declared.width, fact.keys, number, members, unreadable=unreadable
        )

    def _begin(self, declared: Declaration, subject: Subject, owners: Mapping[Scope, str], keys: Keys) -> Mark | None:
        owner = owners.get(declared.scope)
        try:
            key = self._find_key(declared, subject, keys, earlier=True)
        except Unreadable:
            return None
        if owner is None or not key:
            return None
        fact = declared.fact
        return Mark(declared.table, owner, key, declared.since_ends, fact.width, fact.keys, begins=True)

    def _read(
        self, declared: Declaration, subject: Subject, table: Table, call: str, now: float, *, keys: Keys
    ) -> Reading:
        """Return the amounts of a fact for a call. A call that counts, and whose key nobody can read, has an incomplete fact."""
        try:
            key = self._find_key(declared, subject, keys, earlier=False)
        except Unreadable:
            return Reading(incomplete=declared.fact.of.fits_target(subject.call.target))
        return NOTHING if key is None else read(table, key, now, declared.ends, call)

    def _find_key(self, declared: Declaration, subject: Subject, keys: Keys, *, earlier: bool) -> str | None:
        """Return the digest of the keys of a call; `None` if the call lacks one. Raise `Unreadable`.

        `earlier`: as a call that is counted, and not as the call under decision. `keys` are the digests so far.
        """
        is_limit = declared.aggregate in _LIMITS
        place = declared.by, is_limit
        if place not in keys:
            keys[place] = self._make_key(declared.by, subject, fold=is_limit, earlier=earlier)
        return keys[place]

    def _make_key(self, by: Sequence[str | Pair], subject: Subject, *, fold: bool, earlier: bool) -> str | None:
        parts: list[str] = []
        for name in by:
            if isinstance(name, Pair):
                part = _argument(subject.call, name.that if earlier else name.this, fold=fold)
            elif name.startswith("/"):
                part = _argument(subject.call, name, fold=fold)
            else:
                part = _name(name, subject)
            if part is None:
                return None
            parts.append(part)
        return self._digest(parts)

    def _members(self, what: str, subject: Subject) -> Iterator[str]:
        """Yield the different values that a call adds. Raise `Unreadable`."""
        target = subject.call.target
        if what == "system":
            for name in {target.audience, *(target.aggregates or ())}:
                yield self._digest([name])
        elif what == "destination":
            if subject.content is None or not subject.content.complete:
                raise Unreadable
            for digest in sorted(subject.content.destinations):
                yield f"{digest:016x}"
        elif what.startswith("/"):
            found = find_value(subject.call.arguments, split_pointer(what)[1:])
            for item in cast("Sequence[Json]", found) if isinstance(found, list | tuple) else (found,):
                if item is not None:
                    yield self._digest([_text(item, fold=True)])
        else:
            yield self._digest([target.id if what == "tool" else target.upstream])

    def _digest(self, parts: Sequence[str]) -> str:
        """Return the keyed digest of some texts."""
        digest = blake2b(key=self._key[:64], digest_size=8)
        for part in parts:
            data = part.encode("utf-8", "surrogatepass")
            digest.update(len(data).to_bytes(8, "big") + data)
        return digest.hexdigest()


def _meets(book: FactBook, selection: Selection, subject: Subject) -> bool:
    """Return whether the arguments meet the conditions of a selection."""
    # Pointers of a fact begin with `/arguments`, and pointers of a grant below it.
    return not selection.arguments or all(
        book.holds(condition, subject.call.arguments, pointer.removeprefix("/arguments"))
        for pointer, condition in selection.arguments.items()
    )


@dataclass(slots=True, weakref_slot=True)
class AccountReading:
    """The facts of one call in accounts. `scopes` names the accounts, and `counted` those that count the call.

    `read` gives the facts of a scope from its tables. `found` has the facts at the place of the reservation, by account.
    """

    call: str
    scopes: Mapping[str, Scope]
    counted: frozenset[str]
    read: Callable[[Scope, Tables], DeclaredFacts]
    found: dict[str, DeclaredFacts] = field(default_factory=dict[str, DeclaredFacts])


class FactReader:
    """The declared facts of the policy in force, for the calls of a ledger. `find_book` returns the facts of that policy."""

    def __init__(self, key: bytes, find_book: Callable[[], FactBook]) -> None:
        """Take the key of the digests."""
        self._marker = FactMarker(key)
        self._find_book = find_book

    @property
    def book(self) -> FactBook:
        return self._find_book()

    def mark(self, event: Reserved, subject: Subject) -> Reserved:
        """Return a reservation with the marks of its call."""
        marks = self._marker.mark(self.book, subject)
        return structs.replace(event, facts=marks) if marks else event

    def facts_of(self, subject: Subject, own: Tables, accounts: FactAccounts, call: str, now: float) -> DeclaredFacts:
        """Return the facts of a reserved call. `own` are the tables of its task."""
        book, holders = self.book, dict[Scope, Tables]()
        for scope, owner in self._marker.owners(book, subject).items():
            tables = own if scope == "task" else accounts.tables(owner)
            if tables:
                holders[scope] = tables
        return self._marker.read(book, subject, holders, call, now)

    def begin_reading(self, event: Reserved, subject: Subject, now: float) -> AccountReading:
        """Return the reading of the facts of a reserved call in its accounts, by the policy of this moment."""
        book = self.book
        owners = self._marker.owners(book, subject)
        scopes: dict[str, Scope] = {owner: scope for scope, owner in owners.items() if owner and scope in book.scopes}
        counted = frozenset(mark.owner for mark in event.facts if mark.owner)
        return AccountReading(
            event.call,
            scopes,
            counted,
            lambda scope, tables: self._marker.read(book, subject, {scope: tables}, event.call, now),
        )


def _name(key: str, subject: Subject) -> str | None:
    """Return the value of a key outside of the arguments."""
    principal, target = subject.principal, subject.call.target
    if key == "user":
        return None if principal.user is None else f"{principal.issuer}\0{principal.user.id}"
    if key == "agent":
        return f"{principal.issuer}\0{principal.id}"
    if key == "task":
        return subject.task
    places = {"tenant": target.tenant, "upstream": target.upstream, "system": target.audience, "tool": target.id}
    return places[key]


def _argument(call: Call, pointer: str, *, fold: bool) -> str | None:
    """Return the text of an argument as a key; `None` without one. Raise `Unreadable` for a list or an object."""
    found = find_value(call.arguments, split_pointer(pointer)[1:])
    return None if found is None else _text(found, fold=fold)


def _text(value: Json, *, fold: bool) -> str:
    """Return a scalar as a text. Raise `Unreadable` for another value. Equal numbers have equal texts."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float):
        # The sum makes zero of a negative zero.
        return f"{Decimal(repr(value)).normalize() + 0:f}" if abs(value) < _LARGEST else repr(value)
    if not isinstance(value, str):
        raise Unreadable
    return " ".join(unicodedata.normalize("NFKC", value).casefold().split()) if fold else value


def _read_number(call: Call, pointer: str) -> Decimal:
    """Return the number at a pointer as an exact decimal. Raise `Unreadable`, also without one: a server may take all then.

    A text counts where the label says that the argument is an amount. A negative number would take back what other calls add.
    """
    found = find_value(call.arguments, split_pointer(pointer)[1:])
    is_text = isinstance(found, str) and call.target.labels.roles.get(pointer.removeprefix("/arguments")) is Role.AMOUNT
    if isinstance(found, bool) or not (isinstance(found, int | float) or is_text):
        raise Unreadable
    try:
        number = Decimal(str(found).strip())
    except InvalidOperation:
        raise Unreadable from None
    if not number.is_finite() or number < 0 or number >= _LARGEST or len(number.as_tuple().digits) > _MOST_DIGITS:
        raise Unreadable
    if cast("int", number.as_tuple().exponent) < -_MOST_DIGITS:
        raise Unreadable
    return number


def _put(into: dict[str, int | float | str], declared: Declaration, amount: Amount | None, now: float) -> None:
    """Put a fact, as policy reads it, among the facts of a call. It stays absent if nothing fits."""
    if amount is None:
        return
    match declared.aggregate:
        case "count":
            into[declared.name] = amount.calls
        case "sum":
            into[declared.name] = to_number(amount.total)
        case "distinct":
            into[declared.name] = len(amount.members)
        case "first":
            into[declared.name] = timestamp(amount.first)
        case "last":
            if declared.within is None or now - amount.last <= declared.within:
                into[declared.name] = timestamp(amount.last)


def to_number(total: Decimal) -> int | float:
    """Return a decimal as a number of JSON, exactly; a number beyond that rounded up, since a sum is a limit's."""
    whole = total.to_integral_value()
    if whole == total:
        return int(min(whole, Decimal(2**63 - 1)))
    number = float(total)
    while Decimal(repr(number)) < total:
        number = math.nextafter(number, math.inf)
    return number
