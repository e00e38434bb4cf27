"""What is open between callers and a server that gives no sessions."""

from __future__ import annotations

import pytest

from gateway.calls.binding.ownership import QUESTIONS, SessionlessExchanges


@pytest.fixture
def open_() -> SessionlessExchanges:
    return SessionlessExchanges()


def test_a_caller_cancels_its_own_requests_while_they_are_open(open_: SessionlessExchanges):
    end = open_.begin("files", "ada", 7)

    assert open_.is_open("files", "ada", 7)
    assert not open_.is_open("files", "bob", 7)
    assert not open_.is_open("mail", "ada", 7)
    end()
    assert not open_.is_open("files", "ada", 7)
    assert open_._open == {}


@pytest.mark.parametrize("other", ["7", 7.0, True, None, [7], 8])
def test_an_id_is_that_of_its_type(open_: SessionlessExchanges, other: object):
    open_.begin("files", "ada", 7)
    open_.begin("files", "ada", None)
    open_.begin("files", "ada", 1)

    assert not open_.is_open("files", "ada", other)


def test_the_same_id_twice_is_open_until_both_have_ended(open_: SessionlessExchanges):
    first, second = open_.begin("files", "ada", 7), open_.begin("files", "ada", 7)
    first()
    assert open_.is_open("files", "ada", 7)
    second()
    assert not open_.is_open("files", "ada", 7)


@pytest.mark.parametrize("request_id", [7, "seven", None])
def test_a_question_is_answered_once_by_whom_it_was_asked(open_: SessionlessExchanges, request_id: int | str | None):
    open_.begin("files", "bob", request_id)
    open_.begin("files", "ada", request_id)
    open_.note_question("files", "ada", request_id, 0)

    assert not open_.is_asked("files", "bob", 0)
    assert not open_.is_asked("mail", "ada", 0)
    assert not open_.is_asked("files", "ada", "0")
    assert not open_.is_asked("files", "ada", None)
    assert open_.is_asked("files", "ada", 0)
    open_.close_question("files", "ada", 0)
    assert not open_.is_asked("files", "ada", 0)


def test_a_question_ends_with_its_stream(open_: SessionlessExchanges):
    end = open_.begin("files", "ada", 7)
    open_.note_question("files", "ada", 7, "q")
    end()
    assert not open_.is_asked("files", "ada", "q")
    open_.note_question("files", "ada", 7, "q")
    assert open_._open == {}


def test_of_many_questions_the_oldest_is_forgotten(open_: SessionlessExchanges):
    open_.begin("files", "ada", 7)
    for number in range(QUESTIONS + 1):
        open_.note_question("files", "ada", 7, number)

    assert not open_.is_asked("files", "ada", 0)
    assert open_.is_asked("files", "ada", 1)
    assert open_.is_asked("files", "ada", QUESTIONS)


def test_an_id_is_written_once_however_much_is_open(open_: SessionlessExchanges):
    """A caller with hundreds of requests under way would hold everybody up with one id as long as a request may be."""

    class Long(str):
        __slots__ = ()
        written = 0

        def __repr__(self) -> str:
            Long.written += 1
            return super().__repr__()

    for number in range(250):
        open_.begin("tickets", "alice", number)

    assert not open_.is_open("tickets", "alice", Long("x"))
    assert Long.written == 1


@pytest.mark.parametrize("odd", [[], {}, None, 1.0, True, ["[]"]])
def test_what_is_no_id_is_that_of_no_request(open_: SessionlessExchanges, odd: object):
    for request in ("[]", "{}", None, 1):
        open_.begin("tickets", "alice", request)

    assert not open_.is_open("tickets", "alice", odd)
