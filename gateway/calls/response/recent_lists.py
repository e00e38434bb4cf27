"""Findings about the latest lists of upstreams. Servers give the same list to each client.

The key of a finding is the whole text with all other inputs of the search, so a finding is never older than its causes.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable
from typing import Final

MOST: Final = 64
"""Findings that are kept: some five of each list."""
LONGEST: Final = 256 * 2**10
"""Bytes of a list of which findings are kept."""


class RecentLists:
    """The findings about the latest lists. `about` names the kind of finding, `causes` are its other inputs."""

    def __init__(self, most: int = MOST) -> None:
        self._most = most
        self._found: OrderedDict[tuple[Hashable, ...], object] = OrderedDict()

    def __len__(self) -> int:
        return len(self._found)

    def find(self, about: str, text: bytes, *causes: Hashable) -> object | None:
        """Return the finding about a text; `None` for another text or another cause."""
        return self._found.get((about, text, *causes)) if len(text) <= LONGEST else None

    def keep(self, about: str, text: bytes, *causes: Hashable, found: object = True) -> None:
        """Keep a finding about a text, unless the text is too long. The oldest finding makes room."""
        if len(text) > LONGEST:
            return
        key = (about, text, *causes)
        self._found[key] = found
        self._found.move_to_end(key)
        if len(self._found) > self._most:
            self._found.popitem(last=False)
