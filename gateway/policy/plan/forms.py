"""Comparisons and built-in functions, written in the place of a call for operands of their usual types. Pure.

Each form is exact: operands of other types go to the function. `tests/unit/policy/plan/test_forms.py` compares both.
"""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, LiteralString

from gateway.policy.plan import trees
from gateway.policy.plan.trees import quote


@dataclass(frozen=True, slots=True)
class Term:
    """A value in the written Python. `kind` is the name of its type if that is certain.

    `literal` is the text of a constant, by which constants are compared. It is made from a tree, and never read as one.
    """

    node: ast.expr
    kind: str = ""
    literal: str = ""
    has_only_strings: bool = False
    """Whether a constant is a list or set of strings alone."""
    items: tuple[Term, ...] = ()
    """The items of an array, if they are known."""
    local: int | None = None
    """The number of the local that has the value."""


NONE: Final = Term(trees.constant(None), "NoneType", "None")
TRUE: Final = Term(trees.constant(value=True), "bool", "True")
FALSE: Final = Term(trees.constant(value=False), "bool", "False")
SCALARS: Final = frozenset({"str", "int", "bool", "NoneType", "Decimal"})


_EMPTY: Final = frozenset({"[]", "{}", "set()"})
_MOST_ITEMS: Final = 3
"""Items of an array that are compared one by one."""


def string(value: str) -> Term:
    return Term(trees.constant(value), "str", repr(value))


def integer(value: int) -> Term:
    return Term(trees.constant(value), "int", str(value))


def local(number: int, kind: str = "", items: tuple[Term, ...] = ()) -> Term:
    return Term(trees.local(number), kind, items=items, local=number)


def write_call(name: str, call: ast.expr, terms: Sequence[Term]) -> ast.expr:
    """Return the Python that has the value of a built-in function. `call` calls the function itself."""
    form = _FORMS.get(name)
    return call if form is None else form(call, *terms)


def write_type_test(value: Term, kind: str) -> ast.expr:
    """Return Python that tells if a value is of a type."""
    return quote("type(a) is kind", a=value.node, kind=trees.name(kind))


def either(fast: ast.expr, kinds: Iterable[tuple[Term, str]], call: ast.expr) -> ast.expr:
    """Return Python that evaluates `fast` for terms of these types, and `call` for others."""
    tests: list[ast.expr] = []
    for term, kind in kinds:
        if term.kind not in {"", kind}:
            return call
        if not term.kind:
            tests.append(write_type_test(term, kind))
    return quote("fast if test else call", fast=fast, test=trees.every(tests), call=call) if tests else fast


def write_equality(a: Term, b: Term) -> ast.expr:
    """Return Python that tells if two values are the same. Of Python's equal values, 1 and `True` are not the same in Rego."""
    if "str" in (a.kind, b.kind) or a.kind == b.kind == "int":
        return quote("a == b", a=a.node, b=b.node)
    if not a.literal and b.literal:
        return _equal_to(b, a)
    if a.literal and not b.literal:
        return _equal_to(a, b)
    if a.literal:
        return quote("equal(a, b)", a=a.node, b=b.node)
    for known, other in ((a, b), (b, a)):
        if 0 < len(known.items) <= _MOST_ITEMS:
            return _equal_to_array(known, other)
    return quote("a == b if type(a) is str else a is b or equal(a, b)", a=a.node, b=b.node)


def _equal_to(constant: Term, other: Term) -> ast.expr:
    """Return Python that tells if a value is the same as a constant that is no string."""
    a, b = other.node, constant.node
    if constant.literal in {"None", "True", "False"}:
        return quote("a is b", a=a, b=b)
    if constant.literal in _EMPTY:
        return quote("test and not a", test=write_type_test(other, constant.kind), a=a)
    if constant.kind == "int":
        taken_for = {"0": FALSE, "1": TRUE}.get(constant.literal)
        if taken_for is None:
            return quote("a == b", a=a, b=b)
        return quote("a == b and a is not taken", a=a, b=b, taken=taken_for.node)
    if 0 < len(constant.items) <= _MOST_ITEMS:
        return _equal_to_array(constant, other)
    return quote("equal(a, b)", a=a, b=b)


def _equal_to_array(array: Term, other: Term) -> ast.expr:
    """Return Python that compares a value with an array, item by item."""
    places = [quote("a[place]", a=other.node, place=trees.constant(place)) for place in range(len(array.items))]
    items = [write_equality(Term(place), item) for place, item in zip(places, array.items, strict=True)]
    size = quote("len(a) == size", a=other.node, size=trees.constant(len(items)))
    return trees.every([write_type_test(other, "list"), size, *items])


