"""The forms of W3C Trace Context and W3C Baggage, in headers and in `_meta`. Pure."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from gateway.model.wire import Headers
    from gateway.wire.protocol.headers import HeaderFields

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
