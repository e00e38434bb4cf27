"""The frames of an answer: its bytes taken apart into JSON-RPC messages, and the members of a message. Pure.

A message is held until it is whole. A message larger than the hold comes out in parts, or ends the answer where no message
may pass unseen. The stages of an answer handle one frame after another (`response.stream`).
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Mapping
from typing import ClassVar, Final, Literal, TypeAlias, cast

import msgspec
from msgspec import Struct

from gateway.base.json.lex import OPENING, QUOTE, brackets, depths, outside_strings
from gateway.base.json.strict import ENVELOPE, look_alike
from gateway.model.error_codes import UPSTREAM_FAILED
from gateway.model.errors import UpstreamBroken
from gateway.model.wire import RequestId
from gateway.wire.protocol import sse

# --- members of messages ---------------------------------------------------------------------------------


UNREADABLE: Final = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)
"""What msgspec raises for what an upstream sent as JSON: it is none, it is not UTF-8, or it is nested too deep."""

SHORTEST_MEMBER: Final = len('"id":7,')
"""Bytes of the shortest member of an envelope, with a comma."""

OBJECT: Final = msgspec.json.Decoder(dict[str, msgspec.Raw])
_decode: Final = msgspec.json.decode
_encode: Final = msgspec.json.encode


def failure_response(identifier: RequestId | None, text: str) -> bytes:
    """Return a JSON-RPC error response of the gateway's own."""
    return _encode({"jsonrpc": "2.0", "id": identifier, "error": {"code": UPSTREAM_FAILED, "message": text}})


def repeats_member(data: bytes, members: Mapping[str, msgspec.Raw]) -> bool:
    """Return whether an object names a member twice. A second member needs more room than `members` take; for the rest,
    the quotes are counted."""
    room = len(data) - 1
    for name, value in members.items():
        room -= len(name) + len(value) + 4
    if room < SHORTEST_MEMBER:
        return False
    return data.count(b'"') != 2 * len(members) + sum(bytes(value).count(b'"') for value in members.values())


def request_id(raw: bytes | msgspec.Raw) -> RequestId | None:
    """Return the id of a request; `None` for any other value."""
    value = decode_value(raw)
    return value if isinstance(value, int | str) and not isinstance(value, bool) else None


def decode_value(raw: bytes | msgspec.Raw) -> object:
    """Return the value; `None` for bytes without a value, such as a number beyond all bounds."""
    try:
        return _decode(raw)
    except UNREADABLE:
        return None


def members_of(raw: bytes | msgspec.Raw) -> dict[str, bytes]:
    """Return the members of a JSON object, still encoded; none for anything else."""
    try:
        return {name: bytes(value) for name, value in OBJECT.decode(raw).items()}
    except UNREADABLE:
        return {}


# --- messages in parts -----------------------------------------------------------------------------------


MOST: Final = 4096
"""Bytes of the top level, without what is nested in it."""

_IN_STRING: Final = re.compile(rb'[^"\\]*(?:\\.[^"\\]*)*', re.DOTALL)
_NESTED: Final = re.compile(rb'(?:[^"{}\[\]]+|"[^"\\]*(?:\\.[^"\\]*)*")*', re.DOTALL)
_TOP: Final = re.compile(rb'[^"{}\[\]]*')
_BLOCK: Final = 4096
"""Bytes that are looked at together."""


