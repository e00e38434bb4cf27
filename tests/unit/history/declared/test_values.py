"""Arguments as keys and as numbers: what callers write to get around a limit."""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING

import pytest

from gateway.history.declared.values import (
    Unreadable,
    add_amounts,
    fold_text,
    to_number,
    write_arguments,
    write_key,
    write_number,
)

if TYPE_CHECKING:
    from gateway.model.wire import Json


@pytest.mark.parametrize(
    "written",
    [
        "CUST-1",
        " cust-1\t",
        "\uff23ust-1",
        "cust\u200b-1",
        "cu\u00adst-1",
        "cust-1\x00",
        "c\u034fust-1",
        "\ufeffcust-1",
    ],
)
def test_spellings_of_a_text_are_one_key_of_a_limit(written: str):
    assert fold_text(written) == "cust-1"


@pytest.mark.parametrize("text", ["\u0345\u03b1", "\u1e9e", "\u0130stanbul", "\ufb01", "\u03d2\u0301", "\u212a"])
def test_a_folded_text_stays_as_it_is(text: str):
    assert fold_text(fold_text(text)) == fold_text(text)
    assert fold_text(text.upper()) == fold_text(text)


def test_a_key_of_a_time_is_exact():
    assert write_key("A\u200bb ", fold=False) == "A\u200bb "


@pytest.mark.parametrize(
    "value",
    [
        "9" * 10_000,
        "1e400",
        "1" + "0" * 30,
        "1e-31",
        "NaN",
        "sNaN",
        "-Infinity",
        "-1",
        "",
        "0x10",
        1e400,
        -0.5,
        1e-40,
    ],
)
def test_a_number_that_cannot_be_added_exactly_is_unreadable(value: str | float):
    with pytest.raises(Unreadable):
        write_number(value, is_amount=True)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("0e999999", 0),
        ("\u0661\u0662", 12),
        ("1_000", 1000),
        (" +5.50 ", 5.5),
        (-0.0, 0),
        (0.1, 0.1),
        (10**29, 2**63 - 1),
    ],
)
def test_a_number_adds_what_it_says(value: str | float, expected: float):
    assert to_number(Decimal(0) + Decimal(write_number(value, is_amount=True))) == expected


def test_a_huge_whole_number_is_a_key_and_no_amount():
    with pytest.raises(Unreadable):
        write_number(10**10_000, is_amount=True)
    assert write_key(10**10_000, fold=True) != write_key(10**10_000 + 1, fold=True)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("12,34,567", 1_234_567),
        ("1,234,567.50 EUR", 1_234_567.5),
        ("1.234.567,50 EUR", 1_234_567.5),
        ("1 000 000 EUR", 1_000_000),
        ("10,50 EUR", 10.5),
        ("2 of 3", 3),
    ],
)
def test_of_a_text_the_largest_number_counts_without_its_separators(text: str, expected: float):
    assert Decimal(add_amounts([text])) == Decimal(str(expected))


@pytest.mark.parametrize(
    "text",
    [
        *("5 millions", "5MM", "3 lakh", "2 crores", "10 thousands", "4 hundred", "5k"),
        *("10^6", "10**6 EUR", "5\u4e07", "0xFFFFFF", "0b111111", "1 or \u0665\u0660\u0660 EUR", "five"),
    ],
)
def test_a_number_that_is_written_in_another_way_is_unreadable(text: str):
    with pytest.raises(Unreadable):
        add_amounts([text])


@pytest.mark.parametrize(
    "text", ["0", "0.0", "12.50", "1E+3", "0.000001", "99999999999999.9", "123456789012345", "9007199254740993"]
)
def test_a_sum_that_a_number_of_json_can_say_is_exact(text: str):
    found = to_number(Decimal(text))

    assert Decimal(repr(found)) == Decimal(text)
    assert isinstance(found, int) is (Decimal(text) == int(Decimal(text)))


def test_a_sum_beyond_the_whole_numbers_of_policy_is_the_largest_of_them():
    assert to_number(Decimal("1E+25")) == to_number(Decimal(10) ** 29) == 2**63 - 1


def test_no_text_of_an_argument_reads_as_other_arguments():
    """A text with the marks of a list, a mapping or a number is another key than the list, the mapping or the number."""
    given: list[Json] = [
        5,
        "5",
        "1:5",
        ["5"],
        "[1:5]",
        {"5": 5},
        {"5": "5"},
        "{1:55}",
        ["5", "5"],
        ["5,1:5"],
        {"a": 1, "b": 2},
        {"a1,1:b2": ""},
    ]
    given += [None, "null", True, "true", [], {}, "", [""], {"": None}, {"a": {"b": 1}}, {"a": "1:b1"}]

    assert len({write_arguments(each, fold=True) for each in given}) == len(given)
    assert write_arguments({"a": 1, "b": [2.0]}, fold=True) == write_arguments({"B ": [2], "a": 1.0}, fold=True)
