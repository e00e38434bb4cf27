"""The headers of a message: routing headers, their agreement with the body, and the headers to pass on. The body
decides, never a header. The gateway compares both because other parties route on headers
(2026-07-28/basic/transports/streamable-http.mdx, "Server Validation").
"""

from __future__ import annotations

import base64
import re
from collections.abc import Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from typing import Final, TypeAlias

from msgspec import Struct

from gateway.base.text_cache import short_text_cache
from gateway.model.wire import HOP_BY_HOP, Era, Headers, Kind
from gateway.wire.protocol.methods import VERSIONS, Method

# --- trace context and baggage of the W3C ----------------------------------------------------------------


TRACE: Final = frozenset({"traceparent", "tracestate", "baggage"})
"""The names of the three, in headers and in `_meta`."""

_PARENT: Final = re.compile(rb"00-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})")
_NO_TRACE: Final = b"0" * 32
_NO_SPAN: Final = b"0" * 16
_STATE: Final = {
    b"tracestate": re.compile(
        rb"[a-z0-9][a-z0-9_\-*/@]{0,255}=[\x20-\x2b\x2d-\x3c\x3e-\x7e]{0,255}[\x21-\x2b\x2d-\x3c\x3e-\x7e]"
    ),
    b"baggage": re.compile(
        rb"[!#$%&'*+.^_`|~0-9A-Za-z-]{1,128}[ \t]*=[ \t]*[\x21\x23-\x2b\x2d-\x3a\x3c-\x5b\x5d-\x7e]{0,512}"
        rb"(?:[ \t]*;[\x21-\x2b\x2d-\x7e \t]{0,512})?"
    ),
}
"""The form of a member of each header (W3C Trace Context section 3.3, W3C Baggage section 3.2)."""
_LONGEST: Final = 512
"""Characters of either. Vendors have to pass on no more of `tracestate`."""


def read_parent(value: bytes) -> tuple[bytes, bytes, bytes] | None:
    """Return the trace, the span and the flags of a `traceparent`; `None` for a malformed value."""
    match = _PARENT.fullmatch(value)
    if match is None or match[1] == _NO_TRACE or match[2] == _NO_SPAN:
        return None
    return match[1], match[2], match[3]


def read_state(fields: HeaderFields) -> Headers:
    """Return the well-formed headers that go with a `traceparent`."""
    found = ((name, b",".join(fields[name])) for name in _STATE if name in fields)
    return tuple((name, value) for name, value in found if _is_state(name, value))


def is_trace_value(name: str, value: str) -> bool:
    """Return whether a member of `_meta` has the form of the header with its name."""
    data = value.encode("utf-8", "surrogatepass")
    return read_parent(data) is not None if name == "traceparent" else _is_state(name.encode(), data)


def _is_state(name: bytes, value: bytes) -> bool:
    parts = (part.strip(b" \t") for part in value.split(b","))
    return len(value) <= _LONGEST and all(_STATE[name].fullmatch(part) for part in parts if part)


# --- headers ---------------------------------------------------------------------------------------------


VERSION: Final = b"mcp-protocol-version"
METHOD: Final = b"mcp-method"
NAME: Final = b"mcp-name"
SESSION: Final = b"mcp-session-id"
PARAM_PREFIX: Final = b"mcp-param-"
"""Copies of tool arguments. Those that a tool's definition declares are compared with the argument, and travel on."""

ROUTING: Final = frozenset({VERSION, METHOD, NAME, SESSION})
"""Headers that somebody may route on. Each may be given once: first-copy and last-copy readers would disagree."""

_VISIBLE: Final = re.compile(rb"[\x20-\x7e\t]*")
_TOKEN: Final = re.compile(rb"[\x21-\x7e]{1,4096}")
_SENTINEL: Final = re.compile(r"=\?base64\?(.*)\?=", re.DOTALL)


_ROUTING_PATTERNS: Final = ((VERSION, _TOKEN), (METHOD, _VISIBLE), (NAME, _VISIBLE), (SESSION, _TOKEN))

