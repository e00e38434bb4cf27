"""A check that a message too large to be held answers its request. Pure. Clients match a response to the request with
its id. An unseen response could belong to another request, such as a list without its filter. So the gateway reads the
top level as it passes, and never ends a wrong message."""

from __future__ import annotations

import json
import re
from typing import Final, cast

from gateway.base.json.lex import OPENING, QUOTE, brackets, depths, outside_strings
from gateway.base.json.strict import ENVELOPE, look_alike
from gateway.model.errors import UpstreamBroken
from gateway.model.wire import RequestId
from gateway.wire.protocol import sse

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


class EventEnvelope:
    """The same check for the pieces of one server-sent event with its message in one line. Of several lines, some
    readers find the last, or each by itself."""

    def __init__(self, expected: RequestId | None) -> None:
        self._envelope = Envelope(expected)
        self._name = b""
        self._named = False
        self._in_data = False
        self._has_data = False

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
