"""Comparisons and built-in functions, written in the place of a call for operands of their usual types. Pure.

Each form is exact: operands of other types go to the function. `tests/unit/policy/test_plan_forms.py` compares both.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True)
class Term:
    """A value in written Python. `kind` is the name of its type if that is certain, and `literal` the text of a constant."""

    text: str
    kind: str = ""
    literal: str = ""
    has_only_strings: bool = False
    """Whether a constant is a list or set of strings alone."""
    items: tuple[Term, ...] = ()
    """The items of an array, if they are known."""


NONE: Final = Term("None", "NoneType", "None")
TRUE: Final = Term("True", "bool", "True")
FALSE: Final = Term("False", "bool", "False")
SCALARS: Final = frozenset({"str", "int", "bool", "NoneType", "Decimal"})


_EMPTY: Final = frozenset({"[]", "{}", "set()"})
_MOST_ITEMS: Final = 3
"""Items of an array that are compared one by one."""


def string(value: str) -> Term:
    return Term(repr(value), "str", repr(value))


def integer(value: int) -> Term:
    written = str(value) if value >= 0 else f"({value})"
    return Term(written, "int", written)


def write_call(name: str, call: str, terms: Sequence[Term]) -> str:
    """Return the Python that has the value of a built-in function. `call` calls the function itself."""
    form = _FORMS.get(name)
    return call if form is None else form(call, *terms)


def either(fast: str, kinds: Iterable[tuple[Term, str]], call: str) -> str:
    """Return Python that evaluates `fast` for terms of these types, and `call` for others."""
    tests: list[str] = []
    for term, kind in kinds:
        if term.kind not in {"", kind}:
            return call
        if not term.kind:
            tests.append(f"type({term.text}) is {kind}")
    return f"({fast} if {' and '.join(tests)} else {call})" if tests else f"({fast})"


def write_equality(a: Term, b: Term) -> str:
    """Return Python that tells if two values are the same. Of Python's equal values, 1 and `True` are not the same in Rego."""
    if "str" in (a.kind, b.kind) or a.kind == b.kind == "int":
        return f"({a.text} == {b.text})"
    if not a.literal and b.literal:
        return _equal_to(b, a)
    if a.literal and not b.literal:
        return _equal_to(a, b)
    if a.literal:
        return f"equal({a.text}, {b.text})"
    for array, other in ((a, b), (b, a)):
        if 0 < len(array.items) <= _MOST_ITEMS:
            return _equal_to_array(array, other)
    return f"({a.text} == {b.text} if type({a.text}) is str else {a.text} is {b.text} or equal({a.text}, {b.text}))"


def _equal_to(constant: Term, other: Term) -> str:
    """Return Python that tells if a value is the same as a constant that is no string."""
    if constant.literal in {"None", "True", "False"}:
        return f"({other.text} is {constant.text})"
    if constant.literal in _EMPTY:
        return f"(type({other.text}) is {constant.kind} and not {other.text})"
    if constant.kind == "int":
        taken_for = {"0": "False", "1": "True"}.get(constant.literal)
        same = f"{other.text} == {constant.text}"
        return f"({same} and {other.text} is not {taken_for})" if taken_for else f"({same})"
    if 0 < len(constant.items) <= _MOST_ITEMS:
        return _equal_to_array(constant, other)
    return f"equal({other.text}, {constant.text})"


def _equal_to_array(array: Term, other: Term) -> str:
    """Return Python that compares a value with an array, item by item."""
    items = [write_equality(Term(f"{other.text}[{place}]"), item) for place, item in enumerate(array.items)]
    return f"({' and '.join([f'type({other.text}) is list', f'len({other.text}) == {len(items)}', *items])})"


def write_field(value: Term, name: Term) -> str:
    """Return Python for the value below a key, an index or a member."""
    call = f"dot({value.text}, {name.text})"
    if name.kind == "int" and name.literal and not name.literal.startswith("("):
        place = f"({value.text}[{name.text}] if {name.text} < len({value.text}) else U)"
        return either(place, [(value, "list")], call)
    return either(f"{value.text}.get({name.text}, U)", [(value, "dict"), (name, "str")], call)


def write_length(value: Term) -> str:
    if value.kind in {"list", "dict", "set"}:
        return f"len({value.text})"
    return f"length({value.text})"


def write_items(value: Term) -> str:
    """Return Python for the keys and values of a collection."""
    # Most objects that policies look through have no fields.
    return either(f"enumerate({value.text})", [(value, "list")], f"(scan({value.text}) if {value.text} else ())")


def write_merge(a: Term, b: Term) -> str | None:
    """Return Python for an object, or nothing, merged with an empty one. `None` if the second may have items."""
    if b.literal != "{}" or a.literal:
        return None
    return f"{b.text} if {a.text} is U else {a.text}"


_FROM: Final[Mapping[str, Sequence[str]]] = {"list": ("list", "dict", "set"), "dict": ("dict", "set"), "set": ("set",)}
"""The types of the values that are not less than the least value of a type."""


