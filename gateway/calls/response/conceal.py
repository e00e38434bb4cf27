"""The stages that conceal credentials in an answer: a handle (`cred://…`) for those of systems, a mark for the gateway's own.

`credentials.concealment` rewrites. The stages here give it the task, the vault that keeps the credentials, and the worker
thread for long answers.
"""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Final, Protocol

from gateway.base.concurrency.worker_thread import AT_ONCE, WorkerThread
from gateway.base.json.lex import unescape
from gateway.calls.response.frames import AnswerFrame
from gateway.calls.response.recent_lists import RecentLists
from gateway.inspection.credentials.detect import Detector
from gateway.inspection.credentials.finding import Finding
from gateway.inspection.credentials.forms import string
from gateway.inspection.credentials.handles import CredentialRewriter, Recalling
from gateway.inspection.credentials.known_spots import LiveSpots
from gateway.inspection.credentials.live_values import LiveValues, shown_parts
from gateway.model.content import Sighting
from gateway.model.errors import UpstreamBroken
from gateway.model.target import Target
from gateway.model.task import Task
from gateway.model.wire import Headers
from gateway.wire.protocol import sse

if TYPE_CHECKING:
    from gateway.calls.response.build import AnswerParts

# --- credentials of systems ------------------------------------------------------------------------------


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
    suppressions, seen = parts.inspector.suppressions.of(target, now), parts.ledger.seen(task)
    kept = parts.tasks.registry.find(task.id)
    owner = "" if kept is None else kept.owner

    def keep(findings: tuple[Finding, ...], text: str | None) -> str | None:
        seen = tuple(replace(_sighting(finding), shingles=frozenset()) for finding in findings)
        return parts.vault.keep(owner, task.id, target.audience, seen, text)

    rewriter = CredentialRewriter(
        looking, keep, none=lambda found: suppressions is not None and suppressions.covers(found, seen)
    )
    return Concealer(rewriter, parts.worker)


def _sighting(finding: Finding) -> Sighting:
    return Sighting(
        finding.fingerprint, finding.detector, form=finding.form, shingles=finding.shingles, ordinary=finding.ordinary
    )


# --- credentials of the gateway --------------------------------------------------------------------------


WITHHELD: Final = "[credential of the gateway]"
"""In the place of a value. No handle: an agent has no use for it."""
_BROKEN: Final = (
    "the answer was withheld: it shows a credential of the gateway in pieces, or would complete half of one",
    "have the operator look at the upstream: the credential may be known there",
)
_USUAL: Final = ((b"content-type", b"application/json"),)
_BACKSLASH: Final = ord("\\")


class LiveConcealer:
    """Stage with a mark in the place of each live value, for good. An answer with a value in pieces ends here.

    `values` are all live values. Nearly every frame has none, and passes unchanged.
    """

    __slots__ = ("_detector", "_is_far", "_lists", "_passing", "_values", "_worker")

    def __init__(
        self, values: LiveValues, detector: Detector, worker: WorkerThread, lists: RecentLists | None = None
    ) -> None:
        self._lists = lists
        self._is_far = False
        self._values = values
        self._detector = detector
        self._worker = worker
        self._passing: CredentialRewriter | None = None

    async def handle(self, frame: AnswerFrame) -> AnswerFrame | None:
        """Return a frame without live values. Raises `UpstreamBroken` for a frame that shows one in pieces.

        A list near no live value stays so until a value is added.
        """
        kind, size, additions = frame.kind, len(frame.raw), self._values.additions
        if kind == "own" or not (size or self._passing):
            return frame
        if kind not in {"document", "event", "unfinished"}:
            return await self._conceal_part(frame)
        lists = self._lists if kind == "document" else None
        if lists is not None and lists.find("live", frame.raw, frame.data, additions) is not None:
            return frame
        kept = self._conceal(frame) if size <= AT_ONCE else await self._worker.run(size, partial(self._conceal, frame))
        if self._is_far and lists is not None:
            lists.keep("live", frame.raw, frame.data, additions)
        return kept

    async def _conceal_part(self, frame: AnswerFrame) -> AnswerFrame:
        """Return a part of a message, or of a text, without live values. Its last letters wait for the next part."""
        kind, raw = frame.kind, frame.raw
        if kind in {"part", "text"}:
            self._passing = passing = self._passing or self._rewriter()
            out = await self._worker.run(len(raw), partial(passing.part if kind == "part" else passing.text, raw))
        elif self._passing is None:
            return frame
        else:
            passing, self._passing = self._passing, None
            out = passing.end() if kind == "part-end" else passing.text_end()
        return AnswerFrame(kind, out, frame.data, frame.id)

    def _rewriter(self) -> CredentialRewriter:
        return CredentialRewriter(LiveSpots(self._values, self._detector), lambda _findings, _text: WITHHELD)

    def _conceal(self, frame: AnswerFrame) -> AnswerFrame | None:
        # Data in several lines reads otherwise once they are joined.
        told = frame.raw if frame.data in frame.raw else frame.raw + b"\n" + frame.data
        text = unescape(told) if _BACKSLASH in told else told
        near = self._values.find_near(text)
        self._is_far = not near
        if not near or not self._values.find_whole(near, [string(text)], shown_parts):
            return frame
        if frame.kind == "unfinished":
            return None
        is_event, rewriter = frame.kind == "event", self._rewriter()
        out = rewriter.event(frame.raw, frame.data) if is_event else rewriter.document(frame.data)
        if self._values.find_whole(near, [string(unescape(out))], shown_parts):
            raise UpstreamBroken(*_BROKEN)
        return AnswerFrame(frame.kind, out, b"".join(sse.data_of(out)) if is_event else out, frame.id)


def without_live_values(headers: Headers, values: LiveValues) -> Headers:
    """Return the header fields that show no live value."""
    if headers == _USUAL or not values.find_near(b"\n".join([value for _, value in headers])):
        return headers
    return tuple(field for field in headers if not values.find_near(field[1]))
