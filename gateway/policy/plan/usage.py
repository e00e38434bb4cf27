"""The use of blocks and locals by statements of a plan, and knowledge about the locals of a function in writing. Pure.

OPA numbers the locals of each block of a function anew, so knowledge of copies holds for one such block. Knowledge of types,
constants and fields holds in the frame in which it was gained, until the local gets another value.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field, replace
from typing import Any, Final, cast

from gateway.model.errors import PolicyBroken
from gateway.policy.plan import forms
from gateway.policy.plan.forms import Term
from gateway.policy.plan.intermediate import REMEDY, Block, Function, PlanOperand, Statement, statements

_INPUT: Final = 0
_NEVER_FAILING: Final = frozenset(
    """
    ArrayAppendStmt AssignIntStmt AssignVarOnceStmt AssignVarStmt BlockStmt LenStmt MakeArrayStmt MakeNullStmt
    MakeNumberIntStmt MakeNumberRefStmt MakeObjectStmt MakeSetStmt NopStmt ObjectInsertOnceStmt ObjectInsertStmt
    ObjectMergeStmt ResetLocalStmt ResultSetAddStmt ReturnLocalStmt ScanStmt SetAddStmt
    """.split()  # noqa: SIM905 - a list of names
)
COLLECTIONS: Final[Mapping[str, tuple[str, str]]] = {
    "MakeArrayStmt": ("ArrayAppendStmt", "array"),
    "MakeSetStmt": ("SetAddStmt", "set"),
    "MakeObjectStmt": ("ObjectInsertStmt", "object"),
}
"""Statements that make a collection, with the statement that adds to it and the field that names the collection there."""
_GROWING: Final[Mapping[str, str]] = {**dict(COLLECTIONS.values()), "ObjectInsertOnceStmt": "object"}
_READ: Final[Mapping[str, tuple[str, ...]]] = {
    **{name: (field,) for name, field in _GROWING.items()},
    "AssignVarOnceStmt": ("target",),
    "IsDefinedStmt": ("source",),
    "IsUndefinedStmt": ("source",),
    "ObjectMergeStmt": ("a", "b"),
    "ResultSetAddStmt": ("value",),
    "ReturnLocalStmt": ("source",),
    "ScanStmt": ("source",),
    "WithStmt": ("local",),
}
"""Fields that name locals which a statement reads, beside its operands."""
_REBOUND: Final[Mapping[str, tuple[str, ...]]] = {"ScanStmt": ("key", "value"), "WithStmt": ("local",)}
"""Fields that name locals to which a statement gives values for its block."""


def operands(statement: Statement) -> list[PlanOperand]:
    """Return the operands of a statement."""
    found: list[Any] = []
    for given in statement.fields.values():
        found += given if isinstance(given, list) else [given]
    return [
        PlanOperand(**cast("dict[str, Any]", item)) for item in found if isinstance(item, dict) and "stmts" not in item
    ]


def reads(statement: Statement) -> list[int]:
    """Return the locals that a statement itself reads. Its inner blocks do not count."""
    found = [int(operand.value) for operand in operands(statement) if operand.type == "local"]
    found += [statement.local(field) for field in _READ.get(statement.type, ())]
    return found + (statement.locals("args") if statement.type == "CallDynamicStmt" else [])


def independent_rules(functions: Sequence[Function]) -> set[str]:
    """Return the rules with values of data alone: no input changes these values. Local 0 is the input."""
    needs = {function.name: _needs(function) for function in functions}
    dependent = {name for name, called in needs.items() if called is None or called - needs.keys()}
    while found := {name for name, called in needs.items() if called and called & dependent} - dependent:
        dependent |= found
    return {function.name for function in functions if len(function.params) == 2} - dependent


def _needs(function: Function) -> set[str] | None:
    """Return the functions to which a function gives the input. Return `None` if it uses the input itself."""
    called: set[str] = set()
    for statement in statements(function.blocks):
        if statement.type in {"WithStmt", "CallDynamicStmt"}:
            return None
        uses = reads(statement).count(_INPUT) + (_INPUT in _writes(statement))
        if (
            statement.type == "CallStmt"
            and uses == 1
            and statement.operands("args")[:1] == [PlanOperand("local", _INPUT)]
        ):
            called.add(statement.fields["func"])
        elif uses:
            return None
    return called


def mentions(blocks: Iterable[Block]) -> Counter[int]:
    """Return how often blocks read a local or give it a value."""
    return times_read(blocks) + times_written(blocks)


def local_fields(statement: Statement) -> set[str]:
    """Return the fields that hold the number of a local. Operands and lists do not count."""
    named = {*_READ.get(statement.type, ()), *_REBOUND.get(statement.type, ()), "target", "result"}
    return named & statement.fields.keys()


def changed(statement: Statement) -> set[int]:
    """Return the locals to which a statement gives another value, or a further item."""
    grown_field = _GROWING.get(statement.type)
    return written(Block((statement,))) | ({statement.local(grown_field)} if grown_field else set())


def _writes(statement: Statement) -> set[int]:
    return {statement.local(field) for field in ("target", "result") if field in statement.fields}


def settled(block: Block, absent: AbstractSet[int]) -> set[int]:
    """Return the locals with one assignment in a block, before each read in the block.

    `absent` are the locals with a possible read before their assignment, in any block of the function.
    """
    return {local for local, times in times_written([block]).items() if times == 1} - absent


def unchanged(blocks: Iterable[Block], params: Sequence[int]) -> set[int]:
    """Return the parameters that no statement gives another value."""
    return set(params) - times_written(blocks).keys()


def absent_in_each(blocks: Iterable[Block]) -> set[int]:
    """Return the locals with a possible read in a block before an assignment in the same block."""
    return {local for block in blocks for local in read_before_assigned([block], ())}


def written(block: Block) -> set[int]:
    """Return the locals that a block may give a value."""
    return set(times_written([block]))


def times_written(blocks: Iterable[Block]) -> Counter[int]:
    """Return the number of statements that give each local a value."""
    times: Counter[int] = Counter()
    for statement in statements(blocks):
        times.update(_writes(statement))
        times.update(statement.local(field) for field in _REBOUND.get(statement.type, ()))
    return times


def times_read(blocks: Iterable[Block]) -> Counter[int]:
    """Return the number of reads of each local."""
    return Counter(local for statement in statements(blocks) for local in reads(statement))


def escapes(block: Block) -> set[int]:
    """Return the frames that something in a block may leave early: 0 is the block itself, 1 the frame around it."""
    found: set[int] = set()
    for statement in block.statements:
        if statement.type == "BreakStmt":
            found.add(statement.local("index"))
        elif statement.type == "CallDynamicStmt":
            found |= {0, 3}
        elif statement.type not in _NEVER_FAILING:
            found.add(0)
        found |= _escapes_from_within(statement)
    return found


def is_left_from_within(block: Block) -> bool:
    """Return whether a block within a block leaves it early."""
    return any(0 in _escapes_from_within(statement) for statement in block.statements)


def _escapes_from_within(statement: Statement) -> set[int]:
    found = {level - 1 for inner in statement.inner for level in escapes(inner) if level}
    if found and statement.type != "BlockStmt":
        raise PolicyBroken("the plan of the policy leaves a loop in a way that is not known", REMEDY)
    return found


def is_test_of(statement: Statement, local: int) -> bool:
    """Return whether a statement asks that a local is not false."""
    if statement.type != "NotEqualStmt":
        return False
    return statement.operand("a") == PlanOperand("local", local) and statement.operand("b") == PlanOperand(
        "bool", value=False
    )


def added_at_once(waiting: Sequence[Statement], at: int) -> list[Statement]:
    """Return the statements directly after a collection's creation that add items to the collection."""
    adding, name = COLLECTIONS[waiting[at].type]
    target = waiting[at].local("target")
    added: list[Statement] = []
    for statement in waiting[at + 1 :]:
        if statement.type != adding or statement.fields[name] != target or reads(statement).count(target) > 1:
            break
        added.append(statement)
    return added


