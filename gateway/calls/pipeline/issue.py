"""Issue of the credential for one request to an upstream, after the policy allowed the request."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from msgspec import Struct, structs

from gateway.authority.connections.model import owner_of
from gateway.authority.leases import Lent
from gateway.authority.lending import Purpose, process_terms
from gateway.authority.model import CATALOGUE, MESSAGES, BrokerRefusal, Credential, LeaseGrounds, Scope
from gateway.authority.narrowing import OBLIGATION, narrow_credential
from gateway.inspection.credentials.caller_tokens import expiry
from gateway.model import reasons
from gateway.model.caller import AuthMethod
from gateway.model.decision import Reason, Refusal
from gateway.model.error_codes import REFUSED
from gateway.model.errors import UpstreamUnauthorized
from gateway.model.target import Effect
from gateway.model.wire import HandedCredential, Kind, UpstreamCredential, UpstreamReply, UpstreamRequest
from gateway.wire.protocol.headers import texts_of

if TYPE_CHECKING:
    from gateway.authority.lending import Authority, UpstreamTerms
    from gateway.authority.model import LeaseRequest
    from gateway.authority.narrowing import Breadth
    from gateway.calls.pipeline.connecting import ConnectionStage
    from gateway.calls.pipeline.context import RequestContext
    from gateway.calls.pipeline.prepare import PreparedCall
    from gateway.calls.pipeline.waiting import ResumedRequest
    from gateway.model.caller import Principal
    from gateway.model.decision import Decision
    from gateway.model.target import Target
    from gateway.model.wire import UpstreamTransport
    from gateway.policy.policy import Policy
    from gateway.upstreams.catalogue.catalogue import Catalogue
    from gateway.wire.protocol.replies import Reply


class AttachedCredential(Struct, frozen=True):
    """The credential of one request, and its lease if other requests share the lease. Both are `None` without a leased credential.

    `handed` is for a process.
    """

    credential: Credential | None = None
    lent: Lent | None = None
    handed: HandedCredential | None = None

    def carried_by(self, request: UpstreamRequest) -> UpstreamRequest:
        """Return the request with the credential."""
        if self.credential is None:
            return request
        if self.handed is not None:
            return structs.replace(request, handed=self.handed)
        return structs.replace(request, credential=_header(self.credential))


NOTHING: Final = AttachedCredential()


class Issuer(Struct, frozen=True):
    """The part that attaches credentials to requests. `authority` is `None` without leased credentials, `connecting` without
    users' own connections."""

    authority: Authority | None
    connecting: ConnectionStage | None
    catalogue: Catalogue
    policy: Policy

    async def issue_credential(
        self,
        context: RequestContext,
        prepared: PreparedCall,
        decision: Decision,
        *,
        resumed: ResumedRequest | None = None,
        approval_ends: float | None = None,
    ) -> AttachedCredential | Refusal | Reply:
        """Return the credential of an allowed call, as broad as the configuration and the policy both permit.

        Without a connection that the call needs, the answer sends the user to make one. `resumed` is the ticket of an earlier request.
        The credential of an approved call ends by `approval_ends`.

        Raises `JournalError` and `StoreError`.
        """
        authority, upstream = self.authority, context.exchange.upstream
        terms = None if authority is None else authority.terms.get(upstream)
        if authority is None or terms is None:
            return refuse_unconfigured(decision) or NOTHING
        breadth = _narrow(terms, prepared.call.target, decision)
        if isinstance(breadth, Refusal):
            return breadth
        purpose = _describe_purpose(context, prepared, decision, approval_ends)
        request = authority.request(upstream, purpose, breadth.scope, breadth.seconds)
        if breadth.bind != "call":
            return await self._lend(authority, context, prepared, request, resumed=resumed)
        outgoing = prepared.handles.outgoing.message or prepared.message
        method, policy = outgoing.method or "", decision.policy.revision
        minted = await authority.mint_call(request, method, outgoing.params, decision=context.id, policy=policy)
        if isinstance(minted, BrokerRefusal):
            return _refusal(minted)
        return AttachedCredential(minted)

    async def _lend(
        self,
        authority: Authority,
        context: RequestContext,
        prepared: PreparedCall,
        request: LeaseRequest,
        *,
        resumed: ResumedRequest | None,
    ) -> AttachedCredential | Refusal | Reply:
        """Lend a credential of the task, or send the user to connect."""
        asked = await self._ask_if_unconnected(context.id, request.upstream, prepared.request, resumed)
        if asked is not None:
            return asked
        lent = await authority.leases.lend(authority.terms[request.upstream].broker, request, context.id)
        if isinstance(lent, BrokerRefusal):
            # The server may have ended the connection a moment ago.
            asked = await self._ask_if_unconnected(context.id, request.upstream, prepared.request, resumed)
        return asked or _attach(authority, lent, request.upstream)

    async def _ask_if_unconnected(
        self, decision: str, upstream: str, request: UpstreamRequest, resumed: ResumedRequest | None
    ) -> Reply | Refusal | None:
        if self.connecting is None:
            return None
        return await self.connecting.ask_if_unconnected(decision, upstream, request, resumed)

    async def issue_for_message(
        self, context: RequestContext, request: UpstreamRequest
    ) -> AttachedCredential | Refusal:
        """Return the credential of a message without a decision. It permits no calls, and is shared by such messages of a caller.

        Raises `JournalError` and `StoreError`.
        """
        authority, upstream = self.authority, context.exchange.upstream
        terms = None if authority is None else authority.terms.get(upstream)
        if authority is None or terms is None:
            return NOTHING
        if terms.hands_over and (request.message is None or request.message.kind is not Kind.REQUEST):
            # A GET, a notification or a response starts no process. The stream of a GET may have the answers of any task.
            return NOTHING
        principal, token = request.principal, _find_token(context)
        if self.connecting is not None and await self.connecting.find_unconnected(upstream, principal) is not None:
            # Some upstreams answer such messages without a credential. `ask_after_rejection` tells the user of others.
            return NOTHING
        purpose = Purpose(
            task=f"{MESSAGES}{principal.key}",
            principal=principal,
            caller_ends=_expiry(token),
            subject_token=_subject_token(token, principal),
            permits_calls=False,
            grounds=LeaseGrounds(
                principal, self.catalogue.target(upstream, "resource", ""), self.policy.status().revision
            ),
        )
        return await _lend_reading(authority, upstream, terms, purpose)

    async def ask_after_rejection(
        self, context: RequestContext, request: UpstreamRequest, error: UpstreamUnauthorized
    ) -> Refusal | Reply | None:
        """Return the answer that sends a user to connect, after an upstream rejected a message without a credential."""
        if not error.is_unknown:
            return None
        return await self._ask_if_unconnected(context.id, context.exchange.upstream, request, None)

    def note_rejected(self, attached: AttachedCredential, error: UpstreamUnauthorized) -> UpstreamUnauthorized:
        """End the lease of a credential that the upstream rejected. Return the error with a remedy for the caller.

        The gateway sends no call again by itself: the upstream may have carried it out.
        """
        if self.authority is None or attached.lent is None or not error.is_unknown:
            return error
        self.authority.leases.note_rejected(attached.lent)
        return UpstreamUnauthorized(
            error.message, "call again: the gateway has ended that credential, and obtains another"
        )

    def note_accepted(self, attached: AttachedCredential) -> None:
        """Note that the upstream accepted the credential."""
        if self.authority is not None and attached.lent is not None:
            self.authority.leases.note_accepted(attached.lent)


