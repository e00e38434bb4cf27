"""The marks of a call on declared facts, and the facts of a call for policy. Pure: no I/O, no clock, no randomness.

Keys are keyed digests, so no value of an argument is kept. A key of a limit (`count`, `sum`, `distinct`) is one for all
spellings (`values.fold_text`). A key of a time (`first`, `last`) takes texts as they are: reading one file is no ground to
delete another.

Most of the work is the same for each call of a caller to a target. A `_Plan` has it, so a call pays for its arguments alone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import blake2b
from typing import TYPE_CHECKING, Final, Literal, NamedTuple, TypeAlias, cast

from msgspec import structs

from gateway.base.json.walk import find_value, split_pointer
from gateway.history.declared.tables import MAX_MEMBERS, Mark, Tables, read
from gateway.history.declared.values import Unreadable, add_amounts, to_fact, write_arguments, write_key, write_number
from gateway.model.caller import canonical_person
from gateway.model.facts import DeclaredFacts
from gateway.model.target import Role
from gateway.policy.facts import LONGEST_NAME, NO_FACTS, Pair, Scope

if TYPE_CHECKING:
    from gateway.history.declared.accounts import FactAccounts
    from gateway.history.events import Reserved
    from gateway.model.call import Call
    from gateway.model.caller import Principal
    from gateway.model.content import CallContent
    from gateway.model.target import Target
    from gateway.model.wire import Json
    from gateway.policy.facts import Declaration, FactBook, Selection

_LIMITS: Final = frozenset({"count", "sum", "distinct"})
_FIXED: Final = frozenset({"tool", "upstream"})
"""What is the same for each call of a target, beside its systems."""
_PLANS: Final = 1024
"""Plans that are kept. A resource is made anew for each call, and has a plan of its own."""
_UNREADABLE: Final = ""
"""The key of a call whose key nobody can read."""

_Path: TypeAlias = tuple[str, ...]


class Subject(NamedTuple):
    """A call under decision, as declared facts see it. `content` is `None` for arguments that nobody looked at. `root` is the first
    task of its tree; empty for a task without one."""

    principal: Principal
    call: Call
    task: str
    content: CallContent | None
    root: str = ""


@dataclass(frozen=True, slots=True)
class _Key:
    """A key of the calls of a plan. `parts` are texts, and paths to arguments. `digest`: the key has no paths."""

    parts: tuple[str | _Path, ...]
    fold: bool
    digest: str | None


@dataclass(frozen=True, slots=True)
class _Fact:
    """A declared fact for the calls of a plan.

    `earlier` and `present` are the numbers of its keys: of a counted call, and of the call under decision. `key` is the digest
    of `present`, if that has no paths. `number` and `members` are paths to what a call adds. `amounts` are the paths to all
    amounts, if their sum is the fact. `caller` is as in `Mark`.
    """

    declared: Declaration
    owner: str
    counts: bool
    earlier: int
    present: int
    key: str | None
    number: _Path = ()
    is_amount: bool = False
    members: _Path = ()
    amounts: tuple[_Path, ...] = ()
    caller: str = ""


@dataclass(frozen=True, slots=True)
class _Marks:
    """The marks of the calls of a plan. `same` are the marks of each call, by table. `others` depend on the arguments."""

    same: Mapping[str, Mark]
    others: tuple[_Fact, ...]


@dataclass(frozen=True, slots=True)
class _Plan:
    """The part of the work on facts that is the same for each call of one caller to one target in one task.

    `keys` are the different keys of all facts. `counted` marks the calls, and `begun` begins facts anew after them. `read` are
    the facts of such a call, by account.
    """

    target: Target
    keys: tuple[_Key, ...]
    counted: _Marks
    begun: _Marks
    read: Mapping[str, tuple[_Fact, ...]]


class _Found(NamedTuple):
    """The values of facts so far, as in `DeclaredFacts`."""

    values: dict[str, int | float | str]
    before: dict[str, int | float | str]
    incomplete: list[str]
    places: dict[str, tuple[str, str, str, float]]


@dataclass(slots=True, weakref_slot=True)
class AccountReading:
    """The facts of one call in accounts. `names` are the accounts, and `counted` those that count the call.

    `read` gives the facts of an account from its tables. `found` has the facts at the place of the reservation, by account.
    """

    call: str
    names: frozenset[str]
    counted: frozenset[str]
    read: Callable[[str, Tables], DeclaredFacts]
    found: dict[str, DeclaredFacts] = field(default_factory=dict[str, DeclaredFacts])


class FactReader:
    """The declared facts of the policy in force, for the calls of a ledger. `find_book` returns the facts of that policy."""

    def __init__(self, key: bytes, find_book: Callable[[], FactBook]) -> None:
        """Take the key of the digests."""
        self._digests = Digests(key)
        self._find_book = find_book
        self._planned = NO_FACTS
        self._plans: dict[tuple[str, str, int], _Plan] = {}

    @property
    def book(self) -> FactBook:
        return self._find_book()

    def find_account(self, scope: Scope, party: Party | None = None) -> str:
        """Return the name of the account of a party, or of the whole gateway, for a scope of facts."""
        return self._digests.name_account(scope, None if party is None else _name_party(scope, party))

    def look(self, subject: Subject) -> CallFacts:
        """Return the facts of a call, to mark its reservation, and to read once it is reserved."""
        book, target = self.book, subject.call.target
        if book is not self._planned or len(self._plans) >= _PLANS:
            self._plans.clear()
            self._planned = book
        place = subject.principal.key, subject.task, id(target)
        plan = self._plans.get(place)
        if plan is None or plan.target is not target:
            plan = _Planner(book, subject, self._digests).make()
            if len(target.name) <= LONGEST_NAME:
                self._plans[place] = plan
        return CallFacts(book, subject, plan, self._digests)


class CallFacts:
    """The declared facts of one call. Each key is digested once."""

    def __init__(self, book: FactBook, subject: Subject, plan: _Plan, digests: Digests) -> None:
        self._book = book
        self._subject = subject
        self._plan = plan
        self._digests = digests
        self._keys: dict[int, str | None] = {}
        self._marks: dict[str, Mark] = {}

    def mark(self, event: Reserved) -> Reserved:
        """Return a reservation with one mark for each fact that counts the call."""
        counted, begun = self._plan.counted, self._plan.begun
        self._marks = dict(counted.same)
        for each in counted.others:
            if self._meets(each.declared.fact.of) and (mark := self._mark(each)) is not None:
                self._marks[mark.table] = mark
        anew = [*begun.same.values()]
        anew += [
            _begin(each, key)
            for each in begun.others
            if self._meets(each.declared.fact.since) and (key := self._find_key(each.earlier))
        ]
        return structs.replace(event, facts=(*self._marks.values(), *anew)) if self._marks or anew else event

    def read(self, own: Tables, accounts: FactAccounts, call: str, now: float) -> DeclaredFacts:
        """Return the facts of the reserved call. `own` are the tables of its task."""
        found = _Found({}, {}, [], {})
        for owner, facts in self._plan.read.items():
            tables = accounts.tables(owner) if owner else own
            if tables:
                self._read(facts, tables, call, now, found)
        return DeclaredFacts(found.values, found.before, tuple(found.incomplete), found.places)

    def begin_reading(self, event: Reserved, now: float) -> AccountReading:
        """Return the reading of the facts of the reserved call in its accounts."""

        def read_account(owner: str, tables: Tables) -> DeclaredFacts:
            found = _Found({}, {}, [], {})
            self._read(self._plan.read[owner], tables, event.call, now, found)
            return DeclaredFacts(found.values, found.before, tuple(found.incomplete), found.places)

        names = frozenset(owner for owner in self._plan.read if owner)
        return AccountReading(
            event.call, names, frozenset(mark.owner for mark in event.facts if mark.owner), read_account
        )

    def _read(self, facts: Iterable[_Fact], tables: Tables, call: str, now: float, found: _Found) -> None:
        """Put the facts of an account, or of the task, beside others."""
        for each in facts:
            declared = each.declared
            table = tables.get(declared.table)
            key = None if table is None else each.key or self._find_key(each.present)
            if table is None or key is None:
                continue
            if key == _UNREADABLE:
                past, value, lacks = None, None, each.counts
            else:
                past, value, lacks = read(table, key, now, declared.how, (call, self._marks.get(declared.table)))
            if lacks:
                found.incomplete.append(declared.label)
            shown = None if past is None else to_fact(declared, past, now)
            if shown is not None:
                found.before[declared.label] = shown
            if value is not past:
                shown = None if value is None else to_fact(declared, value, now)
            if shown is not None:
                found.values[declared.label] = shown
                mark = self._marks.get(declared.table)
                if mark is None or mark.key != key or declared.name in self._book.twice:
                    found.places[declared.label] = (declared.table, each.owner, key, declared.width)

    def _mark(self, each: _Fact) -> Mark | None:
        key = each.key if each.earlier == each.present else None
        key = self._find_key(each.earlier) if key is None else key
        if key is None:
            return None
        number, members, unreadable = "0", (), False
        try:
            if each.number:
                found = find_value(self._subject.call.arguments, each.number)
                number = write_number(found, is_amount=each.is_amount)
            elif each.amounts:
                found = [find_value(self._subject.call.arguments, path) for path in each.amounts]
                number = add_amounts(found)
            elif each.declared.aggregate == "distinct":
                members = self._find_members(each)
        except Unreadable:
            unreadable = True
        return _count(each, key, number, members, unreadable=unreadable)

    def _find_key(self, number: int) -> str | None:
        """Return the digest of a key; `None` if the call lacks a part, and `_UNREADABLE` if a part is no scalar."""
        if number not in self._keys:
            key = self._plan.keys[number]
            self._keys[number] = self._make_key(key) if key.digest is None else key.digest
        return self._keys[number]

    def _make_key(self, key: _Key) -> str | None:
        texts: list[str] = []
        arguments = self._subject.call.arguments
        for part in key.parts:
            if isinstance(part, str):
                texts.append(part)
                continue
            found = find_value(arguments, part)
            if found is None:
                return None
            try:
                texts.append(write_key(found, fold=key.fold) if part else write_arguments(found, fold=key.fold))
            except Unreadable:
                return _UNREADABLE
        return self._digests.of(texts)

    def _find_members(self, each: _Fact) -> tuple[str, ...]:
        """Return the different destinations, or values at a pointer, that a call adds. Raise `Unreadable`."""
        content = self._subject.content
        if each.members:
            found = find_value(self._subject.call.arguments, each.members)
            items = cast("Sequence[Json]", found) if isinstance(found, list | tuple) else (found,)
            members = tuple(self._digests.of((write_key(item, fold=True),)) for item in items if item is not None)
        elif content is None or not content.complete:
            raise Unreadable
        else:
            members = tuple(f"{digest:016x}" for digest in sorted(content.destinations))
        if len(members) > MAX_MEMBERS:
            raise Unreadable
        return members

    def _meets(self, selection: Selection | None) -> bool:
        """Return whether the arguments meet the conditions of a selection."""
        if selection is None or not selection.arguments:
            return True
        # Pointers of a fact begin with `/arguments`, and pointers of a grant below it.
        arguments = self._subject.call.arguments
        return all(
            self._book.holds(condition, arguments, pointer.removeprefix("/arguments"))
            for pointer, condition in selection.arguments.items()
        )


class Party(NamedTuple):
    """An agent, a user or a tenant, as a key of declared facts. A tenant has no issuer."""

    kind: Literal["agent", "user", "tenant"]
    id: str
    issuer: str = ""


class Digests:
    """The maker of keyed digests."""

    def __init__(self, key: bytes) -> None:
        self._begun = blake2b(key=key[:64], digest_size=8)

    def of(self, parts: Iterable[str]) -> str:
        """Return the digest of some texts."""
        digest, framed = self._begun.copy(), b""
        for part in parts:
            data = part.encode("utf-8", "surrogatepass")
            framed += len(data).to_bytes(8, "big") + data
        digest.update(framed)
        return digest.hexdigest()

    def name_account(self, scope: Scope, party: str | None) -> str:
        """Return the name of an account. A scope without a party is the whole gateway."""
        return scope if party is None else f"{scope}:{self.of((scope, party))}"


def _count(each: _Fact, key: str, number: str, members: tuple[str, ...], *, unreadable: bool = False) -> Mark:
    """Return the mark of a call that a fact counts."""
    declared = each.declared
    aggregate, ends, width, most = declared.aggregate, declared.ends, declared.width, declared.fact.keys
    added = number, members, unreadable
    values, who = declared.fact.values, each.caller
    return Mark(declared.table, each.owner, key, aggregate, ends, width, most, *added, values=values, caller=who)


def _begin(each: _Fact, key: str) -> Mark:
    """Return the mark of a call after which a fact begins anew."""
    declared = each.declared
    aggregate, ends, width, most = declared.aggregate, declared.since_ends, declared.width, declared.fact.keys
    return Mark(declared.table, each.owner, key, aggregate, ends, width, most, begins=True)


class _Planner:
    """The maker of a plan for the calls of a caller to a target."""

    def __init__(self, book: FactBook, subject: Subject, digests: Digests) -> None:
        self._book = book
        self._subject = subject
        self._digests = digests
        self._caller = digests.of(("caller", str(_name("party", subject))))
        self._numbers: dict[tuple[tuple[str | _Path, ...], bool], int] = {}
        self._keys: list[_Key] = []

    def make(self) -> _Plan:
        target, owners = self._subject.call.target, self._find_owners()
        fitting = self._book.find_fitting(target)
        prepared = (self._prepare(each, owners[each.scope]) for each in self._book.all if each.scope in owners)
        facts = {fact.declared.label: fact for fact in prepared if fact is not None}
        counted = [facts[each.label] for each in fitting.counted if each.label in facts]
        begun = [facts[each.label] for each in fitting.begun if each.label in facts]
        read = {owner: tuple(fact for fact in facts.values() if fact.owner == owner) for owner in owners.values()}
        return _Plan(target, tuple(self._keys), self._split_counted(counted), self._split_begun(begun), read)

    def _split_counted(self, facts: Sequence[_Fact]) -> _Marks:
        same: dict[str, Mark] = {}
        others: list[_Fact] = []
        for each in facts:
            key, members = self._keys[each.earlier].digest, self._find_members(each.declared)
            if key is None or members is None or each.number or each.amounts or each.declared.fact.of.arguments:
                others.append(each)
            else:
                same[each.declared.table] = _count(each, key, "0", members)
        return _Marks(same, tuple(others))

    def _split_begun(self, facts: Sequence[_Fact]) -> _Marks:
        same: dict[str, Mark] = {}
        others: list[_Fact] = []
        for each in facts:
            key, since = self._keys[each.earlier].digest, each.declared.fact.since
            if key is None or since is None or since.arguments:
                others.append(each)
            else:
                same[each.declared.table] = _begin(each, key)
        return _Marks(same, tuple(others))

    def _find_owners(self) -> dict[Scope, str]:
        """Return the names of the accounts of a call, by scope; empty for its task. A party that the call lacks has none."""
        found: dict[Scope, str] = {}
        for scope in self._book.scopes:
            if scope == "task":
                found[scope] = ""
            elif scope == "all":
                found[scope] = self._digests.name_account(scope, None)
            elif (named := _name(scope, self._subject)) is not None:
                found[scope] = self._digests.name_account(scope, named)
        return found

    def _prepare(self, declared: Declaration, owner: str) -> _Fact | None:
        """Return a fact for the calls of the plan; `None` if these lack a key."""
        earlier, present = self._find_parts(declared, earlier=True), self._find_parts(declared, earlier=False)
        if earlier is None or present is None:
            return None
        fact, labels = declared.fact, self._subject.call.target.labels
        number, what = self._number(present, declared), fact.distinct or ""
        return _Fact(
            declared,
            owner,
            fact.fits_target(self._subject.call.target),
            self._number(earlier, declared),
            number,
            self._keys[number].digest,
            () if fact.sum is None or fact.sum == "amount" else _split(fact.sum),
            fact.sum is not None and labels.roles.get(fact.sum.removeprefix("/arguments")) is Role.AMOUNT,
            _split(what) if what.startswith("/") else (),
            _find_amounts(self._subject.call.target) if fact.sum == "amount" else (),
            self._caller if declared.scope in {"tenant", "all"} else "",
        )

    def _find_members(self, declared: Declaration) -> tuple[str, ...] | None:
        """Return the members that each call adds; `None` if these depend on the call."""
        target, what = self._subject.call.target, declared.fact.distinct
        if what is None:
            return ()
        if what == "system":
            return tuple(self._digests.of((name,)) for name in {target.audience, *(target.aggregates or ())})
        return (self._digests.of((target.id if what == "tool" else target.upstream,)),) if what in _FIXED else None

    def _find_parts(self, declared: Declaration, *, earlier: bool) -> tuple[str | _Path, ...] | None:
        """Return the parts of a key. `earlier`: as a call that is counted, and not as the call under decision."""
        parts: list[str | _Path] = []
        for name in declared.by:
            pointer = (name.that if earlier else name.this) if isinstance(name, Pair) else name
            if pointer.startswith("/") or pointer == "arguments":
                parts.append(_split(pointer))
                continue
            named = _name(pointer, self._subject)
            if named is None:
                return None
            parts.append(named)
        return tuple(parts)

    def _number(self, parts: tuple[str | _Path, ...], declared: Declaration) -> int:
        """Return the number of a key in the plan. Facts often have the same key."""
        texts = [part for part in parts if isinstance(part, str)]
        is_fixed = len(texts) == len(parts)
        fold = declared.aggregate in _LIMITS and not is_fixed
        if (parts, fold) not in self._numbers:
            self._numbers[parts, fold] = len(self._keys)
            self._keys.append(_Key(parts, fold, self._digests.of(texts) if is_fixed else None))
        return self._numbers[parts, fold]


def _split(pointer: str) -> _Path:
    """Return the names on the way to an argument."""
    return tuple(split_pointer(pointer)[1:])


def _find_amounts(target: Target) -> tuple[_Path, ...]:
    """Return the paths to the arguments with the role `amount`."""
    return tuple(tuple(split_pointer(pointer)) for pointer, role in target.labels.roles.items() if role is Role.AMOUNT)


def _name(key: str, subject: Subject) -> str | None:
    """Return the value of a key outside of the arguments."""
    principal, target = subject.principal, subject.call.target
    if key in {"user", "agent", "party"}:
        if principal.user is not None and key != "agent":
            return _name_party(key, Party("user", principal.user.id, principal.issuer))
        return None if key == "user" else _name_party(key, Party("agent", principal.id, principal.issuer))
    if key == "task":
        return subject.task
    if key == "root":
        return subject.root or subject.task
    places = {"tenant": target.tenant, "upstream": target.upstream, "system": target.audience, "tool": target.id}
    return places[key]


def _name_party(key: str, party: Party) -> str:
    """Return the value of a key that is a party. A user may have the name of an agent, and is another party."""
    if party.kind == "tenant":
        return party.id
    name = canonical_person(party.id) if party.kind == "user" else party.id
    named = f"{party.issuer}\0{name}"
    return f"{party.kind}\0{named}" if key == "party" else named
