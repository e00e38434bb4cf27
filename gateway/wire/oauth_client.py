"""A client of one authorization server: its metadata (RFC 8414), and authenticated requests to its endpoints."""

from __future__ import annotations

import base64
import re
import secrets
from typing import TYPE_CHECKING, Final
from urllib.parse import quote_plus, urlencode

from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import ECKey, RSAKey
from msgspec import Struct

from gateway.model.errors import ConfigurationError
from gateway.wire.https_client import HttpsAnswer, HttpsClient, NoAnswer, read_metadata, read_object
from gateway.wire.oauth_flow import is_acceptable_url, is_downgrade, metadata_urls

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from gateway.config.brokers import ClientAuthentication
    from gateway.model.wire import Json, JsonObject

FRESH: Final = 300.0
"""Seconds for which metadata is used."""
_ASSERTION: Final = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
_ASSERTION_LIFE: Final = 60
_CODE: Final = re.compile(r"[a-z0-9_.-]{1,60}")


class Endpoints(Struct, frozen=True):
    """The endpoints that an issuer's metadata names, and what the server says of itself there.

    `names_issuer`: answers of the authorization endpoint have `iss` (RFC 9207). `has_pkce`: the server verifies S256 (RFC 7636).
    `reads_documents`: the id of a client may be the address of its document. `methods` are the proofs of clients. The profiles of
    assertions that a server takes, and the types that it gives, are `None` if it says nothing of them.
    """

    token: str
    revocation: str | None
    introspection: str | None
    read_at: float
    authorization: str | None = None
    registration: str | None = None
    keys: str | None = None
    names_issuer: bool = False
    has_pkce: bool = False
    reads_documents: bool = False
    methods: tuple[str, ...] = ("client_secret_basic",)
    grant_profiles: tuple[str, ...] | None = None
    asserted_types: tuple[str, ...] | None = None


class ClientProof:
    """Proof of a client's identity: its secret, or a signature of its key. A public client only names itself."""

    def __init__(
        self,
        client_id: str,
        authentication: ClientAuthentication | None,
        clock: Callable[[], float],
        *,
        registered_secret: str | None = None,
    ) -> None:
        """Raises `ConfigurationError` for a key that cannot sign. `registered_secret` is the secret of a registration (RFC 7591)."""
        self.client_id = client_id
        self._clock = clock
        secret = None if authentication is None else authentication.client_secret
        key = None if authentication is None else authentication.private_key_jwt
        self._secret = registered_secret if secret is None else secret.get_secret_value()
        self._key = _import_key(key.get_secret_value()) if key is not None else None
        self._key_id = None if authentication is None else authentication.key_id

    def headers(self) -> dict[str, str]:
        """Return the header of a secret. RFC 6749 section 2.3.1: both halves are encoded as in a form."""
        if self._secret is None:
            return {}
        pair = f"{quote_plus(self.client_id)}:{quote_plus(self._secret)}"
        return {"authorization": f"Basic {base64.b64encode(pair.encode()).decode()}"}

    def fields(self, issuer: str) -> list[tuple[str, str]]:
        """Return the fields of a key: a client assertion (RFC 7523 section 3) that only this issuer accepts.

        A public client sends its id (RFC 6749 section 3.2.1).
        """
        if self._key is None:
            return [] if self._secret is not None else [("client_id", self.client_id)]
        now = int(self._clock())
        claims = {
            "iss": self.client_id,
            "sub": self.client_id,
            "aud": issuer,
            "iat": now,
            "exp": now + _ASSERTION_LIFE,
            "jti": secrets.token_urlsafe(16),
        }
        algorithm = _algorithm(self._key)
        header = {"alg": algorithm, "typ": "JWT", "kid": self._key_id or self._key.thumbprint()}
        assertion = jwt.encode(header, claims, self._key, algorithms=[algorithm])
        return [
            ("client_id", self.client_id),
            ("client_assertion_type", _ASSERTION),
            ("client_assertion", assertion),
        ]


