"""Login of people at an OpenID provider: the authorization code flow with PKCE (OpenID Connect Core 1.0, RFC 7636, RFC
9207).

Authlib builds the requests. The ID token is verified as all tokens here, with the issuer's published keys.
"""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Final, cast
from urllib.parse import parse_qsl, urlencode

import structlog
from msgspec import Struct

from gateway.errors import IdentityUnavailable
from gateway.identity import jose
from gateway.identity.fetching import DEADLINE, DiscoverySource, Fetcher, LoadError, load_metadata
from gateway.identity.id_token import ExpectedLogin, LoginFault, VerifiedLogin, read_login
from gateway.identity.keys import IssuerKeys
from gateway.identity.outcomes import CredentialFault
from gateway.protocol.issuers import is_acceptable_url, is_downgrade

if TYPE_CHECKING:
    from gateway.model.wire import JsonObject

log = structlog.get_logger("gateway.identity")

_ALGORITHMS: Final = frozenset({"RS256", "PS256", "ES256", "EdDSA", "Ed25519"})
_METADATA_SECONDS: Final = 300.0
_BYTES: Final = 32
_REMEDY: Final = "try again; an operator can look at the provider's address in the configuration"


class LoginClient(Struct, frozen=True):
    """The gateway's client at a provider. `max_age` is the longest time in seconds since a person's login."""

    issuer: str
    client_id: str
    secret: str | None
    redirect_uri: str
    scopes: tuple[str, ...] = ("openid",)
    groups_claim: str = "groups"
    max_age: float = 28_800.0


class BegunLogin(Struct, frozen=True):
    """A login on its way through a browser. The login is secret, and belongs in a sealed cookie. `back` is the page to
    go back to."""

    state: str
    nonce: str
    verifier: str
    max_age: float
    back: str = ""


