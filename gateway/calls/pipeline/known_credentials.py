"""The credentials that a caller knows: the record, a trace or a refusal may repeat a text of its request."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Final

from msgspec import Struct, structs

from gateway.calls.pipeline.context import RequestContext
from gateway.calls.pipeline.credential_chain import CredentialChain
from gateway.history import TaskLedger, TaskRegistry
from gateway.history.tasks.selection import select_task
from gateway.history.tasks.tokens import TaskTokens, is_token
from gateway.inspection.credentials.caller_tokens import CallerTokens
from gateway.inspection.credentials.detect import Detector
from gateway.inspection.credentials.index import CredentialIndex
from gateway.inspection.credentials.known_spots import KnownSpots
from gateway.inspection.credentials.live_values import LiveValues
from gateway.model.caller import Principal
from gateway.model.content import Sighting
from gateway.model.decision import Reason, Refusal
from gateway.model.errors import HistoryError
from gateway.model.task import Task
from gateway.model.wire import Json, JsonObject, Message
from gateway.record.journal.redaction import CONCEALED, SEARCHED, concealed_with
from gateway.wire.protocol.headers import texts_of

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

    def find_known(self, owner: str, task: Task | None = None, sightings: Sequence[Sighting] = ()) -> KnownSpots | None:
        """Return the known credentials of a caller, with the live values of the gateway; `None` for none.

        Systems have shown them to its tasks, `task` among them, or its call carries them (`sightings`). `owner` is the caller's
        `Principal.key`.
        """
        indexes = self._find_shown(owner, task)
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
        indexes = [*self._find_shown(principal.key, task), self.tokens.index(principal.key, authorization)]
        return KnownSpots(self.detector, indexes, live=self.live) if indexes or self.live else None

    def _find_shown(self, owner: str, task: Task | None) -> list[CredentialIndex]:
        indexes: list[CredentialIndex] = []
        shown = self.chain.origins.of(owner)
        if shown is not None:
            indexes.append(shown.index)
        try:
            seen = None if task is None else self.ledger.seen(task)
        except HistoryError:
            # The gateway decides nothing in a task with an unreadable state. The caller's other tasks still count.
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
