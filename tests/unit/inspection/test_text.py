from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.inspection.text import Unescaper, unescaped


def streamed(data: bytes, size: int) -> str:
    text = Unescaper()
    return "".join(text.feed(data[at : at + size]) for at in range(0, len(data), size)) + text.finish()


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        (r"\u0041\u00e9", "Aé"),
        (r"a\nb\tc\/d\"e\r\b\f", 'a\nb\tc/d"e\r\b\f'),
        (r"a\u0000b", "a\ufffdb"),
        (r"a\\nb", r"a\nb"),
        (r"a\\\nb", "a\\\nb"),
        (r"\ud83d\ude00", "😀"),
        (r"\uD83D\uDE00", "😀"),
        (r"\ud83d!", "\ufffd!"),
        (r"\\ud83d", r"\ud83d"),
        (r"\u00", r"\u00"),
        ("\\", "\\"),
        (r"\x", r"\x"),
        ("plain", "plain"),
    ],
)
def test_escapes_are_read_wherever_the_chunks_end(written: str, meant: str):
    assert unescaped(written) == meant
    assert all(streamed(written.encode(), size) == meant for size in range(1, 14))


def test_a_character_that_straddles_chunks_is_whole_and_what_is_no_utf_8_is_marked():
    assert streamed("é€😀".encode(), 1) == "é€😀"
    assert streamed(b"a\xffb\xc3", 1) == "a\ufffdb\ufffd"


@given(st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0")), st.integers(1, 9), st.booleans())
def test_a_json_string_streams_as_its_value(value: str, size: int, ascii_only: bool):  # noqa: FBT001 - drawn
    written = json.dumps(value, ensure_ascii=ascii_only)[1:-1]

    assert streamed(written.encode(), size) == value
