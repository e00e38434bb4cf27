"""The built-in functions of compiled policies beside OPA's, on generated arguments."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from gateway.policy.plan.functions import FUNCTIONS
from tests.policy import compiled
from tests.policy.compiled import Both
from tests.policy.functions_of_opa import arguments_of_functions

_INFIX: Final = {
    "and": "&",
    "div": "/",
    "equal": "==",
    "gt": ">",
    "gte": ">=",
    "lt": "<",
    "lte": "<=",
    "minus": "-",
    "mul": "*",
    "neq": "!=",
    "or": "|",
    "plus": "+",
    "rem": "%",
}
_WRITTEN: Final = {
    **{name: f"a {sign} b" for name, sign in _INFIX.items()},
    "internal.member_2": "a in b",
    "internal.member_3": "(a, b in c)",
    "walk": "[found | walk(a, found)]",
}
_ARGUMENTS: Final = {**dict.fromkeys(_INFIX, 2), "internal.member_2": 2, "internal.member_3": 3, "walk": 1}

_TEXT: Final = st.text("aAbB01 .,/-_%\\\"'\n\tßéİΣσſKǅ😀\u0345ΐᾳ", max_size=6) | st.sampled_from(
    [
        "",
        "a",
        "1",
        "1.50",
        "10.0.0.0/8",
        "10.1.2.3",
        "::ffff:1.2.3.4/120",
        "1.2.3.4/33",
        "::/0",
        "%s %d",
        "%v",
        "%q",
        "[a-z]+",
        "(a)|b*",
    ]
)
_NUMBER: Final = (
    st.integers(-12, 12)
    | st.integers(-(2**63), 2**63 - 1)
    | st.sampled_from([2**31, -(2**31), 2**53 + 1, 1.0, 0.1, -0.5, 0.5, 2.5, -2.5, 1e21, 1e-7, 123456.789, -0.75])
)
_SCALAR: Final = st.none() | st.booleans() | _NUMBER | _TEXT
_VALUE: Final = st.recursive(
    _SCALAR,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(_TEXT, inner, max_size=4),
    max_leaves=6,
)
_TEXTS: Final = st.lists(_TEXT, max_size=4)
_OF_KIND: Final[dict[str, st.SearchStrategy[Any]]] = {
    "string": _TEXT,
    "number": _NUMBER,
    "boolean": st.booleans(),
    "null": st.none(),
    "array": _TEXTS | st.lists(_NUMBER, max_size=4) | st.lists(_VALUE, max_size=4),
    "object": st.dictionaries(_TEXT, _TEXT, max_size=4) | st.dictionaries(_TEXT, _VALUE, max_size=4),
    "set": st.fixed_dictionaries({"a set of": _TEXTS | st.lists(_VALUE, max_size=4)}),
}
"""A set has no JSON: the policy makes it from an object."""


def _module(name: str) -> str:
    given_names = "abc"[: _arity(name)] if _arity(name) <= 3 else "abcd"
    call = _WRITTEN.get(name, f"{name}({', '.join(given_names)})")
    lines = [f"\t{letter} := data.lib.argument(input[{place}])" for place, letter in enumerate(given_names)]
    return "\n".join([f"package c.{_package(name)}", "", "result := given if {", *lines, f"\tgiven := {call}", "}", ""])


_LIBRARY: Final = """package lib

argument(value) := {item | some item in value["a set of"]} if is_array(value["a set of"])

argument(value) := value if not is_set_of(value)

