"""The blocks of one function of a plan, written as Python. Pure.

A block is a frame: a `while` if something may leave it early, else its lines alone. The body of a scan is a `for`. To leave
several frames at once, a statement sets the mark of the frame that it leaves for, and each frame between asks for it.

A local that only copies another, a constant, or a field read before is not written: its readers read the original (`known.py`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final, Protocol

from gateway.errors import PolicyBroken
from gateway.policy.plan import forms, usage
from gateway.policy.plan.arrangement import arrange
from gateway.policy.plan.forms import Term
from gateway.policy.plan.functions import UNDEFINED, python_name
from gateway.policy.plan.intermediate import REMEDY, Block, Plan, PlanOperand, Statement
from gateway.policy.plan.known import Frame, Known

_MADE: Final = {"MakeArrayStmt": "list", "MakeSetStmt": "set", "MakeObjectStmt": "dict"}
_MOST_FRAMES: Final = 18
"""Python takes 20 nested loops."""


class _ConstantNames(Protocol):
    @property
    def strings(self) -> tuple[str, ...]: ...
    def name(self, literal: str) -> str: ...
    def number(self, index: int) -> Term: ...


@dataclass(frozen=True)
class FunctionBody:
    """The parts of a function that is to be written. `kept` is the name under which a rule keeps its value."""

    blocks: Sequence[Block]
    params: Sequence[int]
    plan: Plan
    names: Mapping[str, str]
    constants: _ConstantNames
    kept: str


def write_body(body: FunctionBody) -> list[str]:
    """Return the lines of a function's body."""
    body = replace(body, blocks=arrange(body.blocks, body.params))
    writer = _Writer(body)
    for block in body.blocks:
        if usage.escapes(block) - {0}:
            raise PolicyBroken("the plan of the policy leaves a function in a way that is not known", REMEDY)
        writer.rule(block)
    absent = sorted(usage.read_before_assigned(body.blocks, body.params))
    return [*(f"    v{local} = U" for local in absent), *writer.lines]


