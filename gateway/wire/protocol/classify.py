"""Strict reading of a client's message: its kind, its era, and its refusal if it may go no further.

`classify` checks in this order, and the first failed check answers:

1. The body is JSON with one reading (`strict`). A body of two messages permits no further check.
2. Each routing header stands once and is well formed (`headers`). These headers help to decide the era.
3. The JSON-RPC envelope is a request, a notification or a response, and nothing besides.
4. Header and body agree on the protocol version, and the version is known. The version gives the era. A disagreement is reported before an unknown version.
5. A response belongs to the handshake era: stateless clients must not post one (streamable-http.mdx, "Sending Messages"). A response has no method, so no routing header may name a method.
6. A client may send the method in this era (`methods`).
7. The members of `params` for the gateway have the right types. The method names these members.
8. `Mcp-Method` and `Mcp-Name` agree with the body, as the earlier checks have read it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from decimal import Decimal
from typing import TYPE_CHECKING, Final, cast

from msgspec import Struct

from gateway.base.json import strict
from gateway.base.json.strict import META, RELATED_TASK, fold
from gateway.model import reasons
from gateway.model.decision import Refusal
from gateway.model.wire import Disposition, Era, Json, JsonObject, Kind, Message, RequestId
from gateway.wire.protocol import headers as routing_headers
from gateway.wire.protocol.headers import (
    PARAM_PREFIX,
    TRACE,
    HeaderFault,
    HeaderFields,
    Routing,
    decode,
    is_trace_value,
)
from gateway.wire.protocol.methods import FROM_CLIENT, OWN_TASK, STATELESS_VERSIONS, VERSIONS, Method

if TYPE_CHECKING:
    from gateway.model.wire import Headers

# --- arguments and parts beside them ---------------------------------------------------------------------


_HEADER: Final = "x-mcp-header"
_DEPTH: Final = 16
"""Levels of a definition in which repeated arguments are looked for."""
_NUMBER: Final = re.compile(r"-?[0-9]{1,400}(?:\.[0-9]{1,400})?(?:[eE][+-]?[0-9]{1,3})?")


_KNOWN: Final = frozenset({"name", "uri", "arguments", "inputResponses", "requestState", "_meta"})
"""Members of `params` that are part of a call as policy sees it, or that change with each round."""
_OF_TRANSPORT: Final = META - {RELATED_TASK} | {"io.opagate/task"}
"""Members of `_meta` about one request and not about its call."""
_OF_REQUEST: Final = frozenset({"progressToken", "traceparent", "tracestate", "baggage", "io.opagate/task"})
"""Members of `_meta` that differ in each retry. `find_fault_of_meta` bounds them."""


def meta_of_client(params: JsonObject) -> JsonObject:
    """Return the members of `_meta` about the client, which are the same in each retry of a call."""
    meta = params.get("_meta")
    return {name: meta[name] for name in _OF_CLIENT if name in meta} if isinstance(meta, Mapping) else _NOTHING


_OF_CLIENT: Final = sorted(_OF_TRANSPORT - _OF_REQUEST)


def find_fault_of_meta(meta: JsonObject) -> str | None:
    """Return the fault of the members of `_meta` that differ in each request: they have no room for other words."""
    token = meta.get("progressToken")
    if token is not None and (isinstance(token, bool) or not isinstance(token, str | int)):
        return "_meta progressToken is neither a string nor an integer"
    if isinstance(token, str) and len(token) > _LONGEST_TOKEN:
        return f"_meta progressToken is longer than {_LONGEST_TOKEN} characters"
    for name in TRACE & meta.keys():
        value = meta[name]
        if not isinstance(value, str) or not is_trace_value(name, value):
            return f"_meta {name} has not the form of W3C Trace Context or Baggage"
    return None


_LONGEST_TOKEN: Final = 128


def parts_beside(params: JsonObject, added: Headers) -> JsonObject:
    """Return the parts of a call beside its arguments that a server can read: `headers` of the caller that the operator
    lets through, and `params`. These are `task`, unknown members, and the members of `_meta`."""
    beside: dict[str, Json] = {}
    if added:
        beside["headers"] = {name.decode(): value.decode() for name, value in added}
    if not params.keys() <= _KNOWN or "_meta" in params:
        others: dict[str, Json] = {name: value for name, value in params.items() if name not in _KNOWN}
        meta = params.get("_meta")
        if isinstance(meta, Mapping) and not meta.keys() <= _OF_TRANSPORT:
            others["_meta"] = {name: value for name, value in meta.items() if name not in _OF_TRANSPORT}
        if others:
            beside["params"] = others
    return beside or _NOTHING


_NOTHING: Final[JsonObject] = {}


def is_ambiguous(arguments: JsonObject, schema: Json) -> bool:
    """Return whether some reader takes an argument's name for another name. `schema` is the tool's input schema, if
    any. Inside an argument, only objects and lists of objects in the schema are checked. Open parts may hold any names,
    such as variables of an environment."""
    # A dictionary, as nearly always, costs no look at an abstract class.
    properties = schema.get("properties") if isinstance(schema, (dict, Mapping)) else None
    named = properties if isinstance(properties, (dict, Mapping)) else _NO_PROPERTIES
    if not named.keys() >= arguments.keys():
        strange = [name for name in arguments if name not in named]
        folded = {fold(name) for name in named}
        if len({fold(name) for name in strange} | folded) < len(strange) + len(folded):
            return True
    for name, value in arguments.items():
        # Texts and numbers, the usual values, have no members.
        if not isinstance(value, _SCALARS) and name in named and _has_ambiguous_member(value, named[name]):
            return True
    return False


_SCALARS: Final = (str, int, float)
_NO_PROPERTIES: Final[JsonObject] = {}


def _has_ambiguous_member(value: Json, schema: Json) -> bool:
    if isinstance(value, Mapping):
        return bool(_properties(schema)) and is_ambiguous(value, schema)
    if isinstance(value, list | tuple) and isinstance(schema, Mapping):
        items = schema.get("items")
        return any(_has_ambiguous_member(item, items) for item in cast("list[Json]", value))
    return False


def _properties(schema: Json) -> JsonObject:
    properties = schema.get("properties") if isinstance(schema, Mapping) else None
    return properties if isinstance(properties, Mapping) else {}


def keep_declared_parameters(arguments: JsonObject, schema: Json, headers: Headers) -> Headers | None:
    """Return the headers without undeclared `Mcp-Param` headers, or `None` if one contradicts the arguments.

    A declared header contradicts if it has another value than its argument, or is given twice. A missing header does not.
    """
    kept = [field for field in headers if not field[0].startswith(PARAM_PREFIX)]
    sent = [(_read_as(name), name, value) for name, value in headers if name.startswith(PARAM_PREFIX)]
    for name, value in _header_arguments(arguments, schema, _DEPTH):
        header = PARAM_PREFIX + _read_as(name.lower().encode("utf-8", "replace"))
        given = [(spelled, text) for read_as, spelled, text in sent if read_as == header]
        if len(given) > 1 or (given and not _says(given[0][1], value)):
            return None
        kept += given
    return tuple(kept)


def _read_as(name: bytes) -> bytes:
    """Return a header's name in the reading of the most tolerant server."""
    return name.replace(b"_", b"-")