def refuse_unconfigured(decision: Decision) -> Refusal | None:
    """Refuse a call that is to have a leased credential, to an upstream without any."""
    asks = decision.obligations and any(item.id == OBLIGATION for item in decision.obligations)
    return _UNCONFIGURED if asks else None


def _narrow(terms: UpstreamTerms, target: Target, decision: Decision) -> Breadth | Refusal:
    """Return the breadth of the credential of a call. Refuse a breadth that credentials of this kind cannot have."""
    breadth = narrow_credential(decision.obligations, terms.scopes_of(target), terms.audience, terms.bind)
    if isinstance(breadth, Reason):
        return Refusal(200, breadth, REFUSED)
    is_of_call = breadth.bind == "call"
    if (is_of_call and terms.hands_over) or (terms.kind != "gateway" and (is_of_call or breadth.scope.details)):
        return _UNBOUND if is_of_call else _UNDETAILED
    return breadth


def _describe_purpose(
    context: RequestContext, prepared: PreparedCall, decision: Decision, approval_ends: float | None
) -> Purpose:
    principal, target, token = prepared.request.principal, prepared.call.target, _find_token(context)
    return Purpose(
        task=prepared.task.id,
        principal=principal,
        sensitivity=target.labels.sensitivity,
        task_ends=prepared.task.expires,
        caller_ends=_expiry(token),
        approval_ends=approval_ends,
        subject_token=_subject_token(token, principal),
        grounds=LeaseGrounds(principal, target, decision.policy.revision, prepared.task),
    )


