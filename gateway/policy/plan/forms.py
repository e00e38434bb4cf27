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


NONE: Final = Term("None", "NoneType", "None")
TRUE: Final = Term("True", "bool", "True")
FALSE: Final = Term("False", "bool", "False")
SCALARS: Final = frozenset({"str", "int", "bool", "NoneType", "Decimal"})


_EMPTY: Final = frozenset({"[]", "{}", "set()"})


def string(value: str) -> Term:
    return Term(repr(value), "str", repr(value))


def integer(value: int) -> Term:
    written = str(value) if value >= 0 else f"({value})"
    return Term(written, "int", written)


def called(name: str, call: str, terms: Sequence[Term]) -> str:
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


def equality(a: Term, b: Term) -> str:
    """Return Python that tells if two values are the same. Of Python's equal values, 1 and `True` are not the same in Rego."""
    if "str" in (a.kind, b.kind) or a.kind == b.kind == "int":
        return f"({a.text} == {b.text})"
    if not a.literal and b.literal:
        return _equal_to(b, a)
    if a.literal and not b.literal:
        return _equal_to(a, b)
    return f"({a.text} == {b.text} if type({a.text}) is str else equal({a.text}, {b.text}))"


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
    return f"equal({other.text}, {constant.text})"


def field(value: Term, name: Term) -> str:
    """Return Python for the value below a key, an index or a member."""
    call = f"dot({value.text}, {name.text})"
    if name.kind == "int" and name.literal and not name.literal.startswith("("):
        place = f"({value.text}[{name.text}] if {name.text} < len({value.text}) else U)"
        return either(place, [(value, "list")], call)
    return either(f"{value.text}.get({name.text}, U)", [(value, "dict"), (name, "str")], call)


def length(value: Term) -> str:
    if value.kind in {"list", "dict", "set"}:
        return f"len({value.text})"
    return f"length({value.text})"


def items(value: Term) -> str:
    """Return Python for the keys and values of a collection."""
    return either(f"enumerate({value.text})", [(value, "list")], f"scan({value.text})")


def merged(a: Term, b: Term) -> str | None:
    """Return Python for an object, or nothing, merged with an empty one. `None` if the second may have items."""
    if b.literal != "{}" or a.literal:
        return None
    return f"{b.text} if {a.text} is U else {a.text}"


def _ordered(sign: str) -> Callable[[str, Term, Term], str]:
    def form(call: str, a: Term, b: Term) -> str:
        if b.literal in _EMPTY and sign in {">=", "<"}:
            # Every array is at least the empty one. Policies ask the type of a value so.
            kind = f"type({a.text})"
            return f"({kind} is {b.kind} or {call})" if sign == ">=" else f"({kind} is not {b.kind} and {call})"
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
    if within.kind in {"list", "set"}:
        return either(found, [(value, "str")], call)
    if within.kind or value.kind not in {"", "str"}:
        return call
    tests = "" if value.kind else f"type({value.text}) is str and "
    return f"({found} if {tests}type({within.text}) in LISTS else {call})"


def _get(call: str, value: Term, name: Term, default: Term) -> str:
    return either(f"{value.text}.get({name.text}, {default.text})", [(value, "dict"), (name, "str")], call)


def _split(call: str, value: Term, separator: Term) -> str:
    if separator.literal in {"", "''"}:
        return call
    return either(f"{value.text}.split({separator.text})", [(value, "str"), (separator, "str")], call)


def _count(call: str, value: Term) -> str:
    return f"(len({value.text}) if type({value.text}) in COUNTED else {call})"


def _equal(_: str, a: Term, b: Term) -> str:
    return equality(a, b)


def _not_equal(_: str, a: Term, b: Term) -> str:
    return f"(not {equality(a, b)})"


_FORMS: Final[Mapping[str, Callable[..., str]]] = {
    "and": _on("set", "{} & {}"),
    "contains": _on("str", "{1} in {0}"),
    "count": _count,
    "endswith": _on("str", "{}.endswith({})"),
    "equal": _equal,
    "gt": _ordered(">"),
    "gte": _ordered(">="),
    "internal.member_2": _member,
    "is_array": _is_of("list"),
    "is_boolean": _is_of("bool"),
    "is_null": _is_null,
    "is_number": _is_of("int", "Decimal"),
    "is_object": _is_of("dict"),
    "is_set": _is_of("set"),
    "is_string": _is_of("str"),
    "lt": _ordered("<"),
    "lte": _ordered("<="),
    "minus": _on("int", "{} - {}"),
    "neq": _not_equal,
    "object.get": _get,
    "or": _on("set", "{} | {}"),
    "plus": _on("int", "{} + {}"),
    "split": _split,
    "startswith": _on("str", "{}.startswith({})"),
}
INLINE: Final = frozenset(_FORMS)
RESULTS: Final[Mapping[str, str]] = {
    **dict.fromkeys(("contains", "endswith", "startswith", "internal.member_2"), "bool"),
    **dict.fromkeys(("equal", "neq", "gt", "gte", "lt", "lte"), "bool"),
    **dict.fromkeys(("is_array", "is_boolean", "is_null", "is_number", "is_object", "is_set", "is_string"), "bool"),
    **dict.fromkeys(("concat", "lower", "replace", "sprintf", "substring", "trim", "upper"), "str"),
    "count": "int",
    "split": "list",
}
"""The type of the results of functions that always give one."""
