"""Edits of JSON text in place."""

from __future__ import annotations

import json

from hypothesis import given
from hypothesis import strategies as st

from gateway.json.edit import Edit, apply_edits, move_edits
from gateway.json.lex import scalars


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
