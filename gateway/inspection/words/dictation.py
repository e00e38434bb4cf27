"""Calls that say nothing but what the goal says. Pure.

Such a call gives away nothing that its task has read. So spellings count: letter case and spaces could carry a message.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Final

from gateway.base.json.pointer import child
from gateway.inspection.words.grounds import Grounds, stands, stands_quoted
from gateway.inspection.words.words import amount
from gateway.model.call import Call
from gateway.model.content import Dictation
from gateway.model.target import Role
from gateway.model.wire import Json

MAX_TEXTS: Final = 32
"""Values of a call that are compared with the goal. A call with more says something by their choice."""
MAX_DIGITS: Final = 2
"""Numbers of one digit that the goal may lack: a priority, or the number of a first record."""

_SAID: Final = frozenset({Role.CONTENT, Role.DESTINATION})
"""Roles of a message. A selector could send a record away that the call only names."""


def dictation(call: Call, given: Grounds) -> Dictation | None:
    """Return `quotes` or `words` if the goal has each value of a call, else `None`.

    `quotes`: the call gives contents, each in quotation marks in the goal, and selects nothing that could leave with them.
    Each argument needs a role. Objects have names that somebody chose, so they are never dictated.
    """
    roles = call.target.labels.roles
    quoted = Role.CONTENT in {roles.get(child("", name)) for name in call.arguments}
    left, digits = MAX_TEXTS, MAX_DIGITS
    for name, value in call.arguments.items():
        role = roles.get(child("", name))
        if role is None:
            return None
        for item in _items(value):
            left -= 1
            digits -= _is_digit(item)
            if left < 0 or digits < 0 or not (_is_digit(item) or _is_given(item, role, given)):
                return None
            quoted = quoted and role in _SAID and _is_quoted(item, role, given)
    return "quotes" if quoted else "words"


def _is_quoted(item: Json, role: Role, given: Grounds) -> bool:
    return role is not Role.CONTENT or not isinstance(item, str) or not item or stands_quoted(item, given.exact)


def _items(value: Json) -> Iterator[Json]:
    """Yield the items of an argument. A list in a list stands for itself."""
    if isinstance(value, list | tuple):
        yield from value
    else:
        yield value


def _is_digit(item: Json) -> bool:
    return isinstance(item, int) and not isinstance(item, bool) and 0 <= item <= 9


def _is_given(item: Json, role: Role, given: Grounds) -> bool:
    if item is None or isinstance(item, bool) or item == "":
        return True
    if isinstance(item, Mapping | list | tuple):
        return False
    text = item if isinstance(item, str) else repr(item)
    if isinstance(item, str) and item != " ".join(item.split()):
        return False
    if stands(text, given.exact):
        return True
    if isinstance(item, str):
        return role is Role.DESTINATION and text == text.lower() and given.grounds_value(text, role, 1)
    number = amount(text)
    return number is not None and number in given.amounts
