"""The true outcome of a sent call, from the response to it and from the end of its answer. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Final, Literal, TypeAlias

from gateway.calls.response.frames import OBJECT, UNREADABLE, members_of
from gateway.history.events import CallEnd
from gateway.model.error_codes import INTERNAL_ERROR
from gateway.record.journal.entry import LostTo, Outcome

if TYPE_CHECKING:
    import msgspec

    from gateway.calls.response.stream import StreamEnd

_FAULT: Final = b"%d" % INTERNAL_ERROR
_ERRORS: Final = 400
_SERVER_ERRORS: Final = 500
"""HTTP statuses from here on are errors, and from there on errors of a server that may have acted before it failed."""
_REQUEST_TIMEOUT: Final = 408
KnownEnd: TypeAlias = Literal["done", "failed"]
Response: TypeAlias = Literal["result", "error", "fault", "input", "deferred"]
"""The response to a request: a result, an error before or without an effect, a fault of a server that may have acted before it,
a question to the client, or the promise of a later result."""


def name_response(envelope: Mapping[str, msgspec.Raw]) -> Response:
    """Return what the response in this envelope is."""
    if "error" in envelope:
        return "fault" if members_of(envelope["error"]).get("code") == _FAULT else "error"
    raw = bytes(envelope["result"])
    if b'"isError"' not in raw and b'"inputRequests"' not in raw and b'"taskId"' not in raw and b"\\" not in raw:
        return "result"
    result = members_of(raw)
    if result.get("isError") == b"true":
        return "error"
    if "inputRequests" in result:
        return "input"
    return "deferred" if "taskId" in result or "taskId" in members_of(result.get("task", b"")) else "result"


END_OF_RESPONSE: Final[Mapping[Response, CallEnd]] = {
    "result": "done",
    "error": "failed",
    "fault": "unknown",
    "input": "failed",
    "deferred": "unknown",
}
"""What a call did by its response. A call with a question to its client has done nothing yet: the next round is a call of its own."""
_OF_RESPONSES: Final[Mapping[Response, Outcome]] = {
    "result": Outcome.COMPLETED,
    "input": Outcome.COMPLETED,
    "error": Outcome.ERROR,
    "fault": Outcome.UNKNOWN,
}


_ENDS_OF_TASKS: Final[Mapping[bytes, KnownEnd]] = {b'"completed"': "done", b'"failed"': "failed"}


def name_late_end(asked: str | None, data: bytes) -> KnownEnd | None:
    """Return what a call did by a late response: the state or the result of its protocol task, or its answer on another stream.

    `asked` is the method of the answered request, `None` on a stream of news. `None`: the response does not say.
    """
    try:
        envelope = OBJECT.decode(data)
    except UNREADABLE:
        return None
    if asked == "tasks/get":
        return _ENDS_OF_TASKS.get(members_of(envelope.get("result", b"")).get("status", b""))
    # An error in the place of a task's result may be about the request for it.
    if "result" not in envelope and (asked is not None or "error" not in envelope):
        return None
    end = END_OF_RESPONSE[name_response(envelope)] if asked in {None, "tasks/result"} else "unknown"
    return None if end == "unknown" else end


def name_outcome(end: StreamEnd, response: Response | None) -> tuple[Outcome, LostTo | None]:
    """Return the outcome of a sent call, and where its answer was lost, if it was.

    A whole response says what the call did, whether its caller was still there or not. Without one the call may have done
    anything, unless it never reached its upstream or the upstream refused it by its HTTP status.
    """
    status = end.status or 0
    lost: LostTo | None = None if end.ended == "completed" else end.ended
    if response == "deferred":
        return Outcome.UNKNOWN, "deferred"
    if response is not None and (status < _ERRORS or response != "result"):
        return _OF_RESPONSES[response], lost
    if not end.sent:
        return Outcome.UPSTREAM_FAILED, None
    if end.ended == "completed" and _ERRORS <= status < _SERVER_ERRORS and status != _REQUEST_TIMEOUT:
        return Outcome.ERROR, None
    return Outcome.UNKNOWN, lost or "failed"
