"""The tokens of a caller that has several, and how long each is searched for."""

from __future__ import annotations

import base64
import json
from random import Random
from string import ascii_letters, digits

import pytest

from gateway.inspection.credentials.caller_tokens import (
    LIFETIME,
    MAX_OF_CALLER,
    CallerTokens,
    Look,
    expiry,
    look_through,
    secret_of,
)
from gateway.inspection.credentials.fingerprint import Fingerprints
from tests.unit.live import live_values

KEYED = Fingerprints(b"k" * 32)
FIRST, SECOND = "Bearer k7Qz93mW2tRx8bLnVq7t", "Bearer aB3dE5gH7jK9mN2pZz9Y"


UNSEEN = Look((), is_plain=False)
"""A look at a message that may have any token."""


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
        if not self.tokens.take(owner, authorization, now):
            return []
        return [search.name for search in self.tokens.searches(owner, UNSEEN)]


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


def held(kept: Kept, authorization: str, *presented: str, owner: str = "ada") -> bool:
    """Return whether the index of a request has a token."""
    digests = KEYED.gram_digests(secret_of(authorization))
    return bool(kept.tokens.index(owner, presented).find_grams(digests))


def test_the_index_of_a_request_has_its_own_tokens_alone(kept: Kept):
    assert not held(kept, FIRST)
    assert held(kept, FIRST, FIRST)
    assert not held(kept, FIRST)
    assert not held(kept, FIRST, SECOND)
    assert held(kept, FIRST, FIRST, SECOND)
    assert held(kept, SECOND, FIRST, SECOND)
    assert not held(kept, FIRST, SECOND, owner="bert")
    assert held(kept, jwt(exp=500), jwt(exp=500))


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
    monkeypatch.setattr("gateway.inspection.credentials.caller_tokens.MAX_CALLERS", 2)
    for owner in ("ada", "bert", "ada", "carl"):
        kept.searched(FIRST, owner=owner)
    assert [len(kept.searched(SECOND, owner=owner)) for owner in ("ada", "carl")] == [2, 2]
    assert kept.searched(SECOND, owner="bert") == [name(SECOND)]


def test_searches_are_made_anew_when_there_was_no_room_for_them(kept: Kept, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("gateway.inspection.credentials.caller_tokens.MAX_SEARCHES", 1)
    kept.searched(FIRST)
    for _ in range(2):
        assert kept.searched(SECOND)[-1] == name(SECOND)
    assert kept.tokens.take("bert", (FIRST,), 0.0)
    (only,) = kept.tokens.searches("bert", UNSEEN)
    assert kept.tokens.searches("bert", UNSEEN) == [only]


def test_only_tokens_near_a_message_are_searched_for(kept: Kept):
    kept.searched(FIRST)
    kept.searched(SECOND)
    kept.searched(FIRST, owner="bert")
    live = kept.tokens._live
    piece = secret_of(FIRST)[4:13]

    def near(text: bytes, owner: str) -> list[str]:
        text = b'{"text": "' + text + b'"}'
        return [search.name for search in kept.tokens.searches(owner, look_through(live, (), text, has_tokens=True))]

    assert near(b"nothing of note", "ada") == []
    assert near(b"a " + piece + b" b", "ada") == near(b"a " + piece + b" b", "bert") == [name(FIRST)]
    assert near(secret_of(SECOND), "bert") == []


def test_a_token_that_could_be_any_text_is_searched_for_in_each_message(kept: Kept):
    ordinary = f"Bearer {'a' * 30}"
    assert kept.tokens.take("ada", (ordinary,), 0.0)
    assert [search.name for search in kept.tokens.searches("ada", Look((), is_plain=True))] == [name(ordinary)]


def test_ten_thousand_callers_make_no_search(kept: Kept, monkeypatch: pytest.MonkeyPatch):
    """A search takes a millisecond, and the room for searches ends at some."""
    made: list[bytes] = []

    def note(secret: bytes, _fingerprints: Fingerprints) -> None:
        made.append(secret)

    monkeypatch.setattr("gateway.inspection.credentials.caller_tokens.TokenSearch", note)
    random = Random(3)
    for number in range(10_000):
        token = "".join(random.choices(ascii_letters + digits, k=43))
        assert kept.tokens.take(f"caller-{number}", (f"Bearer {token}",), 0.0)
        look = look_through(kept.tokens._live, (), b'{"query": "open bugs in the parser"}', has_tokens=True)
        assert kept.tokens.searches(f"caller-{number}", look) == []
    assert made == []


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
