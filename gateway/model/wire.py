"""Messages on the wire: a client's message, a request to an upstream, and its answer."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from enum import StrEnum
from typing import Literal, Protocol, TypeAlias

from msgspec import Struct

from gateway.model.caller import Principal

Json: TypeAlias = "bool | int | float | str | Sequence[Json] | Mapping[str, Json] | None"
"""A decoded JSON value."""

JsonObject: TypeAlias = Mapping[str, Json]

Headers: TypeAlias = tuple[tuple[bytes, bytes], ...]
"""HTTP header fields in wire order, names in lower case (the ASGI form)."""

RequestId: TypeAlias = int | str


class Era(StrEnum):
    """The two wire protocols: with a handshake and sessions (up to 2025-11-25), or stateless (2026-07-28)."""

    HANDSHAKE = "handshake"
    STATELESS = "stateless"


class Kind(StrEnum):
    REQUEST = "request"
    NOTIFICATION = "notification"
    RESPONSE = "response"


class Disposition(StrEnum):
    """The handling of a method: ask policy, filter the answer, pass the message on, or refuse."""

    DECIDE = "decide"
    FILTER = "filter"
    PASS = "pass"  # noqa: S105 - not a password
    REFUSE = "refuse"


class Message(Struct, frozen=True):
    """A client's JSON-RPC message, strictly read. `body` is both the read and the forwarded text. `name` is mirrored by
    the routing header `Mcp-Name`: the tool or prompt name, the resource URI, the task id. `client_name` is the client's
    own, unverified name. `method` is `None` for a response."""

    kind: Kind
    era: Era
    disposition: Disposition
    body: bytes
    method: str | None = None
    id: RequestId | None = None
    params: JsonObject = {}
    name: str | None = None
    client_name: str | None = None


class UpstreamCredential(Struct, frozen=True):
    """A header field with a leased credential. No text shows its value."""

    name: bytes
    value: bytes

    def __repr__(self) -> str:
        return f"UpstreamCredential({self.name!r})"


class HandedCredential(Struct, frozen=True):
    """A leased credential for the process of a stdio upstream. No text shows its value.

    Leases with equal `terms` replace each other in a process, the one with the later `since` the other. `fields` has the
    parts of a dynamic secret by their names. With `token` the process asks the gateway's endpoint for the credential.
    """

    lease: str
    terms: str
    since: float
    value: str
    fields: tuple[tuple[str, str], ...]
    expires: float
    token: str = ""

    def secrets(self) -> tuple[str, ...]:
        """Return each text to keep out of all other places."""
        texts = (self.value, *(value for _, value in self.fields), self.token)
        return tuple(text for text in texts if text)

    def __repr__(self) -> str:
        return f"HandedCredential({self.lease!r})"


class UpstreamRequest(Struct, frozen=True):
    """A request to an upstream. `headers` are those of MCP and of the trace. `added` are headers of the caller that the
    operator lets through. `message` is `None` for GET and
    DELETE of a session; `session` is the upstream's own session id. `opens_urls`: the client of the session declared
    URL elicitation in `initialize`. `credential` replaces every header of its name. `handed` is for the process of a
    stdio upstream."""

    method: Literal["POST", "GET", "DELETE"]
    headers: Headers
    principal: Principal
    message: Message | None = None
    session: str | None = None
    opens_urls: bool = False
    credential: UpstreamCredential | None = None
    handed: HandedCredential | None = None
    added: Headers = ()

    @property
    def body(self) -> bytes | None:
        return self.message.body if self.message else None

    @property
    def sent_headers(self) -> Headers:
        """Return all headers of the caller's request that the upstream gets."""
        return (*self.headers, *self.added) if self.added else self.headers


class UpstreamReply(Struct, frozen=True):
    """An upstream's answer. `chunks` is consumed once; `close` ends it early and may be called at any time."""

    status: int
    headers: Headers
    chunks: AsyncIterator[bytes]
    close: Callable[[], Awaitable[None]]


class UpstreamTransport(Protocol):
    """The way to one upstream: `upstream.http.HttpUpstream`, or `upstream.stdio.StdioUpstream`."""

    def send(self, request: UpstreamRequest) -> Awaitable[UpstreamReply]:
        """Send a request, and return the reply from its beginning on. Raises `UpstreamError`."""
        ...
