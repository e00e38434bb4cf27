"""Every method of every supported revision of MCP, with its handling. The table is closed: the gateway refuses other
methods, so a person reviews each later method first. Sources: `ClientRequest`, `ClientNotification`, `ServerRequest`
and `ServerNotification` of schema.ts in 2024-11-05 to 2026-07-28, and SEP-2663 (the tasks extension,
`io.modelcontextprotocol/tasks`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from types import MappingProxyType
from typing import Final, Literal, NamedTuple, TypeAlias, cast

from msgspec import Struct

from gateway.model.wire import Disposition, Era, Json, JsonObject, Kind

# --- completions -----------------------------------------------------------------------------------------


COMPLETION: Final = "completion/complete"

_REFERENCES: Final[Mapping[Json, tuple[Literal["prompt", "resource"], str]]] = {
    "ref/prompt": ("prompt", "name"),
    "ref/resource": ("resource", "uri"),
}
"""The type of a reference → what it is to, and the member that says to which."""


class Completion(Struct, frozen=True):
    """The subject of a completion, with all values of its variables. A variable given twice, in `argument` and in
    `context`, becomes a list of both, since servers differ in their choice."""

    type: Literal["prompt", "resource"]
    name: str
    arguments: JsonObject


def find_fault_of_completion(params: JsonObject) -> str | None:
    """Return the fault of the parameters, `None` without a fault."""
    reference, argument = _member(params, "ref"), _member(params, "argument")
    kind = reference.get("type")
    if not isinstance(kind, str) or kind not in _REFERENCES:
        return "ref is no reference to a prompt or a resource"
    _, field = _REFERENCES[kind]
    if not isinstance(reference.get(field), str) or not reference[field]:
        return f"ref.{field} is not a string with at least one character"
    if not isinstance(argument.get("name"), str) or not isinstance(argument.get("value"), str):
        return "argument has no name and value that are strings"
    context = params.get("context", {})
    given = context.get("arguments", {}) if isinstance(context, Mapping) else None
    if not isinstance(given, Mapping) or not all(isinstance(value, str) for value in given.values()):
        return "context.arguments is not an object of strings"
    return None


def read_completion(params: JsonObject) -> Completion:
    """Return the completion of parameters without a fault."""
    reference, argument = _member(params, "ref"), _member(params, "argument")
    type_, field = _REFERENCES[reference["type"]]
    name = cast("str", reference[field])
    said: dict[str, list[Json]] = {"uri": [name]} if type_ == "resource" else {}
    context = _member(_member(params, "context"), "arguments")
    for variable, value in ((cast("str", argument["name"]), argument["value"]), *context.items()):
        values = said.setdefault(variable, [])
        if value not in values:
            values.append(value)
    arguments = {variable: values[0] if len(values) == 1 else values for variable, values in said.items()}
    return Completion(type_, name, arguments)


def parts_of_completion_beside(params: JsonObject) -> JsonObject:
    """Return the parameters beside the decided arguments."""
    reference, argument, context = (_member(params, name) for name in ("ref", "argument", "context"))
    template = reference.get("type") == "ref/resource"
    return {
        **params,
        "ref": _without(reference, "uri") if template else reference,
        "argument": _without(argument, "name", "value"),
        "context": _without(context, "arguments"),
    }


def find_unknown_of_completion(params: JsonObject) -> JsonObject:
    """Return the parameters without the members that the protocol defines and policy sees."""
    found = {name: value for name, value in params.items() if name not in _DEFINED}
    for name, defined in _DEFINED.items():
        if rest := _without(_member(params, name), *defined):
            found[name] = rest
    return found


_DEFINED: Final = {"ref": ("type", "name", "uri"), "argument": ("name", "value"), "context": ("arguments",)}


def _member(parent: JsonObject, name: str) -> JsonObject:
    value = parent.get(name)
    return value if isinstance(value, Mapping) else {}


def _without(members: JsonObject, *names: str) -> JsonObject:
    return {name: value for name, value in members.items() if name not in names}


# --- all methods -----------------------------------------------------------------------------------------


HANDSHAKE_VERSIONS: Final = ("2024-11-05", "2025-03-26", "2025-06-18", "2025-11-25")
"""Revisions that open with `initialize`. 2024-11-05 had no streamable HTTP of its own, but servers of later
revisions may negotiate down to it, and clients then name it in the version header."""

STATELESS_VERSIONS: Final = ("2026-07-28",)
"""Revisions that carry their version in the `_meta` of each request."""

VERSIONS: Final = HANDSHAKE_VERSIONS + STATELESS_VERSIONS
"""All that can be classified here, oldest first."""

OWN_TASK: Final = "notifications/tasks/status"
"""News of a task that the client runs itself. Its id is of the client's making."""

