"""Login of people at an OpenID provider: the code flow (`gateway.wire.oauth_flow`), and an ID token (OpenID Connect Core 1.0).

The ID token is verified as all tokens here, with the issuer's published keys. A login on its way is sealed in a cookie of its browser.
So no visitor fills the gateway's memory, and the provider's answer is bound to this browser.
"""

from __future__ import annotations

import base64
import secrets
from functools import partial
from typing import TYPE_CHECKING, Final

import msgspec
import structlog
from cryptography.fernet import Fernet, InvalidToken
from msgspec import Struct

from gateway.identity import jose
from gateway.identity.claim_maps import GENERIC, ClaimMap
from gateway.identity.id_token import ExpectedLogin, LoginFault, VerifiedLogin, read_login
from gateway.identity.keys import DEADLINE, MAX_BYTES, MAX_REDIRECTS, DiscoverySource, IssuerKeys
from gateway.identity.outcomes import CredentialFault
from gateway.model.errors import IdentityUnavailable
from gateway.wire.https_client import HttpsAnswer, HttpsClient, NoAnswer, read_object
from gateway.wire.oauth_client import ClientProof, OAuthClient, describe_error
from gateway.wire.oauth_flow import CodeSecrets, build_redemption, build_request, is_same, read_answer

if TYPE_CHECKING:
    from collections.abc import Callable

    from gateway.wire.oauth_client import Endpoints

log = structlog.get_logger("gateway.identity")

_ALGORITHMS: Final = frozenset({"RS256", "PS256", "ES256", "EdDSA", "Ed25519"})
_BYTES: Final = 32
SECONDS: Final = 600
"""The longest time that a person spends at the provider."""
_REMEDY: Final = "try again; an operator can look at the provider's address in the configuration"


class LoginClient(Struct, frozen=True):
    """The gateway's client at a provider. `max_age` is the longest time in seconds since a person's login."""

    issuer: str
    client_id: str
    secret: str | None
    redirect_uri: str
    scopes: tuple[str, ...] = ("openid",)
    claims: ClaimMap = GENERIC
    max_age: float = 28_800.0


class BegunLogin(Struct, frozen=True):
    """A login on its way through a browser. The login is secret, and belongs in a sealed cookie. `back` is the page to
    go back to."""

    code: CodeSecrets
    max_age: float
    back: str = ""


class LoginProvider:
    """An OpenID provider as its client sees it. `clock` gives seconds since the epoch."""

    def __init__(self, client: LoginClient, *, clock: Callable[[], float]) -> None:
        self.client = client
        self._clock = clock
        self._keys = IssuerKeys(client.issuer, DiscoverySource(client.issuer), clock=clock)
        http = HttpsClient(seconds=DEADLINE, largest=MAX_BYTES, redirects=MAX_REDIRECTS)
        self._server = OAuthClient(client.issuer, http, clock)
        self._proof = ClientProof(client.client_id, None, clock, registered_secret=client.secret)

    async def aclose(self) -> None:
        """Close the connections to the provider."""
        await self._keys.stop()
        await self._server.aclose()

    async def begin(self, *, back: str = "", max_age: float | None = None) -> tuple[str, BegunLogin]:
        """Return the address for the browser, and the begun login. A `max_age` in seconds asks for a fresh login.

        Raises `IdentityUnavailable`.
        """
        client, endpoint = self.client, (await self._find_endpoints())[0]
        age = client.max_age if max_age is None else min(max_age, client.max_age)
        begun = BegunLogin(CodeSecrets.make(partial(secrets.token_urlsafe, _BYTES)), age, back)
        fields = [("scope", " ".join(client.scopes)), ("nonce", begun.code.nonce), ("max_age", str(int(age)))]
        if age < 1:
            # Keycloak counts whole seconds, and takes a login of this second as fresh enough for `max_age=0`.
            fields.append(("prompt", "login"))
        return build_request(endpoint, client.client_id, client.redirect_uri, begun.code, fields), begun

    async def finish(self, begun: BegunLogin, query: str) -> VerifiedLogin | LoginFault:
        """Return the login proven by a provider's answer. `query` is the query of the browser's way back.

        Raises `IdentityUnavailable`.
        """
        answer = read_answer(query)
        if isinstance(answer, str):
            return LoginFault("the answer of the identity provider is malformed")
        if not is_same(begun.code.state, answer.state):
            return LoginFault("the answer belongs to another login")
        _, endpoints = await self._find_endpoints()
        if not answer.is_of_issuer(self.client.issuer, names_issuer=endpoints.names_issuer):
            return LoginFault("the answer is of another identity provider")
        if answer.code is None:
            return LoginFault("the identity provider refused the login")
        token = await self._redeem(endpoints.token, answer.code, begun)
        return token if isinstance(token, LoginFault) else await self._verify(token, begun)

    async def _redeem(self, endpoint: str, code: str, begun: BegunLogin) -> str | LoginFault:
        """Return the ID token for a code."""
        form = build_redemption(code, self.client.redirect_uri, begun.code)
        answer = await self._server.post(endpoint, form, self._proof)
        document = read_object(answer) if isinstance(answer, HttpsAnswer) and answer.status == 200 else None
        if document is None:
            problem = answer.problem if isinstance(answer, NoAnswer) else describe_error(answer)
            log.warning("login.code-refused", issuer=self.client.issuer, problem=problem)
            return LoginFault("the provider did not accept the code of this login")
        return jose.text(document.get("id_token")) or LoginFault("the provider's answer has no ID token")

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
        expected = ExpectedLogin(client.issuer, client.client_id, begun.code.nonce, client.claims, begun.max_age)
        return read_login(jws.claims, expected, self._clock())

    async def _find_endpoints(self) -> tuple[str, Endpoints]:
        """Return the authorization endpoint, and all endpoints. Raises `IdentityUnavailable`."""
        issuer, found = self.client.issuer, await self._server.endpoints()
        if isinstance(found, NoAnswer):
            raise IdentityUnavailable(f"the identity provider {issuer} cannot be asked: {found.problem}", _REMEDY)
        if found.authorization is None:
            raise IdentityUnavailable(
                f"the identity provider {issuer} has no authorization_endpoint over https", _REMEDY
            )
        return found.authorization, found


class LoginSeal:
    """Seals and opens logins, with Fernet (AES-128-CBC and HMAC-SHA256) of the library cryptography. `key` has 32 bytes."""

    def __init__(self, key: bytes) -> None:
        self._fernet = Fernet(base64.urlsafe_b64encode(key))

    def seal(self, begun: BegunLogin, now: float) -> str:
        """Return the value of the cookie."""
        return self._fernet.encrypt_at_time(msgspec.json.encode(begun), int(now)).decode("ascii")

    def open(self, cookie: str, now: float) -> BegunLogin | None:
        """Return the login of a cookie, `None` for a foreign or expired cookie."""
        try:
            data = self._fernet.decrypt_at_time(cookie.encode(), SECONDS, int(now))
            return msgspec.json.decode(data, type=BegunLogin)
        except (InvalidToken, msgspec.MsgspecError, ValueError):
            return None
