"""Forms written in the place of calls have the value of the function itself, on operands of every type."""

from __future__ import annotations

import ast
import itertools
import warnings
from dataclasses import replace
from decimal import Decimal
from typing import Any, Final, cast

import pytest

from gateway.policy.plan import collection_functions, forms, trees, values
from gateway.policy.plan.forms import Term
from gateway.policy.plan.functions import FUNCTIONS
from gateway.policy.plan.trees import quote
from gateway.policy.plan.values import EvaluationFailed, U

_TRUE, _FALSE, _ARRAY = map(values.key, (True, False, []))
_VALUES: Final[tuple[Any, ...]] = (
    *(None, True, False, 0, 1, -1, 2, 2**64, Decimal(0), Decimal("1.0"), Decimal("0.5"), Decimal(-1)),
    *("", "a", "b", "ab", "True", "0", "*", "\U0001f600", "\uffff"),
    *([], [0], [1], [True], [False], ["a"], ["a", "b"], [None], [[]], [Decimal("1.0")], [{"a": 1}]),
    *({}, {"a": 1}, {"a": True}, {"b": []}, {0: "a"}, {_TRUE: 1}, {"a": {"b": 2}}),
    *(set[Any](), {"a"}, {"a", "b"}, {0}, {_TRUE}, {_FALSE}, {_ARRAY, 1}, {None}),
)
_STRINGS: Final = ("", "a", "b", "*")


def _constant(kind: str, literal: str, *, has_only_strings: bool = False, items: tuple[Term, ...] = ()) -> Term:
    """Return the term of a constant that the written Python names."""
    return Term(trees.name("C"), kind, literal, has_only_strings, items)


_CONSTANTS: Final[tuple[tuple[Term, Any], ...]] = (
    *((forms.string(found), found) for found in _STRINGS),
    *((forms.integer(found), found) for found in (0, 1, -1, 2, 2**64)),
    *((term, value) for term, value in ((forms.NONE, None), (forms.TRUE, True), (forms.FALSE, False))),
    (_constant("Decimal", "Decimal('1.0')"), Decimal("1.0")),
    (_constant("list", "[]", has_only_strings=True), list[Any]()),
    (_constant("dict", "{}"), dict[Any, Any]()),
    (_constant("set", "set()", has_only_strings=True), set[Any]()),
    (_constant("list", "[True, False]"), [True, False]),
    (_constant("list", "['a', 'b']", has_only_strings=True), ["a", "b"]),
    (_constant("list", "['a', 'b']", has_only_strings=True, items=tuple(map(forms.string, "ab"))), ["a", "b"]),
    (_constant("list", "[1, 'a']", items=(forms.integer(1), forms.string("a"))), [1, "a"]),
    (_constant("list", "[True]", items=(forms.TRUE,)), [True]),
    (_constant("set", "{'a', ''}", has_only_strings=True), {"a", ""}),
    (_constant("set", "{0, 'a'}"), {0, "a"}),
    (_constant("list", "[0, 'a']"), [0, "a"]),
)


def _pairs(found: Any) -> list[Any]:
    return [[*pair] for pair in found]


_NAMES: Final[dict[str, Any]] = {
    name: getattr(values, name) for name in ("U", "dot", "equal", "insert_once", "key", "length", "merge", "scan")
} | {
    "pairs": _pairs,
    "Decimal": Decimal,
    "NoneType": type(None),
    "LISTS": frozenset({list, set}),
    "COUNTED": frozenset({str, list, dict, set}),
    "SUBTRACTED": frozenset({int, set}),
    "NAMES": collection_functions.NAMES,
}
_FAILED: Final = "failed"


def _outcome(function: Any, *given: Any) -> Any:
    try:
        return function(*given)
    except EvaluationFailed:
        return _FAILED


def _same(a: Any, b: Any) -> bool:
    return type(a) is type(b) and (a is U or a == _FAILED or bool(values.equal(a, b)))


def _operands(letter: str) -> list[tuple[Term, Any]]:
    """Return terms with values: of no known type, of the value's own type, and constants."""
    name = trees.name(letter)
    unknown = [(Term(name), value) for value in _VALUES]
    known = [(Term(name, type(value).__name__), value) for value in _VALUES]
    constants = [
        (replace(term, node=name) if isinstance(term.node, ast.Name) else term, value) for term, value in _CONSTANTS
    ]
    lists = [cast("list[Any]", value) for value in _VALUES if type(value) is list]
    arrays = [(_with_items(name, value), value) for value in lists]
    return [*unknown, *known, *constants, *arrays]


def _with_items(name: ast.expr, array: list[Any]) -> Term:
    """Return the term of an array whose items are known, some with their types."""
    items = [
        Term(
            quote("a[place]", a=name, place=trees.constant(place)),
            type(item).__name__ if place == 0 and type(item) is str else "",
        )
        for place, item in enumerate(array)
    ]
    return Term(name, "list", items=tuple(items))


