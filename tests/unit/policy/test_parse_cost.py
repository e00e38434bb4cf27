"""Rego that the engine's parser would take too long for is refused before the parser sees it."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.errors import PolicyBroken
from gateway.policy import bundle, embedded, folders, parse_cost
from gateway.policy.folders import PolicyFolders, find_shipped
from tests import tiny_policy
from tests.tiny_policy import OVERLAY

Tree = Callable[[dict[str, str]], Path]

DEEP = f"{'[' * 120}1{']' * 120}"
OPEN = ("[", "{", '{"a": ', "[1, ", "([", "count([", "{[", "[1 | y := [", "{1 | {")
CLOSE = {"[": "]", "{": "}", "(": ")"}


def _refusal(text: str, limit: int = parse_cost.MAX_RULES) -> str:
    try:
        parse_cost.require([("a.rego", text)], limit)
    except PolicyBroken as error:
        return f"{error.message}; {error.remedy}"
    return ""


@pytest.mark.parametrize(
    "text",
    [
        f"x := {DEEP}",
        f"x := {'[' * 120}",
        f"x if {{ some y in {DEEP} }}",
        f"x contains {DEEP}",
        f"f({DEEP}) := 1",
        "x := " + '{"a": ' * 40 + "1" + "}" * 40,
        "x := `a\n`\ny := " + DEEP,
        f'x := "]" # ]\ny := {DEEP}',
        "x := {" + f"{'[' * 12}1{']' * 12}, " * 40 + "1}",
    ],
)
def test_rego_that_takes_the_parser_too_long_is_refused(text: str):
    assert "the engine would take too long to read the Rego files" in _refusal(text)


def test_the_worst_line_and_its_depth_are_named():
    assert _refusal(f"x := `\n`\n\ny := {DEEP}\n\nz := [1]\n").startswith("a.rego:4: ")
    assert _refusal(f"x := {DEEP}").endswith(
        "where brackets are nested 120 deep; move large or nested values to data files, or give their inner parts names"
    )


@pytest.mark.parametrize(
    "text",
    [
        f'x := "{DEEP}"',
        f"x := `{DEEP}`",
        f"# {DEEP}\nx := 1",
        f'x := "\\"{DEEP}"',
        "x := 1\n" * 20_000,
        "x := [[[[[[1]]]]]]",
    ],
)
def test_rego_that_the_parser_reads_quickly_passes(text: str):
    assert _refusal(text) == ""


def test_files_count_together():
    one = ("a.rego", "x := [1]\n" * 6_000)

    parse_cost.require([one] * 2, parse_cost.MAX_RULES)
    with pytest.raises(PolicyBroken, match="too long"):
        parse_cost.require([one] * 20, parse_cost.MAX_RULES)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.sampled_from(OPEN), min_size=1, max_size=14))
def test_no_nesting_takes_the_engine_longer_than_was_estimated(opened: list[str]):
    """The estimate holds for each way to nest: 100 µs of processor time a step, 10 times as long as was measured."""
    before = "".join(opened)
    after = "".join(CLOSE[letter] for letter in reversed(before) if letter in CLOSE)
    text = f"package a\n\nx := {before}1{after}\n"
    limit = 2**15
    if _refusal(text, limit):
        return
    begun = time.thread_time()
    with suppress(PolicyBroken):
        embedded.parse([("a.rego", text)])

    assert time.thread_time() - begun < limit * 100e-6


def test_the_shipped_policy_takes_a_fifth_of_the_steps():
    policy = bundle.read_folder(find_shipped())

    parse_cost.require(policy.modules, parse_cost.MAX_RULES // 5)
    parse_cost.require(policy.tests, parse_cost.MAX_TESTS // 5)


@pytest.mark.parametrize("name", ["a.rego", "a_test.rego"])
def test_a_policy_and_an_overlay_are_refused_when_they_are_read(name: str, tree: Tree, tmp_path: Path):
    text = f"package overlay.tickets\n\nx := {DEEP}\n"
    own = tiny_policy.write(tmp_path / "own", {"tickets/tickets.rego": OVERLAY, f"tickets/{name}": text})

    for places in (
        PolicyFolders(tree({name: f"package a\n\nx := {DEEP}\n"})),
        PolicyFolders(find_shipped(), None, own),
    ):
        with pytest.raises(PolicyBroken, match=rf"{name}:3: the engine would take too long"):
            folders.read_policy(places)
