"""Built-in functions on times. Pure: a policy has no clock."""

from __future__ import annotations

import re
from datetime import date
from typing import Final

from gateway.policy.plan.operands import text
from gateway.policy.plan.values import EvaluationFailed, Value

_RFC3339: Final = re.compile(
    r"(\d{4})-(\d\d)-(\d\d)T(\d\d?):(\d\d):(\d\d)(?:[.,](\d+))?(?:Z|([+-])(\d\d):(\d\d))", re.ASCII
)
_ERA: Final = 400
"""Years after which the calendar comes again."""
_DAYS_OF_ERA: Final = 146_097
_EPOCH: Final = date(1970, 1, 1).toordinal()


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
