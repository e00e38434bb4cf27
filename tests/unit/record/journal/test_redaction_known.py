"""Entries without the credentials that a caller knows."""

from __future__ import annotations

import json
from typing import Any

import pytest

from gateway.model.wire import Json, JsonObject
from gateway.record.journal.records import ResultRecord, record_arguments
from gateway.record.journal.redaction import (
    CONCEALED,
    SEARCHED,
    Conceal,
    KnownCredentials,
    conceal_known,
    concealed_with,
    fingerprint,
    redact_value,
)
from tests.unit.inspection.credentials.test_known_spots import OF, WORD, known

KEY = b"k" * 32
MARK = f"fp:seen:{OF.of(WORD)}"
HALVES = (WORD[:10], WORD[10:])


def built(known: KnownCredentials | None, *texts: str, limit: int = 256) -> list[Any]:
    """The texts of an entry, and how often it was made."""
    made = 0

    def build(*, conceal: Conceal) -> JsonObject:
        nonlocal made
        made += 1
        return {"texts": [conceal(text, limit) for text in texts]}

    entry: Any = conceal_known(build, known)
    return [*entry["texts"], made]


def test_an_entry_is_made_once_if_nothing_is_known_or_none_of_it_is_in_it():
    assert built(None, WORD) == [WORD, 1]
    assert built(known(WORD), "read_file", "an agent") == ["read_file", "an agent", 1]


def test_each_text_has_a_mark_in_the_place_of_a_known_credential():
    assert built(known(WORD), "a client", f"https://x.example/{WORD}?b=1") == [
        "a client",
        f"https://x.example/{MARK}?b=1",
        2,
    ]


def test_a_credential_in_several_texts_together_takes_them_all_with_it():
    assert built(known(WORD), *HALVES, "more") == [CONCEALED, CONCEALED, CONCEALED, 3]


def test_a_text_that_is_too_long_to_be_searched_is_not_recorded():
    assert built(known(WORD), "x " * SEARCHED) == [CONCEALED, 1]
    assert built(known(WORD), "x " * SEARCHED, WORD) == [CONCEALED, MARK, 2]


def test_a_text_is_cut_after_it_was_searched():
    """A credential that goes beyond the limit leaves no half behind."""
    text = "a " * 120 + WORD
    shown = concealed_with(known(WORD), text, 256)
    assert len(shown) == 256
    assert shown.endswith(MARK[:16])


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        (f"password={WORD}", f"password={MARK}"),
        (f"Bearer {WORD}", f"Bearer {MARK}"),
        ("password=another-one", CONCEALED),
        ("é", "é"),
    ],
)
def test_what_has_a_form_keeps_its_mark(text: str, shown: str):
    assert concealed_with(known(WORD), text) == shown


# --- arguments ---------------------------------------------------------------------------------------


def test_names_of_arguments_are_marked_in_a_digest():
    record = record_arguments({WORD: 1, "path": 2}, "digest", key=KEY, known=known(WORD))
    assert record["names"] == [MARK, "path"]


def test_names_that_hold_one_together_are_all_fingerprints():
    names = ["a" + HALVES[0].replace("-", ""), "b" + HALVES[1].replace("-", "")]
    value = HALVES[0].replace("-", "") + "b" + HALVES[1].replace("-", "")
    record = record_arguments(dict.fromkeys(names, 1), "digest", key=KEY, known=known(value))
    assert record["names"] == [fingerprint(KEY, name) for name in names]


def test_names_and_values_are_marked_in_full():
    arguments: JsonObject = {"a": {WORD: [f"use {WORD}", 1, None, True]}, "b": "plain"}
    record = record_arguments(arguments, "full", key=KEY, known=known(WORD))
    assert record["value"] == {"a": {MARK: [f"use {MARK}", 1, None, True]}, "b": "plain"}


@pytest.mark.parametrize("number", [48213377, 48213377.5])
def test_a_number_is_marked(number: Json):
    record = record_arguments({"a": [number, 7]}, "full", key=KEY, known=known(repr(number)))
    assert record["value"] == {"a": [f"fp:seen:{OF.of(repr(number))}", 7]}


def test_arguments_that_hold_one_together_are_recorded_as_a_digest():
    record = record_arguments({"a": HALVES[0], "b": HALVES[1]}, "full", key=KEY, known=known(WORD))
    assert (record["mode"], "value" in record) == ("digest", False)


def test_arguments_without_one_are_recorded_as_they_are():
    assert record_arguments({"a": "b"}, "full", key=KEY, known=known(WORD))["value"] == {"a": "b"}


# --- results -----------------------------------------------------------------------------------------


def test_a_result_is_recorded_without_it():
    record = ResultRecord(KEY, lambda _text: ())
    record.update(json.dumps({"jsonrpc": "2.0", "id": 1, "result": {"content": [{"text": f"so {WORD}."}]}}).encode())
    assert record.value(known(WORD)) == {"content": [{"text": f"so {MARK}."}]}
    assert record.value() == {"content": [{"text": f"so {WORD}."}]}


def test_a_value_with_one_in_pieces_is_not_recorded():
    assert redact_value({"a": HALVES[0], "b": HALVES[1]}, key=KEY, known=known(WORD)) is None
