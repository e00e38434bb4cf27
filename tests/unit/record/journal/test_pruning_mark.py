from __future__ import annotations

import pytest

from gateway.record.journal import verification
from gateway.record.journal.chain import GENESIS, Chain
from gateway.record.journal.verification import LinePlace, Position, PruningMark, follow

CHAIN = Chain.of(b"k" * 32)
FLOOR = PruningMark("journal-1", 3, 41, "ab" * 32, "2026-11-25T10:00:00.000Z")


def test_a_floor_is_read_as_it_was_written():
    line = verification.write_mark(CHAIN, FLOOR)

    assert line.endswith(b"\n")
    assert verification.read_mark(CHAIN, line) == FLOOR


@pytest.mark.parametrize("other", [Chain.of(b"o" * 32), Chain.of(None)])
def test_a_floor_of_another_key_or_of_none_is_none(other: Chain):
    assert verification.read_mark(CHAIN, verification.write_mark(other, FLOOR)) is None


def test_a_floor_of_which_any_byte_was_changed_is_none():
    line = verification.write_mark(CHAIN, FLOOR)[:-1]

    for place in range(len(line)):
        changed = line[:place] + bytes([line[place] ^ 1]) + line[place + 1 :]
        assert verification.read_mark(CHAIN, changed) is None


@pytest.mark.parametrize("line", [b"", b"{}", b"[]", b"\xff", b'{"seq":1}'])
def test_what_is_no_floor_is_none(line: bytes):
    assert verification.read_mark(CHAIN, line) is None


def test_a_line_of_the_journal_is_no_floor():
    assert verification.read_mark(CHAIN, CHAIN.line(1, "t", "segment", b'{"journal":"j","segment":1}', GENESIS)) is None


def test_a_floor_is_no_line_of_the_journal():
    line = verification.write_mark(CHAIN, FLOOR)[:-1]
    after = Position(FLOOR.seq, FLOOR.link, FLOOR.journal)

    for position in (after, Position(FLOOR.seq - 1, FLOOR.link, FLOOR.journal)):
        _, problem = follow(CHAIN, position, line, LinePlace("00000004.jsonl", 4, 1))
        assert problem is not None
    _, problem = follow(CHAIN, after, line, LinePlace("00000003.jsonl", 3, 9))
    assert problem is not None


def test_a_journal_goes_on_after_its_floor():
    assert verification.start_position(FLOOR, FLOOR.segment + 1) == Position(FLOOR.seq, FLOOR.link, FLOOR.journal)


def test_before_a_segment_below_the_floor_nothing_is_known_but_the_journal():
    assert verification.start_position(FLOOR, FLOOR.segment) == Position(None, None, FLOOR.journal)
