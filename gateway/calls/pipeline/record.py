"""The record of calls and of other past events, and handling of a failed write."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Literal, Protocol

import structlog
from msgspec import Struct

from gateway.base.concurrency.worker_thread import AT_ONCE, WorkerThread
from gateway.base.json.walk import Leaves
from gateway.history import TaskLedger
from gateway.model.errors import JournalError
from gateway.model.facts import SessionFacts
from gateway.model.wire import JsonObject
from gateway.record.journal.entry import Outcome, call_entry, settled_entry
from gateway.record.journal.records import record_arguments
from gateway.record.journal.redaction import KnownCredentials, Spots, conceal_known
from gateway.record.journal.writer import Journal
from gateway.record.telemetry.metrics import Metrics

if TYPE_CHECKING:
    from gateway.calls.pipeline.context import RequestContext
    from gateway.calls.pipeline.prepare import PreparedCall
    from gateway.history import Reservation
    from gateway.model.call import Context
    from gateway.model.decision import Decision
    from gateway.record.journal.writer import QueuedEntry

log = structlog.get_logger("gateway.recording")


class RecordPlace(Protocol):
    """A place for records, with a counter of failed writes."""

    @property
    def journal(self) -> Journal: ...
    @property
    def metrics(self) -> Metrics: ...


async def append_or_log(recording: RecordPlace, kind: str, entry: JsonObject) -> None:
    """Record a past event. A failed record is counted, since the event cannot be undone. The log tells of the first
    failure in an outage."""
    try:
        await recording.journal.append(kind, entry)
    except JournalError as error:
        _log_lost(recording, kind, entry, error)


def record_or_log(recording: RecordPlace, kind: str, entry: JsonObject) -> None:
    """Record a past event as `append_or_log` does, without a wait for the write."""
    try:
        recording.journal.begin(kind, entry, partial(_log_lost, recording, kind, entry))
    except JournalError as error:
        _log_lost(recording, kind, entry, error)


def _log_lost(recording: RecordPlace, kind: str, entry: JsonObject, error: JournalError) -> None:
    recording.metrics.journal_failures.inc()
    if recording.journal.note_lost():
        log.critical("journal.lost", kind=kind, id=entry.get("id"), problem=error.message, remedy=error.remedy)


class ArgumentsForm(Struct, frozen=True):
    """The form of arguments in the record: the mode, the key of the digests, and the search for credentials by their form."""

    mode: Literal["digest", "full", "none"]
    key: bytes
    spots: Spots


class CallRecord(Struct, frozen=True):
    """The record of decided calls."""

    journal: Journal
    metrics: Metrics
    ledger: TaskLedger
    worker: WorkerThread
    form: ArgumentsForm
    monotonic: Callable[[], float]

    async def describe_arguments(
        self, prepared: PreparedCall, counted: Reservation, walked: Leaves, known: KnownCredentials | None
    ) -> tuple[JsonObject, JsonObject | None]:
        """Return the arguments of a counted call as its entry has them, without known credentials, and the parts beside them.
        `walked` are the leaves of the arguments."""
        size, facts, form = len(prepared.message.body), counted.facts, self.form
        held: dict[str, list[str]] | None = None
        # Of a call with pieces of credentials, nobody knows which texts hold them.
        if not (prepared.exposed or "exposed" in counted.fields):
            held = {} if facts.credentials == () else held_credentials(facts)
        describe = partial(
            record_arguments,
            prepared.call.arguments,
            form.mode,
            key=form.key,
            spots=form.spots,
            known=known,
            held=held,
            walked=walked,
        )
        arguments = describe() if size <= AT_ONCE else await self.worker.run(size, describe)
        if not prepared.call.beside:
            return arguments, None
        held = None if prepared.exposed else {}
        beside = partial(
            record_arguments, prepared.call.beside, form.mode, key=form.key, spots=form.spots, known=known, held=held
        )
        return arguments, await self.worker.run(size, beside)

    def begin(
        self,
        context: RequestContext,
        prepared: PreparedCall,
        decided: tuple[Context, Decision],
        counted: Reservation,
        arguments: tuple[JsonObject, JsonObject | None],
        *,
        known: KnownCredentials | None,
        approval: str | None,
    ) -> QueuedEntry:
        """Queue the entry of a decided call, with the circumstances that policy was told of. Raises `JournalError`."""
        build = partial(
            call_entry,
            context.id,
            prepared.request.principal,
            prepared.call,
            prepared.task,
            decided[1],
            context=decided[0],
            arguments_record=arguments[0],
            beside=arguments[1],
            facts=counted.facts,
            declared=counted.declared,
            approval=approval,
            span_id=context.trace.span_id,
        )
        fields = build() if known is None else conceal_known(build, known)
        return self.journal.begin("call", {**fields, "history": counted.fields})

    def record_cancelled(
        self, context: RequestContext, prepared: PreparedCall, outcome: Outcome = Outcome.CANCELLED
    ) -> None:
        """End an allowed call without sending it: its caller has left, or it has no credential. The call counts, since its
        beginning is on record."""
        self.ledger.settle(prepared.task, context.id, "failed")
        taken = (self.monotonic() - context.began) * 1000
        record_or_log(self, "settled", settled_entry(context.id, outcome, duration_ms=taken))


def held_credentials(facts: SessionFacts) -> dict[str, list[str]] | None:
    """Return the credentials in a call as the record marks them, by the pointer of their argument; `None` if
    unknown."""
    if facts.credentials is None:
        return None
    held: dict[str, list[str]] = {}
    for fact in facts.credentials:
        held.setdefault(fact.pointer, []).append(f"{fact.detector}:{fact.fingerprint}")
    return held
