"""The blocks of one function of a plan, written as Python. Pure.

A block is a frame: a `while` if something may leave it early, else its lines alone. The body of a scan is a `for`. To leave
several frames at once, a statement sets the mark of the frame that it leaves for, and each frame between asks for it.

A local that only copies another, a constant, or a field read before is not written: its readers read the original (`usage.py`).
"""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, replace
from typing import Final, Protocol

from gateway.model.errors import PolicyBroken
from gateway.policy.plan import forms, trees, usage
from gateway.policy.plan.arrangement import arrange
from gateway.policy.plan.forms import Term
from gateway.policy.plan.functions import UNDEFINED, python_name
from gateway.policy.plan.intermediate import REMEDY, Block, Plan, PlanOperand, Statement
from gateway.policy.plan.trees import quote
from gateway.policy.plan.usage import Frame, Known

_MADE: Final = {"MakeArrayStmt": "list", "MakeSetStmt": "set", "MakeObjectStmt": "dict"}
_MOST_FRAMES: Final = 18
"""Python takes 20 nested loops."""
_U: Final = trees.name("U")
_M: Final = trees.name("m")


class _ConstantNames(Protocol):
    @property
    def strings(self) -> tuple[str, ...]: ...
    def name(self, made: ast.expr) -> Term: ...
    def number(self, index: int) -> Term: ...


@dataclass(frozen=True)
class FunctionBody:
    """The parts of a function in writing. A rule keeps its value under the name `kept`. `rules` are all functions with such a name."""

    blocks: Sequence[Block]
    params: Sequence[int]
    plan: Plan
    names: Mapping[str, str]
    constants: _ConstantNames
    kept: str
    rules: AbstractSet[str]


def write_body(body: FunctionBody) -> list[ast.stmt]:
    """Return the statements of a function's body."""
    body = replace(body, blocks=arrange(body.blocks, body.params))
    writer = _Writer(body)
    for block in body.blocks:
        if usage.escapes(block) - {0}:
            raise PolicyBroken("the plan of the policy leaves a function in a way that is not known", REMEDY)
        writer.rule(block)
    absent = sorted(usage.read_before_assigned(body.blocks, body.params))
    return [*(trees.assign(f"v{local}", _U) for local in absent), *writer.written]


