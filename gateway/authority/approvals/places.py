"""Places in the document of a question, and in the arguments of its call. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Generic, TypeVar, cast

from gateway.base.json.strict import fold as fold_name
from gateway.base.json.walk import child, split_pointer

Item = TypeVar("Item")


def find_leaves(value: Any) -> Iterator[tuple[str, Any]]:
    """Yield each scalar and each empty container with its pointer, in the order of the document."""
    waiting: list[tuple[str, Any]] = [("", value)]
    while waiting:
        pointer, item = waiting.pop()
        if item and isinstance(item, Mapping):
            members = cast("Mapping[str, Any]", item)
            waiting += [(child(pointer, member), inner) for member, inner in reversed([*members.items()])]
        elif item and isinstance(item, list | tuple):
            items = cast("list[Any]", item)
            waiting += [(f"{pointer}/{at}", items[at]) for at in range(len(items) - 1, -1, -1)]
        else:
            yield pointer, item


def find_part(document: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    """Return an object in a document, empty without one."""
    found: Any = document.get(name)
    return cast("Mapping[str, Any]", found) if isinstance(found, Mapping) else {}


class Places(Generic[Item]):
    """Knowledge about the arguments of a call, by their places. Names differ as roles read them, and `*` is any step."""

    def __init__(self, known: Iterable[tuple[str, Item]]) -> None:
        self._exact: dict[tuple[str, ...], list[Item]] = {}
        self._wild: list[tuple[tuple[str, ...], Item]] = []
        for place, item in known:
            steps = _steps(place)
            if "*" in steps:
                self._wild.append((steps, item))
            else:
                self._exact.setdefault(steps, []).append(item)

    def find(self, pointer: str) -> Iterator[Item]:
        """Yield what is known about a value, and about a value around it."""
        if not self._exact and not self._wild:
            return
        steps = _steps(pointer)
        for depth in range(1, len(steps) + 1):
            yield from self._exact.get(steps[:depth], ())
        for place, item in self._wild:
            if len(place) <= len(steps) and all(want in {"*", step} for want, step in zip(place, steps, strict=False)):
                yield item


def _steps(pointer: str) -> tuple[str, ...]:
    return tuple(map(fold_name, split_pointer(pointer)))
