"""Built-in functions on base64, hexadecimal digits, semantic versions, times and addresses. Pure: a policy has no clock.

A string of Rego here is Unicode. Decoded bytes that are not UTF-8 fail, where OPA gives a string of bytes.
"""

from __future__ import annotations

import base64
import binascii
import ipaddress
import re
from calendar import monthrange
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta, tzinfo
from typing import Any, Final
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from gateway.policy.plan.numbers import array, text, whole
from gateway.policy.plan.values import EvaluationFailed, Value

_DIGITS: Final = re.compile("(?:[0-9a-fA-F]{2})*", re.ASCII)
_NUMBER: Final = r"(0|[1-9][0-9]*)"
_IDENTIFIERS: Final = r"[0-9A-Za-z-]+(?:\.[0-9A-Za-z-]+)*"
_VERSION: Final = re.compile(rf"v?{_NUMBER}\.{_NUMBER}\.{_NUMBER}(?:-({_IDENTIFIERS}))?(?:\+{_IDENTIFIERS})?", re.ASCII)
_GREATEST: Final = 2**63 - 1
_LINE_BREAKS: Final = str.maketrans("", "", "\r\n")
"""Go leaves line breaks in base64 out."""


def base64_encode(value: Value) -> Value:
    return base64.b64encode(text(value, 1).encode()).decode()


def base64_decode(value: Value) -> Value:
    return _decode(_from_base64(text(value, 1)))


def base64_is_valid(value: Value) -> Value:
    """Return whether a value is a string of base64. Another value is none."""
    if type(value) is not str:
        return False
    try:
        _from_base64(value)
    except EvaluationFailed:
        return False
    return True


def base64url_encode(value: Value) -> Value:
    return base64.urlsafe_b64encode(text(value, 1).encode()).decode()


def base64url_encode_no_pad(value: Value) -> Value:
    return base64.urlsafe_b64encode(text(value, 1).encode()).decode().rstrip("=")


def base64url_decode(value: Value) -> Value:
    """Return the text in base64url, with its padding or without."""
    found = text(value, 1)
    if "+" in found or "/" in found:
        raise EvaluationFailed("illegal base64 data")
    if not found.endswith("="):
        found += {0: "", 2: "==", 3: "="}.get(len(found.encode()) % 4, "=" * 4)
    return _decode(_from_base64(found.replace("-", "+").replace("_", "/")))


def hex_encode(value: Value) -> Value:
    return text(value, 1).encode().hex()


def hex_decode(value: Value) -> Value:
    found = text(value, 1)
    if _DIGITS.fullmatch(found) is None:
        raise EvaluationFailed("the text has other characters than pairs of hexadecimal digits")
    return _decode(bytes.fromhex(found))


def _from_base64(value: str) -> bytes:
    try:
        return binascii.a2b_base64(value.translate(_LINE_BREAKS).encode("ascii"), strict_mode=True)
    except ValueError:
        raise EvaluationFailed("illegal base64 data") from None


def _decode(value: bytes) -> str:
    try:
        return value.decode()
    except UnicodeDecodeError:
        raise EvaluationFailed("the decoded bytes are no text") from None


def semver_compare(a: Value, b: Value) -> Value:
    """Return -1, 0 or 1 for the order of two versions. Build metadata do not count."""
    first, second = _version(text(a, 1)), _version(text(b, 2))
    if first is None or second is None:
        raise EvaluationFailed("a string is no semantic version")
    return (first > second) - (first < second)


def semver_is_valid(value: Value) -> Value:
    return type(value) is str and _version(value) is not None


def _version(value: str) -> tuple[Any, ...] | None:
    """Return a version in a form that compares. A release comes after its pre-releases, and a number before a word."""
    found = _VERSION.fullmatch(value)
    if found is None:
        return None
    numbers = [int(number) for number in found.groups()[:3]]
    before = [] if found[4] is None else found[4].split(".")
    if max(numbers) > _GREATEST or any(part.isdigit() and part[0] == "0" and len(part) > 1 for part in before):
        return None
    # As Go, which takes the greatest integer of 64 bits for greater ones.
    order = [(0, min(int(part), _GREATEST), "") if part.isdigit() else (1, 0, part) for part in before]
    return (*numbers, not before, order)


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


_SIZE: Final = re.compile(r"[0-9]{1,8}", re.ASCII)


@dataclass(frozen=True, slots=True)
class Network:
    """A network: its first address as a number, the bits of its addresses (32 or 128), and the fixed bits among them."""

    first: int
    bits: int
    fixed: int

    @property
    def last(self) -> int:
        return self.first | ((1 << (self.bits - self.fixed)) - 1)

    def has(self, address: int, bits: int) -> bool:
        return bits == self.bits and (address >> (bits - self.fixed)) == (self.first >> (bits - self.fixed))


def cidr_is_valid(value: Value) -> Value:
    return type(value) is str and _network(value) is not None


def cidr_contains(network: Value, other: Value) -> Value:
    """Return whether a network has an address, or a whole network. Addresses of IPv4 in IPv6 count as of IPv4."""
    outer, written = _network(text(network, 1)), text(other, 2)
    if outer is None:
        raise EvaluationFailed("net.cidr_contains: operand 1 is no CIDR")
    address = _address(written)
    if address is not None:
        return outer.has(*_as_v4(*address))
    inner = _network(written)
    if inner is None:
        raise EvaluationFailed("net.cidr_contains: operand 2 is neither an address nor a CIDR")
    if outer.bits == inner.bits == 128:
        return outer.fixed <= inner.fixed and outer.has(inner.first, 128)
    return outer.has(inner.first, inner.bits) and outer.has(inner.last, inner.bits)


def _network(value: str) -> Network | None:
    written, slash, size = value.partition("/")
    found = _address(written)
    if not slash or found is None or not _SIZE.fullmatch(size):
        return None
    address, bits = found
    fixed = int(size)
    if fixed > bits:
        return None
    first = address >> (bits - fixed) << (bits - fixed)
    number, own = _as_v4(first, bits)
    if own != bits:
        return Network(number, own, max(0, fixed - 96))
    return Network(first, bits, fixed)


def _address(value: str) -> tuple[int, int] | None:
    if "%" in value:
        return None
    try:
        found = ipaddress.ip_address(value)
    except ValueError:
        return None
    return int(found), found.max_prefixlen


def _as_v4(address: int, bits: int) -> tuple[int, int]:
    return (address & 0xFFFFFFFF, 32) if bits == 128 and address >> 32 == 0xFFFF else (address, bits)