def _header_arguments(value: Json, schema: Json, depth: int) -> Iterator[tuple[str, Json]]:
    """Yield the headers of a definition, each with its argument; `None` for an absent argument."""
    for name, inner in _properties(schema).items():
        member = value.get(name) if isinstance(value, Mapping) else None
        if isinstance(inner, Mapping) and isinstance(header := inner.get(_HEADER), str):
            yield header, member
        if depth:
            yield from _header_arguments(member, inner, depth - 1)


def _says(header: bytes, value: Json) -> bool:
    text = decode(header.decode("latin-1").strip(" \t"))
    if text is None:
        return False
    if isinstance(value, bool):
        return text == ("true" if value else "false")
    if isinstance(value, int | float):
        return _NUMBER.fullmatch(text) is not None and Decimal(text) == Decimal(repr(value))
    return text == value


# --- messages --------------------------------------------------------------------------------------------


_VERSION_META: Final = "io.modelcontextprotocol/protocolVersion"
_CLIENT_META: Final = "io.modelcontextprotocol/clientInfo"
_CAPABILITIES_META: Final = "io.modelcontextprotocol/clientCapabilities"
TASKS_EXTENSION: Final = "io.modelcontextprotocol/tasks"
_MAX_CLIENT_NAME: Final = 128


def classify(body: bytes, fields: HeaderFields) -> Message | Refusal:
    """Read one POSTed message. Pure; never raises. `fields` have lower-case names."""
    document = strict.read(body)
    if isinstance(document, strict.UnreadableJson):
        return _refusal(document.text, document.message)
    identifier = document.get("id")
    if not isinstance(identifier, int | str) or isinstance(identifier, bool):
        identifier = None
    # Only a request is answered under its id; the error for a refused response has none ("Sending Messages").
    id = identifier if "method" in document else None  # noqa: A001 - the field's own name
    routing = _NO_ROUTING if _ROUTED.isdisjoint(fields) else routing_headers.read_routing(fields)
    if isinstance(routing, HeaderFault):
        return _refusal(reasons.REQUEST_HEADER, routing.message, id)
    kind = _envelope(document, identifier)
    if isinstance(kind, HeaderFault):
        return _refusal(reasons.REQUEST_ENVELOPE, kind.message, id)
    params = document.get("params")
    params = params if isinstance(params, dict) else dict[str, Json]()
    # Without a version anywhere: 2025-11-25/basic/transports.mdx, "Protocol Version Header": assume 2025-03-26.
    era = _HANDSHAKE if routing.version is None and "_meta" not in params else _era(params, routing, kind, id)
    if isinstance(era, Refusal):
        return era
    if kind is _RESPONSE:
        return _response(era, routing, body, identifier)
    return _method(str(document["method"]), params, _MessageFrame(body, id, kind, era, routing))


