"""Readings of a task, folded from its entries, each with the call that read it first. Pure: no I/O, no clock, no
randomness.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, cast

from gateway.history.events import (
    UNTRUSTED,
    Event,
    JobMark,
    Observed,
    Reading,
    Released,
    Reserved,
    Settled,
    from_fields,
    verdict_of,
)
from gateway.history.fold import apply
from gateway.history.new_events import lost_result
from gateway.history.state import TaskState
from gateway.model.target import System

if TYPE_CHECKING:
    from gateway.model.wire import JsonObject


@dataclass(frozen=True, slots=True)
class Mark:
    """A call, as the record names it, or a reading outside of a call.

    `number` counts both in their task from 1. `used` are fingerprints of the credentials in the arguments. `task` is the id
    of another task with the call: an earlier task of the caller, or one of the job. For a task of the job, `agent` made the call.
    """

    id: str
    number: int
    time: str
    target: str
    used: tuple[str, ...] = ()
    reading: bool = False
    task: str | None = None
    agent: str | None = None


class ReadingMarks:
    """The state of a task, and the first reader of each label, credential and result. `task` is the id of an earlier task."""

    def __init__(self, task: str | None = None) -> None:
        self._task = task
        self.state = TaskState()
        self.open: dict[str, Mark] = {}
        self.shown: dict[str, Mark] = {}
        """Credential → the call whose result showed it."""
        self.results: dict[int, Mark] = {}
        """Untrusted results whose words are known."""
        self.partial_sources: dict[str, Mark] = {}
        self.read: dict[str, Mark] = {}
        """Label → the call that first read so."""
        self.confidential: dict[System, Mark] = {}
        """System → the call that first read something confidential from it."""

    def take(self, entry: JsonObject) -> None:
        """Fold an entry of the task. Raises what a damaged entry raises."""
        fields = cast("Mapping[str, Any]", entry)
        match fields["kind"]:
            case "call":
                event = reserved(entry)
                verdict = verdict_of(entry, event.call)
                if self.begin(event, self.mark(entry, event)):
                    self.fold(verdict)
                    if isinstance(verdict, Released):
                        del self.open[event.call]
            case "observed":
                self.observe(entry)
            case "settled":
                if (read := fields.get("history")) is not None:
                    self.observe(read)
                self.settle(fields["id"])
            case "abandoned":
                self.abandon(fields["id"])
            case _:
                pass

    def mark(self, entry: JsonObject, event: Reserved) -> Mark:
        """Return the mark of a call."""
        fields = cast("Mapping[str, Any]", entry)
        target = str(fields["target"]["id"])
        return Mark(event.call, event.number, str(fields["time"]), target, event.credentials, task=self._task)

    def begin(self, event: Reserved, mark: Mark) -> bool:
        """Fold the reservation of a call, and mark the call as open. Returns false if folding fails."""
        if not self.fold(event):
            return False
        self.open[event.call] = mark
        for inherited in event.inherited:
            self._inherit(inherited)
        return True

    def _inherit(self, mark: JobMark) -> None:
        """Note the call of another task that marked the job, once its label is folded."""
        read = Mark(
            mark.call or "",
            mark.number,
            datetime.fromtimestamp(mark.at, UTC).isoformat(timespec="milliseconds"),
            mark.tool or mark.audience,
            reading=mark.call is None,
            task=mark.task,
            agent=mark.agent,
        )
        if mark.label == UNTRUSTED:
            self.read.setdefault(UNTRUSTED, read)
        elif mark.label == self.state.confidentiality.value:
            self.read["confidentiality"] = read
        if mark.system in self.state.confidential_systems:
            self.confidential.setdefault(mark.system, read)

    def observe(self, entry: JsonObject) -> Event:
        """Fold what a call or a reading showed. Returns the event."""
        event = from_fields(entry)
        if isinstance(event, Observed) and (mark := self.open.get(event.call)) is not None:
            self._seen_in(event, mark, self.state.open[event.call].audience)
        elif isinstance(event, Reading):
            self._seen_in(event, self._reading(entry, event), event.audience)
        return event

    def settle(self, call: str) -> None:
        """End a call."""
        mark = self.open.pop(call, None)
        if mark is not None:
            self._label(Settled(call), mark)

    def abandon(self, call: str) -> None:
        """End a call that a crash cut off."""
        if (mark := self.open.get(call)) is not None:
            self._seen_in(lost_result(self.state, call), mark, self.state.open[call].audience)
        self.settle(call)

    def fold(self, event: Event) -> bool:
        """Fold an event. Return false for an event that cannot be folded, such as a repeated one."""
        try:
            apply(self.state, event)
        except ValueError:
            return False
        return True

    def _reading(self, entry: JsonObject, event: Reading) -> Mark:
        fields = cast("Mapping[str, Any]", entry)
        source = str(fields.get("source", event.audience))
        if event.late:
            source = f"{source}, the late result of call {event.number},"
        return Mark(
            str(fields["id"]), event.number, str(fields["time"]), source, event.used, reading=True, task=self._task
        )

    def _seen_in(self, event: Observed | Reading, mark: Mark, audience: str) -> None:
        self._label(event, mark)
        for returned in event.returned:
            self._inherit(returned)
        for fingerprint in event.credentials:
            if fingerprint in self.state.credentials:
                self.shown.setdefault(fingerprint, mark)
        if mark.number in self.state.results:
            self.results.setdefault(mark.number, mark)
        if audience in self.state.partial_sources:
            self.partial_sources.setdefault(audience, mark)

    def _label(self, event: Event, mark: Mark) -> None:
        """Fold a reading, and note its place for each label of the task that changes."""
        state = self.state
        untrusted, confidentiality = state.untrusted, state.confidentiality
        self.fold(event)
        for system in state.confidential_systems - self.confidential.keys():
            self.confidential[system] = mark
        if state.untrusted and not untrusted:
            self.read["untrusted"] = mark
        if state.confidentiality is not confidentiality:
            self.read["confidentiality"] = mark


def reserved(entry: JsonObject) -> Reserved:
    """Return the reservation of a `call` entry. Raises `ValueError` for an entry that has none."""
    event = from_fields(cast("JsonObject", entry["history"]))
    if not isinstance(event, Reserved):
        raise ValueError("a call is no reservation")  # noqa: TRY004 - damaged input, as all others here
    return event
