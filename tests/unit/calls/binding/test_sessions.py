"""Session ids: usable by their owner, at the upstream that gave them, and by nobody else."""

from __future__ import annotations

from dataclasses import replace

import pytest

from gateway.base.keys.key_ring import KeyRing
from gateway.calls.binding.ownership import Session, Sessions
from gateway.model.caller import Actor, AuthMethod, Principal, User

OWNER = Principal(id="agent", issuer="https://idp", method=AuthMethod.JWT, user=User("ann"))
SESSIONS = Sessions(KeyRing(b"k" * 32))
SESSION = Session("s.1")
SEALED = SESSIONS.seal(SESSION, upstream="files", principal=OWNER)
OPENING = Session("s.1", opens_urls=True)
SEALED_OPENING = SESSIONS.seal(OPENING, upstream="files", principal=OWNER)


def test_the_owner_gets_the_upstreams_id_back():
    assert SESSIONS.open(SEALED, upstream="files", principal=OWNER) == SESSION


def test_a_new_token_of_the_same_owner_opens_it_too():
    later = replace(OWNER, token_id="other", scopes=frozenset({"more"}))

    assert SESSIONS.open(SEALED, upstream="files", principal=later) == SESSION


def test_an_id_without_dots_and_one_that_looks_sealed_come_back_too():
    for identifier in ("s", "", SEALED):
        for session in (Session(identifier), Session(identifier, opens_urls=True)):
            sealed = SESSIONS.seal(session, upstream="files", principal=OWNER)
            assert SESSIONS.open(sealed, upstream="files", principal=OWNER) == session


@pytest.mark.parametrize(
    "thief",
    [
        replace(OWNER, id="other"),
        replace(OWNER, issuer="https://other"),
        replace(OWNER, user=User("bob")),
        replace(OWNER, user=None),
        replace(OWNER, delegation=(Actor("other", None),)),
    ],
)
def test_another_principal_cannot_open_it(thief: Principal):
    assert SESSIONS.open(SEALED, upstream="files", principal=thief) is None


def test_another_upstream_does_not_know_it():
    assert SESSIONS.open(SEALED, upstream="mail", principal=OWNER) is None


def test_another_key_does_not_open_it():
    assert Sessions(KeyRing(b"x" * 32)).open(SEALED, upstream="files", principal=OWNER) is None


@pytest.mark.parametrize("sealed", [SEALED, SEALED_OPENING])
@pytest.mark.parametrize("index", range(len(SEALED_OPENING)))
def test_no_character_of_it_can_be_changed(sealed: str, index: int):
    forged = sealed[:index] + ("a" if sealed[index : index + 1] != "a" else "b") + sealed[index + 1 :]

    assert SESSIONS.open(forged, upstream="files", principal=OWNER) is None


def test_the_capability_of_a_client_can_be_neither_added_nor_taken_away():
    head, _, tag = SEALED.rpartition(".")
    opening, _, marked = SEALED_OPENING.rpartition(".")

    for forged in (f"{head}.u{tag}", f"{head}.U{tag}", f"{opening}.{marked.removeprefix('u')}", f"{opening}.u{marked}"):
        assert SESSIONS.open(forged, upstream="files", principal=OWNER) is None


def test_the_capability_is_no_name_of_an_upstream():
    named = SESSIONS.seal(SESSION, upstream="u", principal=OWNER)

    assert SESSIONS.open(named.replace("s.1.", "s.1.u"), upstream="files", principal=OWNER) is None
    assert SESSIONS.open(named.replace("s.1.", "s.1.u"), upstream="", principal=OWNER) is None


@pytest.mark.parametrize("made_up", ["", ".", "s.1", "s.1.", "é", "s.1.u", "s.1." + "0" * 32, "s.1.u" + "0" * 32])
def test_an_id_that_was_never_given_is_unknown(made_up: str):
    assert SESSIONS.open(made_up, upstream="files", principal=OWNER) is None
