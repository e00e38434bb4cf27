"""Token exchange at an authorization server (RFC 8693): the caller's token becomes one for a single upstream."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from gateway.authority.brokers.issued_tokens import TYPE_PREFIX, AnswerJudge
from gateway.authority.brokers.token_checks import SKEW, TokenBounds, is_token, read_actor, read_claims, read_subject
from gateway.authority.model import BrokerRefusal, Credential, Issued, Lease, LeaseRequest, NotEnded, Proof
from gateway.base.concurrency.background import in_thread
from gateway.model import reasons
from gateway.wire.https_client import NoAnswer
from gateway.wire.oauth_client import ClientProof, OAuthClient

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from gateway.config.brokers import ExchangeBroker, ExchangeCredential
    from gateway.model.target import Revocable

GRANT: Final = "urn:ietf:params:oauth:grant-type:token-exchange"


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
        self._proof = ClientProof(settings.client_id, settings.client_auth, clock)
        kinds = {f"{TYPE_PREFIX}{kind}" for kind in (settings.token_type, "access_token", "jwt")}
        self._judge = AnswerJudge(name, settings, client, self._proof, clock, kinds=frozenset(kinds))

    @property
    def revocable(self) -> Revocable:
        """Return `at_once` as long as the server introspects its tokens."""
        return self._judge.revocable

    async def prepare(self, request: LeaseRequest) -> dict[str, str] | BrokerRefusal:
        if request.subject_token is None or request.principal.issuer != self._client.issuer:
            return self._without_subject()
        return {"expires": repr(request.asked + self._settings.max_life.total_seconds() + 2 * SKEW)}

    async def issue(self, request: LeaseRequest, prepared: dict[str, str]) -> Issued | BrokerRefusal:  # noqa: ARG002 - of the protocol
        """Exchange the token of the caller. `prepared` is not needed: the server has no name for a token to come."""
        if request.subject_token is None or request.principal.issuer != self._client.issuer:
            return self._without_subject()
        actor = await self._read_actor()
        if isinstance(actor, BrokerRefusal):
            return actor
        endpoints = await self._client.endpoints()
        if isinstance(endpoints, NoAnswer):
            return self._judge.refuse_unanswered(endpoints)
        answer = await self._client.post(endpoints.token, self._form(request, actor), self._proof)
        if isinstance(answer, NoAnswer):
            return self._judge.refuse_unanswered(answer)
        return await self._judge.judge(request, self._bounds_of(request, actor), answer)

    async def end(self, lease: Lease, credential: Credential | None) -> Proof | NotEnded:
        """Revoke the token and ask whether it is active. Without the value, or without a proof, only its expiry ends it."""
        return await self._judge.end(lease, credential)

    async def aclose(self) -> None:
        await self._client.aclose()

    # --- the request -------------------------------------------------------------------------------

    def _form(self, request: LeaseRequest, actor: str | None) -> list[tuple[str, str]]:
        form = [
            ("grant_type", GRANT),
            ("subject_token", request.subject_token or ""),
            ("subject_token_type", f"{TYPE_PREFIX}access_token"),
            ("requested_token_type", f"{TYPE_PREFIX}{self._settings.token_type}"),
            *self._target(request),
        ]
        if self._settings.introspect_as is not None:
            form.append(("audience", self._settings.introspect_as.client_id))
        if request.scope.names:
            form.append(("scope", " ".join(request.scope.names)))
        if actor is not None:
            form += [("actor_token", actor), ("actor_token_type", f"{TYPE_PREFIX}jwt")]
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
            return BrokerRefusal(reasons.CREDENTIAL_ACTOR.reason(broker=self.name, file=path))
        return token

    def _bounds_of(self, request: LeaseRequest, actor: str | None) -> TokenBounds:
        """Return the bounds of the token."""
        subject, principal = read_claims(request.subject_token or "") or {}, request.principal
        user, own = subject.get(self._settings.user_claim), self._settings.introspect_as
        return TokenBounds(
            issuer=self._client.issuer,
            audiences=frozenset(value for _, value in self._target(request)),
            introspector=None if own is None else own.client_id,
            scopes=frozenset(request.scope.names) | frozenset(self._settings.extra_scopes),
            user_claim=self._settings.user_claim,
            user=user if isinstance(user, str) else (principal.user.id if principal.user else principal.id),
            # The chain of the caller's token must not get lost: delegation would become impersonation.
            actor=read_actor(subject) if actor is None else read_subject(actor),
        )

    def _without_subject(self) -> BrokerRefusal:
        """Refuse a caller whose token is not of this issuer: a token goes to its own issuer and to no other place."""
        return BrokerRefusal(reasons.CREDENTIAL_SUBJECT.reason(broker=self.name, issuer=self._client.issuer))


def _read_token(path: Path) -> str | None:
    try:
        with path.open("rb") as file:
            text = file.read(16 * 1024 + 1).decode("ascii").strip()
    except (OSError, UnicodeDecodeError):
        return None
    return text if is_token(text) else None
