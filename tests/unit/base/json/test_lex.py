"""JSON text taken apart, beside `json` of the standard library and plain expressions on generated texts."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.base.json import lex
from gateway.base.json.lex import (
    EscapedPlaces,
    Step,
    Unescaper,
    begun_escape,
    brackets,
    decode_text,
    depths,
    ends_in_string,
    outside_strings,
    read_string,
    scalars,
    unescape,
    unescape_any,
    unescape_text,
)

ANY = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)


def leaves(value: Any, path: tuple[Step, ...] = ()) -> list[tuple[tuple[Step, ...], Any]]:
    if isinstance(value, dict):
        return [found for name, item in value.items() for found in leaves(item, (*path, name))]  # pyright: ignore[reportUnknownVariableType, reportUnknownArgumentType] - any JSON
    if isinstance(value, list):
        return [found for number, item in enumerate(value) for found in leaves(item, (*path, number))]  # pyright: ignore[reportUnknownVariableType, reportUnknownArgumentType] - any JSON
    return [(path, value)]


@given(ANY, st.booleans(), st.sampled_from([None, 2]))
def test_each_scalar_is_found_where_it_stands(value: Any, ascii_only: bool, indent: int | None):  # noqa: FBT001 - drawn
    document = json.dumps(value, ensure_ascii=ascii_only, indent=indent).encode("utf-8", "surrogatepass")
    found = list(scalars(document))
    values = [(item.path, json.loads(document[item.start : item.end])) for item in found if item.kind != "name"]

    assert values == leaves(value)
    assert all(item.kind == "string" for item in found if item.kind != "name" and document[item.start] == ord('"'))


def test_a_name_is_one_with_its_own_path():
    document = b'{"a": [1, {"b\\u0063": "x"}], "d": true}'
    found = [(item.kind, item.path, document[item.start : item.end]) for item in scalars(document)]

    assert found == [
        ("name", ("a",), b'"a"'),
        ("other", ("a", 0), b"1"),
        ("name", ("a", 1, "bc"), b'"b\\u0063"'),
        ("string", ("a", 1, "bc"), b'"x"'),
        ("name", ("d",), b'"d"'),
        ("other", ("d",), b"true"),
    ]


def test_brackets_and_quotes_within_a_string_are_text():
    document = json.dumps({"a": '{"b": [",\\', "c": "d"}).encode()

    assert [item.path for item in scalars(document) if item.kind == "string"] == [("a",), ("c",)]


@given(st.text())
def test_the_text_of_a_string_is_what_json_says(text: str):
    assert read_string(json.dumps(text).encode()) == text
    assert read_string(json.dumps(text, ensure_ascii=False).encode()) == text


MARKS = st.text('\\"{}[],:nu0a', max_size=24)


def structure_of(text: str, *, in_string: bool) -> tuple[str, bool]:
    """Return the characters of a text outside of strings, character by character."""
    kept, escaped = "", False
    for char in text:
        if escaped:
            escaped = False
            kept += "" if in_string else char
        elif char == '"':
            in_string = not in_string
        else:
            escaped = char == "\\"
            kept += "" if in_string else char
    return kept, in_string


@given(MARKS, st.booleans())
def test_the_structure_is_that_of_a_reader_by_characters(text: str, in_string: bool):  # noqa: FBT001 - drawn
    expected, ends = structure_of(text, in_string=in_string)

    found, in_string_at_end = outside_strings(text.encode(), begins_in_string=in_string)

    # A bracket outside of strings counts even after a backslash, which no JSON has there.
    assert brackets(found).decode() == re.sub(r"[^{}\[\]]", "", expected)
    assert in_string_at_end is ends
    assert ends_in_string(text.encode(), begins_in_string=in_string) is ends


@given(ANY)
def test_the_depths_of_a_document_end_at_zero(value: Any):
    structure, in_string = outside_strings(json.dumps(value).encode())
    levels = list(depths(brackets(structure)))

    assert not in_string
    assert levels[-1:] in ([], [0])
    assert max(levels, default=0) == depth_of(value)


def depth_of(value: Any) -> int:
    if isinstance(value, dict):
        return 1 + max(map(depth_of, value.values()), default=0)  # pyright: ignore[reportUnknownVariableType, reportUnknownArgumentType] - any JSON
    if isinstance(value, list):
        return 1 + max(map(depth_of, value), default=0)  # pyright: ignore[reportUnknownVariableType, reportUnknownArgumentType] - any JSON
    return 0


@given(st.text(st.characters(exclude_categories=["Cs"])), st.booleans())
def test_a_written_string_without_its_escapes_is_its_value(value: str, ascii_only: bool):  # noqa: FBT001 - drawn
    written = json.dumps(value, ensure_ascii=ascii_only)[1:-1].encode()

    assert unescape(written) == value.encode()


def test_json_escapes_are_undone():
    assert unescape(rb"\"a\\n\n\/\t\u0041\ud83d\ude00\\\\u0041") == '"a\\n\n/\tA😀\\\\u0041'.encode()
    assert unescape(b"as it is") == b"as it is"


@given(st.lists(st.sampled_from([*r"\"/bfnrtuxa041", "\\", "\\", "\n", "\r", "é", " "]), max_size=9).map("".join))
@settings(max_examples=500, deadline=None)
def test_common_escapes_are_undone_in_bulk_as_others_are_one_by_one(text: str):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(lex, "_UNCOMMON_ESCAPE", re.compile(b""))
        one_by_one, words_one_by_one = unescape(text.encode()), unescape_text(text)

    assert unescape(text.encode()) == one_by_one
    assert unescape_text(text) == words_one_by_one


def test_escapes_of_other_languages_are_undone():
    assert unescape_any(rb"a\nb\tc\rd\be\ff\"g\\h\/i\q") == b'a\nb\tc\rd\be\ff"g\\h/iq'
    assert unescape_any(rb"\ud83d\ude00\u00e9\u{1F600}\u{ffffff}\x41") == "😀é😀A".encode()
    assert unescape_any(rb"\ud800!") == b"\xed\xa0\x80!"


ESCAPED = st.lists(st.sampled_from(["a", "é", "\\n", "\\\\", "\\u0041", "\\ud83d\\ude00", '\\"']), max_size=8)


@given(ESCAPED)
def test_a_place_in_the_text_is_the_place_of_its_escape(parts: list[str]):
    body = "".join(parts).encode()
    places, text = EscapedPlaces(body, 3), 3
    raw = 0
    for part in parts:
        assert places.raw(text) == raw
        text, raw = text + len(unescape(part.encode())), raw + len(part.encode())
    assert places.raw(text) == len(body)


@given(ESCAPED, st.integers(0, 30))
def test_no_escape_is_cut(parts: list[str], size: int):
    raw = "".join(parts).encode()[:size]
    cut = begun_escape(raw, 0)

    assert raw[cut:] == b"" or re.fullmatch(rb"\\(?:u[0-9a-f]{0,3})?", raw[cut:])
    assert (len(raw[:cut]) - len(raw[:cut].rstrip(b"\\"))) % 2 == 0


def test_a_whole_text_is_decoded_as_its_chunks_are():
    assert decode_text(rb"a\u0041\\n") == "aA\\n"
    assert decode_text("é".encode()) == "é"


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
    assert unescape_text(written) == meant
    assert all(streamed(written.encode(), size) == meant for size in range(1, 14))


def test_a_character_that_straddles_chunks_is_whole_and_what_is_no_utf_8_is_marked():
    assert streamed("é€😀".encode(), 1) == "é€😀"
    assert streamed(b"a\xffb\xc3", 1) == "a\ufffdb\ufffd"


@given(st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0")), st.integers(1, 9), st.booleans())
def test_a_json_string_streams_as_its_value(value: str, size: int, ascii_only: bool):  # noqa: FBT001 - drawn
    written = json.dumps(value, ensure_ascii=ascii_only)[1:-1]

    assert streamed(written.encode(), size) == value
