"""Tokens that an issuer gave, checked before a call carries them."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final, Literal, TypeAlias

from msgspec import Struct

from gateway.authority.brokers.token_checks import (
    SKEW,
    TokenBounds,
    find_excess,
    is_token,
    latest_expiry,
    read_claims,
    read_scopes,
)
from gateway.authority.model import BrokerRefusal, Credential, Issued, Lease, LeaseRequest, NotEnded, Proof
from gateway.model import reasons
from gateway.wire.https_client import HttpsAnswer, NoAnswer, read_object
from gateway.wire.oauth_client import ClientProof, OAuthClient, describe_error, has_error

if TYPE_CHECKING:
    from collections.abc import Callable

    from gateway.config.brokers import ExchangeBroker
    from gateway.model.target import Revocable
    from gateway.model.wire import JsonObject
    from gateway.wire.oauth_client import OAuthClient


TYPE_PREFIX: Final = "urn:ietf:params:oauth:token-type:"
UNREVOCABLE_LIFE: Final = 300.0
"""Seconds. A token that nobody can end early may live so long and no longer."""


class _IssuedToken(Struct, frozen=True):
    """A token of an answer, with its claims from the token itself or from introspection."""

    value: str
    claims: JsonObject
    granted: str | None
    expires: float
    is_provable: bool
    """Whether introspection called it active: only then does a later `inactive` say something."""


class AnswerJudge:
    """Judge of one server's answers to one broker. `kinds` are the permitted token types; without any, an answer names no type."""

    def __init__(
        self,
        name: str,
        settings: ExchangeBroker,
        client: OAuthClient,
        proof: ClientProof,
        clock: Callable[[], float],
        *,
        kinds: frozenset[str] = frozenset(),
    ) -> None:
        self._name = name
        self._settings = settings
        self._client = client
        self._clock = clock
        self._kinds = kinds
        self._proof = proof
        own = settings.introspect_as
        self._introspector = proof if own is None else ClientProof(own.client_id, own.client_auth, clock)
        self._tokens = IssuedTokens(client, settings.revoke, clock)
        self._proves = settings.revoke == "introspect"

    @property
    def revocable(self) -> Revocable:
        """Return `at_once` as long as the server introspects its tokens."""
        return "at_once" if self._proves else "after_ttl"

    async def end(self, lease: Lease, credential: Credential | None) -> Proof | NotEnded:
        """Revoke the token of a lease and ask whether it is active."""
        return await self._tokens.end(lease, credential, self._proof, self._introspector)

    async def judge(self, request: LeaseRequest, asked: TokenBounds, answer: HttpsAnswer) -> Issued | BrokerRefusal:
        """Turn an answer into a credential. A token that is wider than the request is revoked."""
        if answer.status != 200:
            return self.refuse_denied(answer)
        document = read_object(answer)
        value = None if document is None else document.get("access_token")
        if document is None or not is_token(value):
            return self._refuse_malformed("holds no token")
        token = await self._examine(document, value)
        problem = token if isinstance(token, str) else self._find_problem(asked, document, token)
        if problem is not None or isinstance(token, str):
            return await self._give_back(document, value, problem or "")
        if self._settings.revoke == "introspect":
            self._proves = token.is_provable
        handle = {"expires": repr(token.expires), **({"seen": "active"} if token.is_provable else {})}
        scope = tuple(name for name in request.scope.names if name in read_scopes(token.granted, token.claims))
        named = scope or request.scope.names
        return Issued(Credential(value), token.expires, named, handle)

    async def _examine(self, document: JsonObject, value: str) -> _IssuedToken | str:
        """Return the token with its claims, or why it cannot be judged."""
        kind = document.get("token_type")
        if not isinstance(kind, str) or kind.lower() != "bearer":
            return "it is no bearer token"
        if self._kinds and document.get("issued_token_type") not in self._kinds:
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
        return _IssuedToken(value, claims, scope, expires, provable)

    def _find_problem(self, asked: TokenBounds, document: JsonObject, token: _IssuedToken) -> str | None:
        """Return how the answer is wider than the request, `None` if it is not."""
        if document.get("refresh_token") is not None:
            return "a refresh token came with it"
        life = self._settings.max_life.total_seconds()
        if not token.is_provable:
            life = min(life, UNREVOCABLE_LIFE)
        if token.expires > self._clock() + life + SKEW:
            return "it lives longer than permitted"
        return find_excess(asked, token.claims, token.granted)

    async def _give_back(self, document: JsonObject, value: str, problem: str) -> BrokerRefusal:
        """Revoke an unwanted token and its refresh token. Return a refusal for `problem`."""
        refresh = document.get("refresh_token")
        for unwanted in (refresh, value):
            if is_token(unwanted):
                await self._tokens.revoke(unwanted, self._proof)
        seen = await self._tokens.introspect(value, self._introspector)
        gone = not isinstance(seen, NotEnded) and seen.get("active") is False
        told = "was revoked" if gone else "is not proven to be revoked, and may live until it expires"
        text = reasons.CREDENTIAL_WIDER_TOKEN
        return BrokerRefusal(text.reason(issuer=self._client.issuer, problem=f"{problem}; it {told}"))

    def refuse_unanswered(self, failure: NoAnswer) -> BrokerRefusal:
        """Refuse a request that the server has not answered."""
        text = reasons.CREDENTIAL_UNAVAILABLE
        return BrokerRefusal(text.reason(broker=self._name, problem=failure.problem), may_retry=True)

    def refuse_denied(self, answer: HttpsAnswer) -> BrokerRefusal:
        """Refuse a request that the server has denied."""
        passing = answer.status == 429 or answer.status >= 500
        text = reasons.CREDENTIAL_TOKEN_UNAVAILABLE if passing else reasons.CREDENTIAL_TOKEN_REFUSED
        reason = text.reason(issuer=self._client.issuer, problem=describe_error(answer))
        return BrokerRefusal(reason, may_retry=passing, is_certain=answer.is_denial)

    def _refuse_malformed(self, problem: str) -> BrokerRefusal:
        return BrokerRefusal(reasons.CREDENTIAL_TOKEN_MALFORMED.reason(issuer=self._client.issuer, problem=problem))


