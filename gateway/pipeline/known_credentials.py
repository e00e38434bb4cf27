"""The credentials that a caller knows, wherever the record, a trace or a refusal may repeat a text of its request."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Final

from msgspec import structs

from gateway.credentials.calls import Index
from gateway.credentials.known_spots import KnownSpots
from gateway.errors import HistoryError
from gateway.journal.redaction import CONCEALED, SEARCHED, concealed_with
from gateway.model.caller import Principal
from gateway.model.content import Sighting
from gateway.model.decision import Reason, Refusal
from gateway.model.task import Task
from gateway.model.wire import Json, JsonObject, Message
from gateway.pipeline.context import Gateway, Visit
from gateway.protocol.headers import texts_of
from gateway.tasks.selection import select_task
from gateway.tasks.tokens import is_token

_LONGEST: Final = 4096
"""Characters of a text that a refusal repeats."""


def known_to(
    gateway: Gateway, owner: str, task: Task | None = None, sightings: Sequence[Sighting] = ()
) -> KnownSpots | None:
    """Return the known credentials of a caller; `None` for none, as is usual.

    Systems have shown them to its tasks, `task` among them, or its call carries them (`sightings`). `owner` is the caller's
    `Principal.key`.
    """
    indexes = _of_caller(gateway, owner, task)
    rules: dict[str, str] = {}
    if sightings:
        presented = {item.fingerprint: item for item in sightings if item.handle is None}
        rules = {name: item.detector for name, item in presented.items()}
        if presented:
            indexes.append(Index({name: item.shingles for name, item in presented.items()}))
    return KnownSpots(gateway.inspector.detector, indexes, rules) if indexes else None


def known_to_request(
    gateway: Gateway, visit: Visit, principal: Principal, message: Message | None
) -> KnownSpots | None:
    """Return the known credentials of the caller of an undecided request, its own tokens among them."""
    task = _current_task(gateway, visit, principal, message)
    indexes = [*_of_caller(gateway, principal.key, task), *_of_tokens(gateway, visit, principal.key)]
    return KnownSpots(gateway.inspector.detector, indexes) if indexes else None


def _of_caller(gateway: Gateway, owner: str, task: Task | None) -> list[Index]:
    shown = gateway.credential_chain.origins.of(owner)
    seen = None if task is None else _of_task(gateway, task)
    return [index for index in (None if shown is None else shown.index, seen) if index is not None]


def with_safe_trace(gateway: Gateway, visit: Visit, principal: Principal) -> Visit:
    """Return a visit in a new trace, if the caller's trace holds a known credential in its ids.

    Callers choose the ids of a trace. The record and the exporter repeat them. The span in the caller's trace is not ended,
    and so not exported.
    """
    if b"traceparent" not in visit.exchange.fields:
        return visit
    known = known_to(gateway, principal.key)
    if known is None or not known.holds_any(list(texts_of(visit.exchange.fields, b"traceparent"))):
        return visit
    return structs.replace(visit, trace=gateway.tracing.start({}, visit.trace.name))


def _of_task(gateway: Gateway, task: Task) -> Index | None:
    try:
        return gateway.credential_chain.index(task, gateway.history.seen(task))
    except HistoryError:
        # Its state cannot be read, so nothing of it is decided either; the caller's other tasks still count.
        return None


def _current_task(gateway: Gateway, visit: Visit, principal: Principal, message: Message | None) -> Task | None:
    """Return the task of a request, if there is one already: a refusal begins none."""
    named = select_task(message, visit.exchange.fields)
    if named is None:
        return gateway.history.present(principal, visit.arrived)
    if isinstance(named, str) and is_token(named):
        named = gateway.task_tokens.task_of(named, principal, visit.arrived)
    kept = gateway.history.find(named) if isinstance(named, str) else None
    return kept.task if kept is not None and kept.owner == principal.key else None


def _of_tokens(gateway: Gateway, visit: Visit, owner: str) -> Iterator[Index]:
    """Yield the caller's own tokens as known credentials: of a JWT also its signature, the part that no other has."""
    if earlier := gateway.caller_tokens.known(owner):
        yield Index(earlier)
    of = gateway.inspector.detector.fingerprints
    parts: set[str] = set()
    for value in texts_of(visit.exchange.fields, b"authorization"):
        credential = value.strip().rpartition(" ")[2]
        parts |= {credential, credential.rpartition(".")[2]}
    if parts:
        yield Index({of.of(part): of.shingles(part) for part in parts if part})


# --- what the caller is told -------------------------------------------------------------------------


def reworded(refusal: Refusal, message: Message | None, known: KnownSpots | None) -> tuple[Refusal, Message | None]:
    """Return a refusal and its message, to be told to the caller, with a mark in the place of each known credential."""
    texts = list(_texts(refusal, message))
    long = any(isinstance(text, str) and len(text) > SEARCHED for text in texts)
    if known is None or not (long or known.holds_any(texts)):
        return refusal, message

    def conceal(text: str) -> str:
        return concealed_with(known, text, _LONGEST) if len(text) <= SEARCHED else CONCEALED

    decision = refusal.decision
    told = replace(
        refusal,
        reason=_reworded(refusal.reason, conceal),
        decision=decision and structs.replace(decision, reasons=tuple(_reworded(r, conceal) for r in decision.reasons)),
        data=None if refusal.data is None else _data(refusal.data, conceal),
    )
    if message is None or message.name is None:
        return told, message
    return told, structs.replace(message, name=conceal(message.name))


def _reworded(reason: Reason, conceal: Callable[[str], str]) -> Reason:
    facts = tuple(map(conceal, reason.facts))
    return replace(reason, message=conceal(reason.message), remedy=conceal(reason.remedy), facts=facts)


def _texts(refusal: Refusal, message: Message | None) -> Iterator[Json]:
    """All texts of a refusal that may repeat a request."""
    if message is not None and message.name is not None:
        yield message.name
    if refusal.data is not None:
        yield refusal.data
    for reason in (refusal.reason, *(() if refusal.decision is None else refusal.decision.reasons)):
        yield from (reason.message, reason.remedy, *reason.facts)


def _data(data: JsonObject, conceal: Callable[[str], str]) -> JsonObject:
    return {name: conceal(value) if isinstance(value, str) else value for name, value in data.items()}
