"""The blocks of one function of a plan, written as Python. Pure.

A block is a frame: a `while` if something may leave it early, else its lines alone. The body of a scan is a `for`. To leave
several frames at once, a statement sets the mark of the frame that it leaves for, and each frame between asks for it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Protocol

from gateway.errors import PolicyBroken
from gateway.policy.plan import usage
from gateway.policy.plan.functions import UNDEFINED, python_name
from gateway.policy.plan.intermediate import REMEDY, Block, Operand, Plan, Statement

_MOST_FRAMES: Final = 18
"""Python takes 20 nested loops."""


class _Constants(Protocol):
    @property
    def strings(self) -> tuple[str, ...]: ...
    def name(self, literal: str) -> str: ...
    def number(self, index: int) -> str: ...


@dataclass(frozen=True)
class Body:
    """The parts of a function that is to be written. `kept` is the name under which a rule keeps its value."""

    blocks: Sequence[Block]
    params: Sequence[int]
    plan: Plan
    names: Mapping[str, str]
    constants: _Constants
    kept: str


@dataclass
class _Frame:
    """A block in writing. `leave` is the statement to leave it by, and `mark` the name of its mark, or empty."""

    leave: str
    mark: str = ""


def written_body(body: Body) -> list[str]:
    """Return the lines of a function's body."""
    writer = _Writer(body)
    for block in body.blocks:
        if usage.escapes(block) - {0}:
            raise PolicyBroken("the plan of the policy leaves a function in a way that is not known", REMEDY)
        writer.block(block)
    absent = sorted(usage.read_before_assigned(body.blocks, body.params))
    return [*(f"    v{local} = U" for local in absent), *writer.lines]