class LoginProvider:
    """An OpenID provider as its client sees it. `clock` gives seconds since the epoch."""

    def __init__(self, client: LoginClient, *, clock: Callable[[], float]) -> None:
        self.client = client
        self._clock = clock
        self._keys = IssuerKeys(client.issuer, DiscoverySource(client.issuer), clock=clock)
        self._fetcher = Fetcher()
        self._metadata: tuple[float, JsonObject] | None = None

    async def aclose(self) -> None:
        """Close the connections to the provider."""
        await self._keys.stop()
        await self._fetcher.aclose()

    async def begin(self, *, back: str = "", max_age: float | None = None) -> tuple[str, BegunLogin]:
        """Return the address for the browser, and the begun login. A `max_age` in seconds asks for a fresh login.

        Raises `IdentityUnavailable`.
        """
        metadata = await self._find_metadata()
        age = self.client.max_age if max_age is None else min(max_age, self.client.max_age)
        state, nonce, verifier = (secrets.token_urlsafe(_BYTES) for _ in range(3))
        begun = BegunLogin(state, nonce, verifier, age, back)
        # Keycloak counts whole seconds, and takes a login of this second as fresh enough for `max_age=0`.
        fresh = {"prompt": "login"} if age < 1 else {}
        async with self._session() as session:
            url, _ = session.create_authorization_url(
                str(metadata["authorization_endpoint"]),
                state=begun.state,
                code_verifier=begun.verifier,
                nonce=begun.nonce,
                max_age=str(int(age)),
                **fresh,
            )
        return url, begun

    async def finish(self, begun: BegunLogin, query: str) -> VerifiedLogin | LoginFault:
        """Return the login proven by a provider's answer. `query` is the query of the browser's way back.

        Raises `IdentityUnavailable`.
        """
        answer = dict(parse_qsl(query, keep_blank_values=True, max_num_fields=32))
        metadata = await self._find_metadata()
        if (fault := _check_answer(answer, begun, metadata, self.client.issuer)) is not None:
            return fault
        token = await self._redeem(str(metadata["token_endpoint"]), answer["code"], begun)
        return token if isinstance(token, LoginFault) else await self._verify(token, begun)

    async def _redeem(self, endpoint: str, code: str, begun: BegunLogin) -> str | LoginFault:
        """Return the ID token for a code."""
        import httpx2  # noqa: PLC0415 - it takes 2 MB, for gateways with a login
        from authlib.common.errors import AuthlibBaseError  # noqa: PLC0415 - Authlib is for gateways with logins

        try:
            async with asyncio.timeout(DEADLINE), self._session() as session:
                response = urlencode({"code": code, "state": begun.state})
                token = await session.fetch_token(
                    endpoint,
                    authorization_response=f"{self.client.redirect_uri}?{response}",
                    state=begun.state,
                    code_verifier=begun.verifier,
                )
        except (AuthlibBaseError, httpx2.HTTPError, TimeoutError, ValueError) as error:
            log.warning("login.code-refused", issuer=self.client.issuer, problem=type(error).__name__)
            return LoginFault("the provider did not accept the code of this login")
        found: object = token.get("id_token")
        return found if isinstance(found, str) else LoginFault("the provider's answer has no ID token")

    async def _verify(self, token: str, begun: BegunLogin) -> VerifiedLogin | LoginFault:
        """Return the login of an ID token. Raises `IdentityUnavailable`."""
        jws = jose.read_jws(token)
        fault = jws if isinstance(jws, CredentialFault) else jose.check_header(jws, _ALGORITHMS, {None, "jwt"})
        if isinstance(jws, CredentialFault) or fault is not None:
            return LoginFault("the ID token cannot be read")
        keys = await self._keys.find(jws.kid, jws.alg)
        if not any(jose.signed_by(jws, key) for key in keys):
            return LoginFault("the ID token's signature does not verify")
        client = self.client
        expected = ExpectedLogin(client.issuer, client.client_id, begun.nonce, client.groups_claim, begun.max_age)
        return read_login(jws.claims, expected, self._clock())

    async def _find_metadata(self) -> JsonObject:
        """Return the provider's metadata, at most five minutes old. Raises `IdentityUnavailable`."""
        if self._metadata is not None and time.monotonic() < self._metadata[0] + _METADATA_SECONDS:
            return self._metadata[1]
        issuer = self.client.issuer
        try:
            url, found = await load_metadata(self._fetcher, issuer)
        except LoadError as error:
            raise IdentityUnavailable(f"the identity provider {issuer} cannot be asked: {error}", _REMEDY) from error
        for name in ("authorization_endpoint", "token_endpoint"):
            endpoint = jose.text(found.get(name))
            if endpoint is None or not is_acceptable_url(endpoint) or is_downgrade(endpoint, issuer):
                raise IdentityUnavailable(f"{url} has no {name} over https", _REMEDY)
        self._metadata = (time.monotonic(), found)
        return found

    def _session(self) -> Any:
        from authlib.integrations.httpx_client import AsyncOAuth2Client  # noqa: PLC0415 - as for httpx2

        client = self.client
        return cast(
            "Any",
            AsyncOAuth2Client(
                client.client_id,
                client.secret,
                scope=" ".join(client.scopes),
                redirect_uri=client.redirect_uri,
                code_challenge_method="S256",
                timeout=DEADLINE,
                trust_env=False,
            ),
        )


def _check_answer(answer: Mapping[str, str], begun: BegunLogin, metadata: JsonObject, issuer: str) -> LoginFault | None:
    """Return the fault of a provider's answer: an answer of another login or provider, or a refusal."""
    if not secrets.compare_digest(answer.get("state", "").encode(), begun.state.encode()):
        return LoginFault("the answer belongs to another login")
    names_issuer = metadata.get("authorization_response_iss_parameter_supported") is True
    if answer.get("iss", None if names_issuer else issuer) != issuer:
        return LoginFault("the answer is of another identity provider")
    if "error" in answer:
        return LoginFault("the identity provider refused the login")
    return None if answer.get("code") else LoginFault("the answer has no code")