Mode: TypeAlias = Literal["introspect", "blind", "none"]


class IssuedTokens:
    """Questions to one server about its tokens. `mode` is the setting `revoke` of a broker."""

    def __init__(self, client: OAuthClient, mode: Mode, clock: Callable[[], float]) -> None:
        self._client = client
        self._mode: Mode = mode
        self._clock = clock

    async def end(
        self,
        lease: Lease,
        credential: Credential | None,
        proof: ClientProof,
        introspector: ClientProof,
        *,
        mode: Mode | None = None,
    ) -> Proof | NotEnded:
        """End the token of a lease whose handle has `expires`, and `seen` if introspection called the token active.

        `mode` replaces that of the broker. Without a word of introspection it is asked before the revocation.
        """
        now, mode = self._clock(), mode or self._mode
        if "expires" not in lease.handle:
            return Proof("absent", now, "no token was asked for")
        over = float(lease.handle["expires"]) + SKEW
        if now >= over:
            return Proof("time", now, f"expired at {_moment(over - SKEW)}")
        if credential is None or mode == "none":
            return NotEnded(f"the token lives until {_moment(over - SKEW)}", after=over - now, waits=True)
        is_seen = mode == "introspect" and await self._is_seen(lease, credential.value, introspector)
        return await self._end_value(credential.value, over, proof, introspector, is_seen=is_seen)

    async def _is_seen(self, lease: Lease, value: str, introspector: ClientProof) -> bool:
        """Return whether introspection calls, or has called, the token active."""
        if self._mode == "introspect":
            return lease.handle.get("seen") == "active"
        seen = await self.introspect(value, introspector)
        return not isinstance(seen, NotEnded) and seen.get("active") is True

    async def _end_value(
        self, value: str, over: float, proof: ClientProof, introspector: ClientProof, *, is_seen: bool
    ) -> Proof | NotEnded:
        now = self._clock()
        problem = await self.revoke(value, proof)
        if isinstance(problem, NotEnded):
            return problem
        if problem is not None or not is_seen:
            # The server knows no revocation of this token, or its answer proves nothing.
            return NotEnded(
                f"no proof is to be had; the token lives until {_moment(over - SKEW)}", after=over - now, waits=True
            )
        seen = await self.introspect(value, introspector)
        if isinstance(seen, NotEnded):
            return seen
        if seen.get("active") is False:
            return Proof("introspection", self._clock(), "revoked; introspection says active: false")
        return NotEnded("the revocation was accepted, and introspection still calls the token active")

    async def revoke(self, value: str, proof: ClientProof, hint: str = "access_token") -> NotEnded | str | None:
        """Ask for the revocation. Return why it is to be asked again, or a text if the server cannot do it."""
        endpoints = await self._client.endpoints()
        if isinstance(endpoints, NoAnswer):
            return NotEnded(endpoints.problem)
        if endpoints.revocation is None:
            return "the metadata has no revocation_endpoint"
        form = [("token", value), ("token_type_hint", hint)]
        answer = await self._client.post(endpoints.revocation, form, proof)
        if isinstance(answer, NoAnswer):
            return NotEnded(answer.problem)
        if answer.status == 200:
            return None
        if has_error(answer, "unsupported_token_type"):
            return "the server cannot revoke such a token"
        return NotEnded(f"{endpoints.revocation} answered {describe_error(answer)}", after=answer.pause)

    async def introspect(self, value: str, proof: ClientProof) -> JsonObject | NotEnded:
        """Return the introspection of a token, whose `active` is a truth value."""
        endpoints = await self._client.endpoints()
        if isinstance(endpoints, NoAnswer):
            return NotEnded(endpoints.problem)
        if endpoints.introspection is None:
            return NotEnded("the metadata has no introspection_endpoint")
        form = [("token", value), ("token_type_hint", "access_token")]
        answer = await self._client.post(endpoints.introspection, form, proof)
        if isinstance(answer, NoAnswer):
            return NotEnded(answer.problem)
        document = read_object(answer) if answer.status == 200 else None
        if document is None or not isinstance(document.get("active"), bool):
            return NotEnded(f"{endpoints.introspection} answered {describe_error(answer)}", after=answer.pause)
        return document


def _moment(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
