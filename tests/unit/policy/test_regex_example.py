"""An example of a regular expression is a text that the expression matches."""

from __future__ import annotations

import re
from typing import Any

import pytest
import re2
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.policy.regex_example import MAX_LENGTH, example

ATOMS = st.sampled_from(
    ["a", "Z", "7", r"\.", r"\-", r"\\", r"\n", r"\x41", r"\x{2f}", ".", "[a-z]", "[^a-z]", "[]x]", r"[\]\-]", "[[:digit:]]", "@", " "]
)  # fmt: skip
TIMES = st.sampled_from(["", "", "?", "*", "+", "{2}", "{1,3}", "{2,}", "+?"])
EXPRESSIONS = st.recursive(
    st.builds("{}{}".format, ATOMS, TIMES),
    lambda inner: (
        st.lists(inner, min_size=1, max_size=4).map("".join)
        | st.builds("(?:{}){}".format, inner, TIMES)
        | st.builds("({}|{}){}".format, inner, inner, TIMES)
        | st.builds("{}|{}".format, inner, inner)
    ),
    max_leaves=8,
)


@settings(max_examples=500, deadline=None, derandomize=True)
@given(expression=EXPRESSIONS)
def test_an_expression_matches_its_example(expression: str):
    matched: Any = re2.fullmatch(expression, example(expression))  # pyright: ignore[reportUnknownMemberType] - untyped

    assert matched, example(expression)


@pytest.mark.parametrize(
    ("expression", "text"),
    [
        (r"[A-Za-z0-9._+-]+@corp\.example", "A@corp.example"),
        ("^reports/(daily|weekly)$", "reports/daily"),
        ("[^a]", "0"),
        ("", ""),
        ("x{1000000}", "x" * MAX_LENGTH),
        ("(" * 100_000, ""),
        ("((x", "x"),
        ("[", ""),
        ("a{", "a{"),
        ("\\", ""),
        (r"\x{110000}a", "a"),
        (r"[^\x00-\x{10ffff}]", ""),
    ],
)
def test_an_example_is_made_of_anything(expression: str, text: str):
    assert example(expression) == text


@settings(max_examples=300, deadline=None, derandomize=True)
@given(expression=st.text(alphabet=list("ab()[]{}|*+?\\^$.-,:x0123"), max_size=30))
def test_no_text_is_too_odd(expression: str):
    assert len(example(expression)) <= MAX_LENGTH


def test_the_usual_expressions_of_grants_have_examples():
    for expression in (
        r"[A-Z]{2,5}-[0-9]{1,6}",
        r"https://docs\.corp\.example/.+",
        r"(#|@)[a-z0-9_-]{1,80}",
        r"v[0-9]+\.[0-9]+",
    ):
        assert re.fullmatch(expression, example(expression))
