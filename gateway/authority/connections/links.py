"""Links that agents pass to their users, as records with an end. All gateways on the same records know them.

An owner has one open link for each broker. A user's "no" holds for the rest of its time, so an agent cannot ask again at once. The
record is that of the place (an owner at a broker), and the id of its link begins with the id of the place.
"""

from __future__ import annotations

import re
import secrets
from typing import TYPE_CHECKING, Final

from msgspec import structs

from gateway.authority.connections.model import ConnectionLink
from gateway.authority.connections.store import name_place
from gateway.base.store.engine import ABSENT
from gateway.base.store.records import FollowedRecords, RecordKind
from gateway.model.errors import StoreError
from gateway.wire.oauth_flow import is_same

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Literal

    from gateway.base.store.records import SealedStore

LINKS: Final = RecordKind("link to connect", ConnectionLink, "the agent is given another link")
CAPACITY: Final = 10_000
"""Links at once; beyond it the oldest go."""
_ID: Final = re.compile(r"connect-([0-9a-f]{32})-[A-Za-z0-9_-]{43}")
_BYTES: Final = 32
_ATTEMPTS: Final = 8


class Links:
    """Links by their id, and the latest of each owner and broker. Each method raises `StoreError`."""

    def __init__(self, store: SealedStore, clock: Callable[[], float], capacity: int = CAPACITY) -> None:
        self._store = store
        self._clock = clock
        self._capacity = capacity
        self._records = store.of(LINKS)
        self._followed = FollowedRecords(self._records)

    async def get(self, identifier: str) -> ConnectionLink | None:
        """Return a link whose time is not over."""
        found = await self._find(identifier)
        return None if found is None else found[0]

    async def offer(
        self, owner_key: str, broker: str, make: Callable[[str], ConnectionLink]
    ) -> tuple[ConnectionLink, bool]:
        """Return the open or declined link of an owner for a broker, otherwise a new link. The flag marks a new link."""
        place = name_place(owner_key, broker)
        for _ in range(_ATTEMPTS):
            found = await self._records.find(place)
            if found is not None and found[0].state != "made" and found[0].expires > self._clock():
                return found[0], False
            await self._records.make_room(self._capacity, lambda link: link.asked)
            link = make(f"connect-{place}-{secrets.token_urlsafe(_BYTES)}")
            if await self._write(place, link, ABSENT if found is None else found[1]):
                return link, True
        raise StoreError("other gateways changed the link of the same user again and again", "try again")

    async def close(self, identifier: str, state: Literal["made", "declined"]) -> bool:
        """Close a link. Return whether it was open until now."""
        for _ in range(_ATTEMPTS):
            found = await self._find(identifier)
            if found is None or found[0].state != "open":
                return False
            link, version, place = found
            if await self._write(place, structs.replace(link, state=state), version):
                return True
        raise StoreError("other gateways changed the same link again and again", "open the link again")

    async def load(self) -> None:
        """Read the present links: `look` tells of later changes."""
        await self._followed.load()

    async def look(self) -> list[ConnectionLink]:
        """Return the links that any gateway has changed since the last look."""
        return list((await self._followed.look())[0].values())

    async def _find(self, identifier: str) -> tuple[ConnectionLink, int, str] | None:
        """Return a link with the version and the id of its record."""
        named = _ID.fullmatch(identifier)
        found = None if named is None else await self._records.find(named[1])
        if named is None or found is None or not is_same(found[0].id, identifier):
            return None
        link, version = found
        return None if link.expires <= self._clock() else (link, version, named[1])

    async def _write(self, place: str, link: ConnectionLink, version: int) -> bool:
        change = self._records.changed(place, link, version=version, expires=link.expires)
        return await self._store.change(change) is not None