def _order_form(sign: str) -> Callable[[str, Term, Term], str]:
    def form(call: str, a: Term, b: Term) -> str:
        if b.literal in _EMPTY and sign in {">=", "<"}:
            # Every array is at least the empty one, and after each text. Policies ask the type of a value so.
            tests = [f"type({a.text}) is {kind}" for kind in _FROM[b.kind]]
            return f"({' or '.join(tests)})" if sign == ">=" else f"(not ({' or '.join(tests)}))"
        kind = "str" if "str" in (a.kind, b.kind) else "int"
        return either(f"{a.text} {sign} {b.text}", [(a, kind), (b, kind)], call)

    return form


def _on(kind: str, fast: str) -> Callable[..., str]:
    """Return the form of a function for operands of one type. `fast` has a place for each operand."""

    def form(call: str, *terms: Term) -> str:
        return either(fast.format(*(term.text for term in terms)), [(term, kind) for term in terms], call)

    return form


def _is_of(*kinds: str) -> Callable[[str, Term], str]:
    def form(_: str, value: Term) -> str:
        return f"({' or '.join(f'type({value.text}) is {kind}' for kind in kinds)})"

    return form


def _is_null(call: str, value: Term) -> str:
    return call if value.literal else f"({value.text} is None)"


def _member(call: str, value: Term, within: Term) -> str:
    found = f"{value.text} in {within.text}"
    if within.literal == "[True, False]":
        return f"(type({value.text}) is bool)"
    if within.has_only_strings:
        return f"({found})" if value.kind == "str" else f"(type({value.text}) is str and {found})"
    if 0 < len(within.items) <= _MOST_ITEMS:
        return f"({' or '.join(write_equality(value, item) for item in within.items)})"
    if within.kind in {"list", "set"}:
        return either(found, [(value, "str")], call)
    if within.kind or value.kind not in {"", "str"}:
        return call
    tests = "" if value.kind else f"type({value.text}) is str and "
    return f"({found} if {tests}type({within.text}) in LISTS else {call})"


def _get(call: str, value: Term, name: Term, default: Term) -> str:
    if name.items and name.has_only_strings:
        first = name.items[0].text
        return f"({default.text} if type({value.text}) is dict and {first} not in {value.text} else {call})"
    return either(f"{value.text}.get({name.text}, {default.text})", [(value, "dict"), (name, "str")], call)


def _split(call: str, value: Term, separator: Term) -> str:
    if separator.literal in {"", "''"}:
        return call
    return either(f"{value.text}.split({separator.text})", [(value, "str"), (separator, "str")], call)


def _concat(call: str, separator: Term, parts: Term) -> str:
    if separator.literal != "''" or not 0 < len(parts.items) <= _MOST_ITEMS:
        return call
    return either(" + ".join(item.text for item in parts.items), [(item, "str") for item in parts.items], call)


def _substring(call: str, value: Term, start: Term, size: Term) -> str:
    """Return the form of the rest of a text from a place in it."""
    if size.literal != "(-1)" or value.literal or value.kind not in {"", "str"}:
        return call
    tests = [] if value.kind else [f"type({value.text}) is str"]
    tests += [f"type({start.text}) is int", f"0 <= {start.text} <= len({value.text})"]
    return f"({value.text}[{start.text}:] if {' and '.join(tests)} else {call})"


def _count(call: str, value: Term) -> str:
    return f"(len({value.text}) if type({value.text}) in COUNTED else {call})"


def _equal(_: str, a: Term, b: Term) -> str:
    return write_equality(a, b)


def _not_equal(_: str, a: Term, b: Term) -> str:
    return f"(not {write_equality(a, b)})"


_FORMS: Final[Mapping[str, Callable[..., str]]] = {
    "and": _on("set", "{} & {}"),
    "concat": _concat,
    "contains": _on("str", "{1} in {0}"),
    "count": _count,
    "endswith": _on("str", "{}.endswith({})"),
    "equal": _equal,
    "gt": _order_form(">"),
    "gte": _order_form(">="),
    "internal.member_2": _member,
    "is_array": _is_of("list"),
    "is_boolean": _is_of("bool"),
    "is_null": _is_null,
    "is_number": _is_of("int", "Decimal"),
    "is_object": _is_of("dict"),
    "is_set": _is_of("set"),
    "is_string": _is_of("str"),
    "lt": _order_form("<"),
    "lte": _order_form("<="),
    "minus": _on("int", "{} - {}"),
    "neq": _not_equal,
    "object.get": _get,
    "or": _on("set", "{} | {}"),
    "plus": _on("int", "{} + {}"),
    "split": _split,
    "startswith": _on("str", "{}.startswith({})"),
    "substring": _substring,
}
INLINE: Final = frozenset(_FORMS)
"""The functions that are written in line. Tests compare each with its function."""
RESULTS: Final[Mapping[str, str]] = {
    **dict.fromkeys(("contains", "endswith", "startswith", "internal.member_2"), "bool"),
    **dict.fromkeys(("equal", "neq", "gt", "gte", "lt", "lte"), "bool"),
    **dict.fromkeys(("is_array", "is_boolean", "is_null", "is_number", "is_object", "is_set", "is_string"), "bool"),
    **dict.fromkeys(("concat", "lower", "replace", "sprintf", "substring", "trim", "upper"), "str"),
    "count": "int",
    "split": "list",
}
"""The type of the results of functions that always give one."""
