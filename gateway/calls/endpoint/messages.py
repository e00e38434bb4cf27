"""Messages at the one endpoint: a client's message in the words of one upstream, and an upstream's in the words of clients. Pure.

All other values stay as they were sent, byte for byte.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Final, Literal, TypeAlias, cast

import msgspec
from msgspec import Struct

from gateway.base.json.strict import RELATED_TASK
from gateway.calls.endpoint.names import Owned, outer_handle, outer_id, outer_uri, resolve_handle, resolve_uri
from gateway.calls.response.frames import OBJECT, UNREADABLE, decode_value, request_id
from gateway.model.wire import Json, Message, RequestId
from gateway.wire.protocol.headers import NAME, SESSION, VERSION, HeaderFields, encode
from gateway.wire.protocol.methods import TABLE

_encode: Final = msgspec.json.encode
_ARRAY: Final = msgspec.json.Decoder(list[msgspec.Raw])

# --- from the client -------------------------------------------------------------------------------------


Path: TypeAlias = tuple[str, ...]


class Address(Struct, frozen=True):
    """The upstream of a message, and the members of `params` in its words. `identifier` is the upstream's own id of a question
    that the message answers."""

    upstream: str
    changes: Mapping[Path, Json] = {}
    identifier: RequestId | None = None


class Directory(Struct, frozen=True):
    """The ways to find the owner of a name. `name` takes the type of a target, `tool` or `prompt`, and an outer name."""

    upstreams: Sequence[str]
    name: Callable[[Literal["tool", "prompt"], str], Owned | None]


def find_address(message: Message, directory: Directory) -> Address | None:
    """Return the address of a request. `None` if its names belong to no upstream, or to several."""
    found: dict[Path, Owned | None] = {}
    params, row = message.params, TABLE.get(message.method or "")
    if row is not None and (row.target == "tool" or row.target == "prompt") and message.name is not None:  # noqa: PLR1714 - narrows the type
        found["name",] = directory.name(row.target, message.name)
    uri, ref = params.get("uri"), params.get("ref")
    if isinstance(uri, str):
        found["uri",] = resolve_uri(uri, directory.upstreams)
    if isinstance(ref, Mapping):
        found |= _find_reference(ref, directory)
    for path in _HANDLES:
        handle = _read(params, path)
        if isinstance(handle, str):
            found[path] = resolve_handle(handle, directory.upstreams)
    owners = {None if owned is None else owned.upstream for owned in found.values()}
    upstream = owners.pop() if len(owners) == 1 else None
    if upstream is None:
        return None
    return Address(upstream, {path: owned.name for path, owned in found.items() if owned is not None})


_HANDLES: Final[tuple[Path, ...]] = (("taskId",), ("requestState",), ("_meta", RELATED_TASK, "taskId"))


def _find_reference(ref: Mapping[str, Json], directory: Directory) -> dict[Path, Owned | None]:
    name, uri = ref.get("name"), ref.get("uri")
    if ref.get("type") == "ref/prompt" and isinstance(name, str):
        return {("ref", "name"): directory.name("prompt", name)}
    return {("ref", "uri"): resolve_uri(uri, directory.upstreams) if isinstance(uri, str) else None}


def _read(params: Json, path: Path) -> Json:
    for name in path:
        params = params.get(name) if isinstance(params, Mapping) else None
    return params


def rewrite_params(body: bytes, changes: Mapping[Path, Json]) -> bytes:
    """Return a message with other values for members of `params`. `None` takes a member out."""
    return replace_members(body, {("params", *path): value for path, value in changes.items()}) if changes else body


def rewrite_message(body: bytes, address: Address) -> bytes:
    """Return a message in the words of its upstream."""
    body = rewrite_params(body, address.changes)
    return body if address.identifier is None else replace_members(body, {("id",): address.identifier})


def replace_members(raw: bytes | msgspec.Raw, changes: Mapping[Path, Json]) -> bytes:
    """Return an object with other values for members, at any depth. `None` takes a member out."""
    members = OBJECT.decode(raw)
    for (name, *rest), value in changes.items():
        if rest:
            members[name] = msgspec.Raw(replace_members(members.get(name, _EMPTY), {tuple(rest): value}))
        elif value is None:
            members.pop(name, None)
        else:
            members[name] = msgspec.Raw(_encode(value))
    return _encode(members)


_EMPTY: Final = msgspec.Raw(b"{}")


def inner_fields(
    fields: HeaderFields, *, session: str | None, version: str | None, name: str | None = None
) -> dict[bytes, tuple[bytes, ...]]:
    """Return the headers of a message for an upstream: with the session and the version agreed on with it, and its own name."""
    changed = {
        SESSION: None if session is None else session.encode("latin-1"),
        VERSION: None if version is None else version.encode(),
        NAME: encode(name) if name is not None and NAME in fields else None,
    }
    kept = {field: values for field, values in fields.items() if field not in changed and field != _RESUMED}
    return kept | {field: (value,) for field, value in changed.items() if value is not None}


_RESUMED: Final = b"last-event-id"


def inner_name(message: Message, address: Address) -> str | None:
    """Return the upstream's own name of what a message names, for its header `Mcp-Name`."""
    row = TABLE.get(message.method or "")
    name = None if row is None or row.named_by is None else address.changes.get((row.named_by,))
    return name if isinstance(name, str) else None