Sender: TypeAlias = Literal["client", "server", "either"]
TargetType: TypeAlias = Literal["tool", "resource", "prompt"]


class ListedItems(NamedTuple):
    """The items in the result of a list method: the member with the items, and the member of an item with its name."""

    field: str
    name: str


@dataclass(frozen=True, slots=True)
class Method:
    """A row of the table. `eras` are the eras in which a client may send the method; for methods of servers, the eras
    with the method. `named_by` is the member of `params` with the message's name. `why` explains surprising rows.

    Of requests: `decided` is the member of `params` that policy decides on. `target` is the type of a call's target, or
    of the items of a list. `needs_name`: a stateless request must carry `Mcp-Name` ("Standard Request Headers").
    `may_wait`: its client takes a result that asks to come again. `confirms`: the answer opens a connection, lists, or
    confirms, and counts as no reading. `check` returns the fault of `params` beyond the common members.

    Of messages from a server: `is_silent`: the message carries no data for a model.
    """

    name: str
    kind: Kind
    eras: frozenset[Era]
    disposition: Disposition
    sender: Sender = "client"
    named_by: str | None = None
    why: str = ""
    decided: Literal["arguments", "uri"] | None = None
    target: TargetType | None = None
    items: ListedItems | None = None
    check: Callable[[JsonObject], str | None] | None = None
    needs_name: bool = False
    may_wait: bool = False
    confirms: bool = False
    opens_session: bool = False
    gives_instructions: bool = False
    subscribes: bool = False
    waits_for_news: bool = False
    is_silent: bool = False
    announces_definitions: bool = False


_BOTH: Final = frozenset(Era)
_HANDSHAKE: Final = frozenset({Era.HANDSHAKE})
_STATELESS: Final = frozenset({Era.STATELESS})
_DECIDE: Final = Disposition.DECIDE
_FILTER: Final = Disposition.FILTER
_PASS: Final = Disposition.PASS
_REFUSE: Final = Disposition.REFUSE
_CLIENT_ANSWERS: Final = "clients answer it; none sends it"
_request: Final = partial(Method, kind=Kind.REQUEST)
_call: Final = partial(_request, eras=_BOTH, disposition=_DECIDE, needs_name=True, may_wait=True)
_list: Final = partial(_request, disposition=_FILTER)
_notification: Final = partial(Method, kind=Kind.NOTIFICATION)
_news: Final = partial(_notification, disposition=_REFUSE, sender="server")

