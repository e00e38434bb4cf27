"""The frames of an answer: its bytes taken apart into JSON-RPC messages. Pure.

A message is held until it is whole. A message larger than the hold comes out in parts, or ends the answer where no message
may pass unseen. The stages of an answer handle one frame after another (`response.stream`).
"""

from __future__ import annotations

import sys
from typing import ClassVar, Final, Literal, TypeAlias

from msgspec import Struct

from gateway.model.errors import UpstreamBroken
from gateway.wire.protocol import sse

HOLD: Final = 256 * 2**10
"""Bytes of one message that are held back to look at it. Larger ones stream on unseen."""
HOLD_LISTS: Final = 8 * 2**20
"""Bytes of one message where none may pass unseen: lists, and streams that may replay one."""

_AT_ONCE: Final = 8 * 2**10
"""Bytes of a stream that are taken apart in one turn of the event loop: they may be thousands of events."""

Framing: TypeAlias = Literal["json", "events", "text"]
"""The form of an answer: a JSON document, server-sent events, or text without messages."""

FrameKind: TypeAlias = Literal["document", "event", "unfinished", "part", "part-end", "text", "text-end", "own", "end"]
"""`document` is a whole JSON document, `event` a whole event. `part` and `part-end` belong to a message too large to be
held, `text` and `text-end` to an answer without messages. `unfinished` is an event without its end, `own` a message of
the gateway's own, and `end` the end of the answer."""


class AnswerFrame(Struct, frozen=True):
    """A piece of an answer: the bytes for the client, and the message in them.

    `data` is empty for an event without a message. For `end`, `data` begins a new event if one was broken off.
    """

    kind: FrameKind
    raw: bytes = b""
    data: bytes = b""
    id: bytes | None = None


class JsonFrames:
    """Splitter of a JSON document."""

    __slots__ = ("_body", "_hold", "_is_passing", "_may_pass_unseen")

    at_once: ClassVar[int] = sys.maxsize

    def __init__(self, hold: int, *, may_pass_unseen: bool) -> None:
        self._hold = hold
        self._may_pass_unseen = may_pass_unseen
        self._body = bytearray()
        self._is_passing = False

    def feed(self, chunk: bytes) -> list[AnswerFrame]:
        """Take the next bytes. Return a part of a document that is too large to be held."""
        if not self._is_passing:
            self._body += chunk
            if len(self._body) <= self._hold:
                return []
            _refuse_unseen(allowed=self._may_pass_unseen)
            self._is_passing = True
            chunk = bytes(self._body)
            self._body.clear()
        return [AnswerFrame("part", chunk)]

    def finish(self) -> list[AnswerFrame]:
        """Return the whole document, or the end of its parts."""
        if self._is_passing:
            return [AnswerFrame("part-end"), AnswerFrame("end")]
        body = bytes(self._body)
        return [AnswerFrame("document", body, body)] if body else []


class EventFrames:
    """Splitter of a stream of server-sent events."""

    __slots__ = ("_may_pass_unseen", "_splitter", "_unbroken")

    at_once: ClassVar[int] = _AT_ONCE

    def __init__(self, hold: int, *, may_pass_unseen: bool) -> None:
        self._may_pass_unseen = may_pass_unseen
        self._splitter = sse.Splitter(hold)
        self._unbroken = sse.Unbroken()

    def feed(self, chunk: bytes) -> list[AnswerFrame]:
        """Take the next bytes. Return the completed events, and parts of an event that is too large to be held."""
        frames: list[AnswerFrame] = []
        for event in self._splitter.feed(chunk):
            if event.whole:
                frames.append(self._whole(event))
                continue
            _refuse_unseen(allowed=self._may_pass_unseen)
            frames.append(AnswerFrame("part", self._unbroken.feed(event.raw, last=event.last)))
            if event.last:
                frames.append(AnswerFrame("part-end"))
        return frames

    def finish(self) -> list[AnswerFrame]:
        """Return the unfinished event, for the clients with support for it, and the end."""
        is_passing = self._splitter.passing
        frames = [AnswerFrame("part-end")] if is_passing else []
        rest = self._splitter.rest() if self._may_pass_unseen else None
        if rest is not None and not rest.odd:
            frames.append(AnswerFrame("unfinished", rest.raw, rest.data or b""))
        return [*frames, AnswerFrame("end", data=sse.NEW_EVENT if is_passing else b"")]

    def _whole(self, event: sse.Event) -> AnswerFrame:
        raw, data = event.raw, event.data
        if event.odd or not self._may_pass_unseen:
            # A message must not stand where only some reader of streams finds it.
            data = None if data is None else sse.on_one_reading(data)
            raw = sse.anew(raw, data)
        return AnswerFrame("event", raw, data or b"", event.id)


class TextFrames:
    """Splitter of an answer of another type, without messages. Some clients may find a message in it all the same."""

    __slots__ = ("_has_begun",)

    at_once: ClassVar[int] = sys.maxsize

    def __init__(self) -> None:
        self._has_begun = False

    def feed(self, chunk: bytes) -> list[AnswerFrame]:
        """Return the next bytes unchanged."""
        self._has_begun = True
        return [AnswerFrame("text", chunk)]

    def finish(self) -> list[AnswerFrame]:
        """Return the end of the text."""
        return [AnswerFrame("text-end"), AnswerFrame("end")] if self._has_begun else []


Frames: TypeAlias = JsonFrames | EventFrames | TextFrames
"""A splitter of bytes into frames. `at_once` bounds the bytes of one `feed`."""


def begin_frames(framing: Framing, hold: int, *, may_pass_unseen: bool) -> Frames:
    """Return the splitter of an answer of this form. Messages of up to `hold` bytes are held until they are whole."""
    if framing == "text":
        return TextFrames()
    return (EventFrames if framing == "events" else JsonFrames)(hold, may_pass_unseen=may_pass_unseen)


def _refuse_unseen(*, allowed: bool) -> None:
    if not allowed:
        raise UpstreamBroken(
            "the upstream sent something of which nothing may pass unseen, such as a list, that is too large to be looked at",
            "have the upstream send pages",
        )
