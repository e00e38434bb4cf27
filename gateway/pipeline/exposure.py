"""Keeps from upstreams the credentials beside the arguments of a call, and the caller's tokens, in one message or in several."""

from __future__ import annotations

from functools import partial
from typing import Final

from gateway.credentials import own_token
from gateway.history.exposure import expose
from gateway.model.content import CredentialPiece
from gateway.model.decision import Reason, Refusal
from gateway.model.wire import UpstreamRequest
from gateway.pipeline.context import Gateway, Visit
from gateway.pipeline.credential_chain import FOREIGN
from gateway.pipeline.current_task import task_of
from gateway.protocol.error_codes import REFUSED
from gateway.protocol.headers import texts_of

OWN_TOKEN: Final = Refusal(
    400,
    Reason(
        "request/own-token",
        "The message carries a token of its caller, or would complete half of one.",
        "Keep your token in the Authorization header; it is for this gateway alone.",
    ),
    REFUSED,
)


async def refuse_exposure(gateway: Gateway, visit: Visit, request: UpstreamRequest) -> Refusal | bool:
    """Refuse a request with another system's credential beside its arguments, or with a token of its caller anywhere, or with
    the rest of either. Pieces of less than half are counted and recorded before they go on.

    Returns whether the request has a piece of a token of its caller.
    """
    mine = await _own_tokens(gateway, visit, request)
    if mine == own_token.WHOLE:
        return OWN_TOKEN
    upstream = visit.exchange.upstream
    audience = gateway.catalogue.audience(upstream)
    foreign = await gateway.credential_chain.beside_arguments(request, audience, trace=visit.trace.traceparent)
    if isinstance(foreign, Refusal):
        return foreign
    if not foreign and not mine:
        return False
    task = task_of(gateway, visit, request, request.message, visit.arrived)
    if isinstance(task, Refusal):
        return task
    target = gateway.catalogue.target(upstream, "resource", "")
    exposed = expose(gateway.history, task, target, (*foreign, *mine), request=visit.id, now=visit.arrived)
    if isinstance(exposed, frozenset):
        return OWN_TOKEN if exposed & _names(mine) else FOREIGN
    await gateway.journal.append("exposed", exposed)
    return bool(mine)


async def _own_tokens(gateway: Gateway, visit: Visit, request: UpstreamRequest) -> own_token.Found:
    """Return what a request has of the tokens of its caller."""
    authorization = texts_of(visit.exchange.fields, b"authorization")
    searches = gateway.caller_tokens.searches(request.principal.key, authorization, visit.arrived)
    if not searches:
        return ()
    body, fingerprints = request.body or b"", gateway.inspector.detector.fingerprints
    return await gateway.worker.run(
        len(body), partial(own_token.examine, searches, request.headers, body, fingerprints)
    )


def _names(pieces: tuple[CredentialPiece, ...]) -> frozenset[str]:
    return frozenset(piece.fingerprint for piece in pieces)
