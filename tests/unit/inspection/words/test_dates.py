from __future__ import annotations

import calendar

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.inspection.words.words import find_days, is_given_day, moment


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("on 2025-01-11 at 10:00", {"2025-01-11"}),
        ("am 11.1.2025", {"2025-01-11"}),
        ("from January 11th to January 15th 2025.", {"--01-11", "2025-01-15"}),
        ("from the 13th to the 17th of May 2024", {"2024-05-13", "2024-05-17"}),
        ("May 1-5, 2024", {"2024-05-01", "2024-05-05"}),
        ("on 18th May 2024 from 12:00 to 13:00", {"2024-05-18"}),
        ("the 14th of November", {"--11-14"}),
        ("Sept. 3", {"--09-03"}),
        ("OCTOBER 15TH", {"--10-15"}),
        ("29 February", {"--02-29"}),
        ("29 February 2023", set[str]()),
        ("2025-13-01 and 31 April 2025", set[str]()),
        ("01/02/2025", set[str]()),
        ("2025-01-111, 12025-01-11, v2025-01-11", set[str]()),
        ("may 5 people come", {"--05-05"}),
        ("maybe 12 marches", set[str]()),
        ("at 12:30 May", set[str]()),
        ("May 10:30", set[str]()),
    ],
)
def test_the_days_of_a_text_are_found(text: str, expected: set[str]):
    assert find_days(text) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2025-01-11", "2025-01-11"),
        (" 2025-01-11 23:59 ", "2025-01-11"),
        ("2025-01-11T10:00:00.5Z", "2025-01-11"),
        ("2025-01-11t10:00+02:00", "2025-01-11"),
        ("2025-02-30", None),
        ("2025-01-11; drop", None),
        ("2025-01-11 to evil.example", None),
        ("20250111", None),
        ("", None),
    ],
)
def test_a_moment_has_a_day(text: str, expected: str | None):
    assert moment(text) == expected


def test_a_day_without_a_year_stands_for_each_year():
    assert is_given_day("2031-01-11", frozenset({"--01-11"}))
    assert is_given_day("2031-01-11", frozenset({"2031-01-11"}))
    assert not is_given_day("2031-01-11", frozenset({"2030-01-11", "--01-12"}))


@given(st.dates())
def test_each_day_is_found_in_each_of_its_spellings(date: object):
    text = str(date)
    year, month, day = map(int, text.split("-"))
    name = calendar.month_name[month]

    for spelling in (
        text,
        f"{day}.{month}.{year:04}",
        f"{name} {day}, {year:04}",
        f"the {day}th of {name[:3]} {year:04}",
    ):
        assert find_days(f"from {spelling}; or so") == {text} == {moment(text)}


@given(st.text(alphabet="0123456789 -.,:adehjmnoprstuy"))
def test_no_text_is_too_odd(text: str):
    assert all(len(day) in {7, 10} for day in find_days(text))