def grown(blocks: Iterable[Block]) -> set[int]:
    """Return the locals of collections that may grow later than at once.

    If the value of another local may grow, these are all: it could be the value of any of them.
    """
    at_once = {
        id(added)
        for block in _all_blocks(blocks)
        for at, statement in enumerate(block.statements)
        if statement.type in COLLECTIONS
        for added in added_at_once(block.statements, at)
    }
    is_known = grows_what_it_made(blocks)
    return {
        statement.local("target" if statement.type in COLLECTIONS else _GROWING[statement.type])
        for statement in statements(blocks)
        if (statement.type in _GROWING and id(statement) not in at_once)
        or (not is_known and statement.type in COLLECTIONS)
    }


def grows_what_it_made(blocks: Iterable[Block]) -> bool:
    """Return whether every growing local was made as a collection. Then no other value grows."""
    origins: dict[int, set[bool]] = {}
    is_known = True
    for block in blocks:
        is_known &= _grows_what_it_made(block, origins)
    return is_known


def _grows_what_it_made(block: Block, origins: dict[int, set[bool]]) -> bool:
    """Return whether each growing local was made as a collection.

    `origins` has the statements that made each local: `True` for a collection. This function extends the table.
    """
    is_known = True
    for statement in block.statements:
        name = _GROWING.get(statement.type)
        is_known &= name is None or origins.get(statement.local(name)) == {True}
        for inner in statement.inner:
            within = {local: set(kinds) for local, kinds in origins.items()}
            is_known &= _grows_what_it_made(inner, within)
            for local, kinds in within.items():
                origins.setdefault(local, set()).update(kinds)
        for local in _writes(statement):
            origins[local] = {statement.type in COLLECTIONS}
    return is_known


def _all_blocks(blocks: Iterable[Block]) -> Iterable[Block]:
    for block in blocks:
        yield block
        for statement in block.statements:
            yield from _all_blocks(statement.inner)