_NO_ROUTING: Final = Routing()
_ROUTED: Final = routing_headers.ROUTING | {b"connection"}
"""Headers of which `read_routing` reads any."""
_NAMES_TASKS: Final = frozenset({"taskId", "notifications", "_meta"})
NAMES_HANDLES: Final = _NAMES_TASKS | {"requestState"}
"""Members of `params` that can name protocol tasks or a request state."""
_NO_TASKS: Final[frozenset[str]] = frozenset()


def state_of(message: Message) -> str | None:
    """Return the `requestState` of a retry. Only its original recipient may present it."""
    state = message.params.get("requestState")
    return state if isinstance(state, str) else None


def tasks_of(message: Message) -> frozenset[str]:
    """Return every protocol task id of a server in any place of the message. The caller must own all of them."""
    params = message.params
    if _NAMES_TASKS.isdisjoint(params):
        return _NO_TASKS
    found: list[object] = []
    if "taskId" in params and message.method != OWN_TASK:
        found.append(params["taskId"])
    notifications = params.get("notifications")
    if isinstance(notifications, dict):
        found.extend(cast("Iterable[object]", notifications.get("taskIds", ())))
    meta = params.get("_meta")
    if isinstance(meta, dict) and isinstance(related := meta.get(strict.RELATED_TASK), dict):
        found.append(related.get("taskId"))
    return frozenset([item for item in found if isinstance(item, str)]) if found else _NO_TASKS


def client_capabilities(message: Message) -> JsonObject:
    """Return the capabilities declared with this request by a client of the stateless era."""
    found: Json = message.params
    for member in ("_meta", _CAPABILITIES_META):
        found = found.get(member) if isinstance(found, Mapping) else None
    return found if isinstance(found, Mapping) else {}


def opens_urls(message: Message) -> bool:
    """Return whether the client declares URL elicitation: with a request of the stateless era, or in `initialize`."""
    declared = message.params.get("capabilities") if message.method == "initialize" else client_capabilities(message)
    found = declared.get("elicitation") if isinstance(declared, Mapping) else None
    return isinstance(found, Mapping) and "url" in found


def declares_tasks(message: Message) -> bool:
    """Return whether the client of the stateless era declares support of tasks with this request."""
    extensions = client_capabilities(message).get("extensions")
    return isinstance(extensions, Mapping) and TASKS_EXTENSION in extensions


def cursor_of(message: Message) -> str | None:
    """Return the cursor of a list request; `None` for the first page."""
    cursor = message.params.get("cursor")
    return cursor if isinstance(cursor, str) else None


class _MessageFrame(Struct, frozen=True):
    """The results of the first rungs."""

    body: bytes
    id: RequestId | None
    kind: Kind
    era: Era
    routing: Routing


def _refusal(
    text: reasons.RefusalText,
    problem: str,
    id: RequestId | None = None,  # noqa: A002 - as JSON-RPC calls it
    *,
    status: int | None = None,
) -> Refusal:
    return Refusal(status or text.status, text.reason(problem=problem), text.rpc_code, id=id)


# --- 3: the envelope -------------------------------------------------------------------------------

