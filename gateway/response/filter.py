"""Handling of each message of an answer. It drops responses to other requests, filters lists, removes untrusted
instructions, and remembers the owner of opaque handles."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping
from functools import partial
from typing import Final

import msgspec
import structlog

from gateway.errors import UpstreamBroken
from gateway.json import strict
from gateway.json.strict import ENVELOPE, look_alike
from gateway.model.wire import Disposition, Kind, Message, RequestId
from gateway.protocol import instructions, listing
from gateway.protocol.error_codes import UPSTREAM_FAILED
from gateway.protocol.listing import Listing
from gateway.response.envelope import Envelope
from gateway.worker_thread import WorkerThread

log = structlog.get_logger("gateway.inspection")

Visible = Callable[[str, Listing], Awaitable[frozenset[str]]]
"""The names in a list (of this method) that the caller may see."""
Trusted = Callable[[bytes], Awaitable[bool]]
"""Whether instructions, a JSON value, may be shown."""
Notice = Callable[[], Awaitable[str | None]]
"""Gives instructions of the gateway's own, for a caller that sees no tool of the upstream."""
Remember = Callable[[str], None]
"""Told of each task id and request state that the caller is given."""
Asked = Callable[[RequestId], None]
"""Told of each question that the server asks the caller."""

InputAsked = Callable[[Iterable[str]], None]
"""Told of the keys of an upstream's `inputRequests`, if the upstream gives no `requestState` with them."""

Announced = Callable[[], None]
"""Told that the server says that its tools or prompts have changed."""

UNREADABLE: Final = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)
"""What msgspec raises for what an upstream sent as JSON: it is none, it is not UTF-8, or it is nested too deep."""

_NO: Final = msgspec.Raw()
_NO_ID: Final = b"-"
"""Stands for an id that is not expected: no JSON is written so."""
_MEMBER: Final = len('"id":7,')
"""Bytes of the shortest member of an envelope, with a comma."""
_LIST_METHODS: Final = {
    strict.fold(field): method
    for field, method in (
        ("tools", "tools/list"),
        ("resources", "resources/list"),
        ("resourceTemplates", "resources/templates/list"),
        ("prompts", "prompts/list"),
        ("tasks", "tasks/list"),
    )
}
"""The member that holds a list, as the most tolerant reader finds it → what lists it."""
_ANNOUNCING: Final = frozenset({"notifications/tools/list_changed", "notifications/prompts/list_changed"})
_INSTRUCTIONS: Final = strict.fold(instructions.FIELD)
_GREETING: Final = "initialize"
_WATCHED: Final = frozenset({*_LIST_METHODS.values(), _GREETING})
_NONE: Final[frozenset[str]] = frozenset()


_object: Final = msgspec.json.Decoder(dict[str, msgspec.Raw])
_decode: Final = msgspec.json.decode
_encode: Final = msgspec.json.encode


async def _no_notice() -> None:
    """Return no notice: nothing is hidden from the caller."""


