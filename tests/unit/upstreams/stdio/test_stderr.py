"""A child's standard error, made fit for the log."""

from __future__ import annotations

import pytest

from gateway.upstreams.stdio.stderr import LINES_PER_SECOND, LONGEST_LINE, LONGEST_SECRET, StderrLines


def test_lines_come_out_whole_and_what_is_left_at_the_end():
    lines = StderrLines([])

    assert lines.feed(b"one\ntw", 0.0) == ["one"]
    assert lines.feed(b"o\nthree", 0.0) == ["two"]
    assert lines.end() == ["three"]
    assert lines.end() == []


@pytest.mark.parametrize(
    ("written", "logged"),
    [
        (b"\x1b[31mred", "⟨U+001B⟩[31mred"),
        (b"a\rb", "a⟨U+000D⟩b"),
        (b"tab\there", "tab⟨U+0009⟩here"),
        ("right\u202eleft".encode(), "right⟨U+202E RIGHT-TO-LEFT OVERRIDE⟩left"),
        (b"\xff", "\ufffd"),
        ("Grüße".encode(), "Grüße"),
        (b"windows\r", "windows"),
    ],
)
def test_what_a_terminal_could_obey_is_escaped(written: bytes, logged: str):
    assert StderrLines([]).feed(written + b"\n", 0.0) == [logged]


def test_a_long_line_is_cut_and_the_next_is_whole():
    assert StderrLines([]).feed(b"x" * 1_000_000 + b"\nnext\n", 0.0) == ["x" * LONGEST_LINE + " [cut]", "next"]


def test_a_line_of_exactly_the_limit_is_not_cut():
    assert StderrLines([]).feed(b"x" * LONGEST_LINE + b"\n", 0.0) == ["x" * LONGEST_LINE]


def test_secrets_are_blotted_out_the_longest_first():
    lines = StderrLines(["hunter2", "hunter2-and-more", ""])

    assert lines.feed(b"key=hunter2-and-more, hunter2\n", 0.0) == ["key=[secret], [secret]"]


def test_a_secret_within_another_leaves_nothing_of_that():
    assert StderrLines(["bcde", "abcdefgh"]).feed(b"abcdefgh\n", 0.0) == ["[secret]"]


def test_what_is_too_short_to_be_a_secret_stays():
    assert StderrLines(["abc", "defg"]).feed(b"abc defg\n", 0.0) == ["abc [secret]"]


def test_each_line_of_a_secret_of_many_lines_is_blotted_out():
    assert StderrLines(["BEGIN\nmaterial\nEND"]).feed(b"saw material\n", 0.0) == ["saw [secret]"]


@pytest.mark.parametrize("before", range(LONGEST_LINE - 12, LONGEST_LINE + 12))
def test_a_cut_never_leaves_a_part_of_a_secret(before: int):
    secret = "0123456789"

    (line,) = StderrLines([secret]).feed(b"x" * before + secret.encode() + b"y" * 100 + b"\n", 0.0)

    assert not any(digit in line for digit in secret)


@pytest.mark.parametrize("size", [1, 7, 1_000])
def test_nor_does_one_of_a_line_that_comes_in_pieces_of_which_little_is_held(size: int):
    secret, lines = "0123456789", StderrLines(["0123456789", "z"])
    written = b"x" * (LONGEST_LINE - 5) + secret.encode() + b"y" * 5_000
    for at in range(0, len(written), size):
        assert lines.feed(written[at : at + size], 0.0) == []
    held = len(lines._line)
    (line,) = lines.feed(b"\n", 0.0)

    assert held <= LONGEST_LINE + LONGEST_SECRET
    assert not any(digit in line for digit in secret)
    assert line.endswith(" [cut]")


def test_many_secrets_before_a_cut_do_not_pull_a_part_of_one_into_view():
    (line,) = StderrLines(["0123456789"]).feed(b"0123456789" * 1000 + b"\n", 0.0)

    assert set(line) <= set("[secret] [cut]")


def test_a_flood_is_thinned_and_says_so():
    lines = StderrLines([])

    logged = lines.feed(b"again\n" * 1000, 0.0)

    assert logged == ["again"] * LINES_PER_SECOND
    assert lines.feed(b"later\n", 1.0) == [
        f"[{1000 - LINES_PER_SECOND} lines withheld: more than {LINES_PER_SECOND} in a second]",
        "later",
    ]


def test_of_a_line_that_was_withheld_nothing_is_told_with_the_next():
    lines = StderrLines([])
    lines.feed(b"x\n" * LINES_PER_SECOND + b"begun", 0.0)
    lines.feed(b" and ended\nnext", 0.0)

    assert lines.feed(b" one\n", 1.0) == [
        f"[1 lines withheld: more than {LINES_PER_SECOND} in a second]",
        "next one",
    ]


def test_what_was_withheld_at_the_end_is_said():
    lines = StderrLines([])
    lines.feed(b"x\n" * (LINES_PER_SECOND + 1), 0.0)

    assert lines.end() == [f"[1 lines withheld: more than {LINES_PER_SECOND} in a second]"]