class _Writer:
    def __init__(self, body: FunctionBody) -> None:
        self._body = body
        self._constants = body.constants
        self._known = Known(body.blocks, body.params)
        self._frames = self._known.frames
        self._made = 0
        self.written: list[ast.stmt] = []
        """The statements of the innermost frame in writing."""

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
        self._write(trees.once(self._within(block, "break", is_ended=True)))
        self._pass_on(leaving)

    def _within(self, block: Block, leave: str, *, is_ended: bool, after: Sequence[ast.stmt] = ()) -> list[ast.stmt]:
        """Return the body of a loop. `after` is for a block that reaches its end."""
        if len(self._frames) > _MOST_FRAMES:
            raise PolicyBroken("the policy is nested too deeply to be compiled", "give inner parts names")
        frame = Frame(leave, self._new("j") if usage.is_left_from_within(block) else "")
        self._frames.append(frame)
        around, self.written = self.written, []
        if frame.mark:
            self._write(trees.assign(frame.mark, forms.FALSE.node))
        self._statements(block)
        self.written += after
        if is_ended and not self._has_left():
            self._write(trees.leave("break"))
        body, self.written = self.written or [trees.nothing()], around
        self._frames.pop()
        return body

    def _pass_on(self, leaving: set[int]) -> None:
        """Leave the frame around a block that something in the block leaves."""
        for level in sorted(leaving - {0}):
            self._leave_if(trees.name(self._frames[-level].mark))

    def _leave_if(self, condition: ast.expr) -> None:
        self._write(trees.when(condition, [trees.leave(self._frames[-1].leave)]))

    def _leave(self, index: int) -> None:
        self.written += self._leaving(index)

    def _leaving(self, index: int) -> list[ast.stmt]:
        """Return the statements that leave a frame around."""
        marks = [trees.assign(self._frames[-1 - index].mark, forms.TRUE.node)] if index else []
        return [*marks, trees.leave(self._frames[-1].leave)]

    def _has_left(self) -> bool:
        """Return whether the last statement leaves the block in every case."""
        return bool(self.written) and isinstance(self.written[-1], ast.Break | ast.Continue | ast.Return)

    def _write(self, statement: ast.stmt) -> None:
        self.written.append(statement)

    def _assign_to(self, local: int, value: ast.expr) -> None:
        self._write(trees.assign(f"v{local}", value))

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
        self._known.forget(usage.written(Block((statement,))))
        if statement.type in usage.COLLECTIONS:
            return self._collection(waiting, at)
        if statement.type == "CallStmt":
            return self._call(statement, waiting[at + 1] if at + 1 < len(waiting) else None)
        _WRITERS[statement.type](self, statement)
        return 1

    # --- terms ---

    def _local(self, local: int) -> ast.expr:
        """Return the tree to read a local by."""
        return self._known.term(local).node

    def _term(self, operand: PlanOperand) -> Term:
        if operand.type == "local":
            return self._known.term(int(operand.value))
        if operand.type == "bool":
            return forms.TRUE if operand.value else forms.FALSE
        return forms.string(self._constants.strings[operand.value])

    def _operand(self, operand: PlanOperand) -> ast.expr:
        return self._term(operand).node

    def _assign(self, local: int, found: Term) -> None:
        """Write an assignment, unless the readers of the local can read the term itself."""
        if not self._known.note_copy(local, found):
            self._assign_to(local, found.node)
            self._known.note_constant(local, found)

    def _key(self, operand: PlanOperand) -> ast.expr:
        found = self._term(operand)
        if found.kind in {"str", "int"}:
            return found.node
        if found.literal:
            return quote("key(a)", a=found.node)
        return quote("a if type(a) is str else key(a)", a=found.node)

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
            self._assign_to(following.local("result"), _union(sets))
            return 2 + len(added)
        literal = self._literal(made.type, added)
        if self._known.never_grows(target) and self._is_constant(added):
            self._assign(target, self._constant(made.type, literal, added))
        else:
            self._assign_to(target, literal)
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

    def _constant(self, made: str, literal: ast.expr, added: Sequence[Statement]) -> Term:
        kind = _MADE[made]
        strings = kind != "dict" and all(self._term(found.operand("value")).kind == "str" for found in added)
        items = tuple(self._term(found.operand("value")) for found in added) if kind == "list" else ()
        return replace(self._constants.name(literal), kind=kind, has_only_strings=strings, items=items)

    def _literal(self, made: str, added: Sequence[Statement]) -> ast.expr:
        if made == "MakeArrayStmt":
            return trees.array(self._operand(found.operand("value")) for found in added)
        if made == "MakeSetStmt":
            return trees.set_of([self._key(found.operand("value")) for found in added])
        return trees.mapping(
            [(self._key(found.operand("key")), self._operand(found.operand("value"))) for found in added]
        )

    # --- calls ---

    def _call(self, statement: Statement, following: Statement | None) -> int:
        name, local = statement.fields["func"], statement.local("result")
        result, found = trees.local(local), self._write_call(name, statement.operands("args"))
        may_lack = name in self._body.names or name in UNDEFINED
        is_tested = following is not None and usage.is_test_of(following, local)
        is_truth = forms.RESULTS.get(name) == "bool"
        if is_tested and is_truth and self._known.is_read_once(local):
            self._leave_if(quote("not found", found=found))
            return 2
        self._assign_to(local, found)
        if name in forms.RESULTS:
            self._known.note_type(local, forms.RESULTS[name])
        if is_tested:
            is_false = quote("a is False", a=result)
            self._leave_if(quote("a is U or is_false", a=result, is_false=is_false) if may_lack else is_false)
            return 2
        if may_lack:
            self._leave_if(quote("a is U", a=result))
        return 1

    def _write_call(self, name: str, operands: Sequence[PlanOperand]) -> ast.expr:
        terms = [self._term(operand) for operand in operands]
        arguments = [term.node for term in terms]
        if name in self._body.names:
            written = self._body.names[name]
            call = trees.call(written, _M, *arguments)
            if name not in self._body.rules:
                return call
            return quote("m[kept] if kept in m else call", kept=trees.constant(written), call=call)
        call = trees.call(python_name(name), *arguments)
        if name == "regex.match" and terms[0].literal and terms[0].kind == "str":
            test = self._constants.name(trees.call("matcher", terms[0].node)).node
            return forms.either(quote("test(a)", test=test, a=arguments[1]), [(terms[1], "str")], call)
        return forms.write_call(name, call, terms)

    # --- statements ---

    def assign(self, statement: Statement) -> None:
        self._assign(statement.local("target"), self._term(statement.operand("source")))

    def assign_integer(self, statement: Statement) -> None:
        self._assign(statement.local("target"), forms.integer(statement.fields["value"]))

    def assign_once(self, statement: Statement) -> None:
        target, source = statement.local("target"), self._operand(statement.operand("source"))
        self._assign_to(target, quote("b if a is U else once(a, b)", a=trees.local(target), b=source))

    def nested(self, statement: Statement) -> None:
        for block in statement.inner:
            self._block(block)

    def leave(self, statement: Statement) -> None:
        self._leave(statement.fields["index"])

    def call_by_path(self, statement: Statement) -> None:
        """Write the call of a rule whose path is computed while the policy runs."""
        path = trees.tuple_of(map(self._operand, statement.operands("path")))
        called, local = self._new("c"), statement.local("result")
        self._write(trees.assign(called, quote("BY_PATH.get(tuple(map(key, path)))", path=path)))
        self._leave_if(quote("called is None", called=trees.name(called)))
        self._assign_to(local, trees.call(called, _M, *map(self._local, statement.locals("args"))))
        self._write(trees.when(quote("a is U", a=trees.local(local)), self._leaving(3)))

    def dot(self, statement: Statement) -> None:
        source, name = self._term(statement.operand("source")), self._term(statement.operand("key"))
        target = statement.local("target")
        if source.kind in forms.SCALARS:
            self._leave(0)
            return
        known = self._known.field(source, name)
        if known is not None and self._known.note_copy(target, known):
            return
        self._assign_to(target, forms.write_field(source, name))
        self._leave_if(quote("a is U", a=trees.local(target)))
        self._known.note_field(source, name, target)

    def length(self, statement: Statement) -> None:
        target = statement.local("target")
        self._assign_to(target, forms.write_length(self._term(statement.operand("source"))))
        self._known.note_type(target, "int")

    def equal(self, statement: Statement) -> None:
        self._leave_if(quote("not same", same=self._equality(statement)))

    def not_equal(self, statement: Statement) -> None:
        self._leave_if(self._equality(statement))

    def _equality(self, statement: Statement) -> ast.expr:
        return forms.write_equality(self._term(statement.operand("a")), self._term(statement.operand("b")))

    def make_null(self, statement: Statement) -> None:
        self._assign(statement.local("target"), forms.NONE)

    def make_number(self, statement: Statement) -> None:
        index = statement.fields["Index"] if "Index" in statement.fields else statement.fields["index"]
        self._assign(statement.local("target"), self._constants.number(index))

    def require_type(self, statement: Statement) -> None:
        source = self._term(statement.operand("source"))
        kind = {"IsArrayStmt": "list", "IsObjectStmt": "dict", "IsSetStmt": "set"}[statement.type]
        if source.kind == kind:
            return
        if source.kind:
            self._leave(0)
            return
        self._leave_if(quote("type(a) is not kind", a=source.node, kind=trees.name(kind)))
        self._known.note_kind(source, kind)

    def require_value(self, statement: Statement) -> None:
        found = self._known.term(statement.local("source"))
        if not found.literal:
            self._leave_if(quote("a is U", a=found.node))

    def require_absence(self, statement: Statement) -> None:
        found = self._known.term(statement.local("source"))
        if found.literal:
            self._leave(0)
        else:
            self._leave_if(quote("a is not U", a=found.node))

    def reset(self, statement: Statement) -> None:
        self._assign_to(statement.local("target"), _U)

    def append(self, statement: Statement) -> None:
        array, item = self._local(statement.local("array")), self._operand(statement.operand("value"))
        self._write(trees.run(quote("a.append(b)", a=array, b=item)))

    def insert(self, statement: Statement) -> None:
        at, item = self._key(statement.operand("key")), self._operand(statement.operand("value"))
        self._write(trees.assign_item(self._local(statement.local("object")), at, item))

    def insert_once(self, statement: Statement) -> None:
        collection = self._local(statement.local("object"))
        at, item = self._term(statement.operand("key")), self._operand(statement.operand("value"))
        self._write(trees.run(forms.write_insertion(collection, at, item)))

    def merge(self, statement: Statement) -> None:
        target, a, b = statement.local("target"), *map(self._known.term, map(statement.local, ("a", "b")))
        written = forms.write_merge(a, b) if self._known.may_share(target) else None
        self._assign_to(target, written or trees.call("merge", a.node, b.node))

    def add(self, statement: Statement) -> None:
        collection, item = self._local(statement.local("set")), self._key(statement.operand("value"))
        self._write(trees.run(quote("a.add(b)", a=collection, b=item)))

    def add_result(self, statement: Statement) -> None:
        self._write(trees.run(quote("results.append(a)", a=self._local(statement.local("value")))))

    def give_back(self, statement: Statement) -> None:
        found = self._local(statement.local("source"))
        if self._body.kept:
            self._write(trees.assign_item(_M, trees.constant(self._body.kept), found))
        self._write(trees.give_back(found))

    def scan(self, statement: Statement) -> None:
        items = forms.write_items(self._known.term(statement.local("source")))
        body = self._within(statement.inner[0], "continue", is_ended=False)
        self._write(trees.each(f"v{statement.local('key')}", f"v{statement.local('value')}", items, body))

    def negate(self, statement: Statement) -> None:
        block = statement.inner[0]
        if len(block.statements) == 2 and block.statements[0].type == "CallStmt":
            call, test = block.statements
            if usage.is_test_of(test, call.local("result")):
                self._leave_if_true(call)
                return
        failed = self._new("n")
        self._write(trees.assign(failed, forms.TRUE.node))
        self._until_end(block, failed)
        self._leave_if(quote("not failed", failed=trees.name(failed)))

    def _until_end(self, block: Block, failed: str) -> None:
        """Write a block after whose end `failed` is false."""
        after = [trees.assign(failed, forms.FALSE.node)]
        self._write(trees.once(self._within(block, "break", is_ended=True, after=after)))

    def _leave_if_true(self, call: Statement) -> None:
        name, local = call.fields["func"], call.local("result")
        found = self._write_call(name, call.operands("args"))
        if forms.RESULTS.get(name) == "bool":
            self._leave_if(found)
            return
        self._assign_to(local, found)
        self._leave_if(quote("a is not U and a is not False", a=trees.local(local)))

    def replace(self, statement: Statement) -> None:
        """Write `with`: another input or other data for a block, and no values that were kept."""
        local, (held, kept, failed) = statement.local("local"), map(self._new, "wkd")
        path = [trees.constant(self._constants.strings[index]) for index in statement.locals("path")]
        item = self._operand(statement.operand("value"))
        self._write(trees.assign(held, trees.local(local)))
        self._write(trees.assign(kept, _M))
        self._write(trees.assign("m", trees.mapping([])))
        self._write(trees.assign(failed, forms.TRUE.node))
        self._assign_to(local, trees.call("upsert", trees.local(local), trees.array(path), item) if path else item)
        self._until_end(statement.inner[0], failed)
        self._assign_to(local, trees.name(held))
        self._write(trees.assign("m", trees.name(kept)))
        self._leave_if(trees.name(failed))

    def nothing(self, statement: Statement) -> None:
        """Write nothing."""


def _union(sets: Iterable[ast.expr]) -> ast.expr:
    found: ast.expr = trees.call("set")
    for other in sets:
        found = quote("a | b", a=found, b=other)
    return found


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
    "IsArrayStmt": _Writer.require_type,
    "IsDefinedStmt": _Writer.require_value,
    "IsObjectStmt": _Writer.require_type,
    "IsSetStmt": _Writer.require_type,
    "IsUndefinedStmt": _Writer.require_absence,
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
