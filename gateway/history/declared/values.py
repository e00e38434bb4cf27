"""Values of declared facts: arguments as keys and as exact numbers, and numbers as policy reads them. Pure.

A key of a limit ignores case, width and spaces of a text. So no caller can write its way out of a limit.
"""

from __future__ import annotations

import math
import unicodedata
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
_SMALLEST: Final = 1e-12
"""A float with at most 17 digits, so of at most 30 decimals."""
_LONGEST: Final = 1_024
"""Characters of a number in a text."""


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


def fold_text(text: str) -> str:
    """Return a text without differences of case, width and spaces."""
    plain = text.lower() if text.isascii() else unicodedata.normalize("NFKC", text).casefold()
    return " ".join(plain.split())


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
    whole = int(total)
    if whole == total:
        return min(whole, 2**63 - 1)
    number = float(total)
    while Decimal(repr(number)) < total:
        number = math.nextafter(number, math.inf)
    return number
