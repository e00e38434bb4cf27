"""Edits of JSON text in place."""

from __future__ import annotations

import json
from typing import Any, cast

from hypothesis import given
from hypothesis import strategies as st

from gateway.base.json.edit import Edit, apply_edits, choose_edits, move_edits
from gateway.base.json.lex import scalars


def test_what_is_not_edited_stays_byte_for_byte():
    assert apply_edits(b"0123456789", [Edit(1, 3, b"x"), Edit(3, 3, b"y"), Edit(9, 10, b"")]) == b"0xy345678"
    assert apply_edits(b"abc", []) == b"abc"


@given(st.dictionaries(st.text(max_size=4), st.lists(st.integers() | st.text(max_size=4), max_size=3), max_size=4))
def test_a_document_with_other_scalars_has_these_values_alone(document: dict[str, list[int | str]]):
    data = json.dumps(document).encode()
    spans = [span for span in scalars(data) if span.kind != "name"]

    edited = apply_edits(data, [Edit(span.start, span.end, b'"x"') for span in spans])

    assert json.loads(edited) == {name: ["x"] * len(items) for name, items in document.items()}


def test_edits_move_with_their_document():
    around = b"data: [1, 2]"
    moved = move_edits([Edit(1, 2, b"one"), Edit(4, 5, b"two")], lambda place: place + len(b"data: "))

    assert apply_edits(around, moved) == b"data: [one, two]"


class Secrets:
    """Takes out members named `secret`, and zeroes the numbers directly under `a`."""

    longest_path = 1

    def is_cut(self, document: bytes, start: int, /) -> bool:
        return document.startswith(b'"secret"', start)

    def replacement(self, path: tuple[str, ...], token: bytes, /) -> bytes | None:
        return b"0" if path == ("a",) and token.isdigit() else None

    def fold_name(self, token: bytes, /) -> str:
        return json.loads(token)


VALUES = st.recursive(
    st.integers(1, 99) | st.text('"\\{}[],: é', max_size=5) | st.none(),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["a", "secret", "b", ""]), inner, max_size=4)
    ),
    max_leaves=12,
)


def without_secrets(value: Any, *, is_outermost: bool = True) -> Any:
    """Return a value as the choice wants it, by recursion."""
    if isinstance(value, dict):
        members = cast("dict[str, Any]", value)
        kept = {name: without_secrets(item, is_outermost=False) for name, item in members.items() if name != "secret"}
        if is_outermost and isinstance(kept.get("a"), int):
            kept["a"] = 0
        return kept
    if isinstance(value, list):
        return [without_secrets(item, is_outermost=False) for item in cast("list[Any]", value)]
    return value


@given(VALUES, st.sampled_from([None, 1]), st.sampled_from([(",", ":"), (" , ", " : ")]))
def test_members_go_with_one_comma_and_the_rest_stays_json(value: Any, indent: int | None, marks: tuple[str, str]):
    data = json.dumps(value, indent=indent, separators=marks, ensure_ascii=False).encode()

    edited = apply_edits(data, choose_edits(data, Secrets()))

    assert json.loads(edited) == without_secrets(value)


def test_a_document_that_breaks_off_loses_the_begun_member():
    data = b'{"a": 7, "secret": {"b": [1'

    assert apply_edits(data, choose_edits(data, Secrets())) == b'{"a": 0, '
