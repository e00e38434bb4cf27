"""Credentials of callers, where policy alone could not see them: each system's are kept from all others, and from the record.

Policy decides on the arguments of a call, with the credentials that the call's own task was shown. `CredentialChain` looks outside the
arguments and at the other tasks of the job, `CallerCredentials` names all that a caller knows, and `ExposureGuard` examines a message.
"""

from __future__ import annotations

from collections import ChainMap
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any, Final

import msgspec
from msgspec import Struct, structs

from gateway.base.concurrency.worker_thread import WorkerThread
from gateway.base.json.walk import Leaves, flatten
from gateway.calls.pipeline.context import RequestContext
from gateway.calls.pipeline.prepare import CurrentTasks
from gateway.history import TaskLedger, TaskRegistry
from gateway.history.tasks.tokens import META, TaskTokens, is_token, select_task
from gateway.inspection.credentials import caller_tokens, origins
from gateway.inspection.credentials.caller_tokens import CallerTokens, Look, look_through
from gateway.inspection.credentials.detect import Detector
from gateway.inspection.credentials.fingerprint import Fingerprints
from gateway.inspection.credentials.forms import string
from gateway.inspection.credentials.index import CredentialIndex, RecentIndexes
from gateway.inspection.credentials.known_spots import KnownSpots
from gateway.inspection.credentials.live_values import LiveValue, LiveValues, sent_parts
from gateway.inspection.credentials.origins import KnownOrigins
from gateway.model import reasons
from gateway.model.call import Call
from gateway.model.caller import Principal
from gateway.model.content import CallContent, CredentialPiece, ResultContent, Sighting
from gateway.model.decision import Reason, Refusal
from gateway.model.errors import HistoryError
from gateway.model.task import Task
from gateway.model.wire import Json, JsonObject, Message, UpstreamRequest
from gateway.record.journal.redaction import CONCEALED, SEARCHED, concealed_with
from gateway.record.journal.writer import Journal
from gateway.upstreams.catalogue.catalogue import Catalogue
from gateway.wire.protocol.classify import state_of, tasks_of
from gateway.wire.protocol.headers import texts_of

_UNSEARCHED: Final = reasons.CREDENTIAL_CHAIN_INCOMPLETE.refusal()


FOREIGN: Final = reasons.CREDENTIAL_CHAIN_OUTSIDE.refusal()


class CredentialChain:
    """Guard of credentials between systems. `origins` has the systems that showed a credential to a task."""

    def __init__(self, origins: KnownOrigins, detector: Detector, worker: WorkerThread) -> None:
        self.origins = origins
        self._detector = detector
        self._worker = worker
        self._indexes = RecentIndexes()

    def index(self, task: Task, seen: Mapping[str, frozenset[int]]) -> CredentialIndex | None:
        """Return the index of the credentials that a task has seen (`TaskLedger.seen`); `None` for none."""
        if isinstance(seen, ChainMap):
            # An earlier task may be shown more, or be forgotten, while this one goes on: no index of it stays right.
            return CredentialIndex(seen)
        return self._indexes.of(task.id, seen)

    async def examine_outside_arguments(
        self, request: UpstreamRequest, audience: str, *, trace: bytes | None = None
    ) -> Refusal | tuple[CredentialPiece, ...]:
        """Refuse a request to the system `audience` with a credential of another system outside its arguments; else return
        the pieces of such credentials there.

        `trace` is the `traceparent` that goes on. For a job whose tasks were shown no credential, as is
        usual, this costs one look-up.
        """
        shown = self.origins.of(request.principal.job)
        if shown is None:
            return ()
        look = partial(origins.examine_message, _describe_sent(request, trace), shown, audience, self._detector)
        found = await self._worker.run(_size(request), look)
        if isinstance(found, tuple):
            return found
        return FOREIGN if found == "foreign" else _UNSEARCHED

    async def add_other_tasks(
        self, job: str, task: Task, call: Call, content: CallContent, *, walked: Leaves, size: int
    ) -> CallContent:
        """Return the content of a call, completed by the credentials that other tasks of the job were shown.

        `walked` are the leaves of the arguments, and `size` the bytes of its message. For a job whose other tasks were shown no credential this
        costs one look-up.
        """
        shown = self.origins.of(job)
        if shown is None or not origins.may_lack_credentials(shown, task.id, call.target.audience):
            return content
        return await self._worker.run(
            size, partial(origins.complete_content, content, call, shown, task.id, self._detector, walked=walked)
        )

    async def mark_repeated(self, request: UpstreamRequest, content: ResultContent) -> ResultContent:
        """Mark the credentials of a result `ordinary` where they only repeat the request. Otherwise a system could
        claim a text that its caller sends everywhere, such as a user agent, as its own credential. All other systems
        would then refuse that caller."""
        if not content.sightings:
            return content
        look = partial(origins.find_repeated, content.sightings, _describe_sent(request), self._detector)
        repeated = await self._worker.run(_size(request), look)
        if not repeated:
            return content
        sightings = (
            replace(item, ordinary=True) if item.fingerprint in repeated else item for item in content.sightings
        )
        return structs.replace(content, sightings=tuple(sightings))


def _size(request: UpstreamRequest) -> int:
    """Return the bytes of all sent parts."""
    headers = sum(len(name) + len(value) for name, value in request.sent_headers)
    return headers + (len(request.message.body) if request.message is not None else 0)


