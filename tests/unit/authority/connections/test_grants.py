"""Tokens of authorization servers, strictly read."""

from __future__ import annotations

from typing import Any

import pytest

from gateway.authority.connections.grants import TokenGrant, read_grant
from tests.unit.authority.brokers.asking import jwt_text

TOKENS = {"access_token": "a", "token_type": "Bearer", "expires_in": 60, "refresh_token": "r"}


@pytest.mark.parametrize(
    "changes",
    [
        {"access_token": None},
        {"access_token": "a b"},
        {"access_token": 7},
        {"token_type": "DPoP"},
        {"token_type": None},
        {"refresh_token": ["r"]},
        {"scope": ["a"]},
    ],
)
def test_an_unusable_token_answer_is_named_without_its_content(changes: dict[str, Any]):
    assert isinstance(read_grant({**TOKENS, **changes}, ("a",), 0.0), str)


@pytest.mark.parametrize(
    ("changes", "scopes"),
    [
        (dict[str, Any](), {"a", "b"}),
        ({"scope": "a"}, {"a"}),
        ({"scope": "a,b"}, {"a", "b"}),
        ({"scope": ""}, set[str]()),
        ({"access_token": jwt_text({"scope": "a admin"})}, {"a", "admin"}),
        ({"access_token": jwt_text({"scp": ["admin"]}), "scope": "a"}, {"a", "admin"}),
    ],
)
def test_scopes_are_those_of_the_answer_and_of_the_token(changes: dict[str, Any], scopes: set[str]):
    found = read_grant({**TOKENS, **changes}, ("a", "b"), 0.0)
    assert isinstance(found, TokenGrant)
    assert found.scopes == scopes
