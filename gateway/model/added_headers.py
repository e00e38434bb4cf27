"""Names of headers that an operator may let through to upstreams. Pure."""

from __future__ import annotations

import re
from typing import Final

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