_ROWS: Final = (
    _call("tools/call", named_by="name", decided="arguments", target="tool"),
    _call("resources/read", named_by="uri", decided="uri", target="resource", why="moves data as a tool does"),
    _call("prompts/get", named_by="name", decided="arguments", target="prompt", why="moves data as a tool does"),
    _request(
        COMPLETION,
        eras=_BOTH,
        disposition=_DECIDE,
        check=find_fault_of_completion,
        why="carries text to a prompt or a resource, and values back",
    ),
    _list("tools/list", eras=_BOTH, target="tool", items=ListedItems("tools", "name"), confirms=True),
    _list("resources/list", eras=_BOTH, target="resource", items=ListedItems("resources", "uri"), confirms=True),
    _list(
        "resources/templates/list",
        eras=_BOTH,
        target="resource",
        items=ListedItems("resourceTemplates", "uriTemplate"),
        confirms=True,
    ),
    _list("prompts/list", eras=_BOTH, target="prompt", items=ListedItems("prompts", "name"), confirms=True),
    _list(
        "tasks/list",
        eras=_HANDSHAKE,
        sender="either",
        items=ListedItems("tasks", "taskId"),
        is_silent=True,
        why="must show a caller its own tasks only",
    ),
    _request(
        "initialize",
        eras=_HANDSHAKE,
        disposition=_PASS,
        opens_session=True,
        gives_instructions=True,
        confirms=True,
    ),
    _request("server/discover", eras=_STATELESS, disposition=_PASS, gives_instructions=True, confirms=True),
    _request("ping", eras=_HANDSHAKE, disposition=_PASS, sender="either", confirms=True, is_silent=True),
    _request("logging/setLevel", eras=_HANDSHAKE, disposition=_PASS, confirms=True),
    _request(
        "resources/subscribe",
        eras=_HANDSHAKE,
        disposition=_PASS,
        subscribes=True,
        confirms=True,
        why="tells that what a list shows has changed; reading is decided",
    ),
    _request("resources/unsubscribe", eras=_HANDSHAKE, disposition=_PASS, confirms=True),
    _request(
        "subscriptions/listen",
        eras=_STATELESS,
        disposition=_PASS,
        subscribes=True,
        waits_for_news=True,
        confirms=True,
        why="tells that something changed; its task ids are bound",
    ),
    _request(
        "tasks/get",
        eras=_BOTH,
        disposition=_PASS,
        sender="either",
        named_by="taskId",
        is_silent=True,
        why="the call was decided; the id is bound",
    ),
    _request(
        "tasks/result",
        eras=_HANDSHAKE,
        disposition=_PASS,
        sender="either",
        named_by="taskId",
        is_silent=True,
        why="as tasks/get",
    ),
    _request(
        "tasks/update",
        eras=_STATELESS,
        disposition=_PASS,
        named_by="taskId",
        why="answers what the task asked; the id is bound",
    ),
    _request(
        "tasks/cancel",
        eras=_BOTH,
        disposition=_PASS,
        sender="either",
        named_by="taskId",
        is_silent=True,
        why="only ever ends something",
    ),
    _request("sampling/createMessage", eras=_BOTH, disposition=_REFUSE, sender="server", why=_CLIENT_ANSWERS),
    _request("elicitation/create", eras=_BOTH, disposition=_REFUSE, sender="server", why=_CLIENT_ANSWERS),
    _request("roots/list", eras=_BOTH, disposition=_REFUSE, sender="server", is_silent=True, why=_CLIENT_ANSWERS),
    _notification("notifications/initialized", eras=_HANDSHAKE, disposition=_PASS),
    _notification("notifications/cancelled", eras=_BOTH, disposition=_PASS, sender="either"),
    _notification(
        "notifications/progress",
        eras=_HANDSHAKE,
        disposition=_PASS,
        sender="either",
        why="stateless servers only send it",
    ),
    _notification("notifications/roots/list_changed", eras=_HANDSHAKE, disposition=_PASS),
    _notification(
        OWN_TASK,
        eras=_HANDSHAKE,
        disposition=_PASS,
        sender="either",
        why="clients may run tasks too",
    ),
    _news("notifications/message", eras=_BOTH),
    _news("notifications/resources/updated", eras=_BOTH),
    _news("notifications/resources/list_changed", eras=_BOTH, is_silent=True),
    _news("notifications/tools/list_changed", eras=_BOTH, is_silent=True, announces_definitions=True),
    _news("notifications/prompts/list_changed", eras=_BOTH, is_silent=True, announces_definitions=True),
    _news("notifications/elicitation/complete", eras=_HANDSHAKE, is_silent=True),
    _news("notifications/subscriptions/acknowledged", eras=_STATELESS, is_silent=True),
    _news("notifications/tasks", eras=_STATELESS),
)

TABLE: Final[Mapping[str, Method]] = MappingProxyType({row.name: row for row in _ROWS})
"""Method name → row. Its disposition is for messages of a *client*; what only servers send is refused from one."""


FROM_CLIENT: Final[Mapping[Era, Mapping[str, Method]]] = MappingProxyType(
    {
        era: MappingProxyType({row.name: row for row in _ROWS if era in row.eras and row.disposition is not _REFUSE})
        for era in Era
    }
)
"""Era → the methods that a client may send in it, by name."""


def names_where(holds: Callable[[Method], object]) -> frozenset[str]:
    """Return the names of the methods for which `holds` is true."""
    return frozenset(row.name for row in _ROWS if holds(row))
