"""Values of declared facts: arguments as keys and as exact numbers, and numbers as policy reads them. Pure.

A key of a limit ignores case, width and spaces of a text. So no caller can write its way out of a limit.
"""

from __future__ import annotations

import math
import re
import unicodedata
from collections.abc import Iterable, Mapping
from decimal import Decimal, InvalidOperation
from functools import lru_cache
from typing import TYPE_CHECKING, Final, cast

from gateway.policy.document import timestamp

if TYPE_CHECKING:
    from gateway.history.declared.tables import Amount
    from gateway.model.wire import Json
    from gateway.policy.facts import Declaration

_MOST_DIGITS: Final = 30
_LARGEST: Final = 10**30
_INVISIBLE: Final = frozenset("\u034f\u115f\u1160\u3164\uffa0") | {chr(code) for code in range(0xFE00, 0xFE10)}
"""Joiners, fillers and variation selectors, beside controls and formats such as zero-width spaces."""
_SMALLEST: Final = 1e-12
"""A float with at most 17 digits, so of at most 30 decimals."""
_EXACT_DIGITS: Final = 15
"""Digits of a decimal that a float has exactly."""
_LONGEST: Final = 1_024
"""Characters of a number in a text."""


_NUMBERS: Final = re.compile(r"[0-9][0-9.,' ]*(?:[eE][+-]?[0-9]+)?")
_THOUSANDS: Final = re.compile(r"[.,' ](?=[0-9]{3}(?![0-9]))|[' ]")
_IN_WORDS: Final = re.compile(
    r"[0-9]\s*(?:(?:k|m|mm|b|t|mn|bn|cr|mio|mrd|tsd|dozen|hundred|thousand|lakh|lac|million|crore|billion|trillion)s?\b"
    r"|[\^*\u5341\u767e\u5343\u4e07\u842c\u5104\u4ebf\u5146])|\b0[xob][0-9a-f]|(?![0-9])\d",
    re.IGNORECASE,
)
"""A number times something: a word, a power, or a Chinese or Japanese numeral. Or a number of another base or with other digits."""


class Unreadable(Exception):
    """A value that is there, and is no key or no number."""


def write_key(value: Json, *, fold: bool) -> str:
    """Return a scalar as a text. Raise `Unreadable` for another value. Equal numbers have equal texts."""
    if isinstance(value, str):
        return fold_text(value) if fold else value
    if isinstance(value, bool):
        return "true" if value else "false"
    if not isinstance(value, int | float):
        raise Unreadable
    if isinstance(value, int):
        return str(value) if abs(value) < _LARGEST else hex(value)
    # The sum makes zero of a negative zero.
    return f"{Decimal(repr(value)).normalize() + 0:f}" if abs(value) < _LARGEST else repr(value)


def write_arguments(value: Json, *, fold: bool) -> str:
    """Return arguments as a text. Equal arguments have equal texts, in whatever order. Raise `Unreadable`.

    The length of a text stands before it, so no text reads as another value.
    """
    if isinstance(value, str):
        text = write_key(value, fold=fold)
        return f"{len(text)}:{text}"
    if isinstance(value, Mapping):
        items = [write_arguments(name, fold=fold) + write_arguments(item, fold=fold) for name, item in value.items()]
        return f"{{{','.join(sorted(items))}}}"
    if isinstance(value, list | tuple):
        return f"[{','.join([write_arguments(item, fold=fold) for item in value])}]"
    return "null" if value is None else write_key(value, fold=fold)


def add_amounts(values: Iterable[Json]) -> str:
    """Return the sum of amounts as the text of an exact decimal. A value that is not there adds nothing.

    Of a text with words the largest number counts, read with and without its separators. Raise `Unreadable` for a value
    without a number.
    """
    total = Decimal(0)
    for value in values:
        if isinstance(value, list | tuple):
            total += Decimal(add_amounts(value))
        elif isinstance(value, str):
            total += _find_largest(value)
        elif value is not None:
            positive = abs(value) if isinstance(value, int | float) and not isinstance(value, bool) else value
            total += Decimal(write_number(positive, is_amount=True))
    return str(total)


def _find_largest(text: str) -> Decimal:
    """Return the largest number in a text with words. Raise `Unreadable` without one, and for a number in words.

    A separator before three digits is of thousands, where no program reads the whole text as a number.
    """
    plain = unicodedata.normalize("NFKC", text).strip()
    if len(plain) > _LONGEST or _IN_WORDS.search(plain):
        raise Unreadable
    try:
        return Decimal(write_number(plain, is_amount=True))
    except Unreadable:
        found = [_drop_separators(each) for each in _NUMBERS.findall(plain)]
    if not found:
        raise Unreadable
    return max(Decimal(write_number(each.strip("."), is_amount=True)) for each in found)


def _drop_separators(number: str) -> str:
    """Return a number with a point alone. Several commas are of thousands, also before two digits: `12,34,567`."""
    plain = number.replace(",", "") if number.count(",") > 1 else number
    return _THOUSANDS.sub("", plain).replace(",", ".")


def fold_text(text: str) -> str:
    """Return a text without differences of case, width, spaces and invisible characters."""
    if text.isascii() and text.isprintable():
        return " ".join(text.lower().split())
    # A folded letter may have another normal form again.
    plain = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", text).casefold())
    seen = (each for each in plain if each.isspace() or not _is_invisible(each))
    return " ".join("".join(seen).split())


def _is_invisible(character: str) -> bool:
    return character in _INVISIBLE or unicodedata.category(character) in {"Cc", "Cf"}


def write_number(value: Json, *, is_amount: bool) -> str:
    """Return a value as the text of an exact decimal. Raise `Unreadable`, also without a value: a server may take all then.

    A text counts where `is_amount` says so. A negative number would take back what other calls add.
    """
    if isinstance(value, float):
        if _SMALLEST <= value < _LARGEST or not value:
            return repr(abs(value))
        raise Unreadable
    if isinstance(value, int) and not isinstance(value, bool):
        if 0 <= value < _LARGEST:
            return str(value)
        raise Unreadable
    if not (is_amount and isinstance(value, str)) or len(value) > _LONGEST:
        raise Unreadable
    try:
        number = Decimal(value.strip())
    except InvalidOperation:
        raise Unreadable from None
    if not number.is_finite() or number < 0 or number >= _LARGEST:
        raise Unreadable
    _, digits, exponent = number.as_tuple()
    if len(digits) > _MOST_DIGITS or cast("int", exponent) < -_MOST_DIGITS:
        raise Unreadable
    return str(abs(number))


def to_fact(declared: Declaration, amount: Amount, now: float) -> int | float | str | None:
    """Return an amount as policy reads it; `None` for a time before the window."""
    if isinstance(amount, int):
        return amount
    if isinstance(amount, Decimal):
        return to_number(amount)
    if isinstance(amount, set):
        return len(amount)
    is_over = declared.aggregate == "last" and declared.within is not None and now - amount > declared.within
    return None if is_over else _write_time(amount)


# The same totals and times are read by call after call.
_write_time: Final = lru_cache(maxsize=4096)(timestamp)


@lru_cache(maxsize=4096)
def to_number(total: Decimal) -> int | float:
    """Return a decimal as a number of JSON, exactly; a number beyond that rounded up, since a sum is a limit's."""
    if len(text := str(total)) <= _EXACT_DIGITS:
        short = float(text)
        return min(int(short), 2**63 - 1) if short.is_integer() else short
    whole = int(total)
    if whole == total:
        return min(whole, 2**63 - 1)
    number = float(total)
    while Decimal(repr(number)) < total:
        number = math.nextafter(number, math.inf)
    return number
