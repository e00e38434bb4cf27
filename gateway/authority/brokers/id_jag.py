"""ID-JAG as a mode of `exchange` (MCP enterprise-managed authorization): two servers, two steps.

The identity provider exchanges a proof of the user for an assertion. The authorization server of the upstream gives an access token
for it (`jwt-bearer`). Nobody but the gateway sees the assertion, and the gateway presents it once.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Final

from gateway.authority.brokers.assertions import ID_JAG, PROFILE, Assertion, AssertionFault, Expected, read_assertion
from gateway.authority.brokers.exchange import GRANT
from gateway.authority.brokers.issued_tokens import TYPE_PREFIX, AnswerJudge, IssuedTokens
from gateway.authority.brokers.token_checks import SKEW, TokenBounds, is_token
from gateway.authority.model import BrokerRefusal, Credential, Issued, Lease, LeaseRequest, NotEnded, Proof
from gateway.base.concurrency.background import to_the_end
from gateway.base.store.records import RecordKind
from gateway.model import reasons
from gateway.wire.https_client import HttpsAnswer, NoAnswer, read_object
from gateway.wire.oauth_client import ClientProof, OAuthClient, describe_error, has_error

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from gateway.authority.brokers.subjects import SubjectProof, Subjects
    from gateway.base.store.records import Records
    from gateway.config.brokers import ExchangeBroker, ExchangeCredential
    from gateway.model.target import Revocable
    from gateway.model.wire import JsonObject

JWT_BEARER: Final = "urn:ietf:params:oauth:grant-type:jwt-bearer"
PRESENTED: Final = RecordKind("presented assertion", float, "an assertion may be presented twice")
_EXPIRE_AFTER: Final = 1_000
"""Assertions after which the expired ones are forgotten."""


class PresentedAssertions:
    """The assertions that gateways on the same records have presented, each until it expires."""

    def __init__(self, records: Records[float]) -> None:
        self._records = records
        self._noted = 0

    async def note(self, issuer: str, assertion: Assertion) -> bool:
        """Note an assertion before its presentation. Return whether it is new. Raises `StoreError`."""
        self._noted += 1
        if self._noted % _EXPIRE_AFTER == 0:
            await self._records.expire()
        name = hashlib.sha256(f"{issuer}\n{assertion.id}".encode()).hexdigest()
        return await self._records.add(name, assertion.expires, expires=assertion.expires + SKEW)


class AssertionBroker:
    """The broker of kind `exchange` with `id_jag`. `idp` is the identity provider, `client` the upstream's authorization server."""

    kind = "exchange"
    min_ttl = 1.0

    def __init__(
        self,
        name: str,
        settings: ExchangeBroker,
        upstreams: Mapping[str, ExchangeCredential],
        *,
        idp: OAuthClient,
        client: OAuthClient,
        subjects: Subjects,
        presented: PresentedAssertions,
        clock: Callable[[], float],
    ) -> None:
        """Raises `ConfigurationError` for a key that cannot sign."""
        self.name = name
        self._settings = settings
        self._upstreams = upstreams
        self._idp = idp
        self._client = client
        self._subjects = subjects
        self._clock = clock
        self._proof = ClientProof(settings.client_id, settings.client_auth, clock)
        self._judge = AnswerJudge(name, settings, self._client, self._proof, clock)
        self._presented = presented

    @property
    def revocable(self) -> Revocable:
        """Return `at_once` as long as the authorization server introspects its tokens."""
        return self._judge.revocable

    async def prepare(self, request: LeaseRequest) -> dict[str, str] | BrokerRefusal:
        found = await self._subjects.prepare(request)
        if isinstance(found, BrokerRefusal):
            return found
        return {**found, "expires": repr(request.asked + self._settings.max_life.total_seconds() + 2 * SKEW)}

    async def issue(self, request: LeaseRequest, prepared: dict[str, str]) -> Issued | BrokerRefusal:
        """Obtain an access token. All steps go on to their end if the caller leaves, since a refresh token may be rotated."""
        return await to_the_end(self._issue(request, prepared))

    async def end(self, lease: Lease, credential: Credential | None) -> Proof | NotEnded:
        """Revoke the access token and ask whether it is active. Without the value, or without a proof, only its expiry ends it."""
        return await self._judge.end(lease, credential)

    async def aclose(self) -> None:
        await self._idp.aclose()
        await self._client.aclose()

    async def _issue(self, request: LeaseRequest, prepared: dict[str, str]) -> Issued | BrokerRefusal:
        subject = await self._subjects.obtain(request, prepared)
        if isinstance(subject, BrokerRefusal):
            return subject
        assertion = await self._assert(request, subject)
        return assertion if isinstance(assertion, BrokerRefusal) else await self._redeem(request, assertion)

    # --- the identity provider ---------------------------------------------------------------------

    async def _assert(self, request: LeaseRequest, subject: SubjectProof) -> Assertion | BrokerRefusal:
        endpoints = await self._idp.endpoints()
        if isinstance(endpoints, NoAnswer):
            return self._refuse_unanswered(endpoints)
        if endpoints.asserted_types is not None and ID_JAG not in endpoints.asserted_types:
            return self._unfit(self._idp.issuer, "its metadata names no ID-JAG among the types that it gives")
        answer = await self._idp.post(endpoints.token, self._form(request, subject), subject.proof)
        if isinstance(answer, NoAnswer):
            return self._refuse_unanswered(answer)
        if answer.status != 200:
            return await self._refuse_denied(subject, answer)
        document = read_object(answer)
        if document is None:
            return self._unfit(self._idp.issuer, "its answer is no JSON object")
        return await self._read(request, subject, document)

    def _form(self, request: LeaseRequest, subject: SubjectProof) -> list[tuple[str, str]]:
        form = [
            ("grant_type", GRANT),
            ("requested_token_type", ID_JAG),
            ("audience", self._client.issuer),
            ("resource", self._resource(request)),
            ("subject_token", subject.token),
            ("subject_token_type", f"{TYPE_PREFIX}{subject.kind}"),
        ]
        return [*form, ("scope", " ".join(request.scope.names))] if request.scope.names else form

    async def _read(
        self, request: LeaseRequest, subject: SubjectProof, document: JsonObject
    ) -> Assertion | BrokerRefusal:
        expected = Expected(
            issuer=self._idp.issuer,
            audience=self._client.issuer,
            client_id=self._settings.client_id,
            user=subject.user,
            resource=self._resource(request),
            scopes=frozenset(request.scope.names),
        )
        if is_token(refresh := document.get("refresh_token")):
            await IssuedTokens(self._idp, "blind", self._clock).revoke(refresh, subject.proof, "refresh_token")
            return self._faulty(AssertionFault(reasons.CREDENTIAL_ASSERTION_MALFORMED, "a refresh token came with it"))
        found = read_assertion(expected, document, self._clock())
        if isinstance(found, AssertionFault):
            return self._faulty(found)
        is_new = await self._presented.note(self._idp.issuer, found)
        return found if is_new else self._faulty(_REPLAYED)

    # --- the authorization server ------------------------------------------------------------------

    async def _redeem(self, request: LeaseRequest, assertion: Assertion) -> Issued | BrokerRefusal:
        endpoints = await self._client.endpoints()
        if isinstance(endpoints, NoAnswer):
            return self._refuse_unanswered(endpoints)
        if endpoints.grant_profiles is not None and PROFILE not in endpoints.grant_profiles:
            return self._unfit(self._client.issuer, "its metadata names no ID-JAG among the assertions that it takes")
        names = [name for name in request.scope.names if name in assertion.scopes]
        form = [("grant_type", JWT_BEARER), ("assertion", assertion.value)]
        if names:
            form.append(("scope", " ".join(names)))
        answer = await self._client.post(endpoints.token, form, self._proof)
        if isinstance(answer, NoAnswer):
            return self._judge.refuse_unanswered(answer)
        own = self._settings.introspect_as
        asked = TokenBounds(
            issuer=self._client.issuer,
            audiences=self._audiences(request),
            introspector=None if own is None else own.client_id,
            scopes=frozenset(names) | frozenset(self._settings.extra_scopes),
            # The server has a name of its own for the user, and the assertion named the user.
            user_claim="sub",
            user=None,
            actor=None,
        )
        return await self._judge.judge(request, asked, answer)

    def _resource(self, request: LeaseRequest) -> str:
        return self._upstreams[request.upstream].resource or request.audience

    def _audiences(self, request: LeaseRequest) -> frozenset[str]:
        """Return the names of the upstream at its server: `audience` alone, or beside the configured `resource`."""
        settings = self._upstreams[request.upstream]
        named = {settings.audience, settings.resource} - {None}
        return frozenset(name for name in (named or {request.audience}) if name is not None)

    # --- refusals ----------------------------------------------------------------------------------

    def _refuse_unanswered(self, failure: NoAnswer) -> BrokerRefusal:
        """Refuse a call before an access token was asked for."""
        reason = reasons.CREDENTIAL_ASSERTION_UNANSWERED.reason(broker=self.name, problem=failure.problem)
        return BrokerRefusal(reason, may_retry=True, is_certain=True)

    async def _refuse_denied(self, subject: SubjectProof, answer: HttpsAnswer) -> BrokerRefusal:
        lost = await self._subjects.look_again(subject) if has_error(answer, "invalid_grant") else None
        if lost is not None:
            return lost
        passing = answer.status == 429 or answer.status >= 500
        text = reasons.CREDENTIAL_ASSERTION_UNAVAILABLE if passing else reasons.CREDENTIAL_ASSERTION_REFUSED
        reason = text.reason(issuer=self._idp.issuer, server=self._client.issuer, problem=describe_error(answer))
        return BrokerRefusal(reason, may_retry=passing, is_certain=True)

    def _unfit(self, issuer: str, problem: str) -> BrokerRefusal:
        reason = reasons.CREDENTIAL_SERVER_UNFIT.reason(issuer=issuer, problem=problem, broker=self.name)
        return BrokerRefusal(reason, is_certain=True)

    def _faulty(self, fault: AssertionFault) -> BrokerRefusal:
        return BrokerRefusal(fault.text.reason(issuer=self._idp.issuer, problem=fault.problem), is_certain=True)


_REPLAYED: Final = AssertionFault(reasons.CREDENTIAL_ASSERTION_REPLAYED, "the gateway has presented it before (jti)")
