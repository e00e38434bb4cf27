"""Links that agents pass to their users, in memory. Pure. After a restart, an agent is given a new link.

An owner has one open link for each broker. A user's "no" holds for the rest of its time, so an agent cannot ask again at once.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from msgspec import structs

if TYPE_CHECKING:
    from typing import Literal

    from gateway.authority.connections.model import ConnectionLink

CAPACITY: Final = 10_000
"""Links at once; beyond it the oldest goes."""


class Links:
    """Links by their id, and the latest of each owner and broker."""

    def __init__(self, capacity: int = CAPACITY) -> None:
        self._capacity = capacity
        self._links: dict[str, ConnectionLink] = {}
        self._latest: dict[tuple[str, str], str] = {}

    def __len__(self) -> int:
        return len(self._links)

    def get(self, identifier: str, now: float) -> ConnectionLink | None:
        """Return a link whose time is not over."""
        link = self._links.get(identifier)
        return None if link is None or link.expires <= now else link

    def latest(self, owner_key: str, broker: str, now: float) -> ConnectionLink | None:
        """Return the present link of an owner for a broker."""
        identifier = self._latest.get((owner_key, broker))
        return None if identifier is None else self.get(identifier, now)

    def add(self, link: ConnectionLink, now: float) -> None:
        """Add a link in place of the owner's present one."""
        self._forget(now)
        place = (link.owner.key, link.broker)
        if (present := self._latest.get(place)) is not None:
            self._remove(present)
        if len(self._links) >= self._capacity:
            self._remove(next(iter(self._links)))
        self._links[link.id] = link
        self._latest[place] = link.id

    def close(self, identifier: str, state: Literal["made", "declined"]) -> ConnectionLink | None:
        """Close an open link, and return the closed link. Return `None` for a link that is not open."""
        link = self._links.get(identifier)
        if link is None or link.state != "open":
            return None
        closed = self._links[identifier] = structs.replace(link, state=state)
        return closed

    def _forget(self, now: float) -> None:
        while self._links and (oldest := next(iter(self._links.values()))).expires <= now:
            self._remove(oldest.id)

    def _remove(self, identifier: str) -> None:
        link = self._links.pop(identifier, None)
        if link is not None and self._latest.get((link.owner.key, link.broker)) == identifier:
            del self._latest[link.owner.key, link.broker]