HeaderFields: TypeAlias = Mapping[bytes, tuple[bytes, ...]]
"""The headers of a message by name: `group_headers` makes them."""


class Routing(Struct, frozen=True):
    """The values of the routing headers; `None` for an absent header. `name` is decoded."""

    version: str | None = None
    method: str | None = None
    name: str | None = None


@dataclass(frozen=True, slots=True)
class HeaderFault:
    """The fault of refused headers, in one sentence without a received value."""

    message: str


def group_headers(headers: Headers) -> HeaderFields:
    """Return the values of each header, by its name, in their order."""
    fields: dict[bytes, tuple[bytes, ...]] = {}
    repeated: dict[bytes, list[bytes]] = {}
    for name, value in headers:
        if name in fields:
            # A head has room for thousands of one name: a new tuple for each would take their number squared.
            repeated.setdefault(name, [*fields[name]]).append(value)
        else:
            fields[name] = (value,)
    for name, values in repeated.items():
        fields[name] = tuple(values)
    return fields


def texts_of(fields: HeaderFields, name: bytes) -> tuple[str, ...]:
    """Return all values of a header, in their order, as sent."""
    values = fields.get(name)
    return () if values is None else tuple([value.decode("latin-1") for value in values])


def value_of(headers: Headers, name: bytes) -> str | None:
    """Return the first value of a header; `None` without any."""
    for key, value in headers:
        if key == name:
            return value.decode("latin-1")
    return None


def read_routing(fields: HeaderFields) -> Routing | HeaderFault:
    """Read the routing headers. Each may stand once, in visible ASCII. `Connection` must not name a routing header, or
    the next hop would remove it (RFC 9110 section 7.6.1)."""
    if b"connection" in fields and not ROUTING.isdisjoint(_connection_options(fields)):
        return HeaderFault("the header Connection names a routing header")
    found: dict[bytes, str] = {}
    for name, pattern in _ROUTING_PATTERNS:
        values = fields.get(name)
        if values is None:
            continue
        if len(values) != 1:
            return HeaderFault(f"the header {_title(name)} is given more than once")
        value = values[0].strip(b" \t")
        if pattern.fullmatch(value) is None:
            return HeaderFault(f"the header {_title(name)} is empty or has characters that it must not have")
        found[name] = value.decode("ascii")
    name_value = found.get(NAME)
    if name_value is not None and name_value.startswith("=?"):
        name_value = decode(name_value)
        if name_value is None:
            return HeaderFault("the header Mcp-Name has a malformed Base64 value")
    return Routing(found.get(VERSION), found.get(METHOD), name_value)


def decode(value: str) -> str | None:
    """Undo the Base64 sentinel of a header value ("Value Encoding"). `None` for a malformed or uncanonical value, so
    that a broken header matches nothing by accident."""
    match = _SENTINEL.fullmatch(value)
    if match is None:
        return value
    payload = match[1]
    try:
        data = base64.b64decode(payload, validate=True)
        text = data.decode()
    except ValueError:
        return None
    return text if base64.b64encode(data).decode() == payload else None


def encode(text: str) -> bytes:
    """Return a header value for `text` ("Value Encoding"): the text itself if possible, else its Base64 with the
    sentinel."""
    value = text.encode("utf-8", "surrogatepass")
    if _VISIBLE.fullmatch(value) and value.strip(b" \t") == value and _SENTINEL.fullmatch(text) is None:
        return value
    return b"=?base64?" + base64.b64encode(value) + b"?="


def is_passed_on(fields: HeaderFields) -> bool:
    """Return whether a header shows a proxy on the way. The absence of such a header shows nothing."""
    if not _PROXIES.isdisjoint(fields):
        return True
    for name in fields:  # noqa: SIM110 - a generator would cost more than all other work here
        if name.startswith(b"x-forwarded-"):
            return True
    return False


