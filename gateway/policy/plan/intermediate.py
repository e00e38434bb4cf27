"""OPA's plan of a policy, read strictly, with the rules that an entry reaches and the data that rules read. Pure.

A plan is a set of functions made of blocks of statements (https://www.openpolicyagent.org/docs/ir). A statement, a field or a
built-in function that is not known here refuses the plan, since its effect is not known either.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final, TypeAlias, cast

import msgspec

from gateway.model.errors import PolicyBroken
from gateway.policy.plan.functions import FUNCTIONS

_PLACE: Final[Mapping[str, str]] = {"file": "file", **dict.fromkeys(("col", "row", "end_col", "end_row"), "integer")}
_FIELDS: Final[Mapping[str, Mapping[str, str]]] = {
    name: dict(field.split(":") for field in fields.split())
    for name, fields in {
        "ArrayAppendStmt": "value:operand array:local",
        "AssignIntStmt": "value:integer target:local",
        "AssignVarOnceStmt": "source:operand target:local",
        "AssignVarStmt": "source:operand target:local",
        "BlockStmt": "blocks:blocks",
        "BreakStmt": "index:level",
        "CallDynamicStmt": "args:locals result:local path:operands",
        "CallStmt": "func:function args:operands result:local",
        "DotStmt": "source:operand key:operand target:local",
        "EqualStmt": "a:operand b:operand",
        "IsArrayStmt": "source:operand",
        "IsDefinedStmt": "source:local",
        "IsObjectStmt": "source:operand",
        "IsSetStmt": "source:operand",
        "IsUndefinedStmt": "source:local",
        "LenStmt": "source:operand target:local",
        "MakeArrayStmt": "capacity:integer target:local",
        "MakeNullStmt": "target:local",
        "MakeNumberIntStmt": "value:integer target:local",
        "MakeNumberRefStmt": "Index:string index:string target:local",
        "MakeObjectStmt": "target:local",
        "MakeSetStmt": "target:local",
        "NopStmt": "",
        "NotEqualStmt": "a:operand b:operand",
        "NotStmt": "block:blocks",
        "ObjectInsertOnceStmt": "key:operand value:operand object:local",
        "ObjectInsertStmt": "key:operand value:operand object:local",
        "ObjectMergeStmt": "a:local b:local target:local",
        "ResetLocalStmt": "target:local",
        "ResultSetAddStmt": "value:local",
        "ReturnLocalStmt": "source:local",
        "ScanStmt": "source:local key:local value:local block:blocks",
        "SetAddStmt": "value:operand set:local",
        "WithStmt": "local:local path:strings value:operand block:blocks",
    }.items()
}
"""The fields of each statement, with the kind of value that each holds."""
REMEDY: Final = "report this with the version of OPA; policy.engine: opa has an OPA of your own evaluate the policy"


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
        return [PlanOperand(**found) for found in self.fields[name] or ()]

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
        _require_printable(plan)
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


def _require_printable(plan: Plan) -> None:
    """Refuse names that would show something else on a terminal, in a log, or to a reader of code."""
    functions = (name for function in plan.functions for name in (function.name, *function.path))
    for name in (*plan.files, *functions, *(entry.name for entry in plan.entries)):
        if not name.isprintable():
            raise PolicyBroken(
                f"the policy has a name of a file or rule with a character that does not print: {name!a}",
                "rename it with letters that show",
            )


def _require_known(plan: Plan) -> None:
    names = {function.name for function in plan.functions}
    if len(names) != len(plan.functions):
        raise PolicyBroken("the plan of the policy has two functions of one name", REMEDY)
    if any(local < 0 for function in plan.functions for local in function.params):
        raise PolicyBroken("the plan of the policy has a parameter that is not known", REMEDY)
    for found in (*plan.functions, *plan.entries):
        for statement in statements(found.blocks):
            _require_statement(statement, plan)
            called = statement.fields.get("func")
            if called is not None and called not in names and called not in FUNCTIONS:
                raise _unknown_function(called, f"{plan.files[statement.fields['file']]}:{statement.row}")
    if missing := sorted(plan.builtins - FUNCTIONS.keys()):
        raise _unknown_function(missing[0], "the policy")


def _unknown_function(name: str, place: str) -> PolicyBroken:
    return PolicyBroken(
        f"{place}: the function {name} may not be used in a policy that the gateway evaluates",
        "have the gateway supply what it gives as input or data, or evaluate this policy in an OPA of your own (policy.engine: opa)",
    )


def _require_statement(statement: Statement, plan: Plan) -> None:
    known = _FIELDS.get(statement.type)
    if known is None or statement.fields.keys() - _PLACE.keys() != known.keys():
        raise PolicyBroken(f"the plan of the policy has a statement that is not known: {statement.type}", REMEDY)
    for name, value in statement.fields.items():
        kind = known.get(name) or _PLACE[name]
        if not _is_of(kind, value, plan):
            raise PolicyBroken(f"the plan of the policy has a {kind} that is not known, in {statement.type}", REMEDY)


def _is_of(kind: str, value: Any, plan: Plan) -> bool:
    """Return whether a field holds a value of a kind."""
    match kind:
        case "operand":
            return _is_operand(value, plan)
        case "function":
            return isinstance(value, str)
        case "bool":
            return isinstance(value, bool)
        case "operands" | "locals" | "strings":
            items = cast("list[Any]", value or [])
            return isinstance(value, list | None) and all(_is_of(kind[:-1], item, plan) for item in items)
        case "blocks":
            return True  # their own statements are looked at
        case _:
            below = {"string": len(plan.strings), "file": len(plan.files)}.get(kind)
            is_signed = kind == "integer"
            return type(value) is int and (is_signed or value >= 0) and (below is None or value < below)


def _is_operand(value: Any, plan: Plan) -> bool:
    """Return whether a value is a local, the place of a string in the plan, or a boolean."""
    fields = cast("dict[str, Any]", value) if isinstance(value, dict) else {}
    if fields.keys() != {"type", "value"}:
        return False
    kind = {"bool": "bool", "local": "local", "string_index": "string"}.get(str(fields["type"]))
    return kind is not None and _is_of(kind, fields["value"], plan)


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


Path: TypeAlias = tuple[str, ...]
"""A path below `data`, such as `("gateway", "grants")`."""

_ENTRY_DATA: Final = 1
"""The local with data in an entry."""


def rule_path(function: Function) -> Path:
    """Return the path of a rule. OPA puts the number of a group before it."""
    return function.path[1:]


def find_reached(plan: Plan, entries: Iterable[str]) -> frozenset[Path]:
    """Return the paths of all rules that these entries reach, directly or by others."""
    by_name = {function.name: function for function in plan.functions}
    waiting = [block for entry in plan.entries if entry.name in set(entries) for block in entry.blocks]
    found: dict[str, Path] = {}
    while waiting:
        for statement in statements([waiting.pop()]):
            for function in _called(statement, plan, by_name):
                if function.name not in found:
                    found[function.name] = rule_path(function)
                    waiting.extend(function.blocks)
    return frozenset(found.values())


def _called(statement: Statement, plan: Plan, by_name: Mapping[str, Function]) -> Iterator[Function]:
    if statement.type == "CallStmt" and statement.fields["func"] in by_name:
        yield by_name[statement.fields["func"]]
    elif statement.type == "CallDynamicStmt":
        known = _known_part(statement, plan)
        yield from (function for function in plan.functions if function.path and function.path[: len(known)] == known)


def _known_part(statement: Statement, plan: Plan) -> Path:
    """Return the beginning of a computed path, up to its first part that is no constant."""
    known: list[str] = []
    for operand in statement.operands("path"):
        if operand.type != "string_index":
            break
        known.append(plan.strings[operand.value])
    return tuple(known)


def find_reads(plan: Plan) -> dict[Path, str]:
    """Return the data that rules read by name, with the place of the first rule that does. Rules are no data."""
    rules = {rule_path(function) for function in plan.functions}
    known = {path[:end] for path in rules for end in range(len(path) + 1)}
    found: dict[Path, str] = {}
    bodies = [(function.blocks, function.params[1]) for function in plan.functions if len(function.params) > 1]
    for blocks, data in (*bodies, *((entry.blocks, _ENTRY_DATA) for entry in plan.entries)):
        for block in blocks:
            # OPA numbers the locals of each block of a function anew.
            for path, place in _reads([block], {data: ()}, plan):
                if path not in known:
                    found.setdefault(path, place)
    return found


def _reads(blocks: Iterable[Block], held: dict[int, Path], plan: Plan) -> Iterator[tuple[Path, str]]:
    """Yield each path that is looked up by a name. `held` has the paths of the values in locals."""
    for block in blocks:
        for statement in block.statements:
            path = _path_of(statement, held, plan)
            if "target" in statement.fields:
                held.pop(statement.local("target"), None)
                if path is not None:
                    held[statement.local("target")] = path
            if statement.type == "DotStmt" and path is not None:
                yield path, f"{plan.files[statement.fields['file']]}:{statement.row}"
            if statement.type == "WithStmt":
                replaced = statement.local("local")
                yield from _reads(statement.inner, {name: at for name, at in held.items() if name != replaced}, plan)
            else:
                yield from _reads(statement.inner, held, plan)


def _path_of(statement: Statement, held: Mapping[int, Path], plan: Plan) -> Path | None:
    """Return the path of the data that a statement gives its target."""
    if "source" not in statement.fields or not isinstance(statement.fields["source"], dict):
        return None
    source = statement.operand("source")
    path = held.get(source.value) if source.type == "local" else None
    if path is None or statement.type != "DotStmt":
        return path
    key = statement.operand("key")
    return (*path, plan.strings[cast("int", key.value)]) if key.type == "string_index" else None
