"""Days in texts, so that `from January 11th to January 15th` names `2025-01-11`. Pure. A day is written as in ISO 8601,
and without a year as `--01-11`. Ambiguous forms (`01/02/2025`) are no days."""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Iterator
from typing import Final

_MONTHS: Final = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_MONTH: Final = (
    r"(?P<month>jan(?:uary)?|feb(?:ruary)?|mar(?:ch)?|apr(?:il)?|may|june?|july?|aug(?:ust)?|sept?(?:ember)?"
    r"|oct(?:ober)?|nov(?:ember)?|dec(?:ember)?)\b\.?"
)
_DAY: Final = r"\d{1,2}(?:st|nd|rd|th)?"
_RANGE: Final = rf"(?P<day>{_DAY})(?:\s*(?:to|until|till|through|and|or|-|–)\s*(?:the\s+)?(?P<last>{_DAY}))?"
_YEAR: Final = r"(?:,?\s*(?P<year>\d{4}))?(?![\w:])"
_FORMS: Final = (
    re.compile(r"(?<![\w.-])(?P<year>\d{4})-(?P<month>\d{2})-(?P<day>\d{2})(?![\d-])"),
    re.compile(r"(?<![\w.-])(?P<day>\d{1,2})\.(?P<month>\d{1,2})\.(?P<year>\d{4})(?![\w-])"),
    re.compile(rf"(?<!\w){_MONTH}\s*(?:the\s+)?{_RANGE}{_YEAR}", re.IGNORECASE),
    re.compile(rf"(?<![\w.,:-]){_RANGE}\s*(?:of\s+)?{_MONTH}{_YEAR}", re.IGNORECASE),
)
_MOMENT: Final = re.compile(
    r"(\d{4})-(\d{2})-(\d{2})(?:[T ]\d{2}:\d{2}(?::\d{2}(?:\.\d{1,9})?)?(?:Z|[+-]\d{2}:?\d{2})?)?", re.IGNORECASE
)


def days(text: str) -> frozenset[str]:
    """Return the days in a text, both ends of a range in one month included."""
    return frozenset(day for form in _FORMS for found in form.finditer(text) for day in _of(found))


def moment(text: str) -> str | None:
    """Return the day of a value that is a date or a date and time (ISO 8601, RFC 3339)."""
    found = _MOMENT.fullmatch(text.strip())
    return _write_day(int(found[2]), int(found[3]), int(found[1])) if found is not None else None


def given(day: str, known: frozenset[str]) -> bool:
    """Return whether a day is among the known days. A known day without a year stands for that day in each year."""
    return day in known or f"-{day[4:]}" in known


def _of(found: re.Match[str]) -> Iterator[str]:
    parts = found.groupdict()
    month = parts["month"][:3].lower()
    number = int(month) if month.isdigit() else _MONTHS.index(month) + 1
    year = int(parts["year"]) if parts["year"] else None
    for part in (parts["day"], parts.get("last")):
        if part and (written := _write_day(number, int(re.sub(r"\D", "", part)), year)) is not None:
            yield written


def _write_day(month: int, day: int, year: int | None) -> str | None:
    """Return a day of the calendar in ISO 8601. Without a year, 2024 stands in, since it has every day."""
    try:
        date = dt.date(year if year is not None else 2024, month, day)
    except ValueError:
        return None
    return date.isoformat() if year is not None else f"-{date.isoformat()[4:]}"