# --- from an upstream ------------------------------------------------------------------------------------


_Edit: TypeAlias = Callable[[msgspec.Raw], bytes]
"""Returns a JSON value with other names. The same bytes for a value of another shape."""


def _members(edits: Mapping[str, _Edit], raw: msgspec.Raw) -> bytes:
    try:
        members = OBJECT.decode(raw)
    except UNREADABLE:
        return bytes(raw)
    changed = False
    for name in edits.keys() & members.keys():
        before = bytes(members[name])
        after = edits[name](members[name])
        if after != before:
            members[name], changed = msgspec.Raw(after), True
    return _encode(members) if changed else bytes(raw)


def _items(edit: _Edit, raw: msgspec.Raw) -> bytes:
    """Edit each item of a list, or a value that stands in the place of a list."""
    if bytes(raw)[:1] != b"[":
        return edit(raw)
    try:
        items = _ARRAY.decode(raw)
    except UNREADABLE:
        return bytes(raw)
    edited = [edit(item) for item in items]
    if all(bytes(item) == new for item, new in zip(items, edited, strict=True)):
        return bytes(raw)
    return _encode([msgspec.Raw(item) for item in edited])


def _values(edit: _Edit, raw: msgspec.Raw) -> bytes:
    """Edit each member of an object."""
    try:
        return _members(dict.fromkeys(OBJECT.decode(raw), edit), raw)
    except UNREADABLE:
        return bytes(raw)


def _text(rename: Callable[[str], str], raw: msgspec.Raw) -> bytes:
    value = decode_value(raw)
    return _encode(rename(value)) if isinstance(value, str) else bytes(raw)


def _id(upstream: str, raw: msgspec.Raw) -> bytes:
    identifier = request_id(raw)
    return bytes(raw) if identifier is None else _encode(outer_id(upstream, identifier))


class OutwardEdits(Struct, frozen=True):
    """The edits of one upstream's messages. `body` is for results and for the parameters of its notifications, `question` for
    the parameters of its requests, `failure` for errors."""

    body: _Edit
    question: _Edit
    failure: _Edit


