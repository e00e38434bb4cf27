"""Sessions of clients: bound to their caller, bounded in number, and forgotten after a day."""

from __future__ import annotations

from gateway.calls.endpoint.sessions import IDLE_SECONDS, PER_CALLER, REMEMBERED, ClientSession, ClientSessions
from gateway.model.caller import AuthMethod, Principal

ADA = Principal("ada", "https://idp.example", AuthMethod.JWT)
BOB = Principal("bob", "https://idp.example", AuthMethod.JWT)


def test_a_session_is_of_one_caller():
    sessions = ClientSessions(lambda: 0.0)
    session = sessions.open(ADA, b"{}")
    assert sessions.find(session.id, ADA) is session
    assert sessions.find(session.id, BOB) is None
    assert sessions.find("", ADA) is None
    sessions.end(session)
    sessions.end(session)
    assert sessions.find(session.id, ADA) is None


def test_a_caller_with_too_many_sessions_loses_its_own_oldest():
    sessions = ClientSessions(lambda: 0.0)
    other, first = sessions.open(BOB, b"{}"), sessions.open(ADA, b"{}")
    for _ in range(PER_CALLER):
        sessions.open(ADA, b"{}")
    assert sessions.find(first.id, ADA) is None
    assert sessions.find(other.id, BOB) is other


def test_a_session_is_forgotten_a_day_after_its_last_use():
    now = 0.0
    sessions = ClientSessions(lambda: now)
    session = sessions.open(ADA, b"{}")
    now = IDLE_SECONDS - 1
    assert sessions.find(session.id, ADA) is session
    now += IDLE_SECONDS
    sessions.open(ADA, b"{}")
    assert sessions.find(session.id, ADA) is session
    now += IDLE_SECONDS + 1
    sessions.open(BOB, b"{}")
    assert sessions.find(session.id, ADA) is None


def test_only_the_upstream_of_a_request_may_answer_it_later():
    session = ClientSession(ADA, b"{}")
    session.note_request(1, "a")
    assert session.is_asked("a", 1)
    assert not session.is_asked("b", 1)
    assert not session.is_asked("a", "1")
    session.note_request(1, None)
    assert not session.is_asked("a", 1)
    assert session.upstream_of("x") is None


def test_a_token_belongs_to_the_upstream_that_was_given_it():
    session = ClientSession(ADA, b"{}")
    session.note_token("t", "a")
    assert session.owns_token("a", "t")
    assert not session.owns_token("b", "t")
    for number in range(REMEMBERED):
        session.note_token(number, "b")
    assert not session.owns_token("a", "t")