_PROXIES: Final = frozenset(
    {
        b"forwarded", b"via", b"x-forwarded", b"x-real-ip", b"x-client-ip", b"x-cluster-client-ip", b"true-client-ip",
        b"cf-connecting-ip", b"fastly-client-ip", b"fly-client-ip", b"x-envoy-external-address",
    }
)  # fmt: skip


USUAL_NAMES: Final = frozenset(
    [
        name
        for name in (
            b"accept", b"accept-encoding", b"accept-language", b"authorization", b"connection", b"content-length",
            b"content-type", b"host", b"mcp-method", b"mcp-name", b"mcp-protocol-version", b"mcp-session-id", b"traceparent",
            b"user-agent",
        )
        if not is_passed_on({name: ()})
    ]
)  # fmt: skip
"""Names of which none shows a proxy. Most requests have no other names, and so need not be asked."""


def disagreement(routing: Routing, row: Method, *, era: Era, name: str | None) -> HeaderFault | None:
    """Compare `Mcp-Method` and `Mcp-Name` with the body. Stateless requests must carry both. Elsewhere both are
    optional, but must be right, because a party on the way to the upstream may route on them."""
    required = era is Era.STATELESS and row.kind is Kind.REQUEST
    if routing.method is None:
        if required:
            return HeaderFault("the header Mcp-Method is missing")
    elif routing.method != row.name:
        return HeaderFault("the header Mcp-Method does not match the body's method")
    if routing.name is None:
        if required and row.needs_name:
            return HeaderFault("the header Mcp-Name is missing")
    elif name is None:
        return HeaderFault("the header Mcp-Name is given, but the body names nothing")
    elif routing.name != name:
        return HeaderFault("the header Mcp-Name does not match the body")
    return None


_JSON: Final = b"application/json"
"""How a body was read: a character encoding that a reader would honour makes another call of the same bytes (UTF-7)."""

_RESPONSE_DROPPED: Final = HOP_BY_HOP | {
    # A credential or a challenge of the upstream names the upstream, not this gateway.
    b"set-cookie", b"set-cookie2", b"www-authenticate", b"authentication-info",
    # This server speaks for itself.
    b"server", b"date", b"via", b"content-length",
    # These would have a browser or client change how it reaches this host.
    b"alt-svc", b"strict-transport-security", b"clear-site-data", b"nel", b"report-to", b"reporting-endpoints",
    # A proxy before this gateway would answer with a file, or a page, of its own.
    b"x-accel-redirect", b"x-sendfile", b"x-lighttpd-send-file", b"x-lighttpd-send-tempfile", b"x-reproxy-url",
    SESSION,
}  # fmt: skip


_RESPONSE_PREFIXES_DROPPED: Final = (b"access-control-", b"proxy-", b"opagate-")


def forwardable_request(
    fields: HeaderFields, *, is_post: bool, has_session: bool, repeats_arguments: bool = False
) -> Headers:
    """Return the headers of MCP to pass to an upstream, each with a value that the gateway has read. All others stay here.

    `has_session`: the request may resume a stream. `repeats_arguments`: it may have `Mcp-Param` headers.
    """
    hidden = _connection_options(fields) if b"connection" in fields else _NO_NAMES
    kept: list[tuple[bytes, bytes]] = []
    if b"accept" in fields and (accepted := _accepted(b",".join(fields[b"accept"]))):
        kept.append((b"accept", accepted))
    if is_post:
        kept.append((b"content-type", _JSON))
    for name, values in fields.items():
        if name in _PASSED_ON:
            # `classify` has compared those of a POST with its body.
            if is_post or (name == VERSION and _VERSIONS.issuperset(values)):
                kept += [(name, value) for value in values[:1]]
        elif name == _RESUMED:
            if has_session and len(values) == 1:
                kept += [(name, value) for value in values if _EVENT_ID.fullmatch(value)]
        elif repeats_arguments and name.startswith(PARAM_PREFIX):
            kept += [(name, value) for value in values]
    if hidden:
        kept = [field for field in kept if field[0] not in hidden]
    kept += _OWN
    return tuple(kept)


