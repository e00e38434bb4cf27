"""OPA's plan of a policy, read strictly. Pure.

A plan is a set of functions made of blocks of statements (https://www.openpolicyagent.org/docs/ir). A statement, a field or a
built-in function that is not known here refuses the plan, since its effect is not known either.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final, cast

import msgspec

from gateway.errors import PolicyBroken
from gateway.policy.plan.functions import FUNCTIONS

_PLACE: Final = frozenset({"file", "col", "row", "end_col", "end_row"})
_FIELDS: Final[Mapping[str, frozenset[str]]] = {
    name: frozenset(fields.split())
    for name, fields in {
        "ArrayAppendStmt": "value array",
        "AssignIntStmt": "value target",
        "AssignVarOnceStmt": "source target",
        "AssignVarStmt": "source target",
        "BlockStmt": "blocks",
        "BreakStmt": "index",
        "CallDynamicStmt": "args result path",
        "CallStmt": "func args result",
        "DotStmt": "source key target",
        "EqualStmt": "a b",
        "IsArrayStmt": "source",
        "IsDefinedStmt": "source",
        "IsObjectStmt": "source",
        "IsSetStmt": "source",
        "IsUndefinedStmt": "source",
        "LenStmt": "source target",
        "MakeArrayStmt": "capacity target",
        "MakeNullStmt": "target",
        "MakeNumberIntStmt": "value target",
        "MakeNumberRefStmt": "Index index target",
        "MakeObjectStmt": "target",
        "MakeSetStmt": "target",
        "NopStmt": "",
        "NotEqualStmt": "a b",
        "NotStmt": "block",
        "ObjectInsertOnceStmt": "key value object",
        "ObjectInsertStmt": "key value object",
        "ObjectMergeStmt": "a b target",
        "ResetLocalStmt": "target",
        "ResultSetAddStmt": "value",
        "ReturnLocalStmt": "source",
        "ScanStmt": "source key value block",
        "SetAddStmt": "value set",
        "WithStmt": "local path value block",
    }.items()
}
REMEDY: Final = "set policy.engine.evaluator: regorus, and report this with the version of OPA"


@dataclass(frozen=True, slots=True)
class PlanOperand:
    """A value that a statement reads: a local, the index of a string, or a boolean."""

    type: str
    value: int | bool


@dataclass(frozen=True, slots=True)
class Statement:
    """A statement of the plan, with its unchanged fields and its inner blocks."""

    type: str
    fields: Mapping[str, Any]
    inner: tuple[Block, ...] = ()

    @property
    def row(self) -> int:
        return cast("int", self.fields.get("row", 0))

    def operand(self, name: str) -> PlanOperand:
        return PlanOperand(**self.fields[name])

    def operands(self, name: str) -> list[PlanOperand]:
        return [PlanOperand(**found) for found in self.fields[name]]

    def local(self, name: str) -> int:
        return cast("int", self.fields[name])

    def locals(self, name: str) -> list[int]:
        return cast("list[int]", self.fields[name] or [])


@dataclass(frozen=True, slots=True)
class Block:
    statements: tuple[Statement, ...]


@dataclass(frozen=True, slots=True)
class Function:
    """A rule or a function of the policy. `path` is its place in the tree of data."""

    name: str
    params: tuple[int, ...]
    blocks: tuple[Block, ...]
    path: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class PlanEntry:
    """An entry point."""

    name: str
    blocks: tuple[Block, ...]


@dataclass(frozen=True, slots=True)
class Plan:
    """A whole plan. `strings` are its constants, and `files` the names of the Rego files."""

    strings: tuple[str, ...]
    files: tuple[str, ...]
    builtins: frozenset[str]
    functions: tuple[Function, ...]
    entries: tuple[PlanEntry, ...]


def read_plan(encoded: bytes) -> Plan:
    """Read `plan.json`. Raise `PolicyBroken` for anything that is not known here."""
    try:
        written = msgspec.json.decode(encoded, type=_PlanForm)
        plan = Plan(
            tuple(found.value for found in written.static.strings),
            tuple(found.value for found in written.static.files),
            frozenset(found.name for found in written.static.builtin_funcs),
            tuple(map(_function, written.funcs.funcs)),
            tuple(PlanEntry(found.name, _blocks(found.blocks)) for found in written.plans.plans),
        )
        _require_known(plan)
    except (msgspec.DecodeError, RecursionError, KeyError, TypeError) as error:
        raise PolicyBroken(f"the plan of the policy has a form that is not known: {error}", REMEDY) from None
    return plan


def _function(found: _FunctionForm) -> Function:
    return Function(found.name, tuple(found.params), _blocks(found.blocks), tuple(found.path))


def _blocks(found: Iterable[_BlockForm]) -> tuple[Block, ...]:
    return tuple(Block(tuple(map(_statement, block.stmts))) for block in found)


def _statement(found: _StatementForm) -> Statement:
    inner = [found.stmt["block"]] if "block" in found.stmt else found.stmt.get("blocks") or []
    return Statement(found.type, found.stmt, _blocks(msgspec.convert(inner, list[_BlockForm])))


def statements(blocks: Iterable[Block]) -> Iterator[Statement]:
    """Return all statements of blocks, at every depth."""
    for block in blocks:
        for statement in block.statements:
            yield statement
            yield from statements(statement.inner)


def _require_known(plan: Plan) -> None:
    names = {function.name for function in plan.functions}
    if len(names) != len(plan.functions):
        raise PolicyBroken("the plan of the policy has two functions of one name", REMEDY)
    missing = sorted(plan.builtins - FUNCTIONS.keys())
    for found in (*plan.functions, *plan.entries):
        for statement in statements(found.blocks):
            _require_statement(statement, plan)
            called = statement.fields.get("func")
            if called is not None and called not in names and called not in plan.builtins:
                missing.append(str(called))
    if missing:
        raise PolicyBroken(f"the policy calls {missing[0]}, which its compiled form does not have", REMEDY)


def _require_statement(statement: Statement, plan: Plan) -> None:
    known = _FIELDS.get(statement.type)
    if known is None or frozenset(statement.fields) - _PLACE != known:
        raise PolicyBroken(f"the plan of the policy has a statement that is not known: {statement.type}", REMEDY)
    for field in statement.fields.values():
        for found in cast("list[Any]", field) if isinstance(field, list) else [field]:
            if isinstance(found, dict) and "stmts" not in found:
                _require_operand(PlanOperand(**cast("dict[str, Any]", found)), plan)


def _require_operand(operand: PlanOperand, plan: Plan) -> None:
    known = {"local": int, "string_index": int, "bool": bool}.get(operand.type)
    if type(operand.value) is not known:
        raise PolicyBroken(f"the plan of the policy has an operand that is not known: {operand.type}", REMEDY)
    if operand.type == "string_index" and not 0 <= operand.value < len(plan.strings):
        raise PolicyBroken("the plan of the policy refers to a string that it does not have", REMEDY)


class _StatementForm(msgspec.Struct, forbid_unknown_fields=True):
    type: str
    stmt: dict[str, Any]


class _BlockForm(msgspec.Struct, forbid_unknown_fields=True):
    stmts: list[_StatementForm]


class _FunctionForm(msgspec.Struct, forbid_unknown_fields=True):
    name: str
    params: list[int]
    result: int = msgspec.field(name="return")
    blocks: list[_BlockForm]
    path: list[str] = []


class _EntryForm(msgspec.Struct, forbid_unknown_fields=True):
    name: str
    blocks: list[_BlockForm]


class _Text(msgspec.Struct):
    value: str


class _NamedBuiltin(msgspec.Struct):
    name: str


class _Static(msgspec.Struct):
    strings: list[_Text] = []
    builtin_funcs: list[_NamedBuiltin] = []
    files: list[_Text] = []


class _Entries(msgspec.Struct):
    plans: list[_EntryForm]


class _Functions(msgspec.Struct):
    funcs: list[_FunctionForm] = []


class _PlanForm(msgspec.Struct):
    static: _Static
    plans: _Entries
    funcs: _Functions
