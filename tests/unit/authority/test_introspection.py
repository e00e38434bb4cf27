"""Acceptance test 15: introspection is no oracle."""

from __future__ import annotations

import base64
import json
from typing import TYPE_CHECKING
from urllib.parse import quote_plus, urlencode

import pytest

from gateway.authority.introspection import (
    INACTIVE,
    ActiveTokens,
    IntrospectingUpstream,
    Introspector,
    RateLimit,
    digest_secret,
    read_token,
)
from tests.minted import AUDIENCE, NOW, Minter, decoded

if TYPE_CHECKING:
    from gateway.authority.minting import MintedToken

SECRET = "tickets-secret: ü%+ of many characters"
TICKETS = IntrospectingUpstream("tickets", digest_secret(SECRET), frozenset({AUDIENCE}))
MAIL = IntrospectingUpstream("mail", digest_secret("mail-secret"), frozenset({"https://mail.example"}))


@pytest.fixture(scope="module")
def minter() -> Minter:
    return Minter()


@pytest.fixture
def tokens() -> ActiveTokens:
    return ActiveTokens()


@pytest.fixture
def introspector(tokens: ActiveTokens) -> Introspector:
    return Introspector([TICKETS, MAIL], tokens)


@pytest.fixture
def token(minter: Minter, tokens: ActiveTokens) -> str:
    minted = minter.mint.mint_task(minter.request(), jti="j-1", now=NOW)
    assert tokens.add(_minted(minted), NOW)
    return _minted(minted).value


def _minted(found: object) -> MintedToken:
    return found  # pyright: ignore[reportReturnType]


def basic(name: str, secret: str) -> str:
    return "Basic " + base64.b64encode(f"{quote_plus(name)}:{quote_plus(secret)}".encode()).decode()


def test_an_upstream_learns_all_of_a_token_for_its_audience(introspector: Introspector, token: str):
    answer = json.loads(introspector.introspect(TICKETS, token, NOW))

    assert answer == {"active": True, "token_type": "Bearer", **decoded(token.split(".")[1])}


def test_another_upstream_learns_nothing(introspector: Introspector, token: str):
    assert introspector.introspect(MAIL, token, NOW) == INACTIVE


def test_a_token_is_inactive_once_it_ended_or_expired(introspector: Introspector, tokens: ActiveTokens, token: str):
    assert introspector.introspect(TICKETS, token, NOW + 60) == INACTIVE
    tokens.end("j-1")
    assert introspector.introspect(TICKETS, token, NOW) == INACTIVE


def test_no_token_is_active_after_a_restart(token: str):
    assert Introspector([TICKETS], ActiveTokens()).introspect(TICKETS, token, NOW) == INACTIVE


def test_a_forged_signature_over_true_claims_is_inactive(introspector: Introspector, minter: Minter, token: str):
    head, body, _ = token.split(".")
    forged = (
        minter.forge(token),  # another true signature: still a token that was never issued
        f"{head}.{body}.AAAA",
        f"{head}.{body}.",
        f"x.{body}.y",
        token + "=",
        f"{head}.{body}=.{token.split('.')[2]}",
    )

    assert {introspector.introspect(TICKETS, each, NOW) for each in forged} == {INACTIVE}


@pytest.mark.parametrize(
    "guess",
    [
        "",
        ".",
        "..",
        "a.b.c",
        "j-1",
        "é.é.é",
        "." * 9_000,
        "a." + "W" * 8_000 + ".c",
        "a.W10.c",
        "a.bnVsbA.c",
        "a.eyJqdGkiOjF9.c",
    ],
)
def test_a_guess_is_inactive(introspector: Introspector, token: str, guess: str):
    assert introspector.introspect(TICKETS, guess, NOW) == INACTIVE


def test_deeply_nested_claims_are_inactive(introspector: Introspector):
    nested = base64.urlsafe_b64encode(b"[" * 6_000).decode().rstrip("=")

    assert introspector.introspect(TICKETS, f"a.{nested}.c", NOW) == INACTIVE


def test_a_client_is_known_by_its_secret(introspector: Introspector):
    assert introspector.authenticate([basic("tickets", SECRET)]) is TICKETS
    assert introspector.authenticate([basic("mail", "mail-secret").replace("Basic", "bASIC")]) is MAIL


@pytest.mark.parametrize(
    "values",
    [
        [],
        [""],
        ["Basic"],
        ["Basic ="],
        ["Basic " + base64.b64encode(b"tickets").decode()],
        ["Basic " + base64.b64encode(b"\xff:\xff").decode()],
        ["Bearer abc"],
        [basic("tickets", "mail-secret")],
        [basic("tickets", SECRET + " ")],
        [basic("mail", SECRET)],
        [basic("", "")],
        [basic("unknown", "")],
        [basic("tickets", SECRET), basic("tickets", SECRET)],
    ],
)
def test_any_other_credentials_are_nobodys(introspector: Introspector, values: list[str]):
    assert introspector.authenticate(values) is None


# --- the form --------------------------------------------------------------------------------------


def test_a_question_names_one_token():
    assert read_token(urlencode({"token": "a.b+c", "token_type_hint": "access_token"}).encode()) == "a.b+c"


@pytest.mark.parametrize(
    "body",
    [b"", b"token=", b"token=a&token=b", b"{}", b"token=\xff", b"token=" + b"a" * 20_000, b"&".join([b"a=b"] * 9)],
)
def test_any_other_form_has_no_token(body: bytes):
    assert read_token(body) is None


# --- rates -----------------------------------------------------------------------------------------


def test_events_are_bound_in_each_window_and_for_each_key():
    limit = RateLimit(2, 60)

    assert [limit.admits(key, now) for key, now in [("a", 0), ("a", 1), ("a", 59), ("b", 59), ("a", 60)]] == [
        True,
        True,
        False,
        True,
        True,
    ]


def test_many_keys_do_not_fill_the_memory_nor_drive_out_a_known_key():
    limit = RateLimit(1_000_000, 60, keys=10)

    admitted = [limit.admits(f"k-{number}", 0) for number in range(1_000)]

    assert sum(admitted) == len(limit._counts) == 10
    assert limit.admits("k-3", 0)


def test_a_clock_that_is_set_back_begins_a_new_window():
    limit = RateLimit(1, 60)

    assert [limit.admits("a", now) for now in (1_000, 1_001, 5, 6)] == [True, False, True, False]
