"""Limits on what a client holds at once: its connections, its requests under way, and its streams.

A client keeps a stream open for hours and the gateway does nothing for it meanwhile. So a stream takes no place of a request: callers
with many streams leave room for the calls of others.
"""

from __future__ import annotations

from functools import lru_cache
from ipaddress import IPv6Address, ip_address
from typing import Final, Protocol

from msgspec import Struct

from gateway.model import reasons
from gateway.model.decision import Refusal


class ConcurrencyLimit:
    """A limit on the places that each client holds at once. Clients differ by address or another key.

    Only clients with a place take memory."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self._held: dict[str | bytes, int] = {}

    def admit(self, client: str) -> bool:
        """Take a place for the client until `leave`. Return false if the client already holds `limit` places."""
        holder = _holder(client)
        count = self._held.get(holder, 0)
        if count >= self.limit:
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


class PlaceHolder(Protocol):
    """A connection that holds a place."""

    is_stranger: bool
    """No request on the connection came from a known caller."""

    def give_way(self) -> None:
        """End the connection at once."""
        ...


class ConnectionPlaces:
    """The places for connections: at most `of_address` for one address, and `in_all` together.

    With all places taken, a new connection gets the place of another one. The stranger that is silent longest gives way first,
    then the stranger that is served longest. Then comes the known caller that rests longest. A call under way never gives way.
    """

    def __init__(self, of_address: int, in_all: int) -> None:
        self.of_address = ConcurrencyLimit(of_address)
        self.in_all = in_all
        self.given_way = 0
        """Connections that have given way since the start."""
        self._held = 0
        self._silent: dict[PlaceHolder, None] = {}
        self._asking: dict[PlaceHolder, None] = {}
        self._resting: dict[PlaceHolder, None] = {}

    def admit(self, client: str, holder: PlaceHolder) -> bool:
        """Take a place for a connection, until `leave`. Return whether there was one."""
        if not self.of_address.admit(client):
            return False
        if self._held >= self.in_all and not self._make_room():
            self.of_address.leave(client)
            return False
        self._held += 1
        self._silent[holder] = None
        return True

    def leave(self, client: str, holder: PlaceHolder) -> None:
        """Give back the place of a connection."""
        self.of_address.leave(client)
        self._held -= 1
        self._forget(holder)

    def begin(self, holder: PlaceHolder) -> None:
        """Note that a request on the connection is being answered."""
        if holder.is_stranger:
            self._silent.pop(holder, None)
            self._asking[holder] = None
        else:
            self._resting.pop(holder, None)

    def welcome(self, holder: PlaceHolder) -> None:
        """Note that a known caller asks on the connection."""
        if holder.is_stranger:
            holder.is_stranger = False
            self._asking.pop(holder, None)

    def rest(self, holder: PlaceHolder) -> None:
        """Note that no request on the connection is being answered."""
        if holder.is_stranger:
            self._asking.pop(holder, None)
            self._silent[holder] = None
        else:
            self._resting[holder] = None

    def _make_room(self) -> bool:
        for holders in (self._silent, self._asking, self._resting):
            for holder in holders:
                del holders[holder]
                self.given_way += 1
                holder.give_way()
                return True
        return False

    def _forget(self, holder: PlaceHolder) -> None:
        for holders in (self._silent, self._asking, self._resting):
            holders.pop(holder, None)


class RequestPlaces:
    """All places: `requests` and `streams` of each caller, and `all_streams` together."""

    def __init__(self, requests: int, streams: int, all_streams: int) -> None:
        self.requests = ConcurrencyLimit(requests)
        self._streams = ConcurrencyLimit(streams)
        self._all_streams = all_streams
        self._left = all_streams

    def adopt(self, requests: int, streams: int, all_streams: int) -> None:
        """Take these limits for places to come. Callers keep the places that they hold."""
        self.requests.limit, self._streams.limit = requests, streams
        self._left += all_streams - self._all_streams
        self._all_streams = all_streams

    def enter(self, caller: str) -> RequestPlace | Refusal:
        """Take a place of a request, until `RequestPlace.leave`."""
        return RequestPlace(self, caller) if self.requests.admit(caller) else _TOO_MANY_REQUESTS

    def enter_stream(self, caller: str) -> Refusal | None:
        if not self._streams.admit(caller):
            return _TOO_MANY_STREAMS_OF_CALLER
        if self._left <= 0:
            self._streams.leave(caller)
            return _TOO_MANY_STREAMS
        self._left -= 1
        return None

    def leave_stream(self, caller: str) -> None:
        self._streams.leave(caller)
        self._left += 1


class RequestPlace(Struct):
    """The place of one request."""

    places: RequestPlaces
    caller: str
    is_stream: bool = False

    def become_stream(self) -> Refusal | None:
        """Take the place of a stream instead. Returns the refusal if there is none left; the place of the request then stays."""
        if (refusal := self.places.enter_stream(self.caller)) is not None:
            return refusal
        self.places.requests.leave(self.caller)
        self.is_stream = True
        return None

    def leave(self) -> None:
        if self.is_stream:
            self.places.leave_stream(self.caller)
        else:
            self.places.requests.leave(self.caller)


_TOO_MANY_REQUESTS: Final = reasons.LIMIT_IN_FLIGHT_PER_CALLER.refusal()
_TOO_MANY_STREAMS_OF_CALLER: Final = reasons.LIMIT_STREAMS_PER_CALLER.refusal()
_TOO_MANY_STREAMS: Final = reasons.LIMIT_STREAMS.refusal()