def write_field(value: Term, name: Term) -> ast.expr:
    """Return Python for the value below a key, an index or a member."""
    a, b = value.node, name.node
    call = quote("dot(a, b)", a=a, b=b)
    if name.kind == "int" and name.literal and not name.literal.startswith("-"):
        return either(quote("a[b] if b < len(a) else U", a=a, b=b), [(value, "list")], call)
    return either(quote("a.get(b, U)", a=a, b=b), [(value, "dict"), (name, "str")], call)


def write_insertion(collection: ast.expr, name: Term, item: ast.expr) -> ast.expr:
    """Return Python that puts an item into an object, and fails if another item has the key."""
    a, b = collection, name.node
    tests = [] if name.kind else [write_type_test(name, "str")]
    call = quote("insert_once(a, b, c)", a=a, b=b, c=item)
    if name.kind not in {"", "str"}:
        return call
    test = trees.every([*tests, quote("b not in a", a=a, b=b)])
    return quote("a.__setitem__(b, c) if test else call", a=a, b=b, c=item, test=test, call=call)


def write_length(value: Term) -> ast.expr:
    if value.kind in {"list", "dict", "set"}:
        return quote("len(a)", a=value.node)
    return quote("length(a)", a=value.node)


def write_items(value: Term) -> ast.expr:
    """Return Python for the keys and values of a collection."""
    # Most objects that policies look through have no fields.
    others = quote("scan(a) if a else ()", a=value.node)
    return either(quote("enumerate(a)", a=value.node), [(value, "list")], others)


def write_merge(a: Term, b: Term) -> ast.expr | None:
    """Return Python for an object, or nothing, merged with an empty one. `None` if the second may have items."""
    if b.literal != "{}" or a.literal:
        return None
    return quote("b if a is U else a", a=a.node, b=b.node)


_FROM: Final[Mapping[str, Sequence[str]]] = {"list": ("list", "dict", "set"), "dict": ("dict", "set"), "set": ("set",)}
"""The types of the values that are not less than the least value of a type."""
_Form = Callable[..., ast.expr]


def _order_form(comparison: LiteralString) -> _Form:
    def form(call: ast.expr, a: Term, b: Term) -> ast.expr:
        if b.literal in _EMPTY and comparison in {"a >= b", "a < b"}:
            # Every array is at least the empty one, and after each text. Policies ask the type of a value so.
            tests = trees.some([write_type_test(a, kind) for kind in _FROM[b.kind]])
            return tests if comparison == "a >= b" else quote("not tests", tests=tests)
        kind = "str" if "str" in (a.kind, b.kind) else "int"
        return either(quote(comparison, a=a.node, b=b.node), [(a, kind), (b, kind)], call)

    return form


def _on(kind: str, fast: LiteralString) -> _Form:
    """Return the form of a function of two operands of one type."""

    def form(call: ast.expr, a: Term, b: Term) -> ast.expr:
        return either(quote(fast, a=a.node, b=b.node), [(a, kind), (b, kind)], call)

    return form


def _type_form(*kinds: str) -> _Form:
    def form(_: ast.expr, value: Term) -> ast.expr:
        return trees.some([write_type_test(value, kind) for kind in kinds])

    return form


def _null_form(call: ast.expr, value: Term) -> ast.expr:
    return call if value.literal else quote("a is None", a=value.node)


def _member(call: ast.expr, value: Term, within: Term) -> ast.expr:
    found = quote("a in b", a=value.node, b=within.node)
    if within.literal == "[True, False]":
        return write_type_test(value, "bool")
    if within.has_only_strings:
        return found if value.kind == "str" else trees.every([write_type_test(value, "str"), found])
    if 0 < len(within.items) <= _MOST_ITEMS:
        return trees.some([write_equality(value, item) for item in within.items])
    if within.kind in {"list", "set"}:
        return either(found, [(value, "str")], call)
    if within.kind or value.kind not in {"", "str"}:
        return call
    tests = [] if value.kind else [write_type_test(value, "str")]
    tests.append(quote("type(b) in LISTS", b=within.node))
    return quote("found if tests else call", found=found, tests=trees.every(tests), call=call)


def _get(call: ast.expr, value: Term, name: Term, default: Term) -> ast.expr:
    a, other = value.node, default.node
    if name.items and name.has_only_strings:
        first = name.items[0].node
        return quote("other if type(a) is dict and b not in a else call", a=a, b=first, other=other, call=call)
    fast = quote("a.get(b, other)", a=a, b=name.node, other=other)
    return either(fast, [(value, "dict"), (name, "str")], call)


