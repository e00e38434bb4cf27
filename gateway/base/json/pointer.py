"""JSON pointers (RFC 6901): the place of a value, as names of members and numbers of items. Pure.

The pointer of a whole document is empty. The step `*` of the gateway's labels has no meaning here.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final, cast

from gateway.model.wire import Json

_LONGEST_NUMBER: Final = 9
"""Digits of an item's number. No list that is read here has more items."""


def escape(name: str) -> str:
    """Return a name as a step of a pointer."""
    return name if "~" not in name and "/" not in name else name.replace("~", "~0").replace("/", "~1")


def unescape(step: str) -> str:
    """Return the name that a step stands for."""
    return step if "~" not in step else step.replace("~1", "/").replace("~0", "~")


def child(pointer: str, name: str) -> str:
    """Return the pointer of a member of the object at `pointer`."""
    return f"{pointer}/{escape(name)}"


def split_pointer(pointer: str) -> list[str]:
    """Return the names on the way to a value, the outermost first. A number stands as its digits."""
    return [unescape(step) for step in pointer.split("/")[1:]]


def item_number(name: str, size: int) -> int | None:
    """Return the number of an item in a list of `size` items; `None` for a name without such an item.

    Leading zeros are accepted, unlike in RFC 6901: an operator's pointer must not lose its value by one.
    """
    if not (name.isascii() and name.isdigit()) or len(name) > _LONGEST_NUMBER:
        return None
    found = int(name)
    return found if found < size else None


def find_value(document: Json, path: Iterable[str]) -> Json:
    """Return the value on the way of these names; `None` without one."""
    found = document
    for name in path:
        if isinstance(found, Mapping):
            found = found.get(name)
        elif isinstance(found, list | tuple):
            items = cast("list[Json]", found)
            at = item_number(name, len(items))
            found = None if at is None else items[at]
        else:
            return None
    return found
