"""Keeps from upstreams the credentials beside the arguments of a call, and the caller's tokens, in one message or in several."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any, Final

import msgspec
from msgspec import Struct

from gateway.base.concurrency.worker_thread import WorkerThread
from gateway.base.json.walk import flatten
from gateway.calls.pipeline.context import RequestContext
from gateway.calls.pipeline.credential_chain import FOREIGN, CredentialChain
from gateway.calls.pipeline.prepare import CurrentTasks
from gateway.history import TaskLedger
from gateway.history.tasks.selection import META
from gateway.history.tasks.tokens import is_token
from gateway.inspection.credentials import caller_tokens
from gateway.inspection.credentials.caller_tokens import CallerTokens, Look, look_through
from gateway.inspection.credentials.fingerprint import Fingerprints
from gateway.inspection.credentials.forms import string
from gateway.inspection.credentials.live_values import LiveValue, LiveValues, sent_parts
from gateway.model import reasons
from gateway.model.content import CredentialPiece
from gateway.model.decision import Refusal
from gateway.model.wire import Json, UpstreamRequest
from gateway.record.journal.writer import Journal
from gateway.upstreams.catalogue.catalogue import Catalogue
from gateway.wire.protocol.headers import texts_of

OWN_TOKEN: Final = reasons.REQUEST_OWN_TOKEN.refusal()
LIVE: Final = reasons.CREDENTIAL_CHAIN_GATEWAY.refusal()


class ExposureGuard(Struct, frozen=True):
    """Guard of credentials that stand beside the arguments of a call, and of its caller's own tokens."""

    catalogue: Catalogue
    chain: CredentialChain
    tokens: CallerTokens
    ledger: TaskLedger
    tasks: CurrentTasks
    journal: Journal
    worker: WorkerThread
    fingerprints: Fingerprints
    live: LiveValues

    async def examine(self, context: RequestContext, request: UpstreamRequest) -> Refusal | bool:
        """Refuse a request with a token of its caller, with a live value of the gateway, or with the rest of either.

        Another system's credential beside the arguments counts like a token. Pieces of less than half are counted and recorded before they go on. Returns whether the request has a piece of a token
        of its caller.
        """
        body = request.body or b""
        authorization = texts_of(context.exchange.fields, b"authorization")
        has_tokens = self.tokens.take(request.principal.key, authorization, context.arrived)
        look = await self.worker.run(
            len(body), partial(look_through, self.live, request.sent_headers, body, has_tokens=has_tokens)
        )
        exposed: Refusal | bool = False
        # Without a token, a caller to whom no system has shown a credential has nothing of its own to expose.
        if has_tokens or self.chain.origins.of(request.principal.key) is not None:
            exposed = await self._examine_own(context, request, look if has_tokens else None)
        if isinstance(exposed, Refusal):
            return exposed
        refused = await self._refuse_live(context, request, look.near) if look.near else None
        return exposed if refused is None else refused

    async def _refuse_live(
        self, context: RequestContext, request: UpstreamRequest, near: Sequence[LiveValue]
    ) -> Refusal | None:
        """Refuse a request with a live value of the gateway anywhere, or with the rest of one, unless its upstream has the value.

        The token that selects the caller's task may stand in its own place, where it is a name and gives nothing.
        """
        audience = self.catalogue.audience(context.exchange.upstream)
        others = tuple(value for value in near if not value.may_go_to(audience))
        if not others:
            return None
        if _selects_task(request):
            task = self.tasks.find_task(context, request, request.message, context.arrived)
            if isinstance(task, Refusal):
                return task
        look = partial(self.live.find_whole, others, _list_values(request), sent_parts)
        return LIVE if await self.worker.run(len(request.body or b""), look) else None

    async def _examine_own(
        self, context: RequestContext, request: UpstreamRequest, look: Look | None
    ) -> Refusal | bool:
        """Refuse a request with another system's credential beside its arguments, or with a token of its caller anywhere, or with
        the rest of either.
        """
        mine = await self._find_own_tokens(request, look)
        if mine == caller_tokens.WHOLE:
            return OWN_TOKEN
        upstream = context.exchange.upstream
        audience = self.catalogue.audience(upstream)
        foreign = await self.chain.examine_outside_arguments(request, audience, trace=context.trace.traceparent)
        if isinstance(foreign, Refusal):
            return foreign
        if not foreign and not mine:
            return False
        task = self.tasks.find_task(context, request, request.message, context.arrived)
        if isinstance(task, Refusal):
            return task
        target = self.catalogue.target(upstream, "resource", "")
        exposed = self.ledger.expose(task, target, (*foreign, *mine), request=context.id, now=context.arrived)
        if isinstance(exposed, frozenset):
            return OWN_TOKEN if exposed & _names(mine) else FOREIGN
        await self.journal.append("exposed", exposed)
        return bool(mine)

    async def _find_own_tokens(self, request: UpstreamRequest, look: Look | None) -> caller_tokens.Found:
        """Return the tokens of its caller that a request carries; none for a caller without tokens."""
        body = request.body or b""
        searches = [] if look is None else self.tokens.searches(request.principal.key, look)
        if not searches:
            return ()
        search = partial(caller_tokens.find_tokens, searches, request.sent_headers, body, self.fingerprints)
        return await self.worker.run(len(body), search)


def _selects_task(request: UpstreamRequest) -> bool:
    """Return whether a token in the message, of whatever caller, selects the task."""
    meta = None if request.message is None else request.message.params.get("_meta")
    return isinstance(meta, Mapping) and is_token(str(meta.get(META, "")))


def _list_values(request: UpstreamRequest) -> list[Json]:
    """Return all values of a request in order, so that parts of a split value follow each other; then all names.

    A token that selects the task is left out.
    """
    document: Any = msgspec.json.decode(request.body) if request.body else None
    if _selects_task(request):
        del document["params"]["_meta"][META]
    flat = flatten(document)
    headers = [text for field in request.headers for text in map(string, field)]
    return [*flat.scalars, *flat.names, *headers]


def _names(pieces: tuple[CredentialPiece, ...]) -> frozenset[str]:
    return frozenset(piece.fingerprint for piece in pieces)
