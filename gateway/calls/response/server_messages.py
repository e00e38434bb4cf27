"""The readings among messages without a decision. Pure. All of these messages are searched for credentials. Most count
as data that the task has read, and their words are kept. Messages that every client gets at once, or whose text no
client shows its model, do not count. Otherwise each task would have read untrusted data from its beginning."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

import msgspec

from gateway.base.json.strict import RELATED_TASK
from gateway.calls.response.frames import UNREADABLE, decode_value, request_id
from gateway.model.wire import RequestId
from gateway.wire.protocol.methods import TABLE, names_where

_CONFIRMING: Final = names_where(lambda row: row.confirms)
"""Requests whose answers open a connection, list what there is, or say that something was done."""
_LISTENING: Final = names_where(lambda row: row.waits_for_news)
_SILENT: Final = names_where(lambda row: row.is_silent)
"""Messages of a server that say only that they are there, or ask for a task of the client's own."""
_EMPTY: Final = re.compile(
    rb"(?:(?:event: ?message\r?\n)?data: ?)?"
    rb'\s*\{\s*"jsonrpc":\s?"2\.0",\s?"id":\s?[0-9]{1,9},\s?"result":\s?\{\}\s*\}\s*'
)

_NO: Final = msgspec.Raw()


class _MessageEnvelope(msgspec.Struct, gc=False):
    id: msgspec.Raw = _NO
    method: msgspec.Raw = _NO
    params: msgspec.Raw = _NO
    result: msgspec.Raw = _NO
    error: msgspec.Raw = _NO


class _NamedTasks(msgspec.Struct, gc=False):
    """The members of `params` and of results with names of tasks."""

    taskId: msgspec.Raw = _NO  # noqa: N815 - as the protocol calls it
    meta: msgspec.Raw = msgspec.field(name="_meta", default=_NO)
    task: msgspec.Raw = _NO
    tasks: msgspec.Raw = _NO
    related: msgspec.Raw = msgspec.field(name=RELATED_TASK, default=_NO)


_envelope: Final = msgspec.json.Decoder(_MessageEnvelope)
_named: Final = msgspec.json.Decoder(_NamedTasks)
_array: Final = msgspec.json.Decoder(list[msgspec.Raw])


@dataclass(frozen=True, slots=True)
class ServerMessage:
    """A message and its meaning. `is_read`: it counts as read data. `method` is the known method of a server's message;
    `answers` is the id of the answered request. `tasks` are its protocol tasks; `unread`: it may name more tasks."""

    is_read: bool
    method: str | None = None
    answers: RequestId | None = None
    tasks: frozenset[str] = frozenset()
    unread: bool = False


UNREAD: Final = ServerMessage(is_read=True, unread=True)
"""What was not looked at whole, or is no message."""


def is_empty_response(raw: bytes) -> bool:
    """Return whether this is an empty response, or an event with only an empty response, which needs no inspection."""
    return _EMPTY.fullmatch(raw) is not None


def read_message(data: bytes, asked: str | None) -> ServerMessage:
    """Return the meaning of a message. `asked` is the method of the answered request; `None` for a session's own
    stream."""
    if not data:
        return ServerMessage(is_read=False)
    try:
        envelope = _envelope.decode(data)
    except UNREADABLE:
        return UNREAD
    tasks = frozenset(_tasks(envelope))
    if envelope.result is not _NO or envelope.error is not _NO:
        quiet = asked in _CONFIRMING and envelope.method is _NO
        return ServerMessage(not quiet, answers=request_id(envelope.id), tasks=tasks)
    method = decode_value(envelope.method)
    known = method if isinstance(method, str) and method in TABLE else None
    return ServerMessage(known not in _SILENT, known, tasks=tasks)


def read_large_message(asked: str | None) -> ServerMessage:
    """Return the meaning of a part of an answer too large to be held."""
    return ServerMessage(is_read=asked not in _CONFIRMING or asked in _LISTENING, unread=True)


def _tasks(envelope: _MessageEnvelope) -> Iterator[str]:
    """Yield each place where the protocol names a task."""
    for raw in (envelope.params, envelope.result):
        if raw is _NO:
            continue
        members = _members(raw)
        for named in (
            members,
            _members(_members(members.meta).related),
            _members(members.task),
            *_items(members.tasks),
        ):
            if isinstance(identifier := decode_value(named.taskId), str):
                yield identifier


def _members(raw: msgspec.Raw) -> _NamedTasks:
    try:
        return _named.decode(raw)
    except UNREADABLE:
        return _NamedTasks()


def _items(raw: msgspec.Raw) -> list[_NamedTasks]:
    try:
        return [_members(item) for item in _array.decode(raw)]
    except UNREADABLE:
        return []
