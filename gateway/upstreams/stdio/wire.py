"""Reading of passing lines, and the few lines of the gateway itself. Pure. MCP stdio transport (2025-11-25 and
2026-07-28): one JSON-RPC message a line, no newline inside a message. Only identifiers are read; the parser skips the
rest of a line; a line travels on as bytes."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final, Literal, TypeVar

import msgspec

from gateway.base.json.strict import SUBSCRIPTION_KEY
from gateway.model.error_codes import INTERNAL_ERROR
from gateway.model.wire import JsonObject, Kind, RequestId

CANCELLED: Final = 0
"""The code with which the MCP SDKs answer a request that its sender has cancelled; no answer is expected."""

LOG_LEVEL_KEY: Final = "io.modelcontextprotocol/logLevel"

MAX_TOKEN: Final = 1024
"""Characters of a progress token."""

_SURROGATE: Final = re.compile(rb"\\u[dD][89a-fA-F][0-9a-fA-F]{2}")
"""A lone one is legal JSON, and what Node writes for text that was cut inside a character; msgspec refuses it."""

_Part = TypeVar("_Part")
_LINE_ENDS_TO_SPACES: Final = bytes.maketrans(b"\r\n", b"  ")


@dataclass(frozen=True, slots=True)
class Inbound:
    """A message of a child. `line` is valid UTF-8 in one line, fit for an SSE `data` field. `token` is the token of a
    progress notification, `subscription` the subscription of a notification. `about` is the request named by a
    cancellation, `error` the code of an error response."""

    kind: Kind
    line: bytes
    id: RequestId | None = None
    method: str | None = None
    token: RequestId | None = None
    subscription: RequestId | None = None
    about: RequestId | None = None
    error: int | None = None


class _WireMessage(msgspec.Struct):
    jsonrpc: Literal["2.0"]
    id: int | str | msgspec.UnsetType | None = msgspec.UNSET
    method: str | msgspec.UnsetType = msgspec.UNSET
    params: msgspec.Raw = msgspec.Raw()
    result: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET
    error: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET


class _Progress(msgspec.Struct):
    token: int | str = msgspec.field(name="progressToken")


class _Cancelled(msgspec.Struct):
    about: int | str = msgspec.field(name="requestId")


class _Meta(msgspec.Struct):
    subscription: int | str = msgspec.field(name=SUBSCRIPTION_KEY)


class _Subscribed(msgspec.Struct):
    meta: _Meta = msgspec.field(name="_meta")


class _Error(msgspec.Struct):
    code: int


_ENVELOPE: Final = msgspec.json.Decoder(_WireMessage)
_PROGRESS: Final = msgspec.json.Decoder(_Progress)
_CANCELLED: Final = msgspec.json.Decoder(_Cancelled)
_SUBSCRIBED: Final = msgspec.json.Decoder(_Subscribed)
_ERROR: Final = msgspec.json.Decoder(_Error)


def read_line(line: bytes) -> Inbound | None:
    """Read a line of a child's standard output; `None` for anything but a JSON-RPC 2.0 message in UTF-8."""
    envelope = _maybe(_ENVELOPE, line)
    if envelope is None and (masked := _SURROGATE.sub(rb"\\u0020", line)) != line:
        envelope = _maybe(_ENVELOPE, masked)
    if envelope is None or not (line.isascii() or _is_utf8(line)):
        return None
    if isinstance(envelope.method, str):
        return _call(envelope, envelope.method, one_line(line))
    answers = (envelope.result is not msgspec.UNSET) + (envelope.error is not msgspec.UNSET)
    if answers == 1 and isinstance(envelope.id, int | str):
        return Inbound(Kind.RESPONSE, one_line(line), envelope.id, error=_error_code(envelope.error))
    return None


def one_line(message: bytes) -> bytes:
    """Return the same JSON on one line. A line end in valid JSON stands between tokens, and means the same as a
    space."""
    return message.translate(_LINE_ENDS_TO_SPACES)