_NO_NAMES: Final[frozenset[bytes]] = frozenset()
_PASSED_ON: Final = frozenset({VERSION, METHOD, NAME})
_VERSIONS: Final = frozenset(version.encode() for version in VERSIONS)
_RESUMED: Final = b"last-event-id"
_EVENT_ID: Final = re.compile(rb"[\x21-\x7e]{1,256}")
_OWN: Final = ((b"user-agent", b"opagate"), (b"accept-encoding", b"identity"))
"""The gateway's own headers. Answers come uncompressed, so that the gateway can read them."""
_MEDIA: Final = (b"application/json", b"text/event-stream", b"application/*", b"text/*", b"*/*")


@short_text_cache(256)
def _accepted(value: bytes) -> bytes:
    """Return the types of answers that a client takes, without its own words beside them."""
    said = {part.partition(b";")[0].strip(b" \t") for part in value.lower().split(b",")}
    return b", ".join(media for media in _MEDIA if media in said)


def added_headers(fields: HeaderFields, names: AbstractSet[bytes]) -> Headers | HeaderFault:
    """Return the headers that the operator lets through to an upstream. Readers would disagree on a repeated one."""
    hidden = _connection_options(fields) if b"connection" in fields else _NO_NAMES
    kept: list[tuple[bytes, bytes]] = []
    for name in sorted(names - hidden):
        values = fields.get(name)
        if values is None:
            continue
        if len(values) > 1:
            return HeaderFault(f"the header {_title(name)} is given more than once")
        value = b"".join(values)
        if _VISIBLE.fullmatch(value) is None:
            return HeaderFault(f"the header {_title(name)} has characters that it must not have")
        kept.append((name, value.strip(b" \t")))
    return tuple(kept)


class ResponseHead(Struct, frozen=True):
    """The headers of an answer, read once. `type` is the type of its messages, `session` the upstream's session id, and
    `forwardable` the headers to pass back to the client. `is_events`: these say that the messages are events."""

    type: bytes | None
    session: str | None
    forwardable: Headers
    is_events: bool = False


def read_response_head(headers: Headers) -> ResponseHead:
    """Read the headers of an upstream's answer. The sender of the body sets `Content-Length` anew, and the type of
    messages is the type read by the gateway. The first of two types or sessions counts."""
    kept: list[tuple[bytes, bytes]] = []
    options: set[bytes] = set()
    type_: bytes | None = None
    session: str | None = None
    is_typed = False
    for name, value in headers:
        if name == b"content-type":
            # A client that honours another character encoding than UTF-8 would find other lines in a message.
            named = _JSON if value == _JSON else _named_type(value)
            type_, is_typed = (type_ if is_typed else named), True
            kept.append((name, named or value))
        elif name == b"connection":
            options |= _split_list(value)
        elif name == SESSION:
            session = value.decode("latin-1") if session is None else session
        elif name not in _RESPONSE_DROPPED and not name.startswith(_RESPONSE_PREFIXES_DROPPED):
            kept.append((name, value))
    if options:
        kept = [field for field in kept if field[0] not in options]
    is_events = type_ == b"text/event-stream" and b"content-type" not in options
    return ResponseHead(type_, session, tuple(kept), is_events)


def _named_type(content_type: bytes) -> bytes | None:
    """Return the type of messages anywhere in `Content-Type`: some clients look for no more than its name."""
    written = content_type.lower()
    if b"text/event-stream" in written:
        return b"text/event-stream"
    return _JSON if _JSON in written else None


def _connection_options(fields: HeaderFields) -> set[bytes]:
    return _split_list(b",".join(fields.get(b"connection", ())))


def _split_list(value: bytes) -> set[bytes]:
    return {part.strip(b" \t").lower() for part in value.split(b",")}


def _title(name: bytes) -> str:
    return "MCP-Protocol-Version" if name == VERSION else name.decode("ascii").title()
