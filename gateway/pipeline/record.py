"""Recording of past events, and handling of a failed write."""

from __future__ import annotations

from functools import partial
from typing import Protocol

import structlog

from gateway.errors import JournalError
from gateway.journal.writer import Journal
from gateway.model.wire import JsonObject
from gateway.telemetry.metrics import Metrics

log = structlog.get_logger("gateway.recording")


class Recording(Protocol):
    """A place for records, with a counter of failed writes."""

    @property
    def journal(self) -> Journal: ...
    @property
    def metrics(self) -> Metrics: ...


async def append_or_log(recording: Recording, kind: str, entry: JsonObject) -> None:
    """Record what has happened already: it cannot be undone if the record fails, only logged and counted."""
    try:
        await recording.journal.append(kind, entry)
    except JournalError as error:
        _log_lost(recording, kind, entry, error)


def record_or_log(recording: Recording, kind: str, entry: JsonObject) -> None:
    """Record a past event as `append_or_log` does, without a wait for the write."""
    try:
        recording.journal.begin(kind, entry, partial(_log_lost, recording, kind, entry))
    except JournalError as error:
        _log_lost(recording, kind, entry, error)


def _log_lost(recording: Recording, kind: str, entry: JsonObject, error: JournalError) -> None:
    recording.metrics.journal_failures.inc()
    log.critical("journal.lost", kind=kind, id=entry.get("id"), problem=error.message)
