"""OAuth 2.1 as a client, without I/O: URLs of authorization servers, requests of the code flow, and checks of answers. Pure.

PKCE with S256 (RFC 7636), `iss` in answers (RFC 9207). Logins and users' connections have this one flow.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
from typing import TYPE_CHECKING, Final
from urllib.parse import parse_qsl, urlencode, urlsplit

from msgspec import Struct

from gateway.config.values import is_loopback

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

# --- URLs of servers -------------------------------------------------------------------------------------


def metadata_urls(issuer: str) -> tuple[str, ...]:
    """Return the possible URLs of an issuer's metadata, in the order of the MCP specification (authorization server
    discovery)."""
    parts = urlsplit(issuer)
    origin = f"{parts.scheme}://{parts.netloc}"
    path = parts.path.rstrip("/")
    urls = (
        f"{origin}/.well-known/oauth-authorization-server{path}",
        f"{origin}/.well-known/openid-configuration{path}",
        f"{origin}{path}/.well-known/openid-configuration",
    )
    return tuple(dict.fromkeys(urls))


def ssf_metadata_urls(issuer: str) -> tuple[str, ...]:
    """Return the possible URLs of a transmitter's metadata: inserted before the path (SSF 1.0 section 7.2), and appended as Keycloak has
    it."""
    parts = urlsplit(issuer)
    origin, path = f"{parts.scheme}://{parts.netloc}", parts.path.rstrip("/")
    urls = (f"{origin}/.well-known/ssf-configuration{path}", f"{origin}{path}/.well-known/ssf-configuration")
    return tuple(dict.fromkeys(urls))


def is_acceptable_url(url: str) -> bool:
    """Return whether a URL is https, or http on loopback, without user information and fragment."""
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError:
        return False
    if not host or port == 0 or "@" in parts.netloc or parts.fragment:
        return False
    return parts.scheme == "https" or (parts.scheme == "http" and is_loopback(host))


def is_downgrade(url: str, issuer: str) -> bool:
    """Return whether a URL of an issuer's metadata would leave TLS."""
    return urlsplit(url).scheme == "http" and urlsplit(issuer).scheme != "http"


# --- the code flow ---------------------------------------------------------------------------------------


_LONGEST_QUERY: Final = 8 * 1024
_PARAMETERS: Final = 32


class CodeSecrets(Struct, frozen=True):
    """The secrets of one way through a browser: the state binds its answer, the verifier its code, the nonce its ID token."""

    state: str
    verifier: str
    nonce: str

    def __repr__(self) -> str:
        return "CodeSecrets(…)"

    @classmethod
    def make(cls, new_token: Callable[[], str]) -> CodeSecrets:
        """Return new secrets."""
        return cls(new_token(), new_token(), new_token())


class CallbackAnswer(Struct, frozen=True):
    """The answer of an authorization server through the browser. A code is a secret until it is used."""

    state: str
    issuer: str | None
    code: str | None
    error: str | None

    def __repr__(self) -> str:
        return "CallbackAnswer(…)"

    def is_of_issuer(self, issuer: str, *, names_issuer: bool) -> bool:
        """Return whether a server may have given the answer. `names_issuer`: the server always names itself (RFC 9207)."""
        return self.issuer == issuer or (self.issuer is None and not names_issuer)


def challenge_of(verifier: str) -> str:
    """Return the S256 challenge of a verifier (RFC 7636 section 4.2)."""
    return base64.urlsafe_b64encode(hashlib.sha256(verifier.encode("ascii")).digest()).rstrip(b"=").decode("ascii")


def build_request(
    endpoint: str, client_id: str, redirect_uri: str, secrets: CodeSecrets, more: Sequence[tuple[str, str]]
) -> str:
    """Return the address of a request for a code. A query of the endpoint stays (RFC 6749 section 3.1)."""
    fields = [
        ("response_type", "code"),
        ("client_id", client_id),
        ("redirect_uri", redirect_uri),
        ("state", secrets.state),
        ("code_challenge", challenge_of(secrets.verifier)),
        ("code_challenge_method", "S256"),
        *more,
    ]
    joint = "&" if urlsplit(endpoint).query else "?"
    return f"{endpoint}{joint}{urlencode(fields)}"


def build_redemption(code: str, redirect_uri: str, secrets: CodeSecrets) -> list[tuple[str, str]]:
    """Return the form that redeems a code."""
    return [
        ("grant_type", "authorization_code"),
        ("code", code),
        ("redirect_uri", redirect_uri),
        ("code_verifier", secrets.verifier),
    ]


def read_answer(query: str) -> CallbackAnswer | str:
    """Return the answer in a query, or its fault as a sentence. A parameter that is given twice is refused (RFC 6749
    section 3.1)."""
    if len(query) > _LONGEST_QUERY:
        return "It is too long."
    try:
        pairs = parse_qsl(query, keep_blank_values=True, max_num_fields=_PARAMETERS, errors="strict")
    except ValueError:
        return "It cannot be read."
    fields = dict(pairs)
    if len(fields) != len(pairs):
        return "It names a parameter twice."
    code, error = fields.get("code"), fields.get("error")
    if not fields.get("state") or (code is None) == (error is None):
        return "It has no state, or not exactly one of code and error."
    return CallbackAnswer(fields["state"], fields.get("iss"), code, error)


def is_same(known: str, given: str) -> bool:
    """Return whether two secrets are the same, in a time that tells nothing."""
    return hmac.compare_digest(known.encode(), given.encode("utf-8", "surrogatepass"))
