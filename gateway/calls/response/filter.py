"""The two filters of an answer. `ReservedNameFilter` keeps an upstream from speaking as the gateway. `MessageFilter` drops
responses to other requests, filters lists, removes untrusted instructions, and remembers the owner of opaque handles."""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial
from typing import Final, Protocol

import msgspec
import structlog
from msgspec import Struct

from gateway.base.concurrency.worker_thread import WorkerThread
from gateway.base.json import strict
from gateway.base.json.strict import ENVELOPE, look_alike
from gateway.calls.response.frames import (
    OBJECT,
    SHORTEST_MEMBER,
    UNREADABLE,
    AnswerFrame,
    Envelope,
    EventEnvelope,
    Framing,
    decode_value,
    failure_response,
    members_of,
    repeats_member,
    request_id,
)
from gateway.calls.response.outcomes import Response, name_response
from gateway.calls.response.recent_lists import RecentLists
from gateway.inspection.credentials.ruleset import compiled
from gateway.model.errors import UpstreamBroken
from gateway.model.wire import Disposition, Kind, Message, RequestId
from gateway.wire.protocol import listing, sse
from gateway.wire.protocol.listing import Listing
from gateway.wire.protocol.methods import TABLE, names_where
from gateway.wire.protocol.reserved import PREFIX, ReservedNameCheck, without_reserved

log = structlog.get_logger("gateway.inspection")

_LIST_METHODS: Final = {strict.fold(row.items.field): row.name for row in TABLE.values() if row.items is not None}
"""The member that holds a list, as the most tolerant reader finds it → what lists it."""
_INSTRUCTIONS: Final = strict.fold(listing.INSTRUCTIONS)
_GREETING: Final = "initialize"
_WATCHED: Final = frozenset({*_LIST_METHODS.values(), _GREETING})
_NONE: Final[frozenset[str]] = frozenset()
MOST_ITEMS: Final = 2_000
"""Items of a list that is kept as read. Many small items take ten times the memory of their text."""


class ListViewer(Protocol):
    """The caller of an answer, as far as lists and instructions are concerned."""

    async def visible_names(self, method: str, page: Listing, /) -> frozenset[str]:
        """Return the visible names in a list of this method."""
        ...

    async def trusts_instructions(self, said: bytes, /) -> bool:
        """Return whether instructions, a JSON value, may be shown."""
        ...

    async def notice(self) -> str | None:
        """Return instructions of the gateway's own for a caller without visible tools."""
        ...


class ListFilter(Struct, frozen=True):
    """Filter of an upstream's lists and instructions by the grants of a caller."""

    upstream: str
    viewer: ListViewer
    worker: WorkerThread
    lists: RecentLists

    async def filter_response(self, data: bytes, watched: frozenset[str], identifier: RequestId | None) -> bytes:
        """Return a response with the visible entries alone. An error replaces a response with two readings."""
        method, *others = sorted(watched)
        seen = None
        if identifier is not None and not others:
            if method in listing.GREETINGS:
                seen = await self._filter_instructions(data, identifier)
            else:
                seen = await self._filter_list(method, data, identifier)
        if seen is None:
            log.warning("upstream.unreadable-answer", upstream=self.upstream, method=method)
            return failure_response(identifier, "The upstream's answer cannot be read, so nothing of it is shown.")
        return seen

    async def _filter_list(self, method: str, data: bytes, identifier: RequestId) -> bytes | None:
        page = await self._read_page(method, data, identifier)
        if page is None or page.error:
            return page and data
        names = await self.viewer.visible_names(method, page)
        seen = self.lists.find("seen", data, method, names)
        if not isinstance(seen, bytes):
            seen = await self.worker.run(len(data), partial(page.only, names))
            self.lists.keep("seen", data, method, names, found=seen)
        return seen

    async def _read_page(self, method: str, data: bytes, identifier: RequestId) -> Listing | None:
        """Return the page in a response, read once for the same bytes and the same request. `1` and `True` are different ids."""
        causes = method, type(identifier), identifier
        page = self.lists.find("page", data, *causes)
        if isinstance(page, Listing):
            return page
        page = await self.worker.run(len(data), partial(listing.read_list, data, method, identifier))
        if page is not None and len(page.items) <= MOST_ITEMS:
            self.lists.keep("page", data, *causes, found=page)
        return page

    async def _filter_instructions(self, data: bytes, identifier: RequestId) -> bytes | None:
        greeting = await self.worker.run(len(data), partial(listing.read_greeting, data, identifier))
        if greeting is None:
            return None
        if greeting.welcomes and (notice := await self.viewer.notice()) is not None:
            return await self.worker.run(len(data), partial(greeting.replaced, notice))
        if greeting.said is None or await self.viewer.trusts_instructions(greeting.said):
            return data
        return await self.worker.run(len(data), greeting.without)


