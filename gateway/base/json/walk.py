"""Values and places inside JSON documents: JSON Pointer (RFC 6901), and walks over all leaves. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final, NamedTuple, TypeAlias, cast

from msgspec import Struct

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


MAX_BYTES: Final = 256 * 2**10
"""Bytes of the leaves of one value. A value with more is not walked to its end."""


class Leaf(NamedTuple):
    """A string or number with the name it stands under. Any other value is only its name.

    `pointer` is RFC 6901. `name` is the nearest name above, also for an item of a list. `member` is the name as text if the
    value stands directly under it.
    """

    pointer: str
    name: str
    text: bytes
    is_text: bool
    member: bytes


class Leaves(Struct, frozen=True):
    """The leaves of a value in the order of the document. `complete`: none was left out.

    `texts` are the names, strings and numbers. `data` are all bytes: the values, then the names, joined with zero bytes, so
    that pieces of a split credential follow each other. `size` counts the bytes without the joints. `values` counts all
    values, containers and literals too. `has_blank`: there is an empty text or an empty name. Both are of no use for leaves
    that are not complete.
    """

    found: list[Leaf]
    texts: list[str]
    data: bytes
    size: int
    complete: bool
    values: int
    has_blank: bool


_SCALARS: Final = frozenset({str, int, float, bool, type(None)})
_Container: TypeAlias = Mapping[str, Json] | list[Json] | tuple[Json, ...]
_Place: TypeAlias = tuple[Json, str, str, bytes]
"""A value with its pointer, its name, and the name as text outside of lists."""


def leaves(value: Json) -> Leaves:
    """Return the strings, numbers and names of a value, up to `MAX_BYTES`."""
    found: list[Leaf] = []
    texts: list[str] = []
    size, count, complete, has_blank = 0, 0, True, False
    values: list[bytes] = []
    members: list[bytes] = []
    waiting: list[_Place] = [(value, "", "", b"")]
    while waiting:
        item, pointer, name, member = waiting.pop()
        count += 1
        kind = type(item)
        said = ""
        if kind is str:
            said = cast("str", item)
        elif kind is int or kind is float:
            said = repr(item)
        elif item is not None and kind is not bool:
            has_blank |= _open(cast("_Container", item), pointer, name, waiting)
        if not said:
            has_blank |= kind is str
            if not member:
                continue
        text = said.encode("utf-8", "surrogatepass")
        size += len(text) + len(member)
        if size > MAX_BYTES:
            size, complete = size - len(text) - len(member), False
            break
        found.append(Leaf(pointer, name, text, kind is str, member))
        values.append(text)
        if said:
            texts.append(said)
        if member:
            texts.append(name)
            members.append(member)
    return Leaves(found, texts, b"\0".join(values + members), size, complete, count, has_blank)


def _open(item: _Container, pointer: str, name: str, waiting: list[_Place]) -> bool:
    """Put the members of a container on the stack, the first on top. Return whether a member has an empty name."""
    if isinstance(item, list | tuple):
        waiting.extend([(item[at], f"{pointer}/{at}", name, b"") for at in range(len(item) - 1, -1, -1)])
        return False
    for member, inner in reversed([*item.items()]):
        step = member if "~" not in member and "/" not in member else escape(member)
        waiting.append((inner, f"{pointer}/{step}", member, member.encode("utf-8", "surrogatepass")))
    return "" in item


class FlatValue(NamedTuple):
    """The scalars of a value and the names of its members, each in the order of the document."""

    scalars: list[Json]
    names: list[str]


def flatten(value: Json) -> FlatValue:
    """Return all scalars and names of a value, without a bound and without their places."""
    flat = FlatValue([], [])
    waiting: list[Json] = [value]
    while waiting:
        item = waiting.pop()
        if type(item) in _SCALARS:
            flat.scalars.append(item)
        elif isinstance(item, Mapping):
            flat.names.extend(item)
            waiting.extend(reversed(list(item.values())))
        elif isinstance(item, list | tuple):
            waiting.extend(reversed(cast("list[Json]", item)))
        else:
            flat.scalars.append(item)
    return flat
