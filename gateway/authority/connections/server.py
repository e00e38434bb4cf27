"""A client of the authorization server of one broker, for the broker's users."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Final

from msgspec import Struct

from gateway.authority.brokers.issued_tokens import IssuedTokens, Mode
from gateway.authority.connections.grants import read_grant
from gateway.authority.connections.model import RegisteredClient
from gateway.inspection.credentials.caller_tokens import OF_THE_GATEWAY
from gateway.model import reasons
from gateway.model.decision import Reason
from gateway.wire.https_client import HttpsAnswer, NoAnswer, read_object
from gateway.wire.oauth_client import ClientProof, describe_error, has_error
from gateway.wire.oauth_flow import build_redemption, build_request

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from gateway.authority.connections.browsers import PendingConsent
    from gateway.authority.connections.grants import TokenGrant
    from gateway.authority.connections.store import ConnectionStore
    from gateway.config.brokers import ConnectionClient
    from gateway.inspection.credentials.live_values import LiveValues
    from gateway.model.wire import JsonObject
    from gateway.wire.oauth_client import Endpoints, OAuthClient

_EXCHANGE: Final = "urn:ietf:params:oauth:grant-type:token-exchange"
CLIENT_NAME: Final = "opagate, a gateway for agents"


class Addresses(Struct, frozen=True):
    """Addresses of the gateway for one broker. Each broker has its own redirect URI: no server answers for another."""

    redirect_uri: str
    document: str


class Refused(Struct, frozen=True):
    """A refusal of the token endpoint, or an answer without usable tokens. `is_final`: the server knows the grant no more."""

    problem: str
    is_final: bool


class ServerTerms(Struct, frozen=True):
    """Settings of a server. `scopes` are the scopes of a connection. `resources` maps upstreams to the resources of their tokens.

    `audiences` are the names of upstreams in tokens. Without an entry, tokens may name anything.
    With `login`, the server is the identity provider itself. It is asked for these scopes, and its ID token names the user.
    """

    issuer: str
    client: ConnectionClient
    scopes: tuple[str, ...]
    revoke: Mode = "none"
    resources: Mapping[str, str] = {}
    audiences: Mapping[str, tuple[str, ...]] = {}
    login: tuple[str, ...] = ()


class AuthorizationServer:
    """One server."""

    def __init__(
        self,
        name: str,
        terms: ServerTerms,
        client: OAuthClient,
        store: ConnectionStore,
        *,
        addresses: Addresses,
        clock: Callable[[], float],
        live: LiveValues,
    ) -> None:
        """Raises `ConfigurationError` for a key that cannot sign."""
        self.name = name
        self.terms = terms
        self.issuer = terms.issuer
        self.addresses = addresses
        self.tokens = IssuedTokens(client, terms.revoke, clock)
        self._client = client
        self._store = store
        self._clock = clock
        self._live = live
        self._registering = asyncio.Lock()
        given = terms.client
        fixed = addresses.document if given.cimd else given.id
        self._fixed = None if fixed is None else ClientProof(fixed, given.auth, clock)

    async def endpoints(self) -> Endpoints | Reason:
        """Return the endpoints of a server that users can connect to."""
        found = await self._client.endpoints()
        if isinstance(found, NoAnswer):
            return _unavailable(found.problem)
        if found.authorization is None or not found.has_pkce:
            return _unfit(f"{self.issuer} has no authorization endpoint, or does not verify PKCE with S256.")
        if self.terms.client.cimd and not found.reads_documents:
            return _unfit(
                f"{self.issuer} does not read client documents: `client: {{cimd: true}}` cannot be used there."
            )
        return found

    async def identify(self) -> ClientProof | Reason:
        """Return the proof of the gateway's client, registered first if need be."""
        if self._fixed is not None:
            return self._fixed
        if (known := await self._find_client()) is None:
            async with self._registering, self._store.turn(f"register {self.name}"):
                if (known := await self._find_client()) is None:
                    registered = await self._register()
                    if isinstance(registered, Reason):
                        return registered
                    await self._store.clients.put(self.name, registered)
                    known = registered
        if known.secret is not None:
            self._live.hold(f"client {self.name}", [known.secret], OF_THE_GATEWAY)
        return ClientProof(known.id, None, self._clock, registered_secret=known.secret)

    async def _find_client(self) -> RegisteredClient | None:
        """Return the registered client of the gateway, `None` for a client at another server or with another address."""
        known = await self._store.clients.get(self.name)
        is_usable = known is not None and (known.issuer, known.redirect_uri) == (
            self.issuer,
            self.addresses.redirect_uri,
        )
        return known if is_usable else None

    async def authorize(
        self, endpoints: Endpoints, proof: ClientProof, pending: PendingConsent, upstream: str, scopes: Sequence[str]
    ) -> str:
        """Return the address that the browser is sent to."""
        fields = [("resource", each) for each in self._all_resources(upstream)]
        scopes = self.terms.login or scopes
        if scopes:
            fields.append(("scope", " ".join(scopes)))
        if "offline_access" in scopes:
            # OpenID Connect Core 1.0 section 11: without it, the server ignores the scope.
            fields.append(("prompt", "consent"))
        return build_request(endpoints.authorization or "", proof.client_id, pending.redirect_uri, pending.code, fields)

    async def redeem(
        self, code: str, pending: PendingConsent, proof: ClientProof, upstream: str, scopes: Sequence[str]
    ) -> TokenGrant | Refused | NoAnswer:
        """Return the tokens for a code. There is no second try: servers end the tokens of a code that comes twice."""
        form = [*build_redemption(code, pending.redirect_uri, pending.code), *self._resource(upstream)]
        return await self._ask(form, proof, scopes)

    async def refresh(
        self, token: str, proof: ClientProof, upstream: str, scopes: Sequence[str], *, narrowed: bool
    ) -> TokenGrant | Refused | NoAnswer:
        """Return an access token for an upstream, with a new refresh token if the server rotates them."""
        form = [
            ("grant_type", "refresh_token"),
            ("refresh_token", token),
            *self._resource(upstream),
        ]
        if narrowed and scopes:
            form.append(("scope", " ".join(scopes)))
        return await self._ask(form, proof, scopes)

    async def drop(self, token: str, proof: ClientProof) -> None:
        """Ask for the end of an access token that is not used, unless the server ends a whole connection with one token."""
        if self.terms.revoke != "none":
            await self.tokens.revoke(token, proof)

    def describe_client(self) -> JsonObject:
        """Return the gateway's metadata as a client (RFC 7591 section 2)."""
        return {
            "client_name": CLIENT_NAME,
            "redirect_uris": [self.addresses.redirect_uri],
            "grant_types": ["authorization_code", "refresh_token", *([_EXCHANGE] if self.terms.login else [])],
            "response_types": ["code"],
            "application_type": "web",
        }

    def document(self) -> JsonObject:
        """Return the document whose address is the client's id. It needs no secret: PKCE protects each code."""
        return {
            "client_id": self.addresses.document,
            **self.describe_client(),
            "token_endpoint_auth_method": "none",
        }

    async def aclose(self) -> None:
        await self._client.aclose()

    def _all_resources(self, upstream: str) -> list[str]:
        """Return the resources of a connection, the resource of the present call first."""
        present = [each for _, each in self._resource(upstream)]
        return list(dict.fromkeys((*present, *self.terms.resources.values())))

    def _resource(self, upstream: str) -> list[tuple[str, str]]:
        """Return the resource of a request for an upstream. A login is for none."""
        found = self.terms.resources.get(upstream)
        return [] if found is None else [("resource", found)]

    async def _ask(
        self, form: list[tuple[str, str]], proof: ClientProof, scopes: Sequence[str]
    ) -> TokenGrant | Refused | NoAnswer:
        endpoints = await self._client.endpoints()
        if isinstance(endpoints, NoAnswer):
            return endpoints
        answer = await self._client.post(endpoints.token, form, proof)
        if isinstance(answer, NoAnswer):
            return answer
        if answer.status != 200:
            return await self._refuse(answer, proof)
        document = read_object(answer)
        grant = "is no JSON object" if document is None else read_grant(document, scopes, self._clock())
        return Refused(f"the answer {grant}", is_final=False) if isinstance(grant, str) else grant

    async def _refuse(self, answer: HttpsAnswer, proof: ClientProof) -> Refused | NoAnswer:
        if answer.status == 429 or answer.status >= 500:
            return NoAnswer(f"{self.issuer} answered {describe_error(answer)}")
        if self._fixed is None and has_error(answer, "invalid_client"):
            # The registration is gone at the server. The next connection registers anew.
            await self._store.drop_client(self.name, proof.client_id)
        return Refused(
            f"{self.issuer} answered {describe_error(answer)}",
            is_final=has_error(answer, "invalid_grant"),
        )

    async def _register(self) -> RegisteredClient | Reason:
        endpoints = await self._client.endpoints()
        if isinstance(endpoints, NoAnswer):
            return _unavailable(endpoints.problem)
        if endpoints.registration is None:
            return _unfit(f"{self.issuer} registers no clients: `client: {{dcr: true}}` cannot be used there.")
        method = "client_secret_basic" if "client_secret_basic" in endpoints.methods else "none"
        wanted = {**self.describe_client(), "token_endpoint_auth_method": method}
        if scopes := self.terms.login or self.terms.scopes:
            wanted["scope"] = " ".join(scopes)
        answer = await self._client.post_json(endpoints.registration, json.dumps(wanted).encode())
        if isinstance(answer, NoAnswer):
            return _unavailable(answer.problem)
        document = read_object(answer) if answer.status in {200, 201} else None
        client_id = None if document is None else document.get("client_id")
        if document is None or not isinstance(client_id, str) or not client_id:
            return _unfit(f"{self.issuer} refused to register the gateway: {describe_error(answer)}.")
        secret = document.get("client_secret")
        return RegisteredClient(
            client_id, secret if isinstance(secret, str) else None, self.issuer, self.addresses.redirect_uri
        )


def _unavailable(problem: str) -> Reason:
    return reasons.CONNECTION_UNAVAILABLE.reason(problem=problem)


def _unfit(problem: str) -> Reason:
    return reasons.CONNECTION_SERVER.reason(problem=problem)