class _Writer:
    def __init__(self, body: Body) -> None:
        self._body = body
        self._constants = body.constants
        self._frames: list[_Frame] = []
        self._indent = 1
        self._made = 0
        self._place = (-1, -1)
        self._grown = usage.grown(body.blocks)
        self.lines: list[str] = []

    # --- frames ---

    def block(self, block: Block) -> None:
        """Write a block that stands for itself."""
        leaving = usage.escapes(block)
        if not leaving:
            self._frames.append(_Frame(""))
            self._statements(block)
            self._frames.pop()
            return
        self._write("while True:")
        self._within(block, "break", is_ended=True)
        self._pass_on(leaving)

    def _within(self, block: Block, leave: str, *, is_ended: bool, after: str = "") -> None:
        """Write the body of a loop. `after` is the line for a block that reaches its end."""
        if len(self._frames) > _MOST_FRAMES:
            raise PolicyBroken("the policy is nested too deeply to be compiled", "give inner parts names")
        frame = _Frame(leave, self._new("j") if usage.is_left_from_within(block) else "")
        self._frames.append(frame)
        self._indent += 1
        if frame.mark:
            self._write(f"{frame.mark} = False")
        before = len(self.lines)
        self._statements(block)
        if after:
            self._write(after)
        if is_ended:
            self._write("break")
        elif len(self.lines) == before:
            self._write("pass")
        self._indent -= 1
        self._frames.pop()

    def _pass_on(self, leaving: set[int]) -> None:
        """Leave the frame around a block that something in the block leaves."""
        for level in sorted(leaving - {0}):
            mark = self._frames[-level].mark
            self._leave_if(mark)

    def _leave_if(self, condition: str) -> None:
        self._write(f"if {condition}:")
        self._write(f"    {self._frames[-1].leave}")

    def _leave(self, index: int) -> None:
        if index:
            self._write(f"{self._frames[-1 - index].mark} = True")
        self._write(self._frames[-1].leave)

    def _write(self, line: str) -> None:
        self.lines.append("    " * self._indent + line)

    def _new(self, kind: str) -> str:
        self._made += 1
        return f"{kind}{self._made}"

    # --- statements ---

    def _statements(self, block: Block) -> None:
        waiting = block.statements
        at = 0
        while at < len(waiting):
            at += self._statement(waiting, at)

    def _statement(self, waiting: Sequence[Statement], at: int) -> int:
        """Write a statement. Return how many were written with it."""
        statement = waiting[at]
        self._comment(statement)
        if statement.type in usage.COLLECTIONS:
            return self._collection(waiting, at)
        if statement.type == "CallStmt":
            return self._call(statement, waiting[at + 1] if at + 1 < len(waiting) else None)
        _WRITERS[statement.type](self, statement)
        return 1

    def _comment(self, statement: Statement) -> None:
        place = (statement.fields.get("file", 0), statement.row)
        if statement.row and place != self._place:
            self._place = place
            self._write(f"# {self._body.plan.files[place[0]]}:{place[1]}")

    def _operand(self, operand: Operand) -> str:
        if operand.type == "local":
            return f"v{operand.value}"
        if operand.type == "bool":
            return "True" if operand.value else "False"
        return repr(self._constants.strings[operand.value])

    def _key(self, operand: Operand) -> str:
        found = self._operand(operand)
        if operand.type == "string_index":
            return found
        return f"({found} if type({found}) is str else key({found}))" if operand.type == "local" else f"key({found})"

    def _collection(self, waiting: Sequence[Statement], at: int) -> int:
        """Write a collection with the items that are put into it at once."""
        made = waiting[at]
        target = made.local("target")
        added = usage.added_at_once(waiting, at)
        literal = self._literal(made.type, added)
        constant = all(operand.type != "local" for found in added for operand in usage.operands(found))
        if constant and target not in self._grown:
            literal = self._constants.name(literal)
        self._write(f"v{target} = {literal}")
        return 1 + len(added)

    def _literal(self, made: str, added: Sequence[Statement]) -> str:
        if made == "MakeArrayStmt":
            return f"[{', '.join(self._operand(found.operand('value')) for found in added)}]"
        if made == "MakeSetStmt":
            return f"{{{', '.join(self._key(found.operand('value')) for found in added)}}}" if added else "set()"
        pairs = (f"{self._key(found.operand('key'))}: {self._operand(found.operand('value'))}" for found in added)
        return f"{{{', '.join(pairs)}}}"

    def _call(self, statement: Statement, following: Statement | None) -> int:
        name, result = statement.fields["func"], f"v{statement.local('result')}"
        arguments = [self._operand(operand) for operand in statement.operands("args")]
        self._write(f"{result} = {self._called(name, arguments)}")
        may_lack = name in self._body.names or name in UNDEFINED
        if following is not None and usage.is_test_of(following, statement.local("result")):
            self._leave_if(f"{result} is U or {result} is False" if may_lack else f"{result} is False")
            return 2
        if may_lack:
            self._leave_if(f"{result} is U")
        return 1

    def _called(self, name: str, arguments: Sequence[str]) -> str:
        if name in self._body.names:
            return f"{self._body.names[name]}(m, {', '.join(arguments)})"
        if name == "neq":
            return f"not equal({', '.join(arguments)})"
        return f"{python_name(name)}({', '.join(arguments)})"

    def assign(self, statement: Statement) -> None:
        self._write(f"v{statement.local('target')} = {self._operand(statement.operand('source'))}")

    def assign_integer(self, statement: Statement) -> None:
        self._write(f"v{statement.local('target')} = {int(statement.fields['value'])}")

    def assign_once(self, statement: Statement) -> None:
        target, source = f"v{statement.local('target')}", self._operand(statement.operand("source"))
        self._write(f"{target} = {source} if {target} is U else once({target}, {source})")

    def nested(self, statement: Statement) -> None:
        for block in statement.inner:
            self.block(block)

    def leave(self, statement: Statement) -> None:
        self._leave(statement.fields["index"])

    def call_by_path(self, statement: Statement) -> None:
        """Write the call of a rule whose path is known when it is asked."""
        path = ", ".join(self._operand(operand) for operand in statement.operands("path"))
        arguments = ", ".join(f"v{local}" for local in statement.fields["args"])
        called, result = self._new("c"), f"v{statement.local('result')}"
        self._write(f"{called} = BY_PATH.get(tuple(map(key, ({path},))))")
        self._leave_if(f"{called} is None")
        self._write(f"{result} = {called}(m, {arguments})")
        self._write(f"if {result} is U:")
        self._indent += 1
        self._leave(3)
        self._indent -= 1

    def dot(self, statement: Statement) -> None:
        source, name = statement.operand("source"), statement.operand("key")
        target, found = f"v{statement.local('target')}", self._operand(source)
        if source.type != "local":
            self._leave(0)
            return
        if name.type == "string_index":
            at = self._operand(name)
            self._write(f"{target} = {found}.get({at}, U) if type({found}) is dict else dot({found}, {at})")
        else:
            self._write(f"{target} = dot({found}, {self._operand(name)})")
        self._leave_if(f"{target} is U")

    def length(self, statement: Statement) -> None:
        self._write(f"v{statement.local('target')} = length({self._operand(statement.operand('source'))})")

    def equal(self, statement: Statement) -> None:
        self._leave_if(self._comparison(statement, "!=", "is not", "not equal"))

    def not_equal(self, statement: Statement) -> None:
        self._leave_if(self._comparison(statement, "==", "is", "equal"))

    def _comparison(self, statement: Statement, of_strings: str, of_booleans: str, of_others: str) -> str:
        a, b = statement.operand("a"), statement.operand("b")
        first, second = self._operand(a), self._operand(b)
        kinds = {a.type, b.type}
        if "bool" in kinds:
            return f"{first} {of_booleans} {second}" if "string_index" not in kinds else f"not equal({first}, {second})"
        if "string_index" in kinds:
            return f"{first} {of_strings} {second}"
        return f"{of_others}({first}, {second})"

    def make_null(self, statement: Statement) -> None:
        self._write(f"v{statement.local('target')} = None")

    def make_number(self, statement: Statement) -> None:
        index = statement.fields["Index"] if "Index" in statement.fields else statement.fields["index"]
        self._write(f"v{statement.local('target')} = {self._constants.number(index)}")

    def is_of(self, statement: Statement) -> None:
        source = statement.operand("source")
        kind = {"IsArrayStmt": "list", "IsObjectStmt": "dict", "IsSetStmt": "set"}[statement.type]
        if source.type != "local":
            self._leave(0)
        else:
            self._leave_if(f"type({self._operand(source)}) is not {kind}")

    def is_defined(self, statement: Statement) -> None:
        self._leave_if(f"v{statement.local('source')} is U")

    def is_undefined(self, statement: Statement) -> None:
        self._leave_if(f"v{statement.local('source')} is not U")

    def reset(self, statement: Statement) -> None:
        self._write(f"v{statement.local('target')} = U")

    def append(self, statement: Statement) -> None:
        self._write(f"v{statement.local('array')}.append({self._operand(statement.operand('value'))})")

    def insert(self, statement: Statement) -> None:
        at, item = self._key(statement.operand("key")), self._operand(statement.operand("value"))
        self._write(f"v{statement.local('object')}[{at}] = {item}")

    def insert_once(self, statement: Statement) -> None:
        at, item = self._operand(statement.operand("key")), self._operand(statement.operand("value"))
        self._write(f"insert_once(v{statement.local('object')}, {at}, {item})")

    def merge(self, statement: Statement) -> None:
        self._write(f"v{statement.local('target')} = merge(v{statement.local('a')}, v{statement.local('b')})")

    def add(self, statement: Statement) -> None:
        self._write(f"v{statement.local('set')}.add({self._key(statement.operand('value'))})")

    def add_result(self, statement: Statement) -> None:
        self._write(f"results.append(v{statement.local('value')})")

    def give_back(self, statement: Statement) -> None:
        found = f"v{statement.local('source')}"
        if self._body.kept:
            self._write(f"m[{self._body.kept!r}] = {found}")
        self._write(f"return {found}")

    def scan(self, statement: Statement) -> None:
        name, item, source = (f"v{statement.local(field)}" for field in ("key", "value", "source"))
        self._write(f"for {name}, {item} in scan({source}):")
        self._within(statement.inner[0], "continue", is_ended=False)

    def negate(self, statement: Statement) -> None:
        block = statement.inner[0]
        if len(block.statements) == 2 and block.statements[0].type == "CallStmt":
            call, test = block.statements
            if usage.is_test_of(test, call.local("result")):
                result = f"v{call.local('result')}"
                arguments = [self._operand(operand) for operand in call.operands("args")]
                self._write(f"{result} = {self._called(call.fields['func'], arguments)}")
                self._leave_if(f"{result} is not U and {result} is not False")
                return
        failed = self._new("n")
        self._write(f"{failed} = True")
        self._write("while True:")
        self._within(block, "break", is_ended=True, after=f"{failed} = False")
        self._leave_if(f"not {failed}")

    def replace(self, statement: Statement) -> None:
        """Write `with`: another input or other data for a block, and no values that were kept."""
        local, held, kept, failed = (f"v{statement.local('local')}", *map(self._new, "wkd"))
        path = [self._constants.strings[index] for index in statement.locals("path")]
        item = self._operand(statement.operand("value"))
        self._write(f"{held} = {local}")
        self._write(f"{kept}, m, {failed} = m, {{}}, True")
        self._write(f"{local} = upsert({local}, {path!r}, {item})" if path else f"{local} = {item}")
        self._write("while True:")
        self._within(statement.inner[0], "break", is_ended=True, after=f"{failed} = False")
        self._write(f"{local}, m = {held}, {kept}")
        self._leave_if(failed)

    def nothing(self, statement: Statement) -> None:
        """Write nothing."""