def _split(call: ast.expr, value: Term, separator: Term) -> ast.expr:
    if separator.literal in {"", "''"}:
        return call
    return either(quote("a.split(b)", a=value.node, b=separator.node), [(value, "str"), (separator, "str")], call)


def _concat(call: ast.expr, separator: Term, parts: Term) -> ast.expr:
    if separator.kind != "str" or not separator.literal or not 0 < len(parts.items) <= _MOST_ITEMS:
        return call
    first, *others = (item.node for item in parts.items)
    for other in others:
        joined = other if separator.literal == "''" else quote("a + b", a=separator.node, b=other)
        first = quote("a + b", a=first, b=joined)
    return either(first, [(item, "str") for item in parts.items], call)


def _substring(call: ast.expr, value: Term, start: Term, size: Term) -> ast.expr:
    """Return the form of the rest of a text from a place in it."""
    if size.literal != "-1" or value.literal or value.kind not in {"", "str"}:
        return call
    a, b = value.node, start.node
    tests = [] if value.kind else [write_type_test(value, "str")]
    tests += [write_type_test(start, "int"), quote("0 <= b <= len(a)", a=a, b=b)]
    return quote("a[b:] if tests else call", a=a, b=b, tests=trees.every(tests), call=call)


def _count(call: ast.expr, value: Term) -> ast.expr:
    return quote("len(a) if type(a) in COUNTED else call", a=value.node, call=call)


def _minus(call: ast.expr, a: Term, b: Term) -> ast.expr:
    """Return the form of the difference of two integers, or of two sets."""
    if {a.kind, b.kind} - {"", "int", "set"} or len({a.kind, b.kind} - {""}) > 1:
        return call
    tests = [quote("type(a) in SUBTRACTED and type(a) is type(b)", a=a.node, b=b.node)]
    for term, other in ((a, b), (b, a)):
        if term.kind:
            tests = [] if other.kind else [write_type_test(other, term.kind)]
    fast = quote("a - b", a=a.node, b=b.node)
    return quote("fast if test else call", fast=fast, test=trees.every(tests), call=call) if tests else fast


def _keys(call: ast.expr, value: Term) -> ast.expr:
    return either(quote("set(a)", a=value.node), [(value, "dict")], call)


def _type_name(_: ast.expr, value: Term) -> ast.expr:
    return quote("NAMES[type(a)]", a=value.node)


def _equal(_: ast.expr, a: Term, b: Term) -> ast.expr:
    return write_equality(a, b)


def _not_equal(_: ast.expr, a: Term, b: Term) -> ast.expr:
    return quote("not same", same=write_equality(a, b))


_FORMS: Final[Mapping[str, _Form]] = {
    "and": _on("set", "a & b"),
    "concat": _concat,
    "contains": _on("str", "b in a"),
    "count": _count,
    "endswith": _on("str", "a.endswith(b)"),
    "equal": _equal,
    "gt": _order_form("a > b"),
    "gte": _order_form("a >= b"),
    "internal.member_2": _member,
    "is_array": _type_form("list"),
    "is_boolean": _type_form("bool"),
    "is_null": _null_form,
    "is_number": _type_form("int", "Decimal"),
    "is_object": _type_form("dict"),
    "is_set": _type_form("set"),
    "is_string": _type_form("str"),
    "lt": _order_form("a < b"),
    "lte": _order_form("a <= b"),
    "minus": _minus,
    "neq": _not_equal,
    "object.get": _get,
    "object.keys": _keys,
    "or": _on("set", "a | b"),
    "plus": _on("int", "a + b"),
    "split": _split,
    "startswith": _on("str", "a.startswith(b)"),
    "substring": _substring,
    "type_name": _type_name,
    "trim_left": _on("str", "a.lstrip(b)"),
    "trim_prefix": _on("str", "a.removeprefix(b)"),
    "trim_right": _on("str", "a.rstrip(b)"),
    "trim_suffix": _on("str", "a.removesuffix(b)"),
}
INLINE: Final = frozenset(_FORMS)
"""The functions that are written in line. Tests compare each with its function."""
RESULTS: Final[Mapping[str, str]] = {
    **dict.fromkeys(("contains", "endswith", "startswith", "internal.member_2"), "bool"),
    **dict.fromkeys(("equal", "neq", "gt", "gte", "lt", "lte"), "bool"),
    **dict.fromkeys(("is_array", "is_boolean", "is_null", "is_number", "is_object", "is_set", "is_string"), "bool"),
    **dict.fromkeys(("concat", "lower", "replace", "sprintf", "substring", "trim", "type_name", "upper"), "str"),
    "count": "int",
    "split": "list",
}
"""The type of the results of functions that always give one."""
