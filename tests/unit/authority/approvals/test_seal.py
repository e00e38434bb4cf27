"""The gateway's own request state: for its caller, its time and its gateway alone."""

from __future__ import annotations

import os

import pytest

from gateway.authority.approvals.seal import PREFIX, StateTicket, TicketSeal
from gateway.base.keys.key_ring import KeyRing

KEY = b"k" * 32
TICKET = StateTicket("a-question-to-people", "sha256:call", "k1", 3, 100.0, "theirs", {"k": {"action": "accept"}})


@pytest.fixture
def seal() -> TicketSeal:
    return TicketSeal(KeyRing(KEY), os.urandom)


def test_a_ticket_comes_back_as_it_was(seal: TicketSeal):
    state = seal.seal(TICKET)

    assert seal.open(state, "k1", 99.9) == TICKET
    assert state.startswith(PREFIX)
    assert TICKET.approval not in state
    assert seal.seal(TICKET) != state


def test_a_ticket_is_for_its_caller_its_time_and_its_key(seal: TicketSeal):
    state = seal.seal(TICKET)

    assert seal.open(state, "k2", 0.0) is None
    assert seal.open(state, "", 0.0) is None
    assert seal.open(state, "k1", 100.0) is None
    assert TicketSeal(KeyRing(b"l" * 32), os.urandom).open(state, "k1", 0.0) is None


def test_no_changed_character_is_accepted(seal: TicketSeal):
    state = seal.seal(TICKET)
    for place in range(len(state)):
        # Another character than the last differs in a bit that counts.
        other = "A" if state[place] != "A" else "_"
        changed = f"{state[:place]}{other}{state[place + 1 :]}"
        assert seal.open(changed, "k1", 0.0) is None, place


@pytest.mark.parametrize(
    "state",
    ["", "oga1.", "oga1.x", "oga1." + "A" * 40, "oga1.é", "oga2.AAAA", "theirs", "oga1." + "A" * 2**20, "oga1.=="],
)
def test_no_other_text_is_a_ticket(seal: TicketSeal, state: str):
    assert seal.open(state, "k1", 0.0) is None


def test_a_part_or_two_tickets_in_one_are_none(seal: TicketSeal):
    state = seal.seal(TICKET)

    for text in (state[:-1], state + "A", state + state, state.upper(), f" {state}", state + "\n"):
        assert seal.open(text, "k1", 0.0) is None
