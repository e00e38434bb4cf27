"""The tokens of a caller that has several, and how long each is searched for."""

from __future__ import annotations

import base64
import json

import pytest

from gateway.credentials.caller_tokens import LIFETIME, MAX_OF_CALLER, CallerTokens, expiry
from gateway.credentials.fingerprint import Fingerprints
from gateway.credentials.own_token import secret_of
from tests.unit.live import live_values

KEYED = Fingerprints(b"k" * 32)
FIRST, SECOND = "Bearer k7Qz93mW2tRx8bLnVq7t", "Bearer aB3dE5gH7jK9mN2pZz9Y"


def jwt(**claims: object) -> str:
    payload = base64.urlsafe_b64encode(json.dumps(claims).encode()).decode().rstrip("=")
    return f"Bearer eyJhbGciOiJFUzI1NiJ9.{payload}.c2lnbmF0dXJlLXRoYXQtaXMtbG9uZw"


def name(authorization: str) -> str:
    return KEYED.of(secret_of(authorization).decode())


class Kept:
    """Tokens of callers, and for which of them a message is searched."""

    def __init__(self) -> None:
        self.tokens = CallerTokens(KEYED, live_values())

    def searched(self, *authorization: str, now: float = 0.0, owner: str = "ada") -> list[str]:
        return [search.name for search in self.tokens.searches(owner, authorization, now)]


@pytest.fixture
def kept() -> Kept:
    return Kept()


def test_a_message_is_searched_for_the_tokens_of_its_own_caller(kept: Kept):
    assert kept.searched(FIRST) == [name(FIRST)]
    assert kept.searched(SECOND) == [name(FIRST), name(SECOND)]
    assert kept.searched(FIRST) == [name(SECOND), name(FIRST)]
    assert kept.searched(SECOND, owner="bert") == [name(SECOND)]
    assert kept.searched() == kept.searched("Bearer short") == []
    assert kept.searched(FIRST, SECOND, owner="carl") == [name(FIRST), name(SECOND)]


def test_a_token_is_forgotten_when_it_has_expired(kept: Kept):
    old = jwt(exp=500)
    kept.searched(old)
    assert kept.searched(SECOND, now=499.0) == [name(old), name(SECOND)]
    assert kept.searched(SECOND, now=500.0) == [name(SECOND)]


def test_the_token_of_the_request_is_searched_for_even_if_its_time_is_over(kept: Kept):
    """A verifier allows for clocks that differ."""
    for _ in range(2):
        assert kept.searched(jwt(exp=500), now=510.0) == [name(jwt(exp=500))]


def test_an_opaque_token_is_kept_for_an_hour(kept: Kept):
    kept.searched(FIRST)
    assert len(kept.searched(SECOND, now=LIFETIME - 1)) == 2
    assert kept.searched(SECOND, now=LIFETIME) == [name(SECOND)]


def test_of_many_tokens_of_a_caller_the_latest_are_searched_for(kept: Kept):
    found = [kept.searched(f"{FIRST}{number}0") for number in range(MAX_OF_CALLER + 3)]
    assert found[-1] == [name(f"{FIRST}{number}0") for number in range(3, MAX_OF_CALLER + 3)]
    many = [f"{SECOND}{number}0" for number in range(MAX_OF_CALLER + 3)]
    assert kept.searched(*many) == [name(token) for token in many]


def test_the_caller_that_was_quiet_longest_is_forgotten(kept: Kept, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("gateway.credentials.caller_tokens.MAX_CALLERS", 2)
    for owner in ("ada", "bert", "ada", "carl"):
        kept.searched(FIRST, owner=owner)
    assert [len(kept.searched(SECOND, owner=owner)) for owner in ("ada", "carl")] == [2, 2]
    assert kept.searched(SECOND, owner="bert") == [name(SECOND)]


def test_searches_are_made_anew_when_there_was_no_room_for_them(kept: Kept, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("gateway.credentials.caller_tokens.MAX_SEARCHES", 1)
    kept.searched(FIRST)
    for _ in range(2):
        assert kept.searched(SECOND)[-1] == name(SECOND)
    (only,) = kept.tokens.searches("bert", (FIRST,), 0.0)
    assert kept.tokens.searches("bert", (FIRST,), 0.0) == [only]


@pytest.mark.parametrize(
    ("authorization", "ends"),
    [
        (jwt(exp=500), 500),
        (jwt(exp=500.5), 500.5),
        (jwt(), 0),
        (jwt(exp="soon"), 0),
        ("Bearer a.b.c", 0),
        ("Bearer a.bbbbb.c", 0),
        ("Bearer opaque", 0),
        ("", 0),
    ],
)
def test_the_expiry_of_a_token_is_its_claim(authorization: str, ends: float):
    assert expiry(authorization) == ends