def _describe_sent(request: UpstreamRequest, trace: bytes | None = None) -> origins.OutgoingMessage:
    """Return the sent parts. The handles in the message were checked to be the upstream's, given to this caller."""
    message = request.message
    given = frozenset(() if trace is None else (trace.decode(),))
    if message is None:
        return origins.OutgoingMessage(request.sent_headers, given=given)
    state = state_of(message)
    handles = tasks_of(message) if state is None else tasks_of(message) | {state}
    return origins.OutgoingMessage(request.sent_headers, message, handles | given)


# --- credentials that a caller knows ---------------------------------------------------------------------


_LONGEST: Final = 4096
"""Characters of a text that a refusal repeats."""


class CallerCredentials(Struct, frozen=True):
    """The credentials that callers know: shown by systems to their tasks, carried by their calls, and their own tokens."""

    tasks: TaskRegistry
    ledger: TaskLedger
    chain: CredentialChain
    tokens: CallerTokens
    task_tokens: TaskTokens
    detector: Detector
    live: LiveValues

    def find_known(self, job: str, task: Task | None = None, sightings: Sequence[Sighting] = ()) -> KnownSpots | None:
        """Return the known credentials of a job, with the live values of the gateway; `None` for none.

        Systems have shown them to its tasks, `task` among them, or its call carries them (`sightings`). `job` is the caller's
        `Principal.job`.
        """
        indexes = self._find_shown(job, task)
        rules: dict[str, str] = {}
        if sightings:
            presented = {item.fingerprint: item for item in sightings if item.handle is None}
            rules = {name: item.detector for name, item in presented.items()}
            if presented:
                indexes.append(CredentialIndex({name: item.shingles for name, item in presented.items()}))
        return KnownSpots(self.detector, indexes, rules, self.live) if indexes or self.live else None

    def find_known_to_request(
        self, context: RequestContext, principal: Principal, message: Message | None
    ) -> KnownSpots | None:
        """Return the known credentials of the caller of an undecided request, its own tokens among them."""
        task = self._find_task(context, principal, message)
        authorization = texts_of(context.exchange.fields, b"authorization")
        indexes = [*self._find_shown(principal.job, task), self.tokens.index(principal.key, authorization)]
        return KnownSpots(self.detector, indexes, live=self.live) if indexes or self.live else None

    def _find_shown(self, job: str, task: Task | None) -> list[CredentialIndex]:
        indexes: list[CredentialIndex] = []
        shown = self.chain.origins.of(job)
        if shown is not None:
            indexes.append(shown.index)
        try:
            seen = None if task is None else self.ledger.seen(task)
        except HistoryError:
            # The gateway decides nothing in a task with an unreadable state. The job's other tasks still count.
            seen = None
        if task is not None and seen:
            index = self.chain.index(task, seen)
            if index is not None:
                indexes.append(index)
        return indexes

    def _find_task(self, context: RequestContext, principal: Principal, message: Message | None) -> Task | None:
        """Return the task of a request, if there is one already: a refusal begins none."""
        named = select_task(message, context.exchange.fields)
        if named is None:
            return self.tasks.find_present(principal, context.arrived)
        if isinstance(named, str) and is_token(named):
            named = self.task_tokens.task_of(named, principal, context.arrived)
        kept = self.tasks.find(named) if isinstance(named, str) else None
        return kept.task if kept is not None and kept.owner == principal.key else None


# --- the words for the caller ----------------------------------------------------------------------------


def conceal_refusal(
    refusal: Refusal, message: Message | None, known: KnownSpots | None
) -> tuple[Refusal, Message | None]:
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
        reason=_conceal_reason(refusal.reason, conceal),
        decision=decision
        and structs.replace(decision, reasons=tuple(_conceal_reason(r, conceal) for r in decision.reasons)),
        data=None if refusal.data is None else _data(refusal.data, conceal),
    )
    if message is None or message.name is None:
        return told, message
    return told, structs.replace(message, name=conceal(message.name))


def _conceal_reason(reason: Reason, conceal: Callable[[str], str]) -> Reason:
    facts = tuple(map(conceal, reason.facts))
    return replace(reason, message=conceal(reason.message), remedy=conceal(reason.remedy), facts=facts)


def _texts(refusal: Refusal, message: Message | None) -> Iterator[Json]:
    """Yield all texts of a refusal that may repeat a request."""
    if message is not None and message.name is not None:
        yield message.name
    if refusal.data is not None:
        yield refusal.data
    found = () if refusal.decision is None else refusal.decision.reasons
    for reason in found if refusal.reason in found else (refusal.reason, *found):
        yield from (reason.message, reason.remedy, *reason.facts)


def _data(data: JsonObject, conceal: Callable[[str], str]) -> JsonObject:
    return {name: conceal(value) if isinstance(value, str) else value for name, value in data.items()}


# --- credentials in a message ----------------------------------------------------------------------------


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
        # Without a token, a caller to whose job no system has shown a credential has nothing of its own to expose.
        if has_tokens or self.chain.origins.of(request.principal.job) is not None:
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
        expose = partial(self.ledger.expose, task, target, (*foreign, *mine), request=context.id, now=context.arrived)
        exposed = await self.ledger.commit(request.principal.job, expose)
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
