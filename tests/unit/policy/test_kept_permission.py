"""A permission without conditions is decided once, and stands for equal answers alone."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from tests.unit.policy.test_policy import ALLOWED, Source, policy_of

_LIKE_AN_ALLOW: tuple[Any, ...] = (
    ALLOWED,
    *({**ALLOWED, "version": version} for version in (True, 1.0, 2, "1", None)),
    *({**ALLOWED, "effect": effect} for effect in ("deny", "ask", True)),
    *(
        {**ALLOWED, "policy": policy}
        for policy in ({"name": "said"}, {"name": "x"}, {"name": ""}, {"name": 1}, "said", {})
    ),
    {**ALLOWED, "obligations": [{"id": "label", "properties": {"confidentiality": "internal"}}]},
    {**ALLOWED, "obligations": [{"id": "unknown", "properties": dict[str, Any]()}]},
    {**ALLOWED, "reasons": [{"code": "a/b", "message": "m"}]},
    {**ALLOWED, "reasons": ()},
    {**ALLOWED, "reasons": {}},
    {**ALLOWED, "reasons": None},
    {**ALLOWED, "more": 1},
    {**ALLOWED, "more": True},
    {name: value for name, value in ALLOWED.items() if name != "obligations"},
    *({}, [], None, True, "<undefined>"),
)


@pytest.mark.parametrize("second", _LIKE_AN_ALLOW, ids=str)
async def test_a_decision_does_not_depend_on_the_answer_before(second: object):
    fresh = await policy_of(Source(second, name="n", revision="r1")).decide({})
    for first in _LIKE_AN_ALLOW:
        source = Source(first, name="n", revision="r1")
        policy = policy_of(source)
        await policy.decide({})
        source.answer = second

        assert await policy.decide({}) == fresh


async def test_a_kept_permission_names_the_policy_in_force():
    source = Source(revision="r1")
    policy = policy_of(source)
    await policy.decide({})

    source.revision = "r2"

    assert (await policy.decide({})).policy.revision == "r2"


async def test_an_equal_permission_is_the_same_decision():
    policy = policy_of(Source(copy.deepcopy(ALLOWED), revision="r1"))

    assert await policy.decide({}) is await policy.decide({})
