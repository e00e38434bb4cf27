"""Answers of authorization servers, strictly read."""

from __future__ import annotations

from typing import Any

import pytest

from gateway.authority.connections.browsers import PendingConsent
from gateway.authority.connections.flow import (
    CallbackAnswer,
    TokenGrant,
    authorization_url,
    challenge_of,
    check_issuer,
    read_answer,
    read_grant,
)
from gateway.model.decision import Reason
from tests.unit.authority.brokers.asking import jwt_text

ISSUER = "https://as.example"
TOKENS = {"access_token": "a", "token_type": "Bearer", "expires_in": 60, "refresh_token": "r"}


def pending(*, names_issuer: bool) -> PendingConsent:
    return PendingConsent("s", "v", "l", ISSUER, "https://gateway.example/cb", names_issuer)


def test_the_challenge_is_that_of_rfc_7636_appendix_b():
    assert challenge_of("dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk") == "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM"


def test_a_query_of_the_endpoint_stays():
    assert authorization_url("https://as.example/a?x=1", [("state", "s&t")]) == "https://as.example/a?x=1&state=s%26t"


@pytest.mark.parametrize(
    "query",
    [
        "",
        "code=c",
        "state=s",
        "state=&code=c",
        "code=c&state=s&error=access_denied",
        "code=c&state=s&state=s",
        "code=c&code=d&state=s",
        "code=c&state=s&iss=a&iss=b",
        "code=%ff&state=s",
        f"code={'c' * 9000}&state=s",
        "&".join(f"p{number}=1" for number in range(40)) + "&code=c&state=s",
    ],
)
def test_a_malformed_answer_is_refused(query: str):
    found = read_answer(query)
    assert isinstance(found, Reason)
    assert found.code == "connection/answer"


def test_an_answer_is_read():
    assert read_answer("code=c&state=s&iss=https%3A%2F%2Fas.example&session_state=x") == CallbackAnswer(
        "s", ISSUER, "c", None
    )
    assert read_answer("error=access_denied&state=s") == CallbackAnswer("s", None, None, "access_denied")


@pytest.mark.parametrize(
    ("issuer", "names_issuer", "is_refused"),
    [
        (ISSUER, True, False),
        (ISSUER, False, False),
        (None, False, False),
        (None, True, True),
        ("https://evil.example", True, True),
        ("https://evil.example", False, True),
        (f"{ISSUER}/", True, True),
        ("", False, True),
    ],
)
def test_the_issuer_is_compared_as_rfc_9207_says(issuer: str | None, *, names_issuer: bool, is_refused: bool):
    found = check_issuer(pending(names_issuer=names_issuer), issuer)
    assert (found is not None) == is_refused
    assert found is None or found.code == "connection/issuer"


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
