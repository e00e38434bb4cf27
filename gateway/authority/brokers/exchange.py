"""Token exchange at an authorization server (RFC 8693): the caller's token becomes one for a single upstream.

The broker checks the answer, and revokes a token that is wider than the request. A 200 of the revocation endpoint
proves nothing (RFC 7009 section 2.2). The proof is an introspection with the answer inactive. It counts only for a token
that introspection called active before.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from msgspec import Struct

from gateway.authority.brokers.issued_tokens import IssuedTokens
from gateway.authority.brokers.issuer_client import Answer, NoAnswer, read_object
from gateway.authority.brokers.oauth_client import ClientProof, OAuthClient, describe_error
from gateway.authority.brokers.token_checks import (
    SKEW,
    Asked,
    find_excess,
    is_token,
    latest_expiry,
    read_actor,
    read_claims,
    read_scopes,
    read_subject,
)
from gateway.authority.model import BrokerRefusal, Credential, Issued, Lease, LeaseRequest, NotEnded, Proof
from gateway.background import in_thread

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from gateway.config.brokers import ExchangeBroker, ExchangeCredential
    from gateway.model.target import Revocable
    from gateway.model.wire import JsonObject

GRANT: Final = "urn:ietf:params:oauth:grant-type:token-exchange"
_TYPE: Final = "urn:ietf:params:oauth:token-type:"
UNREVOCABLE_LIFE: Final = 300.0
"""Seconds. A token that nobody can end early may live so long and no longer."""


class _Token(Struct, frozen=True):
    """A token of an answer, with its claims from the token itself or from introspection."""

    value: str
    claims: JsonObject
    granted: str | None
    expires: float
    is_provable: bool
    """Whether introspection called it active: only then does a later `inactive` say something."""


class TokenExchangeBroker:
    """The broker of kind `exchange`."""

    kind = "exchange"
    min_ttl = 1.0

    def __init__(
        self,
        name: str,
        settings: ExchangeBroker,
        upstreams: Mapping[str, ExchangeCredential],
        client: OAuthClient,
        clock: Callable[[], float],
    ) -> None:
        """Raises `ConfigurationError` for a key that cannot sign."""
        self.name = name
        self._settings = settings
        self._upstreams = upstreams
        self._client = client
        self._clock = clock
        self._proof = ClientProof(settings.client_id, settings.client_auth, clock)
        own = settings.introspect_as
        self._introspector = self._proof if own is None else ClientProof(own.client_id, own.client_auth, clock)
        self._tokens = IssuedTokens(client, settings.revoke, clock)
        self._proves = settings.revoke == "introspect"

    @property
    def revocable(self) -> Revocable:
        """Return `at_once` as long as the server introspects its tokens."""
        return "at_once" if self._proves else "after_ttl"

    async def prepare(self, request: LeaseRequest) -> dict[str, str] | BrokerRefusal:
        if request.subject_token is None or request.principal.issuer != self._client.issuer:
            return self._without_subject()
        return {"expires": repr(request.asked + self._settings.max_life.total_seconds() + 2 * SKEW)}

    async def issue(self, request: LeaseRequest, prepared: dict[str, str]) -> Issued | BrokerRefusal:  # noqa: ARG002
        """Exchange the token of the caller. `prepared` is not needed: the server has no name for a token to come."""
        if request.subject_token is None or request.principal.issuer != self._client.issuer:
            return self._without_subject()
        actor = await self._read_actor()
        if isinstance(actor, BrokerRefusal):
            return actor
        endpoints = await self._client.endpoints()
        if isinstance(endpoints, NoAnswer):
            return self._unavailable(endpoints)
        answer = await self._client.post(endpoints.token, self._form(request, actor), self._proof)
        if isinstance(answer, NoAnswer):
            return self._unavailable(answer)
        if answer.status != 200:
            return self._refused(answer)
        return await self._judge(request, actor, answer)

    async def end(self, lease: Lease, credential: Credential | None) -> Proof | NotEnded:
        """Revoke the token and ask whether it is active. Without the value, or without a proof, only its expiry ends it."""
        return await self._tokens.end(lease, credential, self._proof, self._introspector)

    async def aclose(self) -> None:
        await self._client.aclose()

    # --- the request -------------------------------------------------------------------------------

    def _form(self, request: LeaseRequest, actor: str | None) -> list[tuple[str, str]]:
        form = [
            ("grant_type", GRANT),
            ("subject_token", request.subject_token or ""),
            ("subject_token_type", f"{_TYPE}access_token"),
            ("requested_token_type", f"{_TYPE}{self._settings.token_type}"),
            *self._target(request),
        ]
        if self._settings.introspect_as is not None:
            form.append(("audience", self._introspector.client_id))
        if request.scope.names:
            form.append(("scope", " ".join(request.scope.names)))
        if actor is not None:
            form += [("actor_token", actor), ("actor_token_type", f"{_TYPE}jwt")]
        return form

    def _target(self, request: LeaseRequest) -> list[tuple[str, str]]:
        """Return the audience of the token: `audience`, `resource` or both (RFC 8693 section 2.1)."""
        settings = self._upstreams[request.upstream]
        audience = settings.audience or (request.audience if settings.resource is None else None)
        named = (("audience", audience), ("resource", settings.resource))
        return [(name, value) for name, value in named if value is not None]

    async def _read_actor(self) -> str | BrokerRefusal | None:
        path = self._settings.actor
        if path is None:
            return None
        token = await in_thread(lambda: _read_token(path))
        if token is None or read_subject(token) is None:
            return BrokerRefusal(
                "credential/actor",
                f"the actor's token of broker {self.name} is no JWT with a sub",
                f"an operator should look at {path}",
            )
        return token

    # --- the answer --------------------------------------------------------------------------------

    async def _judge(self, request: LeaseRequest, actor: str | None, answer: Answer) -> Issued | BrokerRefusal:
        """Turn an answer into a credential. A token that is wider than the request is revoked."""
        document = read_object(answer)
        value = None if document is None else document.get("access_token")
        if document is None or not is_token(value):
            return self._malformed("holds no token")
        token = await self._examine(document, value)
        problem = token if isinstance(token, str) else self._excess(request, actor, document, token)
        if problem is not None or isinstance(token, str):
            return await self._give_back(document, value, problem or "")
        if self._settings.revoke == "introspect":
            self._proves = token.is_provable
        handle = {"expires": repr(token.expires), **({"seen": "active"} if token.is_provable else {})}
        scope = tuple(name for name in request.scope.names if name in read_scopes(token.granted, token.claims))
        named = scope or request.scope.names
        return Issued(Credential(value), token.expires, named, handle)

    async def _examine(self, document: JsonObject, value: str) -> _Token | str:
        """Return the token with its claims, or why it cannot be judged."""
        kind, expected = document.get("token_type"), f"{_TYPE}{self._settings.token_type}"
        if not isinstance(kind, str) or kind.lower() != "bearer":
            return "it is no bearer token"
        if document.get("issued_token_type") not in {expected, f"{_TYPE}access_token", f"{_TYPE}jwt"}:
            return "it is of another type than asked for"
        scope = document.get("scope")
        if scope is not None and not isinstance(scope, str):
            return "its scope is no text"
        claims = read_claims(value)
        # A proof of the end needs a token that was called active before. An opaque one has its claims from there.
        wanted = claims is None or self._settings.revoke == "introspect"
        seen = await self._tokens.introspect(value, self._introspector) if wanted else None
        active = None if seen is None or isinstance(seen, NotEnded) or seen.get("active") is not True else seen
        claims = claims or active
        if claims is None:
            return "it is opaque, and introspection does not describe it"
        expires = latest_expiry(claims.get("exp"), document.get("expires_in"), self._clock())
        if expires is None:
            return "it names no usable expiry"
        provable = self._settings.revoke == "introspect" and active is not None
        return _Token(value, claims, scope, expires, provable)

    def _excess(self, request: LeaseRequest, actor: str | None, document: JsonObject, token: _Token) -> str | None:
        """Return how the answer is wider than the request, `None` if it is not."""
        if document.get("refresh_token") is not None:
            return "a refresh token came with it"
        life = self._settings.max_life.total_seconds()
        if not token.is_provable:
            life = min(life, UNREVOCABLE_LIFE)
        if token.expires > self._clock() + life + SKEW:
            return "it lives longer than permitted"
        subject = read_claims(request.subject_token or "") or {}
        principal = request.principal
        user = subject.get(self._settings.user_claim)
        asked = Asked(
            issuer=self._client.issuer,
            audiences=frozenset(value for _, value in self._target(request)),
            introspector=None if self._settings.introspect_as is None else self._introspector.client_id,
            scopes=frozenset(request.scope.names) | frozenset(self._settings.extra_scopes),
            user_claim=self._settings.user_claim,
            user=user if isinstance(user, str) else (principal.user.id if principal.user else principal.id),
            # The chain of the caller's token must not get lost: delegation would become impersonation.
            actor=read_actor(subject) if actor is None else read_subject(actor),
        )
        return find_excess(asked, token.claims, token.granted)

    async def _give_back(self, document: JsonObject, value: str, problem: str) -> BrokerRefusal:
        """Revoke a token that is not used, and a refresh token with it, and refuse."""
        refresh = document.get("refresh_token")
        for unwanted in (refresh, value):
            if is_token(unwanted):
                await self._tokens.revoke(unwanted, self._proof)
        seen = await self._tokens.introspect(value, self._introspector)
        gone = not isinstance(seen, NotEnded) and seen.get("active") is False
        told = "was revoked" if gone else "is not proven to be revoked, and may live until it expires"
        return BrokerRefusal(
            "credential/wider",
            f"the token that {self._client.issuer} gave cannot be used: {problem}; it {told}",
            "an operator should narrow the gateway's client at the authorization server, or the settings of the broker",
        )

    # --- refusals ----------------------------------------------------------------------------------

    def _without_subject(self) -> BrokerRefusal:
        """Refuse a caller whose token is not of this issuer: a token goes to its own issuer and to no other place."""
        return BrokerRefusal(
            "credential/subject",
            f"broker {self.name} exchanges access tokens of {self._client.issuer}, and this caller has none",
            f"call with an access token of {self._client.issuer}",
        )

    def _unavailable(self, failure: NoAnswer) -> BrokerRefusal:
        return BrokerRefusal(
            "credential/unavailable",
            f"broker {self.name} has no token: {failure.problem}",
            "try again; an operator should look at the authorization server",
            may_retry=True,
        )

    def _refused(self, answer: Answer) -> BrokerRefusal:
        passing = answer.status == 429 or answer.status >= 500
        return BrokerRefusal(
            "credential/unavailable" if passing else "credential/refused",
            f"{self._client.issuer} refused the exchange: {describe_error(answer)}",
            "try again later"
            if passing
            else "an operator should look at the gateway's client at the authorization server",
            may_retry=passing,
            is_certain=answer.is_denial,
        )

    def _malformed(self, problem: str) -> BrokerRefusal:
        return BrokerRefusal(
            "credential/malformed",
            f"the answer of {self._client.issuer} {problem}",
            "an operator should look at the authorization server",
        )


def _read_token(path: Path) -> str | None:
    try:
        with path.open("rb") as file:
            text = file.read(16 * 1024 + 1).decode("ascii").strip()
    except (OSError, UnicodeDecodeError):
        return None
    return text if is_token(text) else None