def _differences(name: str, write: Any, function: Any, many: int) -> list[Any]:
    """Return the operands for which the written form has another value than the function."""
    found: list[Any] = []
    made: dict[str, Any] = {}
    lists = [_operands(letter)[:: 2 if many == 3 else 1] for letter in "abc"[:many]]
    for operands in itertools.product(*(_by_term(each).items() for each in lists)):
        written = write(*(term for term, _ in operands))
        if written is None:
            continue
        shown = ast.dump(written)
        code = made.get(shown) or made.setdefault(shown, _compiled(written))
        for given in itertools.product(*(given for _, given in operands)):
            answers = _outcome(code, *given), _outcome(function, *given)
            if not _same(*answers):
                found.append((name, ast.unparse(written), given, answers))
    return found


def _by_term(operands: list[tuple[Term, Any]]) -> dict[Term, list[Any]]:
    """Return the values of each term: a form is written for terms, whatever their values are."""
    grouped: dict[Term, list[Any]] = {}
    for term, value in operands:
        grouped.setdefault(term, []).append(value)
    return grouped


def _compiled(written: ast.expr) -> Any:
    """Return a function of up to three operands with the value of an expression."""
    names: dict[str, Any] = dict(_NAMES)
    tree = trees.function("form", "abc", [trees.give_back(written)])
    tree.args.defaults = [trees.constant(None), trees.constant(None)]
    exec(compile(ast.Module([tree], []), "form", "exec"), names)
    return names["form"]


_ARGUMENTS: Final = {"object.get": 3, "substring": 3, "count": 1, "object.keys": 1, "type_name": 1}


@pytest.mark.parametrize("name", sorted(forms.INLINE))
def test_a_form_has_the_value_of_its_function_on_every_type(name: str):
    many = _ARGUMENTS.get(name, 1 if name.startswith("is_") else 2)

    def write(*terms: Term) -> ast.expr:
        return forms.write_call(name, trees.call("function", *(term.node for term in terms)), terms)

    _NAMES["function"] = FUNCTIONS[name]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert _differences(name, write, FUNCTIONS[name], many)[:3] == []


def _field(value: Term, name: Term) -> ast.expr | None:
    """Return the form of a field. The writer leaves a block in which a field of a scalar is read."""
    return None if value.kind in forms.SCALARS else forms.write_field(value, name)


def test_the_form_of_a_field_has_the_value_of_its_function():
    assert _differences("field", _field, values.dot, 2)[:3] == []


def test_the_form_of_an_equality_has_the_value_of_its_function():
    assert _differences("equality", forms.write_equality, values.equal, 2)[:3] == []


def test_the_form_of_a_merge_has_the_value_of_its_function():
    assert _differences("merged", forms.write_merge, values.merge, 2)[:3] == []


def test_the_form_of_a_length_has_the_value_of_its_function():
    assert _differences("length", forms.write_length, values.length, 1)[:3] == []


def test_the_form_of_a_scan_has_the_items_of_its_function():
    def write(value: Term) -> ast.expr:
        return trees.call("pairs", forms.write_items(value))

    def function(value: Any) -> Any:
        return [[*pair] for pair in values.scan(value)]

    assert _differences("items", write, function, 1)[:3] == []


def test_the_form_of_an_insertion_puts_the_same_item_as_its_function():
    for name, given in _operands("b"):
        insert = _compiled(forms.write_insertion(trees.name("a"), name, trees.name("c")))
        objects: tuple[dict[Any, Any], ...] = ({}, {"a": 1}, {0: "a"}, {_TRUE: 1}, {"b": [], None: 2})
        items: tuple[Any, ...] = (1, "a", [], Decimal("1.0"))
        for held in objects:
            for item in items:
                found, expected = dict(held), dict(held)
                outcomes = _outcome(insert, found, given, item), _outcome(values.insert_once, expected, given, item)
                assert (outcomes[0], found) == (outcomes[1], expected), (name, given, held, item)


def test_an_absent_value_merged_with_an_empty_object_is_empty():
    written = forms.write_merge(Term(trees.name("a")), Term(trees.name("b"), "dict", "{}"))
    assert written is not None
    assert _compiled(written)(U, {}) == {}


def test_the_result_of_each_function_has_the_type_that_is_taken_for_certain():
    made = {"bool": bool, "int": int, "str": str, "list": list}
    for name, kind in forms.RESULTS.items():
        arguments = {
            "concat": 2,
            "replace": 3,
            "sprintf": 2,
            "substring": 3,
            "trim": 2,
            "count": 1,
            "lower": 1,
            "type_name": 1,
            "upper": 1,
        }
        many = arguments.get(name, 1 if name.startswith("is_") else 2)
        for given in itertools.product(_VALUES, repeat=min(many, 2)):
            extra = [-1] if name == "substring" else [""] * (many - len(given))
            answer = _outcome(FUNCTIONS[name], *given, *extra)
            assert answer == _FAILED or type(answer) is made[kind], (name, given)


def _joined(*sets: Any) -> Any:
    """Return the union as the generator writes it."""
    try:
        return set[Any]() | sets[0] | sets[1]
    except TypeError:
        return _FAILED


def test_the_union_of_sets_is_that_of_a_set_of_sets():
    for sets in itertools.product(_VALUES, repeat=2):
        assert _joined(*sets) == _outcome(collection_functions.union, {values.key(found) for found in sets})
