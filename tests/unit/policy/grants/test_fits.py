from __future__ import annotations

from typing import Any

import pytest

from gateway.policy.grants import Fit, GrantPart, nearest, read_fits

NAMED, OTHER = GrantPart("agents", ["a"], "b"), GrantPart("tools", ["x"], "y")


def test_an_answer_is_read():
    grant: dict[str, Any] = {"upstream": "files", "index": 2, "id": "g", "approval": True, "failed": [], "open": []}
    part = {"field": "when", "pointer": "/path", "wanted": {"under": "a"}, "found": ["b"]}
    answer = {"version": 1, "grants": [grant, {**grant, "failed": [part]}]}

    found = read_fits(answer)

    assert found is not None
    first, second = found

    assert (first.holds, first.approval, first.id) == (True, True, "g")
    assert (second.holds, second.failed[0].name) == (False, "when /path")
    assert GrantPart("").name == "grant"
    assert GrantPart("users").name == "users"


@pytest.mark.parametrize("answer", [None, {}, [], "x", {"version": 2, "grants": []}, {"version": 1, "grants": [1]}])
def test_another_answer_says_nothing(answer: object):
    assert read_fits(answer) is None


def test_the_nearest_name_the_target_and_lack_least():
    fits = [
        Fit("*", 0, "all", failed=(NAMED,)),
        Fit("f", 0, "two", failed=(NAMED, GrantPart("users"))),
        Fit("f", 1, "one", failed=(NAMED,)),
        Fit("f", 2, "other", failed=(OTHER,)),
        Fit("f", 3, "open", failed=(), open=(GrantPart("when", pointer="/a"),)),
    ]

    assert [fit.id for fit in nearest(fits)] == ["open", "one", "all"]
    assert [fit.id for fit in nearest(fits[3:4])] == ["other"]
    assert nearest([]) == ()


def test_a_grant_for_the_agent_is_nearer_than_another_that_lacks_less():
    condition = GrantPart("when", pointer="/a")
    fits = [
        Fit("f", 0, "another", failed=(NAMED,)),
        Fit("f", 1, "user", failed=(GrantPart("users"),)),
        Fit("f", 2, "conditions", failed=(condition, condition)),
        Fit("f", 3, "one", failed=(condition,)),
    ]

    assert [fit.id for fit in nearest(fits, 4)] == ["one", "conditions", "user", "another"]
