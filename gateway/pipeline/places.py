"""The places that requests of callers take: among requests in progress, or among streams that wait for news.

A client keeps a stream open for hours and the gateway does nothing for it meanwhile. So a stream takes no place of a request: callers
with many streams leave room for the calls of others.
"""

from __future__ import annotations

from typing import Final

from gateway.http.concurrency import ConcurrencyLimit
from gateway.model.decision import Reason, Refusal
from gateway.model.wire import Message
from gateway.protocol.error_codes import REFUSED


class RequestPlaces:
    """All places: `requests` and `streams` of each caller, and `all_streams` together."""

    def __init__(self, requests: int, streams: int, all_streams: int) -> None:
        self._requests = ConcurrencyLimit(requests)
        self._streams = ConcurrencyLimit(streams)
        self._left = all_streams

    def enter(self, caller: str) -> RequestPlace | Refusal:
        """Take a place of a request, until `RequestPlace.leave`."""
        return RequestPlace(self, caller) if self._requests.admit(caller) else _TOO_MANY_REQUESTS

    def leave_request(self, caller: str) -> None:
        self._requests.leave(caller)

    def enter_stream(self, caller: str) -> Refusal | None:
        if not self._streams.admit(caller):
            return _TOO_MANY_STREAMS_OF_CALLER
        if not self._left:
            self._streams.leave(caller)
            return _TOO_MANY_STREAMS
        self._left -= 1
        return None

    def leave_stream(self, caller: str) -> None:
        self._streams.leave(caller)
        self._left += 1


class RequestPlace:
    """The place of one request."""

    __slots__ = ("_caller", "_is_stream", "_places")

    def __init__(self, places: RequestPlaces, caller: str) -> None:
        self._places = places
        self._caller = caller
        self._is_stream = False

    def become_stream(self) -> Refusal | None:
        """Take the place of a stream instead. Returns the refusal if there is none left; the place of the request then stays."""
        if (refusal := self._places.enter_stream(self._caller)) is not None:
            return refusal
        self._places.leave_request(self._caller)
        self._is_stream = True
        return None

    def leave(self) -> None:
        if self._is_stream:
            self._places.leave_stream(self._caller)
        else:
            self._places.leave_request(self._caller)


def waits_for_news(http_method: str, message: Message | None) -> bool:
    """Return whether a request opens a stream for news rather than for the result of a call."""
    return http_method == "GET" if message is None else message.method == "subscriptions/listen"


_CLOSE: Final = "Close streams that are not needed"
_TOO_MANY_REQUESTS: Final = Refusal(
    429,
    Reason(
        "limit/in-flight-per-caller",
        "This caller has as many requests in progress as one caller may have.",
        "Wait for some of them to end.",
    ),
    REFUSED,
)
_TOO_MANY_STREAMS_OF_CALLER: Final = Refusal(
    429,
    Reason("limit/streams-per-caller", "This caller has as many open streams as one caller may have.", f"{_CLOSE}."),
    REFUSED,
)
_TOO_MANY_STREAMS: Final = Refusal(
    503,
    Reason(
        "limit/streams", "The gateway has as many open streams as it may have.", f"{_CLOSE}, or open one again later."
    ),
    REFUSED,
)
