from __future__ import annotations

import json
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from gateway.json.scalars import Edit, Step, apply_edits, scalars, text_of

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
    assert text_of(json.dumps(text).encode()) == text
    assert text_of(json.dumps(text, ensure_ascii=False).encode()) == text


def test_what_is_not_edited_stays_byte_for_byte():
    assert apply_edits(b"0123456789", [Edit(1, 3, b"x"), Edit(3, 3, b"y"), Edit(9, 10, b"")]) == b"0xy345678"
    assert apply_edits(b"abc", []) == b"abc"