class Answers:
    """The messages that answer one request, or come on a session's own stream (`message` is `None`)."""

    __slots__ = (
        "_announced",
        "_answered",
        "_asked",
        "_input_asked",
        "_message",
        "_notice",
        "_problem",
        "_remember",
        "_trusted",
        "_upstream",
        "_visible",
        "_worker",
        "_written",
        "expected",
        "may_pass_unseen",
    )

    def __init__(
        self,
        message: Message | None,
        upstream: str,
        *,
        visible: Visible,
        trusted: Trusted,
        notice: Notice = _no_notice,
        remember: Remember,
        asked: Asked = lambda _question: None,
        input_asked: InputAsked = lambda _keys: None,
        announced: Announced = lambda: None,
        worker: WorkerThread,
    ) -> None:
        self._message = message
        self._upstream = upstream
        self._visible = visible
        self._trusted = trusted
        self._notice = notice
        self._remember = remember
        self._asked = asked
        self._input_asked = input_asked
        self._announced = announced
        self._worker = worker
        self._answered = False
        self._problem: str | None = None
        self.may_pass_unseen: bool = (
            message is not None
            and message.disposition is not Disposition.FILTER
            and message.method not in instructions.METHODS
        )
        """Whether a message too large for inspection may go on."""
        self.expected: RequestId | None = message.id if message is not None and message.kind is Kind.REQUEST else None
        """The id of the request that is answered. Only requests are."""
        self._written: bytes = _NO_ID if self.expected is None else _encode(self.expected)
        """The same in JSON, as nearly all servers repeat it."""

    async def filter_message(self, data: bytes) -> bytes | None:
        """Keep, change or drop one message (see `messages.See`)."""
        try:
            envelope = _object.decode(data)
        except UNREADABLE:
            return data if self._may_be_read_by_others(data) else self._drop("The upstream's answer cannot be read")
        if (not ENVELOPE.issuperset(envelope) and look_alike(envelope, ENVELOPE)) or _repeats(data, envelope):
            # Some clients take `Result` for `result`, or the first `id` for the one that counts: for a list, or for the
            # response to another request.
            return self._drop("The upstream's answer can be read in two ways")
        if "result" not in envelope and "error" not in envelope:
            if (question := _id(envelope)) is not None:
                self._asked(question)
            elif _value(envelope.get("method", _NO)) in _ANNOUNCING:
                self._announced()
            return data
        if self._message is not None and bytes(envelope.get("id", _NO)) != self._written and not self._is_for(envelope):
            if self._problem is None:
                log.warning("upstream.wrong-id", upstream=self._upstream, method=self._message.method)
            self._problem = "The upstream answered with the id of another request."
            return None
        return await self._response(data, envelope, envelope.get("result", _NO))

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

    async def _response(self, data: bytes, envelope: Mapping[str, msgspec.Raw], result: msgspec.Raw) -> bytes:
        self._answered = True
        if not self.may_pass_unseen and (watched := self._watched(result)):
            asked = self._message.id if self._message is not None else _id(envelope)
            return await self._watched_response(data, watched, asked)
        if b'"taskId"' in data or b'"requestState"' in data:
            self._note_handles(result)
        if b'"inputRequests"' in data:
            self._note_requests(result)
        return data

    def _drop(self, problem: str) -> None:
        self._problem = f"{problem}, so nothing of it is shown."

    def last_words(self) -> bytes | None:
        """Return a response in the place of a missing one, if the answer was dropped."""
        if self._problem is None or self._answered or self.expected is None:
            return None
        return failure_response(self.expected, self._problem)

    def _is_for(self, envelope: Mapping[str, msgspec.Raw]) -> bool:
        """An error without an id is about what was sent, which the server could not, or would not, read."""
        given, expected = _id(envelope), self.expected
        if given is None:
            nobody = bytes(envelope.get("id", b"null")) == b"null"
            return nobody and (expected is None or "error" in envelope)
        return type(given) is type(expected) and given == expected

    def _watched(self, result: msgspec.Raw) -> frozenset[str]:
        """Return the kinds of list or instructions that this response may hold. On a session's stream, servers replay
        responses to earlier requests, so the shape decides."""
        if self._message is None:
            return _NONE if result is _NO else _shaped(result)
        method = self._message.method
        watched = self._message.disposition is Disposition.FILTER or method in instructions.METHODS
        return frozenset({method}) if watched and method is not None else _NONE

    async def _watched_response(self, data: bytes, watched: frozenset[str], identifier: RequestId | None) -> bytes:
        method, *others = sorted(watched)
        seen = None
        if identifier is not None and not others:
            give = self._instructed if method in instructions.METHODS else partial(self._filtered, method)
            seen = await give(data, identifier)
        if seen is None:
            log.warning("upstream.unreadable-answer", upstream=self._upstream, method=method)
            return failure_response(identifier, "The upstream's answer cannot be read, so nothing of it is shown.")
        return seen

    async def _filtered(self, method: str, data: bytes, identifier: RequestId) -> bytes | None:
        size = len(data)
        page = await self._worker.run(size, partial(listing.read_list, data, method, identifier))
        if page is None or page.error:
            return page and data
        return await self._worker.run(size, partial(page.only, await self._visible(method, page)))

    async def _instructed(self, data: bytes, identifier: RequestId) -> bytes | None:
        greeting = await self._worker.run(len(data), partial(instructions.read_greeting, data, identifier))
        if greeting is None:
            return None
        if greeting.welcomes and (notice := await self._notice()) is not None:
            return await self._worker.run(len(data), partial(greeting.replaced, notice))
        if greeting.said is None or await self._trusted(greeting.said):
            return data
        return await self._worker.run(len(data), greeting.without)

    def _note_handles(self, raw: msgspec.Raw) -> None:
        result = _members(raw)
        task = _members(msgspec.Raw(result.get("task", b"")))
        for value in (result.get("taskId"), result.get("requestState"), task.get("taskId")):
            handle = _value(value or b"null")
            if isinstance(handle, str):
                self._remember(handle)

    def _note_requests(self, raw: msgspec.Raw) -> None:
        """Note the keys of requests for input that come without a state."""
        result = _members(raw)
        keys = _members(msgspec.Raw(result.get("inputRequests", b"")))
        if keys and _value(result.get("requestState", b"null")) is None:
            self._input_asked(keys)


def failure_response(identifier: RequestId | None, text: str) -> bytes:
    """A JSON-RPC error response of the gateway's own."""
    return _encode({"jsonrpc": "2.0", "id": identifier, "error": {"code": UPSTREAM_FAILED, "message": text}})


def _repeats(data: bytes, members: Mapping[str, msgspec.Raw]) -> bool:
    """Return whether an object names a member twice. A second member needs more room than `members` take; for the rest,
    the quotes are counted."""
    room = len(data) - 1
    for name, value in members.items():
        room -= len(name) + len(value) + 4
    if room < _MEMBER:
        return False
    return data.count(b'"') != 2 * len(members) + sum(bytes(value).count(b'"') for value in members.values())


def _shaped(result: msgspec.Raw) -> frozenset[str]:
    """Return every kind of result that some reader may see, judged by its members. A result with unreadable members may
    be any kind."""
    raw = bytes(result)
    try:
        members = _object.decode(raw)
    except UNREADABLE:
        return _WATCHED if raw[:1] == b"{" else _NONE
    folded = [(strict.fold(name), bytes(value)) for name, value in members.items()]
    lists = [(method, value) for name, value in folded if (method := _LIST_METHODS.get(name))]
    said = frozenset({_GREETING}) if any(name == _INSTRUCTIONS for name, _ in folded) else _NONE
    if lists and _repeats(raw, members):
        return frozenset(method for method, _ in lists) | said
    return frozenset(method for method, value in lists if value[:1] == b"[") | said


def _id(envelope: Mapping[str, msgspec.Raw]) -> RequestId | None:
    value = _value(envelope.get("id", b"null"))
    return value if isinstance(value, int | str) and not isinstance(value, bool) else None


def _value(raw: bytes | msgspec.Raw) -> object:
    """The value, or `None` for what no reader could make one of, such as a number beyond all bounds."""
    try:
        return _decode(raw)
    except UNREADABLE:
        return None


def _members(raw: msgspec.Raw) -> dict[str, bytes]:
    """The members of a JSON object, still encoded; none for anything else."""
    try:
        return {name: bytes(value) for name, value in _object.decode(raw).items()}
    except UNREADABLE:
        return {}
