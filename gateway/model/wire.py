"""Messages on the wire: a client's message, a request to an upstream, and its answer."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from enum import StrEnum
from typing import Final, Literal, Protocol, TypeAlias

from msgspec import Struct

from gateway.model.caller import Principal

# --- headers that an operator lets through ---------------------------------------------------------------


HOP_BY_HOP: Final = frozenset(
    {
        b"connection", b"keep-alive", b"proxy-connection", b"te", b"trailer", b"transfer-encoding", b"upgrade",
        b"http2-settings", b"expect",
    }
)  # fmt: skip
"""Headers of one connection (RFC 9110, section 7.6.1)."""

_KEPT_FROM_UPSTREAMS: Final = HOP_BY_HOP | {
    # The caller's identity is for this gateway alone (authorization/security-considerations.mdx).
    b"authorization", b"dpop", b"cookie", b"cookie2", b"client-cert", b"client-cert-chain",
    # The address and the origin of this hop say nothing about the next one.
    b"host", b"content-length", b"forwarded", b"via", b"x-real-ip", b"origin", b"referer", b"x-client-ip",
    b"x-cluster-client-ip", b"true-client-ip", b"cf-connecting-ip",
    # The gateway writes these itself.
    b"accept", b"accept-encoding", b"content-type", b"content-encoding", b"last-event-id", b"traceparent", b"tracestate",
    b"baggage",
    # Frameworks that honour these would see another request than the one that was decided.
    b"x-http-method", b"x-http-method-override", b"x-method-override", b"x-rewrite-url",
}  # fmt: skip

_PREFIXES_KEPT_FROM_UPSTREAMS: Final = (
    b"proxy-", b"x-forwarded-", b"sec-", b"opagate-", b"mcp-",
    # Proxies say by these, and by some of those above, who calls. An upstream would believe them of this gateway.
    b"remote-", b"x-remote-", b"x-auth-request-", b"x-authenticated-", b"x-webauth-", b"x-ssl-client-", b"ssl-client-",
    b"x-client-cert", b"x-amzn-oidc-", b"x-goog-authenticated-user-", b"x-goog-iap-", b"x-ms-client-principal",
    b"cf-access-", b"tailscale-user-", b"x-original-",
)  # fmt: skip

_NAMES_OF_CREDENTIALS: Final = re.compile(
    rb"auth(?!or(?:s|ed)?(?:$|-))|credential|passw|pwd|secret|token|session|signature|cookie|jwt|assertion|bearer|csrf|xsrf"
    rb"|(?:^|-)(?:api-?|access-?|private-?|subscription-?|shared-?|account-?)?keys?(?:$|-)"
)
"""Names of headers that carry a credential."""


def find_problem_of_added(name: str) -> str | None:
    """Return why no caller may send this header through the gateway; `None` if an operator may let it through."""
    read_as = name.lower().replace("_", "-").encode()
    if _NAMES_OF_CREDENTIALS.search(read_as):
        return "is the name of a credential; give the gateway one of its own in upstreams.*.credential"
    if read_as in _KEPT_FROM_UPSTREAMS or read_as.startswith(_PREFIXES_KEPT_FROM_UPSTREAMS):
        return "is the gateway's own affair, or says who calls; no caller may set it at an upstream"
    return None


# --- messages --------------------------------------------------------------------------------------------


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


def _do_nothing() -> None:
    """Do nothing."""


class UpstreamReply(Struct, frozen=True):
    """An upstream's answer. `chunks` is consumed once; `close` ends it early and may be called at any time.

    `be_patient` lets the next bytes take any time: the server has asked its client something, and people are slow.
    """

    status: int
    headers: Headers
    chunks: AsyncIterator[bytes]
    close: Callable[[], Awaitable[None]]
    be_patient: Callable[[], None] = _do_nothing


class UpstreamTransport(Protocol):
    """The way to one upstream: `gateway.upstreams.http.HttpUpstream`, or `gateway.upstreams.stdio.StdioUpstream`."""

    def send(self, request: UpstreamRequest) -> Awaitable[UpstreamReply]:
        """Send a request, and return the reply from its beginning on. Raises `UpstreamError`."""
        ...