def read_before_assigned(blocks: Iterable[Block], params: Sequence[int]) -> set[int]:
    """Return the locals with a possible read before their first assignment."""
    absent: set[int] = set()
    assigned = set(params)
    for block in blocks:
        assigned = _flow(block, assigned, absent)
    return absent


def _flow(block: Block, before: set[int], absent: set[int]) -> set[int]:
    """Return the locals that have a value after a block."""
    assigned = set(before)
    for statement in block.statements:
        absent |= set(reads(statement)) - assigned
        own = {statement.local("key"), statement.local("value")} if statement.type == "ScanStmt" else set[int]()
        for inner in statement.inner:
            after = _flow(inner, assigned | own, absent)
            if statement.type == "BlockStmt":
                assigned = after
        assigned |= _writes(statement)
    return before if escapes(block) else assigned


@dataclass
class Frame:
    """A block in writing. `leave` is the statement to leave it by, and `mark` the name of its mark, or empty.

    In the block, locals were found to have `kinds` of values, `fields` were read, and locals were given `constants`.
    """

    leave: str
    mark: str = ""
    kinds: dict[int, str] = field(default_factory=dict[int, str])
    fields: dict[tuple[int, str], Term] = field(default_factory=dict[tuple[int, str], Term])
    constants: dict[int, Term] = field(default_factory=dict[int, Term])


class Known:
    """The knowledge about one function. `frames` are the blocks around the statement in writing."""

    def __init__(self, blocks: Sequence[Block], params: Sequence[int]) -> None:
        self.frames: list[Frame] = []
        self._grown = grown(blocks)
        self._grows_its_own = grows_what_it_made(blocks)
        self._absent = absent_in_each(blocks)
        self._unchanged = unchanged(blocks, params)
        self._settled: set[int] = set()
        self._grown_here: set[int] = set()
        self._times_read: Mapping[int, int] = {}
        self._terms: dict[int, Term] = {}

    def enter(self, block: Block) -> None:
        """Begin a block of the function itself."""
        self._settled = settled(block, self._absent)
        self._grown_here = grown([block])
        self._times_read = times_read([block])
        self._terms = {}

    def term(self, local: int) -> Term:
        """Return the term to read a local by."""
        found = self._terms.get(local) or forms.local(local)
        for frame in reversed(self.frames):
            if local in frame.constants:
                return frame.constants[local]
            if found.local in frame.kinds and not found.kind:
                return replace(found, kind=frame.kinds[found.local])
        return found

    def is_read_once(self, local: int) -> bool:
        return local in self._settled and self._times_read[local] == 1

    def times_read(self, local: int) -> int:
        return self._times_read[local]

    def note_copy(self, local: int, found: Term) -> bool:
        """Have a local read by another term, if both keep their values. Return whether they do."""
        if local in self._settled and (found.literal or self._is_lasting(found)):
            self._terms[local] = found
            return True
        return False

    def note_constant(self, local: int, found: Term) -> None:
        if found.literal and local not in self._grown:
            self.frames[-1].constants[local] = found

    def note_type(self, local: int, kind: str) -> None:
        """Note the type of every value that a local gets in this block of the function."""
        if local in self._settled:
            self._terms[local] = forms.local(local, kind)

    def note_made(self, local: int, kind: str, items: Sequence[Term]) -> None:
        """Note the type of a collection, and the items of an array if neither it nor they change."""
        if local not in self._settled:
            return
        is_known = self.may_share(local) and all(item.literal or self._is_lasting(item) for item in items)
        self._terms[local] = forms.local(local, kind, tuple(items) if is_known else ())

    def note_kind(self, found: Term, kind: str) -> None:
        """Note the type of a term from here to the end of the frame."""
        if found.local is not None:
            self.frames[-1].kinds[found.local] = kind

    def note_field(self, source: Term, name: Term, target: int) -> None:
        """Note that a local has a field of a term, if neither changes."""
        if target in self._settled and name.literal and source.local is not None and self._is_fixed(source.local):
            self.frames[-1].fields[source.local, name.literal] = forms.local(target)

    def field(self, source: Term, name: Term) -> Term | None:
        """Return the term that has a field of a term."""
        if source.local is None:
            return None
        place = source.local, name.literal
        return next((frame.fields[place] for frame in self.frames if place in frame.fields), None)

    def forget(self, changed: Iterable[int]) -> None:
        """Forget the constants and types of locals that get other values."""
        for frame in self.frames:
            for local in changed:
                frame.constants.pop(local, None)
                frame.kinds.pop(local, None)

    def never_grows(self, local: int) -> bool:
        """Return whether nothing is added to a collection after it is made."""
        return local not in (self._grown_here if local in self._settled else self._grown)

    def may_share(self, target: int) -> bool:
        """Return whether a local may have the same value as another without a copy of it."""
        return self._grows_its_own and self.never_grows(target)

    def _is_lasting(self, found: Term) -> bool:
        """Return whether a term is a local with one value."""
        return found.local in self._settled | self._unchanged

    def _is_fixed(self, local: int) -> bool:
        return local in self._settled | self._unchanged and self.may_share(local)