class _Writer:
    def __init__(self, body: FunctionBody) -> None:
        self._body = body
        self._constants = body.constants
        self._known = Known(body.blocks, body.params)
        self._frames = self._known.frames
        self._indent = 1
        self._made = 0
        self._place = (-1, -1)
        self.lines: list[str] = []

    # --- frames ---

    def rule(self, block: Block) -> None:
        """Write a block of the function itself. OPA numbers the locals of each anew."""
        self._known.enter(block)
        self._block(block)

    def _block(self, block: Block) -> None:
        """Write a block that stands for itself."""
        leaving = usage.escapes(block)
        if not leaving:
            self._frames.append(Frame(""))
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
        frame = Frame(leave, self._new("j") if usage.is_left_from_within(block) else "")
        self._frames.append(frame)
        self._indent += 1
        if frame.mark:
            self._write(f"{frame.mark} = False")
        before = len(self.lines)
        self._statements(block)
        if after:
            self._write(after)
        if is_ended and not self._has_left():
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

    def _has_left(self) -> bool:
        """Return whether the last line leaves the block in every case."""
        last = self.lines[-1]
        inner = last.lstrip()
        is_here = len(last) - len(inner) == 4 * self._indent
        return is_here and (inner in {"break", "continue"} or inner.startswith("return "))

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
        self._known.forget(usage.written(Block((statement,))))
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

    # --- terms ---

    def _name(self, local: int) -> str:
        return self._known.term(local).text

    def _term(self, operand: PlanOperand) -> Term:
        if operand.type == "local":
            return self._known.term(int(operand.value))
        if operand.type == "bool":
            return forms.TRUE if operand.value else forms.FALSE
        return forms.string(self._constants.strings[operand.value])

    def _operand(self, operand: PlanOperand) -> str:
        return self._term(operand).text

    def _assign(self, local: int, found: Term) -> None:
        """Write an assignment, unless the readers of the local can read the term itself."""
        if not self._known.note_copy(local, found):
            self._write(f"v{local} = {found.text}")
            self._known.note_constant(local, found)

    def _key(self, operand: PlanOperand) -> str:
        found = self._term(operand)
        if found.kind in {"str", "int"}:
            return found.text
        if found.literal:
            return f"key({found.text})"
        return f"({found.text} if type({found.text}) is str else key({found.text}))"

    def _collection(self, waiting: Sequence[Statement], at: int) -> int:
        """Write a new collection and its first items as one literal. Return the number of statements replaced."""
        made = waiting[at]
        target = made.local("target")
        added = usage.added_at_once(waiting, at)
        following = waiting[at + 1 + len(added)] if at + 1 + len(added) < len(waiting) else None
        if following is not None and self._is_union(following, target, added):
            self._known.forget([following.local("result")])
            sets = [self._operand(found.operand("value")) for found in added]
            # A value that is no set fails: no other type of Rego can be joined to a set.
            self._write(f"v{following.local('result')} = {' | '.join(['set()', *sets])}")
            return 2 + len(added)
        literal = self._literal(made.type, added)
        if self._known.never_grows(target) and self._is_constant(added):
            self._assign(target, self._constant(made.type, literal, added))
        else:
            self._write(f"v{target} = {literal}")
            self._known.note_made(target, _MADE[made.type], self._items(made, added))
        return 1 + len(added)

    def _items(self, made: Statement, added: Sequence[Statement]) -> list[Term]:
        """Return the items of an array."""
        return [self._term(found.operand("value")) for found in added] if made.type == "MakeArrayStmt" else []

    def _is_union(self, following: Statement, target: int, added: Sequence[Statement]) -> bool:
        """Return whether a set of sets is made for their union alone, which needs no keys of them."""
        return (
            following.type == "CallStmt"
            and following.fields["func"] == "union"
            and following.operands("args") == [PlanOperand("local", target)]
            and all(found.type == "SetAddStmt" for found in added)
            and self._known.times_read(target) == len(added) + 1
        )

    def _is_constant(self, added: Sequence[Statement]) -> bool:
        terms = [self._term(operand) for found in added for operand in usage.operands(found)]
        return all(term.literal for term in terms)

    def _constant(self, made: str, literal: str, added: Sequence[Statement]) -> Term:
        kind = _MADE[made]
        strings = kind != "dict" and all(self._term(found.operand("value")).kind == "str" for found in added)
        items = tuple(self._term(found.operand("value")) for found in added) if kind == "list" else ()
        return Term(self._constants.name(literal), kind, literal, strings, items)

    def _literal(self, made: str, added: Sequence[Statement]) -> str:
        if made == "MakeArrayStmt":
            return f"[{', '.join(self._operand(found.operand('value')) for found in added)}]"
        if made == "MakeSetStmt":
            return f"{{{', '.join(self._key(found.operand('value')) for found in added)}}}" if added else "set()"
        pairs = (f"{self._key(found.operand('key'))}: {self._operand(found.operand('value'))}" for found in added)
        return f"{{{', '.join(pairs)}}}"

    # --- calls ---

    def _call(self, statement: Statement, following: Statement | None) -> int:
        name, local = statement.fields["func"], statement.local("result")
        result, found = f"v{local}", self._write_call(name, statement.operands("args"))
        may_lack = name in self._body.names or name in UNDEFINED
        is_tested = following is not None and usage.is_test_of(following, local)
        is_truth = forms.RESULTS.get(name) == "bool"
        if is_tested and is_truth and self._known.is_read_once(local):
            self._leave_if(f"not {found}")
            return 2
        self._write(f"{result} = {_bare(found)}")
        if name in forms.RESULTS:
            self._known.note_type(local, forms.RESULTS[name])
        if is_tested:
            self._leave_if(f"{result} is U or {result} is False" if may_lack else f"{result} is False")
            return 2
        if may_lack:
            self._leave_if(f"{result} is U")
        return 1

    def _write_call(self, name: str, operands: Sequence[PlanOperand]) -> str:
        terms = [self._term(operand) for operand in operands]
        arguments = ", ".join(term.text for term in terms)
        if name in self._body.names:
            return f"{self._body.names[name]}(m, {arguments})"
        return forms.write_call(name, f"{python_name(name)}({arguments})", terms)

    # --- statements ---

    def assign(self, statement: Statement) -> None:
        self._assign(statement.local("target"), self._term(statement.operand("source")))

    def assign_integer(self, statement: Statement) -> None:
        self._assign(statement.local("target"), forms.integer(int(statement.fields["value"])))

    def assign_once(self, statement: Statement) -> None:
        target, source = f"v{statement.local('target')}", self._operand(statement.operand("source"))
        self._write(f"{target} = {source} if {target} is U else once({target}, {source})")

    def nested(self, statement: Statement) -> None:
        for block in statement.inner:
            self._block(block)

    def leave(self, statement: Statement) -> None:
        self._leave(statement.fields["index"])

    def call_by_path(self, statement: Statement) -> None:
        """Write the call of a rule whose path is computed while the policy runs."""
        path = ", ".join(self._operand(operand) for operand in statement.operands("path"))
        arguments = ", ".join(map(self._name, statement.fields["args"]))
        called, result = self._new("c"), f"v{statement.local('result')}"
        self._write(f"{called} = BY_PATH.get(tuple(map(key, ({path},))))")
        self._leave_if(f"{called} is None")
        self._write(f"{result} = {called}(m, {arguments})")
        self._write(f"if {result} is U:")
        self._indent += 1
        self._leave(3)
        self._indent -= 1

    def dot(self, statement: Statement) -> None:
        source, name = self._term(statement.operand("source")), self._term(statement.operand("key"))
        target = statement.local("target")
        if source.kind in forms.SCALARS:
            self._leave(0)
            return
        known = self._known.field(source, name)
        if known is not None and self._known.note_copy(target, known):
            return
        self._write(f"v{target} = {_bare(forms.write_field(source, name))}")
        self._leave_if(f"v{target} is U")
        self._known.note_field(source, name, target)

    def length(self, statement: Statement) -> None:
        target = statement.local("target")
        self._write(f"v{target} = {forms.write_length(self._term(statement.operand('source')))}")
        self._known.note_type(target, "int")

    def equal(self, statement: Statement) -> None:
        self._leave_if(f"not {self._equality(statement)}")

    def not_equal(self, statement: Statement) -> None:
        self._leave_if(_bare(self._equality(statement)))

    def _equality(self, statement: Statement) -> str:
        return forms.write_equality(self._term(statement.operand("a")), self._term(statement.operand("b")))

    def make_null(self, statement: Statement) -> None:
        self._assign(statement.local("target"), forms.NONE)

    def make_number(self, statement: Statement) -> None:
        index = statement.fields["Index"] if "Index" in statement.fields else statement.fields["index"]
        self._assign(statement.local("target"), self._constants.number(index))

    def is_of(self, statement: Statement) -> None:
        source = self._term(statement.operand("source"))
        kind = {"IsArrayStmt": "list", "IsObjectStmt": "dict", "IsSetStmt": "set"}[statement.type]
        if source.kind == kind:
            return
        if source.kind:
            self._leave(0)
            return
        self._leave_if(f"type({source.text}) is not {kind}")
        self._known.note_kind(source, kind)

    def is_defined(self, statement: Statement) -> None:
        found = self._known.term(statement.local("source"))
        if not found.literal:
            self._leave_if(f"{found.text} is U")

    def is_undefined(self, statement: Statement) -> None:
        found = self._known.term(statement.local("source"))
        if found.literal:
            self._leave(0)
        else:
            self._leave_if(f"{found.text} is not U")

    def reset(self, statement: Statement) -> None:
        self._write(f"v{statement.local('target')} = U")

    def append(self, statement: Statement) -> None:
        self._write(f"{self._name(statement.local('array'))}.append({self._operand(statement.operand('value'))})")

    def insert(self, statement: Statement) -> None:
        at, item = self._key(statement.operand("key")), self._operand(statement.operand("value"))
        self._write(f"{self._name(statement.local('object'))}[{at}] = {item}")

    def insert_once(self, statement: Statement) -> None:
        at, item = self._operand(statement.operand("key")), self._operand(statement.operand("value"))
        self._write(f"insert_once({self._name(statement.local('object'))}, {at}, {item})")

    def merge(self, statement: Statement) -> None:
        target, a, b = statement.local("target"), *map(self._known.term, map(statement.local, ("a", "b")))
        written = forms.write_merge(a, b) if self._known.may_share(target) else None
        self._write(f"v{target} = {written or f'merge({a.text}, {b.text})'}")

    def add(self, statement: Statement) -> None:
        self._write(f"{self._name(statement.local('set'))}.add({self._key(statement.operand('value'))})")

    def add_result(self, statement: Statement) -> None:
        self._write(f"results.append({self._name(statement.local('value'))})")

    def give_back(self, statement: Statement) -> None:
        found = self._name(statement.local("source"))
        if self._body.kept:
            self._write(f"m[{self._body.kept!r}] = {found}")
        self._write(f"return {found}")

    def scan(self, statement: Statement) -> None:
        name, item = f"v{statement.local('key')}", f"v{statement.local('value')}"
        self._write(f"for {name}, {item} in {_bare(forms.write_items(self._known.term(statement.local('source'))))}:")
        self._within(statement.inner[0], "continue", is_ended=False)

    def negate(self, statement: Statement) -> None:
        block = statement.inner[0]
        if len(block.statements) == 2 and block.statements[0].type == "CallStmt":
            call, test = block.statements
            if usage.is_test_of(test, call.local("result")):
                self._leave_if_true(call)
                return
        failed = self._new("n")
        self._write(f"{failed} = True")
        self._write("while True:")
        self._within(block, "break", is_ended=True, after=f"{failed} = False")
        self._leave_if(f"not {failed}")

    def _leave_if_true(self, call: Statement) -> None:
        name, result = call.fields["func"], f"v{call.local('result')}"
        found = self._write_call(name, call.operands("args"))
        if forms.RESULTS.get(name) == "bool":
            self._leave_if(_bare(found))
            return
        self._write(f"{result} = {_bare(found)}")
        self._leave_if(f"{result} is not U and {result} is not False")

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


def _bare(written: str) -> str:
    """Return what a form wrote without its outer parentheses."""
    return written[1:-1] if written.startswith("(") else written


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