def watched_kinds(message: Message | None, result: msgspec.Raw | None) -> frozenset[str]:
    """Return the kinds of list or instructions that this response may hold. On a session's stream (`message` is `None`),
    servers replay responses to earlier requests, so the shape decides."""
    if message is None:
        return _NONE if result is None else _kinds_by_shape(result)
    method = message.method
    watched = message.disposition is Disposition.FILTER or method in listing.GREETINGS
    return frozenset({method}) if watched and method is not None else _NONE


def _kinds_by_shape(result: msgspec.Raw) -> frozenset[str]:
    """Return every kind of result that some reader may see, judged by its members. A result with unreadable members may
    be any kind."""
    raw = bytes(result)
    try:
        members = OBJECT.decode(raw)
    except UNREADABLE:
        return _WATCHED if raw[:1] == b"{" else _NONE
    folded = [(strict.fold(name), bytes(value)) for name, value in members.items()]
    lists = [(method, value) for name, value in folded if (method := _LIST_METHODS.get(name))]
    said = frozenset({_GREETING}) if any(name == _INSTRUCTIONS for name, _ in folded) else _NONE
    if lists and repeats_member(raw, members):
        return frozenset(method for method, _ in lists) | said
    return frozenset(method for method, value in lists if value[:1] == b"[") | said


log = structlog.get_logger("gateway.inspection")

_NO: Final = msgspec.Raw()
_NO_ID: Final = b"-"
"""Stands for an id that is not expected: no JSON is written so."""
_FOR_PEOPLE: Final = names_where(lambda row: row.kind is Kind.REQUEST and row.sender == "server" and not row.is_silent)
"""The questions of a server that a person or a model at the client answers."""
_ANNOUNCING: Final = names_where(lambda row: row.announces_definitions)
SUSPICIOUS: Final = compiled(rf'(?i){PREFIX.rpartition(".")[2]}|"error"|\\u00', groups=False)
"""What each message with reserved names or codes has, in any spelling. Costs a hundredth of what reading the message does."""

_encode: Final = msgspec.json.encode


class Recipient(ListViewer, Protocol):
    """The caller of an answer, with its view of lists and the memory of the gateway for it."""

    async def note_handle(self, handle: str, /) -> None:
        """Note a task id or a request state for the caller."""
        ...

    def note_response(self, response: Response, result: bytes, /) -> None:
        """Note a whole response to the request, its sort, and its result unless that passed in parts."""
        ...

    def note_question(self, question: RequestId, /) -> None:
        """Note a question of the server to the caller."""
        ...

    def note_wait(self) -> None:
        """Note that the server waits for somebody at the client, who may take any time."""
        ...

    async def note_input_requests(self, keys: Iterable[str], /) -> None:
        """Note the keys of an upstream's `inputRequests` without a `requestState`."""
        ...

    def note_list_change(self) -> None:
        """Note a change of the tools or prompts of the server."""
        ...

    def note_reserved_names(self, count: int, /) -> None:
        """Note the number of reserved names in a message."""
        ...


class ReservedNameFilter(Struct, eq=False):
    """Stage that takes the gateway's own names and error codes out of an answer. A whole message loses them. A message too
    large to be held ends before the first of them has passed."""

    recipient: Recipient
    worker: WorkerThread
    lists: RecentLists | None = None
    """The latest lists, for an answer that may be one."""
    count: int = 0
    """Reserved names found so far."""
    check: ReservedNameCheck | None = None
    """The check of a message that passes in parts."""

    async def handle(self, frame: AnswerFrame) -> AnswerFrame | None:
        """Return a frame without reserved names, often the same object. Raises `UpstreamBroken`."""
        kind = frame.kind
        if kind == "part" or kind == "text":  # noqa: PLR1714 - a set would cost a hash for each frame
            self._feed(frame.raw)
        elif kind == "part-end":
            self.check = None
        data = frame.raw if kind == "unfinished" and not frame.data else frame.data
        lists = self.lists
        if not data or kind == "end" or (lists is not None and lists.find("reserved", data) is not None):
            return frame
        if SUSPICIOUS.search(data) is None:
            if lists is not None:
                lists.keep("reserved", data)
            return frame
        found, count = await self.worker.run(len(data), partial(without_reserved, data))
        if count:
            self._note(count)
        return frame if found is data else _replace_message(frame, found)

    def _feed(self, part: bytes) -> None:
        self.check = self.check or ReservedNameCheck()
        try:
            self.check.feed(part)
        except UpstreamBroken:
            self._note(1)
            raise

    def _note(self, count: int) -> None:
        self.count += count
        self.recipient.note_reserved_names(count)


