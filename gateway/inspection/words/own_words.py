"""Words that a task has from its user, its caller's identity and the operator: nothing foreign is carried by them. Pure.

A word is made of parts: `reports/northwind-q3.csv` of `reports`, `northwind`, `q3` and `csv`. It is own if each part is. Who
writes a result can repeat own parts, and put them together in another way, and gives the task nothing new by it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import lru_cache
from typing import Final, TypeAlias

from gateway.model.caller import Principal

OwnParts: TypeAlias = tuple[frozenset[bytes], ...]
"""Parts of own words, by who gave them."""
_PART: Final = re.compile(rb"[0-9a-z\x80-\xff]+")


def parts_of(text: str) -> frozenset[bytes]:
    """Return the parts of all words of a text, in lower case."""
    return frozenset(_PART.findall(text.lower().encode("utf-8", "surrogatepass")))


@lru_cache(maxsize=1024)
def parts_of_texts(texts: tuple[str, ...]) -> frozenset[bytes]:
    """Return the parts of all words of some texts. Each call of a caller asks for those of its identity."""
    return parts_of("\n".join(texts))


def identity_of(caller: Principal) -> tuple[str, ...]:
    """Return the texts that name a caller: the agent, its delegates, its user and the user's groups."""
    user = () if caller.user is None else (caller.user.id, *caller.user.groups)
    return (caller.id, *(actor.id for actor in caller.delegation), *user)


def foreign(words: Iterable[bytes], own: OwnParts) -> set[bytes]:
    """Return the words with a part that is in none of the sets."""
    found = set(words)
    strange = set(_PART.findall(b" ".join(found)))
    count = len(strange)
    for parts in own:
        # Not in place: that would walk through a whole directory.
        strange = strange - parts
    if len(strange) == count:
        # None of the parts is own, as is usual for the text of a stranger.
        return {word for word in found if _PART.search(word) is not None}
    return {word for word in found if not strange.isdisjoint(_PART.findall(word))}