# A member of an enumeration costs a call of Python on 3.11.
_REQUEST, _NOTIFICATION, _RESPONSE = Kind
_HANDSHAKE, _STATELESS = Era
MAX_ID: Final = 1024
"""Characters. An id is kept while its request is open, and longer by the stdio transport."""
_CALL_MEMBERS: Final = frozenset({"jsonrpc", "id", "method", "params"})
_NO_PARAMS: Final = dict[str, Json]()
_REPLY_MEMBERS: Final = frozenset({"jsonrpc", "id", "result", "error"})


def _envelope(document: JsonObject, identifier: RequestId | None) -> Kind | HeaderFault:
    """Return the kind of a message, or its fault. The kind is read from the presence of `method` and `id`."""
    if document.get("jsonrpc") != "2.0":
        fault = 'jsonrpc is not "2.0"'
    elif identifier is None and "id" in document:
        fault = "id is neither a string nor an integer"
    elif len(str(identifier)) > MAX_ID:
        fault = f"id is longer than {MAX_ID} characters"
    elif "method" not in document:
        return _reply_envelope(document)
    elif not document.keys() <= _CALL_MEMBERS:
        fault = "it has members that a request does not have"
    elif not isinstance(document["method"], str):
        fault = "method is not a string"
    elif not isinstance(params := document.get("params", _NO_PARAMS), dict):
        fault = "params is not an object"
    elif not isinstance(params.get("_meta", _NO_PARAMS), dict):
        fault = "params._meta is not an object"
    else:
        return _NOTIFICATION if identifier is None else _REQUEST
    return HeaderFault(fault)


def _reply_envelope(document: JsonObject) -> Kind | HeaderFault:
    if not document.keys() <= _REPLY_MEMBERS or ("result" in document) == ("error" in document):
        return HeaderFault("it is neither a request, nor a notification, nor a response")
    if "result" in document:
        if "id" not in document:
            return HeaderFault("a result needs an id")
        return Kind.RESPONSE if isinstance(document["result"], dict) else HeaderFault("result is not an object")
    error = document["error"]
    if not isinstance(error, dict) or type(error.get("code")) is not int or not isinstance(error.get("message"), str):
        return HeaderFault("error is not an object with an integer code and a message")
    return Kind.RESPONSE


# --- 4 and 5: the era ------------------------------------------------------------------------------


def _era(params: JsonObject, routing: Routing, kind: Kind, id: RequestId | None) -> Era | Refusal:  # noqa: A002 - as JSON-RPC calls it
    """Return the era of a message with a version, or refuse an unknown version."""
    meta = params.get("_meta")
    if isinstance(meta, dict) and _VERSION_META in meta:
        return _declared_era(meta[_VERSION_META], routing, id)
    if routing.version is None:
        return _HANDSHAKE
    if routing.version not in VERSIONS:
        return _refuse_version(routing.version, VERSIONS, id)
    if routing.version not in STATELESS_VERSIONS:
        return _HANDSHAKE
    if kind is _REQUEST:
        # 2026-07-28/basic/index.mdx, "Per-request protocol fields": a missing field is -32602.
        return _refusal(reasons.REQUEST_PARAMS, f"params._meta lacks {_VERSION_META}, which this version requires", id)
    return _STATELESS


def _declared_era(version: object, routing: Routing, id: RequestId | None) -> Era | Refusal:  # noqa: A002 - as JSON-RPC calls it
    """Return the era of a message with its version in the body: stateless, or none."""
    if not isinstance(version, str):
        return _refusal(reasons.REQUEST_PARAMS, f"{_VERSION_META} is not a string", id)
    if routing.version != version:
        detail = "is missing" if routing.version is None else f"does not match {_VERSION_META} of the body"
        return _refusal(reasons.REQUEST_HEADER, f"the header MCP-Protocol-Version {detail}", id)
    if version in STATELESS_VERSIONS:
        return _STATELESS
    # An older version in `_meta` is stateless to a reader of bodies and has a session to a reader of headers.
    return _refuse_version(version, STATELESS_VERSIONS, id)


def _refuse_version(version: str, supported: tuple[str, ...], id: RequestId | None) -> Refusal:  # noqa: A002 - as JSON-RPC calls it
    rule = reasons.REQUEST_VERSION
    reason = rule.reason(problem="the gateway cannot classify it")
    data = {"supported": list(supported), "requested": version}
    return Refusal(rule.status, reason, rule.rpc_code, data=data, id=id)