_WRITERS: Final[Mapping[str, Callable[[_Writer, Statement], None]]] = {
    "ArrayAppendStmt": _Writer.append,
    "AssignIntStmt": _Writer.assign_integer,
    "AssignVarOnceStmt": _Writer.assign_once,
    "AssignVarStmt": _Writer.assign,
    "BlockStmt": _Writer.nested,
    "BreakStmt": _Writer.leave,
    "CallDynamicStmt": _Writer.call_by_path,
    "DotStmt": _Writer.dot,
    "EqualStmt": _Writer.equal,
    "IsArrayStmt": _Writer.is_of,
    "IsDefinedStmt": _Writer.is_defined,
    "IsObjectStmt": _Writer.is_of,
    "IsSetStmt": _Writer.is_of,
    "IsUndefinedStmt": _Writer.is_undefined,
    "LenStmt": _Writer.length,
    "MakeNullStmt": _Writer.make_null,
    "MakeNumberIntStmt": _Writer.assign_integer,
    "MakeNumberRefStmt": _Writer.make_number,
    "NopStmt": _Writer.nothing,
    "NotEqualStmt": _Writer.not_equal,
    "NotStmt": _Writer.negate,
    "ObjectInsertOnceStmt": _Writer.insert_once,
    "ObjectInsertStmt": _Writer.insert,
    "ObjectMergeStmt": _Writer.merge,
    "ResetLocalStmt": _Writer.reset,
    "ResultSetAddStmt": _Writer.add_result,
    "ReturnLocalStmt": _Writer.give_back,
    "ScanStmt": _Writer.scan,
    "SetAddStmt": _Writer.add,
    "WithStmt": _Writer.replace,
}