async def _lend_reading(
    authority: Authority, upstream: str, terms: UpstreamTerms, purpose: Purpose
) -> AttachedCredential | Refusal:
    scope = Scope(terms.scopes.get(Effect.READ, ()))
    is_of_users = authority.office is not None and terms.broker in authority.office.servers
    if is_of_users and owner_of(purpose.principal) is None:
        # No connection is the gateway's own. The upstream answers such messages without a credential, or not at all.
        return NOTHING
    if not scope.names and terms.kind != "gateway":
        # An issuer takes no scopes for all that it has. The upstream answers such messages without a credential, or not at all.
        return NOTHING
    lent = await authority.leases.lend(terms.broker, authority.request(upstream, purpose, scope, None))
    return _attach(authority, lent, upstream)


class ListingTransport:
    """The way of the gateway's own listings to an upstream with a leased credential."""

    def __init__(self, transport: UpstreamTransport, authority: Authority, upstream: str) -> None:
        self._transport = transport
        self._authority = authority
        self._upstream = upstream

    async def send(self, request: UpstreamRequest) -> UpstreamReply:
        """Send one request with a credential of the gateway itself, or without any if the broker lends only to users."""
        terms = self._authority.terms[self._upstream]
        purpose = Purpose(task=CATALOGUE, principal=request.principal, permits_calls=False)
        attached = await _lend_reading(self._authority, self._upstream, terms, purpose)
        return await self._transport.send(request if isinstance(attached, Refusal) else attached.carried_by(request))


def _attach(authority: Authority, answer: Lent | BrokerRefusal, upstream: str) -> AttachedCredential | Refusal:
    if isinstance(answer, BrokerRefusal):
        return _refusal(answer)
    if not authority.terms[upstream].hands_over:
        return AttachedCredential(answer.credential, answer)
    return AttachedCredential(answer.credential, answer, _hand_over(authority, answer))


def _refusal(refusal: BrokerRefusal) -> Refusal:
    return Refusal(200, refusal.reason, REFUSED)


def _find_token(context: RequestContext) -> str | None:
    """Return the presented access token, without its scheme."""
    values = texts_of(context.exchange.fields, b"authorization")
    return values[0].strip().rpartition(" ")[2] if len(values) == 1 else None


def _subject_token(token: str | None, principal: Principal) -> str | None:
    """Return the access token that identified the caller. A token beside a certificate identified nobody."""
    return token if principal.method is AuthMethod.JWT else None


def _expiry(token: str | None) -> float | None:
    return None if token is None else expiry(token) or None


def _header(credential: Credential) -> UpstreamCredential:
    return UpstreamCredential(credential.header.encode(), f"{credential.scheme} {credential.value}".strip().encode())


def _hand_over(authority: Authority, lent: Lent) -> HandedCredential:
    lease, credential = lent.lease, lent.credential
    token = authority.token_of_process(lease)
    return HandedCredential(
        lease.id, process_terms(lease), lease.requested, credential.value, credential.fields, lease.expires, token
    )


_UNCONFIGURED: Final = reasons.CREDENTIAL_NONE.refusal()
_UNDETAILED: Final = reasons.CREDENTIAL_DETAILS.refusal()
_UNBOUND: Final = reasons.CREDENTIAL_BIND.refusal()