def progress_token(params: JsonObject) -> RequestId | None:
    """Return the client's progress token for its request (`params._meta.progressToken`). The token is kept while the
    request is open, so a too long token gets no progress."""
    meta = params.get("_meta")
    token = meta.get("progressToken") if isinstance(meta, dict) else None
    if isinstance(token, bool) or not isinstance(token, int | str) or len(str(token)) > MAX_TOKEN:
        return None
    return token


def wants_logs(params: JsonObject) -> bool:
    """Return whether a stateless request asks for log messages. Without this, a server must send none for the request."""
    meta = params.get("_meta")
    return isinstance(meta, dict) and LOG_LEVEL_KEY in meta


def cancelled_line(request: RequestId, reason: str) -> bytes:
    """Return a `notifications/cancelled` line."""
    params = {"requestId": request, "reason": reason}
    return _encode({"jsonrpc": "2.0", "method": "notifications/cancelled", "params": params})


def error(request: RequestId | None, code: int, message: str) -> bytes:
    """Return an error response. Without a request the response has no `id` (streamable HTTP, "Sending Messages")."""
    document: dict[str, object] = {"jsonrpc": "2.0"}
    if request is not None:
        document["id"] = request
    document["error"] = {"code": code, "message": message}
    return _encode(document)


def _encode(document: dict[str, object]) -> bytes:
    return msgspec.json.encode(document)


def _call(envelope: _WireMessage, method: str, line: bytes) -> Inbound | None:
    if envelope.id is None:
        return None
    if isinstance(envelope.id, int | str):
        return Inbound(Kind.REQUEST, line, envelope.id, method)
    return _notification(line, method, envelope.params)


def _notification(line: bytes, method: str, params: msgspec.Raw) -> Inbound:
    token = about = subscription = None
    if method == "notifications/progress":
        progress = _maybe(_PROGRESS, params)
        token = progress.token if progress else None
    elif method == "notifications/cancelled":
        cancellation = _maybe(_CANCELLED, params)
        about = cancellation.about if cancellation else None
    subscribed = _maybe(_SUBSCRIBED, params)
    subscription = subscribed.meta.subscription if subscribed else None
    return Inbound(Kind.NOTIFICATION, line, method=method, token=token, about=about, subscription=subscription)


def _error_code(raw: msgspec.Raw | msgspec.UnsetType) -> int | None:
    if isinstance(raw, msgspec.UnsetType):
        return None
    found = _maybe(_ERROR, raw)
    return found.code if found else INTERNAL_ERROR


def _maybe(decoder: msgspec.json.Decoder[_Part], raw: bytes | msgspec.Raw) -> _Part | None:
    """Return the part if present in the expected form. Another form does not lose the message."""
    try:
        return decoder.decode(raw)
    except (msgspec.MsgspecError, RecursionError):
        return None


def _is_utf8(line: bytes) -> bool:
    try:
        line.decode()
    except UnicodeDecodeError:
        return False
    return True


MAX_LINE: Final = 64 * 2**20
"""Bytes of one message. Larger than any result that a model can read; a bound, so that a server that never ends its
line cannot fill the memory."""


class LineTooLong(Exception):
    """A line beyond the limit. Later lines can no longer be told apart, so nothing more is read."""


class LineSplitter:
    """A splitter of chunks into whole lines without their line end. Empty lines are left out.

    asyncio's own `readline` stops at 64 KiB, and a tool result of some megabytes is one line."""

    def __init__(self, limit: int = MAX_LINE) -> None:
        self._limit = limit
        self._line = bytearray()

    def feed(self, chunk: bytes) -> list[bytes]:
        """Return the lines ended by `chunk`. Raises `LineTooLong`."""
        *ended, rest = chunk.split(b"\n")
        if ended:
            self._line += ended[0]
            ended[0] = bytes(self._line)
            self._line.clear()
        self._line += rest
        if max(map(len, (self._line, *ended))) > self._limit:
            self._limit = -1
            self._line.clear()
            raise LineTooLong
        return [line for line in (line.rstrip(b"\r") for line in ended) if line]
