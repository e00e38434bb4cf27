"""Which values of a call with a declared lasting effect the goal, the contract or the directory name."""

from __future__ import annotations

from typing import Any

import pytest

from gateway.inspection.destinations.directory import DirectoryEntry, directory_of
from gateway.inspection.words.declared import MAX_VALUES
from gateway.model.call import Call
from gateway.model.target import Effect, Labels, Role, Target
from gateway.model.task import Contract
from tests.unit.inspection.analysing import analyse

KEY = b"k" * 32
DECLARED = Contract(effects={"destructive": ("files/rm",)}, destinations=("old/b.txt",))


def unnamed(
    arguments: Any,
    goal: str | None = "Remove report.txt and 12 lines",
    contract: Contract | None = DECLARED,
    roles: dict[str, Role] | None = None,
    effect: Effect = Effect.DESTRUCTIVE,
) -> set[str] | None:
    target = Target("tool", "files", "rm", "files", labels=Labels(effect, roles=roles or {}))
    directory = directory_of([DirectoryEntry("acme/*")])
    call = Call("tools/call", target, arguments)
    found = analyse(call, key=KEY, goal=goal, contract=contract, directory=directory).unnamed
    return None if found is None else set(found)


def test_only_a_declared_effect_is_looked_at():
    assert unnamed({"name": "x.txt"}, contract=None) is None
    assert unnamed({"name": "x.txt"}, contract=Contract()) is None
    assert unnamed({"name": "x.txt"}, effect=Effect.MINT) is None
    assert unnamed({"name": "x.txt"}, effect=Effect.EXEC) is None
    assert unnamed({"name": "x.txt"}) == {"/name"}


@pytest.mark.parametrize(
    "value", ["report.txt", "Report.TXT", "old/b.txt", "acme/site", 12, "12", True, None, "", [], ["report.txt", 12]]
)
def test_a_value_that_is_named_has_a_source(value: object):
    assert unnamed({"name": value}) == set()


@pytest.mark.parametrize(
    "value",
    ["archive", "report", "report.txt.bak", "eport.txt", "a", "13", 13, ["report.txt", "b"], {"x": {"y": "b"}}, "and"],
)
def test_any_other_value_has_none(value: object):
    assert unnamed({"name": value, "other": "report.txt"}) == {"/name"}
    assert unnamed({"name": value}, goal=None, contract=Contract(effects={"destructive": ()})) == {"/name"}


def test_roles_of_authority_and_texts_have_rules_of_their_own():
    for role in (Role.DESTINATION, Role.COMMAND, Role.CREDENTIAL, Role.AMOUNT, Role.CONTENT, Role.RECORD):
        assert unnamed({"a/b": "x", "c": "x"}, roles={"/a~1b": role, "/c": Role.SELECTOR}) == {"/c"}
    assert unnamed({"a": {"b": "x"}}, roles={"/a/b": Role.CONTENT}) == {"/a"}


def test_more_values_than_are_told_apart_have_no_source():
    assert unnamed({"name": ["report.txt"] * (MAX_VALUES - 1)}) == set()
    assert unnamed({"name": ["report.txt"] * MAX_VALUES}) == {"/name"}
    assert unnamed({"name": [f"f{n}.txt" for n in range(2 * MAX_VALUES)], "other": "zzz"}) == {"/name", "/other"}
