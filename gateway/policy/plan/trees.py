"""Syntax trees of Python, built without text that a policy holds. Pure.

A text of a policy is the value of a constant, and a name is made of a letter and a number. `quote` parses templates of this
package alone: pyright takes a literal there, and nothing else.
"""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Final, LiteralString, cast

_LOAD: Final = ast.Load()
_STORE: Final = ast.Store()
_AT: Final[Mapping[str, Any]] = {"lineno": 1, "col_offset": 0}
"""The place of every node: a plan has no lines of Python."""
Scalar = str | int | bool | None
_Parts = Mapping[str, ast.expr]
_Builder = Callable[[_Parts], ast.expr]
_BUILDERS: Final[dict[str, _Builder]] = {}


def quote(template: LiteralString, **parts: ast.expr) -> ast.expr:
    """Return the tree of an expression, with parts in the place of the names in it."""
    found = _BUILDERS.get(template)
    if found is None:
        found = _BUILDERS[template] = _expression_builder(ast.parse(template, mode="eval").body)
    return found(parts)


def _expression_builder(node: ast.expr) -> _Builder:
    if isinstance(node, ast.Name):
        own = name(node.id)
        return lambda parts: parts.get(own.id, own)
    kind = type(node)
    fields = [(field, _field_builder(value)) for field, value in ast.iter_fields(node)]
    return lambda parts: kind(**{field: build(parts) for field, build in fields}, **_AT)


def _field_builder(value: object) -> Callable[[_Parts], object]:
    if isinstance(value, list):
        builders = [_field_builder(item) for item in cast("list[object]", value)]
        return lambda parts: [build(parts) for build in builders]
    if isinstance(value, ast.expr):
        return _expression_builder(value)
    return lambda _: value


# --- expressions ---


def name(identifier: str) -> ast.Name:
    return ast.Name(identifier, _LOAD, **_AT)


def target(identifier: str) -> ast.Name:
    """Return a name that gets a value."""
    return ast.Name(identifier, _STORE, **_AT)


def local(number: int) -> ast.Name:
    """Return a local of the plan."""
    return name(f"v{number:d}")


def constant(value: Scalar) -> ast.Constant:
    return ast.Constant(value, **_AT)


def call(function: str, *arguments: ast.expr) -> ast.Call:
    """Return the call of a function of this package, or of the plan."""
    return ast.Call(name(function), [*arguments], [], **_AT)


def array(items: Iterable[ast.expr]) -> ast.List:
    return ast.List([*items], _LOAD, **_AT)


def tuple_of(items: Iterable[ast.expr]) -> ast.Tuple:
    return ast.Tuple([*items], _LOAD, **_AT)


def set_of(items: Sequence[ast.expr]) -> ast.expr:
    """Return a set; Python has no literal for the empty one."""
    return ast.Set([*items], **_AT) if items else call("set")


def mapping(pairs: Sequence[tuple[ast.expr, ast.expr]]) -> ast.Dict:
    return ast.Dict([key for key, _ in pairs], [value for _, value in pairs], **_AT)


def every(tests: Sequence[ast.expr]) -> ast.expr:
    """Return an expression that is true if all tests are."""
    return tests[0] if len(tests) == 1 else ast.BoolOp(ast.And(), [*tests], **_AT)


def some(tests: Sequence[ast.expr]) -> ast.expr:
    """Return an expression that is true if at least one of the tests is true."""
    return tests[0] if len(tests) == 1 else ast.BoolOp(ast.Or(), [*tests], **_AT)


# --- statements ---


def assign(identifier: str, value: ast.expr) -> ast.Assign:
    return ast.Assign([target(identifier)], value, **_AT)


def assign_item(collection: ast.expr, key: ast.expr, value: ast.expr) -> ast.Assign:
    return ast.Assign([ast.Subscript(collection, key, _STORE, **_AT)], value, **_AT)


def run(expression: ast.expr) -> ast.Expr:
    """Return a statement that drops the value of an expression."""
    return ast.Expr(expression, **_AT)


def when(test: ast.expr, body: Sequence[ast.stmt]) -> ast.If:
    return ast.If(test, [*body], [], **_AT)


def once(body: Sequence[ast.stmt]) -> ast.While:
    """Return a loop that its body ends."""
    return ast.While(constant(value=True), [*body], [], **_AT)


def each(key: str, value: str, items: ast.expr, body: Sequence[ast.stmt]) -> ast.For:
    """Return a loop over pairs."""
    pair = ast.Tuple([target(key), target(value)], _STORE, **_AT)
    return ast.For(pair, items, [*body], [], **_AT)


def give_back(value: ast.expr) -> ast.Return:
    return ast.Return(value, **_AT)


def leave(word: str) -> ast.stmt:
    """Return the statement that leaves a loop, or goes on with its next item."""
    return ast.Continue(**_AT) if word == "continue" else ast.Break(**_AT)


def nothing() -> ast.Pass:
    return ast.Pass(**_AT)


def function(identifier: str, parameters: Iterable[str], body: Sequence[ast.stmt]) -> ast.FunctionDef:
    arguments = [ast.arg(parameter, **_AT) for parameter in parameters]
    made = ast.arguments(posonlyargs=[], args=arguments, kwonlyargs=[], kw_defaults=[], defaults=[])
    return ast.FunctionDef(identifier, made, [*body], [], **_AT)
