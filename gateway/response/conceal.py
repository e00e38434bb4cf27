"""Conceals the credentials of an answer from the agent: a handle (`cred://…`) is passed on in the place of each.

What rewrites an answer is `inspection.concealment`; this gives it the task, the vault that keeps the credentials, and the
worker thread for long answers.
"""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import Final

from gateway.credentials.concealment import Concealment, Recalling
from gateway.credentials.finding import Finding
from gateway.credentials.written_forms import written_forms
from gateway.model.content import Sighting
from gateway.model.decision import Decision
from gateway.model.target import Target
from gateway.model.task import Task
from gateway.response.parts import AnswerParts
from gateway.worker_thread import WorkerThread

OBLIGATION: Final = "conceal_credentials"
WITHHELD: Final = "[credential of the gateway]"
"""In the place of a leased credential. No handle: an agent has no use for it."""


def demanded(decision: Decision) -> bool:
    """Return whether policy requires the credentials of the answer to be concealed."""
    return bool(decision.obligations) and any(item.id == OBLIGATION for item in decision.obligations)


class Concealing:
    """A rewriter of one answer (see `messages.Rewriter`), in order, with long parts beside the event loop."""

    __slots__ = ("_concealment", "_worker")

    def __init__(self, concealment: Concealment, worker: WorkerThread) -> None:
        self._concealment = concealment
        self._worker = worker

    @property
    def count(self) -> int:
        """Handles put in the place of credentials so far."""
        return self._concealment.count

    def sightings(self) -> tuple[Sighting, ...]:
        """The credentials that were concealed since this was last asked, as history takes them in."""
        return tuple(map(_sighting, self._concealment.found()))

    async def document(self, data: bytes) -> bytes:
        return await self._worker.run(len(data), partial(self._concealment.document, data))

    async def event(self, raw: bytes, data: bytes) -> bytes:
        return await self._worker.run(len(raw), partial(self._concealment.event, raw, data))

    async def part(self, chunk: bytes) -> bytes:
        return await self._worker.run(len(chunk), partial(self._concealment.part, chunk))

    async def end(self) -> bytes:
        return self._concealment.end()

    async def text(self, chunk: bytes) -> bytes:
        return await self._worker.run(len(chunk), partial(self._concealment.text, chunk))

    async def text_end(self) -> bytes:
        return self._concealment.text_end()


def withholding(parts: AnswerParts, values: tuple[str, ...]) -> Concealing:
    """Return the rewriter of an answer that puts a mark in the place of the gateway's own credentials, for good. Others stay."""
    looking = Recalling(parts.inspector.detector, _forms(values), alone=True)
    return Concealing(Concealment(looking, lambda _findings, _text: WITHHELD), parts.worker)


def concealing(
    parts: AnswerParts,
    task: Task,
    target: Target,
    now: float,
    values: tuple[str, ...] = (),
    *,
    lent: tuple[str, ...] = (),
) -> Concealing:
    """Return the rewriter of one answer to a call of `task`. The call carried `values`, and the gateway lent `lent`: the answer
    never shows these, even where they do not look like credentials."""
    detector = parts.inspector.detector
    lent = _forms(lent)
    looking = Recalling(detector, (*values, *lent)) if values or lent else detector
    quiet, seen = parts.inspector.suppressions.of(target, now), parts.history.seen(task)
    kept = parts.history.find(task.id)
    owner = "" if kept is None else kept.owner

    def keep(findings: tuple[Finding, ...], text: str | None) -> str | None:
        if text is not None and any(value in text for value in lent):
            return WITHHELD
        seen = tuple(replace(_sighting(finding), shingles=frozenset()) for finding in findings)
        return parts.vault.keep(owner, task.id, target.audience, seen, text)

    return Concealing(Concealment(looking, keep, none=lambda finding: quiet.covers(finding, seen)), parts.worker)


def _forms(values: tuple[str, ...]) -> tuple[str, ...]:
    """Return the values in each form in which an upstream may repeat them."""
    return tuple(form for value in values for form in written_forms(value))


def _sighting(finding: Finding) -> Sighting:
    return Sighting(
        finding.fingerprint, finding.detector, form=finding.form, shingles=finding.shingles, ordinary=finding.ordinary
    )
