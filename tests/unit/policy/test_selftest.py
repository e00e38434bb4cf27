"""Tests of a policy, run in the embedded engine."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from gateway.errors import PolicyBroken
from gateway.policy import bundle, folders, selftest
from gateway.policy.folders import PolicyFolders, find_shipped
from gateway.policy.selftest import PolicyTest, Suite
from tests import tiny_policy
from tests.tiny_policy import OVERLAY

Tree = Callable[[dict[str, str]], Path]

TESTS = """package gateway.decision_test

import data.gateway.decision

test_it_denies if decision.result.effect == "deny" with input as {}

test_it_allows if decision.result.effect == "allow" with input as {}

test_it_has_no_value if decision.nothing

test_a_built_in_fails if count(1) == 1

test_of_two_bodies if input.nothing

test_of_two_bodies if decision.result.version == 1 with input as {}

todo_test_later if false

helper_test_not if false
"""


def _run(folder: Path) -> list[PolicyTest]:
    return list(selftest.run(Suite(bundle.read_folder(folder))))


def test_each_test_passes_or_says_why_it_does_not(tree: Tree):
    name = "gateway/decision/decision_test.rego"
    found = _run(tree({name: TESTS}))

    assert [(item.name.rpartition(".")[2], item.place, item.passed, item.detail) for item in found] == [
        ("test_it_denies", f"{name}:5", True, ""),
        ("test_it_allows", f"{name}:7", False, "it has no value"),
        ("test_it_has_no_value", f"{name}:9", False, "it has no value"),
        (
            "test_a_built_in_fails",
            f"{name}:11",
            False,
            f"{name}:11: `count` requires array/object/set/string argument. Got `1`.",
        ),
        ("test_of_two_bodies", f"{name}:13", True, ""),
    ]


def test_a_test_with_another_value_than_true_does_not_pass(tree: Tree):
    found = _run(tree({"a_test.rego": 'package a_test\n\ntest_one := 1\n\ntest_undefined := "<undefined>"\n'}))

    assert [(item.passed, item.detail) for item in found] == [(False, "it is not true"), (False, "it has no value")]


def test_only_the_files_below_a_folder_are_run(tmp_path: Path):
    own = tiny_policy.write(
        tmp_path / "own",
        {
            "tickets/tickets.rego": OVERLAY,
            "tickets/tickets_test.rego": "package overlay.tickets_test\n\nimport data.gateway.testing.example_test as example"
            "\n\ntest_one if example.call.version == 1\n",
        },
    )
    places = PolicyFolders(find_shipped(), None, own)
    (suite,) = folders.read_with_suites(places)[1]

    assert [(item.name, item.passed) for item in selftest.run(suite)] == [("overlay.tickets_test.test_one", True)]


def test_the_shipped_policy_needs_no_tests_and_a_policy_of_ones_own_all_of_its_tests(tree: Tree, tmp_path: Path):
    own = PolicyFolders(tree({}))
    assert folders.read_with_suites(PolicyFolders(find_shipped()))[1] == ()
    assert [suite.below for suite in folders.read_with_suites(own)[1]] == [""]

    copied = tmp_path / "copied"
    tiny_policy.write(copied, dict(bundle.read_folder(find_shipped()).modules))
    overlay = tiny_policy.write(tmp_path / "own", {"tickets/tickets.rego": OVERLAY})
    both = PolicyFolders(copied, None, overlay)
    policy, added = folders.read_with_suites(both)[1]

    assert (policy.below, added.below) == ("", "overlay/")
    assert {name for name, _ in added.policy.modules} - {name for name, _ in policy.policy.modules} == {
        "overlay/tickets/tickets.rego"
    }


def test_data_in_the_place_of_a_test_are_refused(tree: Tree):
    folder = tree({"a_test.rego": "package a_test\n\ntest_one if false\n", "a_test/data.yaml": "test_one: true\n"})

    with pytest.raises(PolicyBroken, match=r"it gives data\.a_test\.test_one"):
        _run(folder)


def test_a_test_that_cannot_be_read_is_refused(tree: Tree):
    with pytest.raises(PolicyBroken, match=r"a_test\.rego:4: expecting expression"):
        _run(tree({"a_test.rego": "package a_test\n\ntest_one if \n"}))