class Envelope:
    """Check of the id and the members of one JSON message, while its bytes arrive.

    Raises `UpstreamBroken` before the end of a message with another id than `expected`, or with two readings. Refuses an
    error unless `errors` is set, since the code of an error is looked at whole (`protocol.reserved`).
    """

    def __init__(self, expected: RequestId | None, *, errors: bool = False) -> None:
        self._expected = expected
        self._errors = errors
        self._top = bytearray()
        self._depth = 0
        self._in_string = False
        self._escaped = False
        self.ended = False
        """The message has come to its end, and is the one that was asked for."""
        self.answers = False
        """The message is the response that was asked for."""

    def feed(self, chunk: bytes) -> None:
        if b"\0" in chunk:
            # UTF-16 and UTF-32, which some readers recognise by themselves.
            raise _make_error("is not JSON in UTF-8")
        place = 0
        while place < len(chunk):
            block = chunk[place : place + _BLOCK]
            place += len(block)
            if self._escaped or self._depth < 2 or not self._passes(block):
                self._read(block)
        if len(self._top) > MOST:
            raise _make_error("has more beside its result than can be looked at")

    def _passes(self, block: bytes) -> bool:
        """Return whether nothing of a block stands at the top level. Most blocks of a result are nested, and this check is
        far faster than a search for places."""
        structure, in_string = outside_strings(block, begins_in_string=self._in_string)
        steps = list(depths(brackets(structure)))
        if self._depth + min(steps, default=0) < 2:
            return False
        self._depth += steps[-1] if steps else 0
        self._in_string = in_string
        self._escaped = self._in_string and (len(block) - len(block.rstrip(b"\\"))) % 2 == 1
        return True

    def _read(self, block: bytes) -> None:
        place = 0
        if self._escaped:
            place = self._keep(block[:1])
            self._escaped = False
        while place < len(block):
            place = self._string(block, place) if self._in_string else self._structure(block, place)

    def _string(self, chunk: bytes, place: int) -> int:
        match = _IN_STRING.match(chunk, place)
        end = place if match is None else match.end()
        self._keep(chunk[place:end])
        if end == len(chunk):
            return end
        self._keep(chunk[end : end + 1])
        if chunk[end] == QUOTE:
            self._in_string = False
        else:
            # A backslash that ends the chunk.
            self._escaped = True
        return end + 1

    def _structure(self, chunk: bytes, place: int) -> int:
        match = (_TOP if self._depth < 2 else _NESTED).match(chunk, place)
        end = place if match is None else match.end()
        self._keep(chunk[place:end])
        if end == len(chunk):
            return end
        if chunk[end] == QUOTE:
            self._keep(b'"')
            self._in_string = True
        elif chunk[end] in OPENING:
            self._keep(b"null" if self._depth else chunk[end : end + 1])
            self._depth += 1
        else:
            self._depth -= 1
            if self._depth < 1:
                self._top += chunk[end : end + 1]
                self._judge()
        return end + 1

    def _keep(self, text: bytes) -> int:
        if self._depth < 2:
            self._top += text
        return len(text)

    def _judge(self) -> None:
        try:
            pairs: object = json.loads(self._top.decode(), object_pairs_hook=list)
        except ValueError:
            raise _make_error("is no JSON that can be read in one way") from None
        if not self._top.lstrip().startswith(b"{"):
            raise _make_error("is no single message")
        named = cast("list[tuple[str, object]]", pairs)
        members = dict(named)
        if len(members) < len(named) or look_alike(members, ENVELOPE):
            raise _make_error("can be read in two ways")
        if "error" in members and not self._errors:
            raise _make_error("is an error that is too large to be looked at")
        given = members.get("id")
        answers = "result" in members or ("error" in members and given is not None)
        if answers and (type(given) is not type(self._expected) or given != self._expected):
            raise _make_error("has the id of another request")
        self.ended = True
        self.answers = answers


class EventEnvelope:
    """The same check for the pieces of one server-sent event with its message in one line. Of several lines, some
    readers find the last, or each by itself."""

    def __init__(self, expected: RequestId | None) -> None:
        self._envelope = Envelope(expected)
        self._name = b""
        self._named = False
        self._in_data = False
        self._has_data = False

    @property
    def answers(self) -> bool:
        """Return whether the message is the response that was asked for."""
        return self._envelope.answers

    def feed(self, chunk: bytes) -> None:
        first, *rest = _BREAK.split(chunk) if b"\n" in chunk or b"\r" in chunk else [chunk]
        self._piece(first)
        for line in rest:
            self._name, self._named, self._in_data = b"", False, False
            self._piece(line)

    def _piece(self, text: bytes) -> None:
        """Take more of the current line."""
        if not self._named:
            text = self._value(text)
        if self._in_data:
            self._envelope.feed(text)

    def _value(self, text: bytes) -> bytes:
        """Return the value of a field, without its name."""
        name, colon, value = text.partition(b":")
        self._name += name[: _LONGEST + 1]
        name = self._name.removeprefix(_BOM)
        self._named = bool(colon)
        self._in_data = self._named and name == _DATA
        if len(name) > _LONGEST or (self._named and not self._in_data and sse.like_data(name)):
            raise _make_error("has data that only some readers find")
        if self._in_data and self._has_data:
            raise _make_error("has data in several lines, of which some readers find one")
        self._has_data |= self._in_data
        return value


_BREAK: Final = re.compile(rb"\r\n|\n|\r")
_DATA: Final = b"data"
_LONGEST: Final = 64
"""Bytes of the name of a field, so that none with spaces before it is taken for another."""
_BOM: Final = b"\xef\xbb\xbf"
"""None of the line at the beginning of a stream. Elsewhere a reader finds no data after it, and nothing is lost."""


def _make_error(what: str) -> UpstreamBroken:
    return UpstreamBroken(f"the answer {what}", "have the upstream mended")


# --- frames ----------------------------------------------------------------------------------------------


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

    def with_message(self, data: bytes) -> AnswerFrame:
        """Return a frame of the same kind with another message."""
        raw = sse.encode(data, self.id) if self.kind == "event" else data
        return AnswerFrame(self.kind, raw, data, self.id)


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
