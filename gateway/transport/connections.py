"""How many connections each client address holds open, and the bound on it."""

from __future__ import annotations

from ipaddress import IPv6Address, ip_address


class Connections:
    """At most `limit` at once for each address. Memory is bounded by the connections that are open."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._open: dict[str | bytes, int] = {}

    def admit(self, address: str) -> bool:
        """Whether one more may be open; it is counted then, until `leave`."""
        client = _client(address)
        count = self._open.get(client, 0)
        if count >= self._limit:
            return False
        self._open[client] = count + 1
        return True

    def leave(self, address: str) -> None:
        """One that was admitted is gone."""
        client = _client(address)
        self._open[client] -= 1
        if not self._open[client]:
            del self._open[client]


def _client(address: str) -> str | bytes:
    """Who an address is counted for. A subscriber of IPv6 has a whole /64 (RFC 6177), and so has one bound for it."""
    try:
        parsed = ip_address(address)
    except ValueError:
        return address
    return parsed.packed[:8] if isinstance(parsed, IPv6Address) else address
