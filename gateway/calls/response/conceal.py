"""Conceals the credentials of an answer from the agent: a handle (`cred://…`) is passed on in the place of each.

`credentials.concealment` rewrites; the stage here gives it the task, the vault that keeps the credentials, and the worker
thread for long answers.
"""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import Protocol

from gateway.base.concurrency.worker_thread import WorkerThread
from gateway.calls.response.frames import AnswerFrame
from gateway.calls.response.parts import AnswerParts
from gateway.inspection.credentials.finding import Finding
from gateway.inspection.credentials.handles import CredentialRewriter, Recalling
from gateway.model.content import Sighting
from gateway.model.target import Target
from gateway.model.task import Task


class ConcealmentObserver(Protocol):
    """Stage with a fold of credentials after their replacement by handles."""

    async def note_concealed(self, sightings: tuple[Sighting, ...], /) -> None: ...


class Concealer:
    """Stage that rewrites one answer, in order, with long parts beside the event loop. `observer` is set by the builder of
    the answer: the task knows each credential with a handle."""

    __slots__ = ("_concealment", "_worker", "observer")

    def __init__(self, concealment: CredentialRewriter, worker: WorkerThread) -> None:
        self._concealment = concealment
        self._worker = worker
        self.observer: ConcealmentObserver | None = None

    @property
    def count(self) -> int:
        """Handles put in the place of credentials so far."""
        return self._concealment.count

    async def handle(self, frame: AnswerFrame) -> AnswerFrame | None:
        """Return a frame without credentials. An unfinished event is dropped: most clients ignore it."""
        if frame.kind == "unfinished":
            return None
        if frame.kind in {"own", "end"}:
            return frame
        out = await self._rewrite(frame)
        if self.observer is not None and (found := self._concealment.found()):
            await self.observer.note_concealed(tuple(map(_sighting, found)))
        return frame if out is frame.raw else AnswerFrame(frame.kind, out, frame.data, frame.id)

    async def _rewrite(self, frame: AnswerFrame) -> bytes:
        kind, raw, data, concealment = frame.kind, frame.raw, frame.data, self._concealment
        if kind == "document":
            return await self._worker.run(len(data), partial(concealment.document, data))
        if kind == "event":
            return await self._worker.run(len(raw), partial(concealment.event, raw, data)) if data else raw
        if kind == "part":
            return await self._worker.run(len(raw), partial(concealment.part, raw))
        if kind == "text":
            return await self._worker.run(len(raw), partial(concealment.text, raw))
        if kind == "part-end":
            return (concealment.part(raw) if raw else b"") + concealment.end()
        return (concealment.text(raw) if raw else b"") + concealment.text_end() if kind == "text-end" else raw


def conceal_credentials(
    parts: AnswerParts,
    task: Task,
    target: Target,
    now: float,
    values: tuple[str, ...] = (),
) -> Concealer:
    """Return the stage for one answer to a call of `task`. The call carried `values`: the answer never shows these, even
    where they do not look like credentials."""
    detector = parts.inspector.detector
    looking = Recalling(detector, values) if values else detector
    quiet, seen = parts.inspector.suppressions.of(target, now), parts.ledger.seen(task)
    kept = parts.tasks.registry.find(task.id)
    owner = "" if kept is None else kept.owner

    def keep(findings: tuple[Finding, ...], text: str | None) -> str | None:
        seen = tuple(replace(_sighting(finding), shingles=frozenset()) for finding in findings)
        return parts.vault.keep(owner, task.id, target.audience, seen, text)

    rewriter = CredentialRewriter(looking, keep, none=lambda found: quiet is not None and quiet.covers(found, seen))
    return Concealer(rewriter, parts.worker)


def _sighting(finding: Finding) -> Sighting:
    return Sighting(
        finding.fingerprint, finding.detector, form=finding.form, shingles=finding.shingles, ordinary=finding.ordinary
    )