is_set_of(value) if is_array(value["a set of"])
"""


def _package(name: str) -> str:
    return "f_" + name.replace(".", "_")


def _arity(name: str) -> int:
    return _ARGUMENTS[name] if name in _ARGUMENTS else len(arguments_of_functions()[name])


_TIME: Final = st.from_regex(
    r"(0000|1[67]\d\d|2\d\d\d)-[01]\d-[0-3]\d[Tt][012]?\d:[0-6]\d:[0-6]\d([.,]\d{0,11})?([Zz]|[+-][012]\d:[0-6]\d)",
    fullmatch=True,
    alphabet=st.characters(codec="ascii"),
)


_BASE64: Final = st.binary(max_size=7).map(lambda found: base64.b64encode(found).decode()) | st.text(
    "AQgw+/-_=\r\n", max_size=9
)
_BASE64_OF_TEXT: Final = _TEXT.map(lambda found: base64.urlsafe_b64encode(found.encode()).decode()) | _BASE64
_DIGITS: Final = _TEXT.map(lambda found: found.encode().hex()) | st.text("0aF6 ", max_size=6)
_VERSION: Final = st.from_regex(
    r"v?(0|1|2|01|10|9223372036854775808)\.[012]\.[01](-(a|b|1|2|10|01|-|9999999999999999999)(\.(a|1|2|a1)?)?)?(\+b(\.1)?)?\n?",
    fullmatch=True,
    alphabet=st.characters(codec="ascii"),
)
_SPELT: Final = {
    "base64.decode": _BASE64_OF_TEXT,
    "base64.is_valid": _BASE64_OF_TEXT,
    "base64url.decode": _BASE64_OF_TEXT | _BASE64_OF_TEXT.map(lambda found: found.rstrip("=")),
    "hex.decode": _DIGITS,
    "semver.compare": _VERSION,
    "semver.is_valid": _VERSION,
}


_NANOSECONDS: Final = st.integers(-(2**62), 2**62) | st.integers(0, 10).map(lambda days: days * 86_400 * 10**9)
_MOMENT: Final = _NANOSECONDS | st.tuples(
    _NANOSECONDS, st.sampled_from(["", "UTC", "Europe/Berlin", "America/New_York", "nowhere"])
).map(list)
_MOMENTS: Final = {"time.add_date": 1, "time.clock": 1, "time.date": 1, "time.diff": 2, "time.weekday": 1}
_DATES: Final = {"time.add_date": (st.integers(-300, 300) | _VALUE,) * 3}


def _arguments(name: str) -> st.SearchStrategy[list[Any]]:
    if name.startswith("time.parse"):
        return st.tuples(_TIME | _VALUE).map(list)
    if name in _MOMENTS:
        return st.tuples(
            *(_MOMENT | _MOMENT | _MOMENT | _VALUE for _ in range(_MOMENTS[name])), *_DATES.get(name, ())
        ).map(list)
    if name in _SPELT:
        spelt = _SPELT[name]
        return st.tuples(*(spelt | spelt | spelt | _VALUE for _ in range(_arity(name)))).map(list)
    if name in _ARGUMENTS:
        kinds = [_OF_KIND["number"] | _OF_KIND["set"] | _VALUE] * _ARGUMENTS[name]
    else:
        kinds = [
            st.one_of([_OF_KIND[kind] for kind in sorted(wanted)]) if wanted else _VALUE | _OF_KIND["set"]
            for wanted in arguments_of_functions()[name]
        ]
    return st.tuples(*(kind | kind | kind | kind | _VALUE for kind in kinds)).map(list)


@pytest.fixture(scope="module")
def functions(opa_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Both]:
    folder = tmp_path_factory.mktemp("functions") / "policy"
    folder.mkdir()
    (folder / "lib.rego").write_text(_LIBRARY, "utf-8")
    for name in FUNCTIONS:
        (folder / f"{_package(name)}.rego").write_text(_module(name), "utf-8")
    plan, data = compiled.plan_of(opa_path, folder, [f"c/{_package(name)}/result" for name in FUNCTIONS])
    with compiled.serving(opa_path, folder, compiled.compiled(plan, data)) as both:
        yield both


@pytest.mark.opa
@pytest.mark.parametrize("name", sorted(FUNCTIONS))
def test_a_function_answers_as_opas_does(name: str, functions: Both):
    @settings(
        max_examples=40,
        derandomize=True,
        database=None,
        phases=[Phase.generate],
        suppress_health_check=[HealthCheck.filter_too_much],
    )
    @given(_arguments(name))
    def check(arguments: list[Any]) -> None:
        entry = f"c/{_package(name)}/result"
        answers = functions.opa(entry, arguments), functions.plan(entry, arguments)
        refused = answers[1] == compiled.ERROR and name in _STRICTER
        assert refused or compiled.same(*answers), (arguments, answers)

    check()


_STRICTER: Final = {
    "base64.decode": "bytes that are no text",
    "base64url.decode": "bytes that are no text",
    "hex.decode": "bytes that are no text",
    "replace": "an empty text in one that is not ASCII",
    "strings.replace_n": "an empty text",
    "sprintf": "rare directives",
}
"""Functions that fail where OPA gives a value."""


@pytest.mark.opa
def test_a_policy_calls_functions_of_opa_alone(opa_path: Path):
    assert FUNCTIONS.keys() - arguments_of_functions().keys() == set()
