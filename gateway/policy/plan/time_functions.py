"""Built-in functions on times. Pure: a policy has no clock."""

from __future__ import annotations

import re
from calendar import monthrange
from datetime import UTC, date, datetime, timedelta, tzinfo
from typing import Final
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from gateway.policy.plan.operands import array, text, whole
from gateway.policy.plan.values import EvaluationFailed, Value

_RFC3339: Final = re.compile(
    r"(\d{4})-(\d\d)-(\d\d)T(\d\d?):(\d\d):(\d\d)(?:[.,](\d+))?(?:Z|([+-])(\d\d):(\d\d))", re.ASCII
)
_ERA: Final = 400
"""Years after which the calendar comes again."""
_DAYS_OF_ERA: Final = 146_097
_EPOCH: Final = date(1970, 1, 1).toordinal()
_START: Final = datetime(1970, 1, 1, tzinfo=UTC)
_DAY: Final = 86_400 * 10**9
"""Nanoseconds of a day."""
_WEEKDAYS: Final = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
_PARTS: Final = ("year", "month", "day", "hour", "minute", "second")


def parse_rfc3339_ns(value: Value) -> Value:
    """Return the nanoseconds since the epoch of a time. As Go: an hour may have one digit, and an offset 24 hours."""
    found = _RFC3339.fullmatch(text(value, 1))
    if found is None:
        raise EvaluationFailed("time.parse_rfc3339_ns: the text is no time of RFC 3339")
    year, month, day, hour, minute, second = (int(part) for part in found.groups()[:6])
    offset = int(found[9] or 0) * 60 + int(found[10] or 0)
    if hour > 23 or minute > 59 or second > 59 or int(found[9] or 0) > 24 or int(found[10] or 0) > 60:
        raise EvaluationFailed("time.parse_rfc3339_ns: the time is out of range")
    seconds = _days(year, month, day) * 86_400 + hour * 3600 + minute * 60 + second
    seconds -= -offset * 60 if found[8] == "-" else offset * 60
    nanoseconds = seconds * 10**9 + int((found[7] or "")[:9].ljust(9, "0"))
    if not -(2**63) <= nanoseconds < 2**63:
        raise EvaluationFailed("time.parse_rfc3339_ns: the time is out of range")
    return nanoseconds


def _days(year: int, month: int, day: int) -> int:
    """Return the days since the epoch. The calendar of Python begins a year later than that of Go."""
    moved = year + _ERA if year < _ERA else year
    try:
        found = date(moved, month, day).toordinal() - _EPOCH
    except ValueError:
        raise EvaluationFailed("time.parse_rfc3339_ns: there is no such day") from None
    return found if moved == year else found - _DAYS_OF_ERA


def clock(value: Value) -> Value:
    """Return the hour, minute and second of a time, or of a list with a time and the name of its zone."""
    found = _moment(value, 1)
    return [found.hour, found.minute, found.second]


def day(value: Value) -> Value:
    """Return the year, month and day of a time."""
    found = _moment(value, 1)
    return [found.year, found.month, found.day]


def weekday(value: Value) -> Value:
    """Return the name of the day of a time."""
    return _WEEKDAYS[_moment(value, 1).weekday()]


def add_date(value: Value, years: Value, months: Value, days: Value) -> Value:
    """Return a time so many years, months and days later. A day beyond its month counts on into the next, as in Go."""
    nanoseconds, moment = _nanoseconds(value, 1), _moment(value, 1)
    number = moment.year * 12 + moment.month - 1 + whole(years, 2) * 12 + whole(months, 3)
    try:
        moved = date(number // 12, number % 12 + 1, 1).toordinal() + moment.day - 1 + whole(days, 4)
    except (ValueError, OverflowError):
        raise EvaluationFailed("time.add_date: the time is out of range") from None
    result = nanoseconds + (moved - moment.toordinal()) * _DAY
    if not -(2**63) <= result < 2**63:
        raise EvaluationFailed("time.add_date: the time is out of range")
    return result


def difference(one: Value, other: Value) -> Value:
    """Return the years, months, days, hours, minutes and seconds between two times, in the zone of the first."""
    first, second = _moment(one, 1), _moment(other, 2)
    second = second.astimezone(first.tzinfo)
    if _nanoseconds(one, 1) > _nanoseconds(other, 2):
        first, second = second, first
    parts = [getattr(second, name) - getattr(first, name) for name in _PARTS]
    for place, size in ((5, 60), (4, 60), (3, 24)):
        if parts[place] < 0:
            parts[place], parts[place - 1] = parts[place] + size, parts[place - 1] - 1
    if parts[2] < 0:
        parts[2], parts[1] = parts[2] + monthrange(first.year, first.month)[1], parts[1] - 1
    if parts[1] < 0:
        parts[1], parts[0] = parts[1] + 12, parts[0] - 1
    return parts


def _nanoseconds(value: Value, place: int) -> int:
    return whole(value[0] if type(value) is list and value else value, place)


def _moment(value: Value, place: int) -> datetime:
    """Return the time of an operand: nanoseconds since the epoch, or a list with these and the name of a zone."""
    nanoseconds, zone = _nanoseconds(value, place), UTC
    if type(value) is list:
        found = array(value, place)
        if len(found) != 2:
            raise EvaluationFailed(f"operand {place} must have a time and a zone")
        zone = _zone(text(found[1], place))
    return (_START + timedelta(microseconds=nanoseconds // 1000)).astimezone(zone)


def _zone(name: str) -> tzinfo:
    """Return a zone of the tz database. The zone of the machine is none: the same input has to give the same answer."""
    if name in {"", "UTC"}:
        return UTC
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise EvaluationFailed("there is no such zone of time") from None
