"""The fold over lines. What it finds in whole journals is tried in `test_reader`."""

from __future__ import annotations

import json

import pytest

from gateway.record.journal.chain import FORMAT, GENESIS, Chain
from gateway.record.journal.verification import Fault, LinePlace, Position, follow, lost

CHAIN = Chain.of(b"k" * 32)
OTHER = Chain.of(b"o" * 32)


def heading(chain: Chain = CHAIN, *, seq: int = 1, prev: str = GENESIS, segment: int = 1, journal: str = "j") -> bytes:
    fields: dict[str, object] = {
        "segment": segment,
        "journal": journal,
        "chain": chain.name,
        "key": chain.key_id,
        "open": [],
    }
    return chain.line(seq, "t", "segment", json.dumps(fields).encode(), prev)


def first_place(number: int = 1) -> LinePlace:
    return LinePlace(f"{number:08d}.jsonl", number, 1)


def second_place() -> LinePlace:
    return LinePlace("00000001.jsonl", 1, 2)


def after_heading() -> Position:
    return follow(CHAIN, Position(), heading(), first_place())[0]


def test_a_heading_and_a_line_that_follows_are_in_order():
    position, problem = follow(CHAIN, Position(), heading(), first_place())
    assert problem is None
    line = CHAIN.line(2, "t", "start", b"{}", position.link or "")

    after, problem = follow(CHAIN, position, line, second_place())

    assert problem is None
    assert (after.seq, after.link, after.journal, after.kind) == (2, CHAIN.link(line), "j", "start")


def test_a_segment_of_a_later_form_is_reported_and_one_without_a_number_is_of_the_first():
    fields: dict[str, object] = {"segment": 1, "journal": "j", "chain": CHAIN.name, "key": CHAIN.key_id}

    def problem_of(more: dict[str, int]) -> Fault | None:
        line = CHAIN.line(1, "t", "segment", json.dumps({**fields, **more}).encode(), GENESIS)
        _, problem = follow(CHAIN, Position(), line, first_place())
        return None if problem is None else problem.fault

    assert problem_of({}) is None
    assert problem_of({"format": FORMAT}) is None
    assert problem_of({"format": FORMAT + 1}) is Fault.LATER_FORM


@pytest.mark.parametrize(
    "line",
    [
        b"",
        b"\xff",
        b"[]",
        b"null",
        b"{}",
        b'{"seq":"2","kind":"a","prev":"","time":"t"}',
        b'{"seq":true,"kind":"a","prev":"","time":"t"}',
        b'{"seq":2,"kind":1,"prev":"","time":"t"}',
        b'{"seq":2,"kind":"a","prev":1,"time":"t"}',
        b'{"seq":2,"kind":"a","prev":"","time":1}',
        b'{"seq":2,"kind":"a","prev":"","time":"t"}',
    ],
)
def test_what_the_writer_did_not_write_is_an_edit(line: bytes):
    position, problem = follow(CHAIN, after_heading(), line, second_place())

    assert problem is not None
    assert (problem.fault, problem.segment, problem.line) == (Fault.EDITED, "00000001.jsonl", 2)
    assert (position.seq, position.link) == (2, None)


def test_an_edit_at_an_unknown_place_leaves_the_place_unknown():
    position, problem = follow(CHAIN, lost(after_heading()), b"", second_place())

    assert problem is not None
    assert (problem.fault, position.seq) == (Fault.EDITED, None)


def test_a_line_with_valid_content_that_follows_another_is_a_broken_link():
    """Without a key, somebody can make a line that passes its own check; the line after it gives it away."""
    plain = Chain.of(None)
    position, _ = follow(plain, Position(), heading(plain), first_place())
    line = plain.line(2, "t", "start", b"{}", "1" * 64)

    _, problem = follow(plain, position, line, second_place())

    assert problem is not None
    assert problem.fault is Fault.BROKEN_LINK


@pytest.mark.parametrize(
    ("mine", "theirs", "said"),
    [
        (CHAIN, OTHER, "with another key"),
        (Chain.of(None), OTHER, "with a key, and none was given"),
        (CHAIN, Chain.of(None), "without this key"),
    ],
)
def test_a_segment_under_another_key_is_said_to_be_so(mine: Chain, theirs: Chain, said: str):
    _, problem = follow(mine, Position(), heading(theirs), first_place())

    assert problem is not None
    assert problem.fault is Fault.WRONG_KEY
    assert said in problem.message


@pytest.mark.parametrize(
    ("line", "place", "said"),
    [
        (heading(segment=2), first_place(), "segment 2 under another name"),
        (heading(), first_place(2), "segment 1 under another name"),
        (heading(journal="another"), first_place(), "another journal"),
        (heading(), second_place(), "second heading"),
        (CHAIN.line(1, "t", "start", b"{}", GENESIS), first_place(), "no heading"),
    ],
)
def test_a_segment_that_is_not_what_its_place_says_is_foreign(line: bytes, place: LinePlace, said: str):
    position, problem = follow(CHAIN, Position(journal="j"), line, place)

    assert problem is not None
    assert problem.fault is Fault.FOREIGN_SEGMENT
    assert said in problem.message
    assert position.seq is None


@pytest.mark.parametrize(
    ("seq", "fault", "said"),
    [
        (3, Fault.GAP, "entry 2 is missing before entry 3"),
        (9, Fault.GAP, "entries 2 to 8 are missing before entry 9"),
        (1, Fault.DUPLICATE, "entry 1 stands here again"),
        (0, Fault.REORDERED, "entry 0 stands after entry 1"),
    ],
)
def test_a_line_out_of_order_is_named(seq: int, fault: Fault, said: str):
    position = after_heading()

    _, problem = follow(CHAIN, position, CHAIN.line(seq, "t", "start", b"{}", position.link or ""), second_place())

    assert problem is not None
    assert (problem.fault, problem.message) == (fault, said)