class OAuthClient:
    """The gateway as a client of one authorization server."""

    def __init__(self, issuer: str, http: HttpsClient, clock: Callable[[], float]) -> None:
        self.issuer = issuer
        self._http = http
        self._clock = clock
        self._endpoints: Endpoints | None = None

    async def endpoints(self) -> Endpoints | NoAnswer:
        """Return the endpoints of the server, from metadata with exactly the configured `issuer`."""
        now = self._clock()
        if self._endpoints is not None and 0 <= now - self._endpoints.read_at < FRESH:
            return self._endpoints
        found = await read_metadata(self._http, self.issuer, metadata_urls(self.issuer))
        return found if isinstance(found, NoAnswer) else self._accept(*found, now)

    async def post(self, url: str, fields: Sequence[tuple[str, str]], proof: ClientProof) -> HttpsAnswer | NoAnswer:
        """Send a form with the proof of a client."""
        headers = {"accept": "application/json", "content-type": "application/x-www-form-urlencoded", **proof.headers()}
        form = [*fields, *proof.fields(self.issuer)]
        return await self._http.send("POST", url, headers=headers, body=urlencode(form).encode())

    async def post_json(self, url: str, body: bytes) -> HttpsAnswer | NoAnswer:
        """Send a document, such as the registration of a client."""
        headers = {"accept": "application/json", "content-type": "application/json"}
        return await self._http.send("POST", url, headers=headers, body=body)

    async def get(self, url: str) -> HttpsAnswer | NoAnswer:
        """Read a document, such as the keys of the server."""
        return await self._http.send("GET", url, headers={"accept": "application/json"})

    async def aclose(self) -> None:
        await self._http.aclose()

    def _accept(self, url: str, document: JsonObject, now: float) -> Endpoints | NoAnswer:
        token = self._endpoint(document, "token_endpoint")
        if token is None:
            return NoAnswer(f"{url} names no token_endpoint that may be used")
        self._endpoints = Endpoints(
            token,
            self._endpoint(document, "revocation_endpoint"),
            self._endpoint(document, "introspection_endpoint"),
            now,
            self._endpoint(document, "authorization_endpoint"),
            self._endpoint(document, "registration_endpoint"),
            self._endpoint(document, "jwks_uri"),
            names_issuer=document.get("authorization_response_iss_parameter_supported") is True,
            has_pkce="S256" in _texts(document.get("code_challenge_methods_supported")),
            reads_documents=document.get("client_id_metadata_document_supported") is True,
            methods=_texts(document.get("token_endpoint_auth_methods_supported")) or ("client_secret_basic",),
            grant_profiles=_read_list(document, "authorization_grant_profiles_supported"),
            asserted_types=_read_list(document, "identity_chaining_requested_token_types_supported"),
        )
        return self._endpoints

    def _endpoint(self, document: JsonObject, name: str) -> str | None:
        url = document.get(name)
        if not isinstance(url, str) or not is_acceptable_url(url) or is_downgrade(url, self.issuer):
            return None
        return url


def describe_error(answer: HttpsAnswer) -> str:
    """Return the status of a refusal, with its OAuth error code if it has one. Free text of a server is left out."""
    document = read_object(answer)
    code = document.get("error") if document is not None else None
    return f"{answer.status} {code}" if isinstance(code, str) and _CODE.fullmatch(code) else str(answer.status)


def has_error(answer: HttpsAnswer, code: str) -> bool:
    """Return whether a refusal has an OAuth error code."""
    document = read_object(answer)
    return document is not None and document.get("error") == code


def _texts(value: Json) -> tuple[str, ...]:
    """Return the texts of a list in a document."""
    return tuple(item for item in value if isinstance(item, str)) if isinstance(value, list) else ()


def _read_list(document: JsonObject, name: str) -> tuple[str, ...] | None:
    """Return the texts of a list in metadata, `None` if the metadata does not have it."""
    return _texts(document[name]) if name in document else None


def _import_key(pem: str) -> ECKey | RSAKey:
    for kind in (ECKey, RSAKey):
        try:
            key = kind.import_key(pem)
        except (JoseError, ValueError, TypeError):
            continue
        if key.is_private:
            return key
    raise ConfigurationError("private_key_jwt holds no private key", "write an EC or RSA key in PEM")


def _algorithm(key: ECKey | RSAKey) -> str:
    if isinstance(key, RSAKey):
        return "RS256"
    return {"P-256": "ES256", "P-384": "ES384", "P-521": "ES512"}.get(key.curve_name, "ES256")