def _replace_message(frame: AnswerFrame, data: bytes) -> AnswerFrame | None:
    """Return a frame with this message in the place of its own. An unfinished event is dropped."""
    if frame.kind == "document":
        return frame.with_message(data)
    if frame.kind != "event":
        return None
    data = sse.on_one_reading(data)
    return AnswerFrame("event", sse.anew(frame.raw, data), data, frame.id)


class MessageFilter:
    """Stage for the messages that answer one request, or come on a session's own stream (`message` is `None`)."""

    __slots__ = (
        "_answered",
        "_check",
        "_lists",
        "_message",
        "_problem",
        "_recipient",
        "_upstream",
        "_written",
        "expected",
        "framing",
        "may_pass_unseen",
    )

    def __init__(
        self,
        message: Message | None,
        upstream: str,
        recipient: Recipient,
        worker: WorkerThread,
        framing: Framing = "json",
        *,
        lists: RecentLists | None = None,
    ) -> None:
        self._message = message
        self._upstream = upstream
        self.framing: Framing = framing
        self._recipient = recipient
        self._lists = ListFilter(upstream, recipient, worker, RecentLists() if lists is None else lists)
        self._check: Envelope | EventEnvelope | None = None
        self._answered = False
        self._problem: str | None = None
        self.may_pass_unseen: bool = (
            message is not None
            and message.disposition is not Disposition.FILTER
            and message.method not in listing.GREETINGS
        )
        """Whether a message too large for inspection may go on."""
        self.expected: RequestId | None = message.id if message is not None and message.kind is Kind.REQUEST else None
        """The id of the request that is answered. Only requests are."""
        self._written: bytes = _NO_ID if self.expected is None else _encode(self.expected)
        """The same in JSON, as nearly all servers repeat it."""

    async def handle(self, frame: AnswerFrame) -> AnswerFrame | None:
        """Keep, change or drop a frame with a message. Raises `UpstreamBroken` for a large one with another id."""
        kind = frame.kind
        if kind == "document":
            seen = await self.filter_message(frame.data)
            if seen is frame.data:
                return frame
            return self.words_at_end(b"") if seen is None else frame.with_message(seen)
        if kind == "event":
            return await self._filter_event(frame) if frame.data else frame
        if kind == "part":
            self._check = self._check or self.begin_check()
            self._check.feed(frame.raw)
        elif kind == "part-end":
            if self._check is not None and self._check.answers:
                self._recipient.note_response("result", b"")
            self._check = None
        elif kind == "unfinished":
            data = frame.data or frame.raw
            if self.words_at_end(b"") is not None or await self.filter_message(data) is not data:
                return None
        elif kind == "end" and self.framing == "events":
            return self.words_at_end(frame.data) or frame
        return frame

    async def _filter_event(self, frame: AnswerFrame) -> AnswerFrame | None:
        seen = await self.filter_message(frame.data)
        if seen is frame.data:
            return frame
        return None if seen is None else frame.with_message(seen)

    def begin_check(self) -> Envelope | EventEnvelope:
        """Return the check of a message in parts."""
        return EventEnvelope(self.expected) if self.framing == "events" else Envelope(self.expected)

    async def filter_message(self, data: bytes) -> bytes | None:
        """Keep, change or drop one message: the same object, another, or `None`."""
        try:
            envelope = OBJECT.decode(data)
        except UNREADABLE:
            return data if self._may_be_read_by_others(data) else self._drop("The upstream's answer cannot be read")
        room = len(data) - 1
        for name, value in envelope.items():
            room -= len(name) + len(value) + 4
        if (not ENVELOPE.issuperset(envelope) and look_alike(envelope, ENVELOPE)) or (
            room >= SHORTEST_MEMBER and repeats_member(data, envelope)
        ):
            # Some clients take `Result` for `result`, or the first `id` for the one that counts: for a list, or for the
            # response to another request.
            return self._drop("The upstream's answer can be read in two ways")
        if "result" not in envelope and "error" not in envelope:
            self._note_message(envelope)
            return data
        if bytes(envelope.get("id", _NO)) != self._written and not self._is_for(envelope):
            return self._drop_foreign()
        self._answered = True
        if self._message is not None:
            self._recipient.note_response(name_response(envelope), bytes(envelope.get("result", b"")))
        if not self.may_pass_unseen and (watched := watched_kinds(self._message, envelope.get("result"))):
            asked = self._message.id if self._message is not None else request_id(envelope.get("id", b"null"))
            return await self._lists.filter_response(data, watched, asked)
        if b'"taskId"' in data or b'"requestState"' in data:
            await self._note_handles(envelope.get("result", _NO))
        if b'"inputRequests"' in data:
            await self._note_requests(envelope.get("result", _NO))
        return data

    def _note_message(self, envelope: dict[str, msgspec.Raw]) -> None:
        """Note a request or a notification of the server."""
        if (question := request_id(envelope.get("id", b"null"))) is not None:
            self._recipient.note_question(question)
            if decode_value(envelope.get("method", _NO)) in _FOR_PEOPLE:
                self._recipient.note_wait()
        elif decode_value(envelope.get("method", _NO)) in _ANNOUNCING:
            self._recipient.note_list_change()

    def _may_be_read_by_others(self, data: bytes) -> bool:
        """Return whether unreadable bytes may go on. Other readers accept `NaN` or deeper nesting; without a brace, no
        reader finds a message."""
        if not self.may_pass_unseen:
            return False
        if b"{" not in data:
            return True
        envelope = Envelope(self.expected, errors=True)
        try:
            envelope.feed(data)
        except UpstreamBroken:
            return False
        return envelope.ended

    def _drop(self, problem: str) -> None:
        self._problem = f"{problem}, so nothing of it is shown."

    def _drop_foreign(self) -> None:
        if self._problem is None:
            method = None if self._message is None else self._message.method
            log.warning("upstream.wrong-id", upstream=self._upstream, method=method)
        self._problem = "The upstream answered with the id of another request."

    def words_at_end(self, before: bytes) -> AnswerFrame | None:
        """Return a response of the gateway's own in the place of a dropped one, after these bytes; `None` if the caller
        waits for none."""
        if self._problem is None or self._answered or self.expected is None:
            return None
        words = failure_response(self.expected, self._problem)
        return AnswerFrame("own", before + sse.encode(words) if self.framing == "events" else words, words)

    def fail(self, problem: str, *, begun: bool) -> bytes | None:
        """Return the last bytes of an answer that has failed, if a message still fits. `begun`: some of it has passed."""
        if self.expected is None:
            return None
        words = failure_response(self.expected, problem)
        if self.framing == "events":
            return (sse.NEW_EVENT if begun else b"") + sse.encode(words)
        return words if self.framing == "json" and not begun else None

    def _is_for(self, envelope: dict[str, msgspec.Raw]) -> bool:
        """Return whether a response is for this request. An error without an id is about what was sent, which the server
        could not, or would not, read.

        On a session's stream it may be for any request. Some clients take `7.0` for the request `7`, whose call no check would find.
        """
        given, expected = request_id(envelope.get("id", b"null")), self.expected
        if given is None:
            has_none = bytes(envelope.get("id", b"null")) == b"null"
            return has_none and ("error" in envelope or (expected is None and self._message is not None))
        if self._message is None:
            return True
        return type(given) is type(expected) and given == expected

    async def _note_handles(self, raw: msgspec.Raw) -> None:
        result = members_of(raw)
        task = members_of(result.get("task", b""))
        for value in (result.get("taskId"), result.get("requestState"), task.get("taskId")):
            handle = decode_value(value or b"null")
            if isinstance(handle, str):
                await self._recipient.note_handle(handle)

    async def _note_requests(self, raw: msgspec.Raw) -> None:
        """Note the keys of requests for input without a state."""
        result = members_of(raw)
        keys = members_of(result.get("inputRequests", b""))
        if keys and decode_value(result.get("requestState", b"null")) is None:
            await self._recipient.note_input_requests(keys)
