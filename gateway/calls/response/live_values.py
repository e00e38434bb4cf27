"""Conceals the values that the gateway issued or holds from each answer, whoever asked and whichever system answered."""

from __future__ import annotations

from functools import partial
from typing import Final

from gateway.base.concurrency.worker_thread import AT_ONCE, WorkerThread
from gateway.base.json.lex import unescape
from gateway.calls.response.frames import AnswerFrame
from gateway.inspection.credentials.detect import Detector
from gateway.inspection.credentials.forms import string
from gateway.inspection.credentials.handles import CredentialRewriter
from gateway.inspection.credentials.known_spots import LiveSpots
from gateway.inspection.credentials.live_values import LiveValues, shown_parts
from gateway.model.errors import UpstreamBroken
from gateway.model.wire import Headers
from gateway.wire.protocol import sse

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

    __slots__ = ("_detector", "_passing", "_values", "_worker")

    def __init__(self, values: LiveValues, detector: Detector, worker: WorkerThread) -> None:
        self._values = values
        self._detector = detector
        self._worker = worker
        self._passing: CredentialRewriter | None = None

    async def handle(self, frame: AnswerFrame) -> AnswerFrame | None:
        """Return a frame without live values. Raises `UpstreamBroken` for a frame that shows one in pieces."""
        kind, raw = frame.kind, frame.raw
        if kind == "own" or not (raw or self._passing):
            return frame
        if kind in {"document", "event", "unfinished"}:
            if len(raw) <= AT_ONCE:
                return self._conceal(frame)
            return await self._worker.run(len(raw), partial(self._conceal, frame))
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
