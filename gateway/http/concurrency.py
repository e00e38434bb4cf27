"""A limit on a client's connections, or on its requests under way."""

from __future__ import annotations

from functools import lru_cache
from ipaddress import IPv6Address, ip_address


class ConcurrencyLimit:
    """A limit of `limit` at once for each client, by address or another key. Held items bound its memory."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._held: dict[str | bytes, int] = {}

    def admit(self, client: str) -> bool:
        """Return whether the client may hold one more, and count it until `leave`."""
        holder = _holder(client)
        count = self._held.get(holder, 0)
        if count >= self._limit:
            return False
        self._held[holder] = count + 1
        return True

    def leave(self, client: str) -> None:
        """Give back the place of an admitted request."""
        holder = _holder(client)
        self._held[holder] -= 1
        if not self._held[holder]:
            del self._held[holder]


@lru_cache(4_096)
def _holder(client: str) -> str | bytes:
    """Return the counted client of an address. A subscriber of IPv6 has a whole /64 (RFC 6177), and so shares one
    bound. Telling that a text is no address takes a hundredth of a whole call."""
    try:
        parsed = ip_address(client)
    except ValueError:
        return client
    return parsed.packed[:8] if isinstance(parsed, IPv6Address) else client