def _response(era: Era, routing: Routing, body: bytes, id: RequestId | None) -> Message | Refusal:  # noqa: A002 - as JSON-RPC calls it
    if era is Era.STATELESS:
        return _refusal(reasons.REQUEST_RESPONSE, "Clients of this protocol version do not send responses")
    if routing.method is not None or routing.name is not None:
        return _refusal(reasons.REQUEST_HEADER, "Mcp-Method or Mcp-Name is given, but a response has neither")
    return Message(Kind.RESPONSE, era, Disposition.PASS, body, id=id)


# --- 6 to 8: the method ----------------------------------------------------------------------------


def _method(method: str, params: JsonObject, frame: _MessageFrame) -> Message | Refusal:
    row = FROM_CLIENT[frame.era].get(method)
    if row is None:
        return _refusal(
            reasons.REQUEST_METHOD, "A client cannot send this method here", frame.id, status=_status_of_unknown(frame)
        )
    if row.kind is not frame.kind:
        detail = f"{method} is a request and has no id" if row.kind is Kind.REQUEST else f"{method} must not have an id"
        return _refusal(reasons.REQUEST_ENVELOPE, detail, frame.id)
    detail = _wrong_params(row, params)
    if detail is not None:
        return _refusal(reasons.REQUEST_PARAMS, detail, frame.id)
    name = str(params[row.named_by]) if row.named_by is not None else None
    if frame.era is _STATELESS or frame.routing is not _NO_ROUTING:
        fault = routing_headers.disagreement(frame.routing, row, era=frame.era, name=name)
        if fault is not None:
            return _refusal(reasons.REQUEST_HEADER, fault.message, frame.id)
    client = _client_name(row, params) if row.opens_session or "_meta" in params else None
    return Message(frame.kind, frame.era, row.disposition, frame.body, method, frame.id, params, name, client)


def _status_of_unknown(frame: _MessageFrame) -> int:
    """Return the HTTP status for an unknown method. Stateless: 404 (streamable-http.mdx, "Protocol Version Header").
    With a session 404 would mean the end of the session (2025-11-25/basic/transports.mdx, "Session Management"), so
    a request gets a JSON-RPC error with 200. An unaccepted notification gets 400 in both."""
    if frame.kind is Kind.NOTIFICATION:
        return 400
    return 404 if frame.era is Era.STATELESS else 200


_CHECKED: Final[Mapping[str, tuple[type, str]]] = {
    **dict.fromkeys(("arguments", "inputResponses", "notifications"), (dict, "an object")),
    **dict.fromkeys(("cursor", "requestState", "taskId"), (str, "a string")),
}
"""Members of `params` with one type in every method."""
_WITH_TASKS: Final = frozenset({"notifications", "_meta"})


def _wrong_params(row: Method, params: JsonObject) -> str | None:
    """Return the fault of the parameters for the gateway itself."""
    if row.named_by is not None:
        name = params.get(row.named_by)
        if not isinstance(name, str) or not name:
            return f"{row.named_by} is not a string with at least one character"
    for key, value in params.items():
        checked = _CHECKED.get(key)
        if checked is not None and not isinstance(value, checked[0]):
            return f"{key} is not {checked[1]}"
    if not _WITH_TASKS.isdisjoint(params):
        fault = _wrong_tasks(params)
        if fault is not None:
            return fault
    return None if row.check is None else row.check(params)


def _wrong_tasks(params: JsonObject) -> str | None:
    """Return the fault of the members with ids of tasks, and of `_meta`."""
    notifications, meta = params.get("notifications"), params.get("_meta")
    if isinstance(notifications, dict) and _are_wrong_task_ids(notifications.get("taskIds", [])):
        return "notifications.taskIds is not a list of strings"
    if isinstance(meta, dict) and strict.RELATED_TASK in meta:
        related = meta[strict.RELATED_TASK]
        if not isinstance(related, dict) or not isinstance(related.get("taskId"), str):
            return f"_meta {strict.RELATED_TASK} has no taskId"
    return find_fault_of_meta(meta) if isinstance(meta, dict) else None


def _are_wrong_task_ids(ids: Json) -> bool:
    return not isinstance(ids, list) or not all(isinstance(item, str) for item in ids)


def _client_name(row: Method, params: JsonObject) -> str | None:
    """Return the client's own name: of `initialize` in `params`, of a stateless request in `_meta`."""
    meta = params.get("_meta")
    said = params.get("clientInfo") if row.opens_session else None
    info = meta.get(_CLIENT_META) if isinstance(meta, dict) and not row.opens_session else said
    name = info.get("name") if isinstance(info, dict) else None
    return name[:_MAX_CLIENT_NAME] if isinstance(name, str) else None
