"""The faults for which an answer is not passed on."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from gateway.model.errors import UpstreamBroken, UpstreamError, UpstreamUnauthorized

if TYPE_CHECKING:
    from gateway.model.wire import UpstreamReply


async def accept(upstream: str, reply: UpstreamReply) -> UpstreamReply:
    """Return an answer that may be passed on. Close any other, and raise its fault."""
    if (fault := find_fault(upstream, reply)) is not None:
        await reply.close()
        raise fault
    return reply


def find_fault(upstream: str, reply: UpstreamReply) -> UpstreamError | None:
    """Return the fault of an answer that may not be passed on. A rejection of the gateway's own credential names the upstream,
    and would send the caller to fetch a token for it. Compressed answers, and answers that are not UTF-8, cannot be inspected;
    the gateway asks for neither."""
    if reply.status in _REJECTED:
        return UpstreamUnauthorized(
            f"upstream {upstream} does not accept this gateway (HTTP {reply.status})",
            "have the operator check the upstream's credential",
            is_unknown=reply.status == 401,
        )
    types: list[bytes] = []
    problem: tuple[str, str] | None = None
    for name, value in reply.headers:
        if name == b"content-type":
            types.append(value)
        elif name == b"content-encoding" and value.strip().lower() != b"identity":
            problem = problem or _COMPRESSED
    if problem is None and len(types) > 1:
        problem = _TWO_TYPES
    elif problem is None and types and types[0] not in _USUAL_TYPES and not _charsets(types[0]) <= _PLAIN:
        problem = _OTHER_ENCODING
    return None if problem is None else UpstreamBroken(f"upstream {upstream} {problem[0]}", problem[1])


_REJECTED: Final = frozenset({401, 403})
_COMPRESSED: Final = (
    "compressed its answer, though it was asked not to, so it cannot be looked into",
    "have the operator turn compression off there",
)
_TWO_TYPES: Final = (
    "gave its answer two types, and clients differ in which one they believe",
    "have the operator mend the upstream",
)
_OTHER_ENCODING: Final = (
    "answered in another character encoding than UTF-8, so it cannot be looked into",
    "have the upstream answer in UTF-8",
)
_USUAL_TYPES: Final = frozenset({b"application/json", b"text/event-stream"})
_PLAIN: Final = frozenset({"utf-8", "utf8", "us-ascii", "ascii", "iso-8859-1", "latin1"})
"""Character encodings that write every searched sign as UTF-8 writes it."""


def _charsets(content_type: bytes) -> set[str]:
    parts = content_type.decode("latin-1").split(";")[1:]
    parameters = [part.strip().lower().partition("=") for part in parts]
    return {value.strip(" \"'") for name, _, value in parameters if name.strip() == "charset"}
