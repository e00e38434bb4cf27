"""Claims of ID tokens: each has to be of this issuer, client, login and time."""

from __future__ import annotations

from typing import Any

import pytest

from gateway.identity.claim_maps import GENERIC
from gateway.identity.id_token import ExpectedLogin, LoginFault, VerifiedLogin, read_login

NOW = 1_800_000_000.0
EXPECTED = ExpectedLogin("https://idp.example", "console", "nonce", GENERIC, 300.0)
CLAIMS: dict[str, Any] = {
    "iss": "https://idp.example",
    "aud": "console",
    "sub": "alice",
    "nonce": "nonce",
    "exp": NOW + 60,
    "iat": NOW,
    "auth_time": NOW - 20,
    "groups": ["sre", "staff"],
}


def read(**changes: Any) -> VerifiedLogin | LoginFault:
    claims = {name: value for name, value in (CLAIMS | changes).items() if value is not None}
    return read_login(claims, EXPECTED, NOW)


def test_a_login_has_the_person_groups_and_time():
    assert read() == VerifiedLogin("alice", "https://idp.example", ("sre", "staff"), NOW - 20, None)
    assert read(groups="sre", name="Alice") == VerifiedLogin(
        "alice", "https://idp.example", ("sre",), NOW - 20, "Alice"
    )
    assert read(groups=None) == VerifiedLogin("alice", "https://idp.example", (), NOW - 20, None)
    assert read(aud=["console", "other"], azp="console") == read()


@pytest.mark.parametrize(
    "changes",
    [
        {"iss": "https://other.example"},
        {"aud": "other"},
        {"aud": ["console", "other"]},
        {"azp": "other"},
        {"nonce": "another"},
        {"nonce": None},
        {"exp": NOW - 11},
        {"exp": None},
        {"iat": NOW + 11},
        {"iat": True},
        {"auth_time": None},
        {"auth_time": NOW + 11},
        {"auth_time": NOW - 311},
        {"sub": None},
        {"sub": "a\u202eb"},
    ],
)
def test_a_token_of_another_login_is_none(changes: dict[str, Any]):
    assert isinstance(read(**changes), LoginFault)


def test_groups_of_another_form_give_no_role():
    login = read(groups=[{"name": "sre"}])

    assert isinstance(login, VerifiedLogin)
    assert login.groups == ()