def build_edits(upstream: str) -> OutwardEdits:
    """Return the edits of the messages of an upstream."""
    handle: _Edit = partial(_text, partial(outer_handle, upstream))
    uri: _Edit = partial(_text, partial(outer_uri, upstream))
    task: _Edit = partial(_members, {"taskId": handle})
    related: _Edit = partial(_members, {RELATED_TASK: task})
    content: _Edit = partial(_members, {"uri": uri, "resource": partial(_members, {"uri": uri})})
    contents = partial(_items, content)
    token: _Edit = partial(_members, {"progressToken": partial(_id, upstream), RELATED_TASK: task})
    messages: _Edit = partial(_items, partial(_members, {"content": contents}))
    question: _Edit = partial(_members, {"elicitationId": handle, "_meta": token, "messages": messages})
    shown: dict[str, _Edit] = {"contents": contents, "content": contents, "messages": messages, "_meta": related}
    body: dict[str, _Edit] = {
        **shown,
        "uri": uri,
        "taskId": handle,
        "requestState": handle,
        "elicitationId": handle,
        "task": task,
        "result": partial(_members, shown),
        "inputRequests": partial(_values, partial(_members, {"params": question})),
    }
    elicitations: _Edit = partial(_items, partial(_members, {"elicitationId": handle}))
    data: _Edit = partial(_members, {"elicitations": elicitations, "requestState": handle})
    return OutwardEdits(partial(_members, body), question, partial(_members, {"data": data}))


_NAMING: Final = re.compile(rb'"(?:method|uri|taskId|requestState|elicitationId)"|\\u00')
"""What each message with a name of its upstream has. An escaped letter may hide the name of a member."""


class Outward(Struct):
    """Turns the messages of one upstream on one stream into the words of clients.

    `may_pass` tells whether a response to a request of this id may come on this stream. `owns` tells whether a progress token
    was sent to this upstream. An upstream so answers no request of another, and reports no progress of it. `keeps` takes the
    method of a notification, and tells whether it stays here. `missing` completes a result without `resultType`.
    """

    upstream: str
    edits: OutwardEdits
    owns: Callable[[RequestId], bool]
    may_pass: Callable[[RequestId | None], bool] | None = None
    keeps: Callable[[object], bool] | None = None
    missing: Mapping[str, msgspec.Raw] = {}

    def rewrite(self, data: bytes) -> bytes | None:
        """Return a message for clients, often the same object; `None` for a message that they must not get."""
        is_whole = not self.missing or b'"resultType"' in data
        if is_whole and self.may_pass is None and _NAMING.search(data) is None:
            return data
        try:
            members = OBJECT.decode(data)
        except UNREADABLE:
            return data
        if "method" in members:
            return self._rewrite_own(data, members)
        if self.may_pass is not None and not self.may_pass(request_id(members.get("id", _NULL))):
            return None
        body = self.edits.body if is_whole else self._complete
        edits: dict[str, _Edit] = {"result": body, "error": self.edits.failure}
        return _members(edits, msgspec.Raw(data))

    def _complete(self, raw: msgspec.Raw) -> bytes:
        """Return a result with the missing members."""
        edited = self.edits.body(raw)
        try:
            return _encode({**self.missing, **OBJECT.decode(edited)})
        except UNREADABLE:
            return edited

    def _rewrite_own(self, data: bytes, members: dict[str, msgspec.Raw]) -> bytes | None:
        """Return a request or notification of the upstream."""
        identifier, method = request_id(members.get("id", _NULL)), decode_value(members["method"])
        if identifier is not None:
            edits: dict[str, _Edit] = {"id": partial(_id, self.upstream), "params": self.edits.question}
            return _members(edits, msgspec.Raw(data))
        if self.keeps is not None and self.keeps(method):
            return None
        if method == "notifications/progress":
            token = request_id(OBJECT.decode(members.get("params", _EMPTY)).get("progressToken", _NULL))
            return data if token is not None and self.owns(token) else None
        if method == "notifications/cancelled":
            cancelled: _Edit = partial(_members, {"requestId": partial(_id, self.upstream)})
            return _members({"params": cancelled}, msgspec.Raw(data))
        return _members({"params": self.edits.body}, msgspec.Raw(data))


_NULL: Final = msgspec.Raw(b"null")


def rename_item(raw: bytes, member: str, rename: Callable[[str], str]) -> bytes:
    """Return an entry of a list with the name for clients."""
    return _members({member: partial(_text, rename)}, msgspec.Raw(raw))


def object_of(value: object) -> dict[str, Json]:
    """Return a decoded JSON object; an empty one for any other value."""
    return cast("dict[str, Json]", value) if isinstance(value, dict) else {}
