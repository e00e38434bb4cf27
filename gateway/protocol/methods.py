"""Every method of every supported revision of MCP, with its handling. The table is closed: the gateway refuses other
methods, so a person reviews each later method first. Sources: `ClientRequest`, `ClientNotification`, `ServerRequest`
and `ServerNotification` of schema.ts in 2024-11-05 to 2026-07-28, and SEP-2663 (the tasks extension,
`io.modelcontextprotocol/tasks`)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final, Literal, TypeAlias

from gateway.model.wire import Disposition, Era, Kind

HANDSHAKE_VERSIONS: Final = ("2024-11-05", "2025-03-26", "2025-06-18", "2025-11-25")
"""Revisions that open with `initialize`. 2024-11-05 had no streamable HTTP of its own, but servers of later
revisions may negotiate down to it, and clients then name it in the version header."""

STATELESS_VERSIONS: Final = ("2026-07-28",)
"""Revisions that carry their version in the `_meta` of each request."""

VERSIONS: Final = HANDSHAKE_VERSIONS + STATELESS_VERSIONS
"""All that can be classified here, oldest first."""

Sender: TypeAlias = Literal["client", "server", "either"]


@dataclass(frozen=True, slots=True)
class Method:
    """A row of the table. `eras` are the eras in which a client may send the method; for methods of servers, the eras
    with the method. `named_by` is the member of `params` with the message's name. `why` explains surprising rows."""

    name: str
    kind: Kind
    sender: Sender
    eras: frozenset[Era]
    disposition: Disposition
    named_by: str | None = None
    why: str = ""


_BOTH: Final = frozenset(Era)
_HANDSHAKE: Final = frozenset({Era.HANDSHAKE})
_STATELESS: Final = frozenset({Era.STATELESS})


def _request(
    name: str,
    eras: frozenset[Era],
    disposition: Disposition,
    *,
    sender: Sender = "client",
    named_by: str | None = None,
    why: str = "",
) -> Method:
    return Method(name, Kind.REQUEST, sender, eras, disposition, named_by, why)


def _notification(
    name: str, eras: frozenset[Era], disposition: Disposition, *, sender: Sender = "client", why: str = ""
) -> Method:
    return Method(name, Kind.NOTIFICATION, sender, eras, disposition, None, why)


_DECIDE: Final = Disposition.DECIDE
_FILTER: Final = Disposition.FILTER
_PASS: Final = Disposition.PASS
_REFUSE: Final = Disposition.REFUSE

_ROWS: Final = (
    _request("tools/call", _BOTH, _DECIDE, named_by="name"),
    _request("resources/read", _BOTH, _DECIDE, named_by="uri", why="moves data as a tool does"),
    _request("prompts/get", _BOTH, _DECIDE, named_by="name", why="moves data as a tool does"),
    _request("completion/complete", _BOTH, _DECIDE, why="carries text to a prompt or a resource, and values back"),
    _request("tools/list", _BOTH, _FILTER),
    _request("resources/list", _BOTH, _FILTER),
    _request("resources/templates/list", _BOTH, _FILTER),
    _request("prompts/list", _BOTH, _FILTER),
    _request("tasks/list", _HANDSHAKE, _FILTER, sender="either", why="must show a caller its own tasks only"),
    _request("initialize", _HANDSHAKE, _PASS),
    _request("server/discover", _STATELESS, _PASS),
    _request("ping", _HANDSHAKE, _PASS, sender="either"),
    _request("logging/setLevel", _HANDSHAKE, _PASS),
    _request(
        "resources/subscribe", _HANDSHAKE, _PASS, why="tells that what a list shows has changed; reading is decided"
    ),
    _request("resources/unsubscribe", _HANDSHAKE, _PASS),
    _request("subscriptions/listen", _STATELESS, _PASS, why="tells that something changed; its task ids are bound"),
    _request(
        "tasks/get", _BOTH, _PASS, sender="either", named_by="taskId", why="the call was decided; the id is bound"
    ),
    _request("tasks/result", _HANDSHAKE, _PASS, sender="either", named_by="taskId", why="as tasks/get"),
    _request("tasks/update", _STATELESS, _PASS, named_by="taskId", why="answers what the task asked; the id is bound"),
    _request("tasks/cancel", _BOTH, _PASS, sender="either", named_by="taskId", why="only ever ends something"),
    _request("sampling/createMessage", _BOTH, _REFUSE, sender="server", why="clients answer it; none sends it"),
    _request("elicitation/create", _BOTH, _REFUSE, sender="server", why="clients answer it; none sends it"),
    _request("roots/list", _BOTH, _REFUSE, sender="server", why="clients answer it; none sends it"),
    _notification("notifications/initialized", _HANDSHAKE, _PASS),
    _notification("notifications/cancelled", _BOTH, _PASS, sender="either"),
    _notification("notifications/progress", _HANDSHAKE, _PASS, sender="either", why="stateless servers only send it"),
    _notification("notifications/roots/list_changed", _HANDSHAKE, _PASS),
    _notification("notifications/tasks/status", _HANDSHAKE, _PASS, sender="either", why="clients may run tasks too"),
    _notification("notifications/message", _BOTH, _REFUSE, sender="server"),
    _notification("notifications/resources/updated", _BOTH, _REFUSE, sender="server"),
    _notification("notifications/resources/list_changed", _BOTH, _REFUSE, sender="server"),
    _notification("notifications/tools/list_changed", _BOTH, _REFUSE, sender="server"),
    _notification("notifications/prompts/list_changed", _BOTH, _REFUSE, sender="server"),
    _notification("notifications/elicitation/complete", _HANDSHAKE, _REFUSE, sender="server"),
    _notification("notifications/subscriptions/acknowledged", _STATELESS, _REFUSE, sender="server"),
    _notification("notifications/tasks", _STATELESS, _REFUSE, sender="server"),
)

TABLE: Final[Mapping[str, Method]] = MappingProxyType({row.name: row for row in _ROWS})
"""Method name → row. Its disposition is for messages of a *client*; what only servers send is refused from one."""


def from_client(name: str, era: Era) -> Method | None:
    """Return the row of a client's method in an era, or `None` for every other name."""
    row = TABLE.get(name)
    if row is None or era not in row.eras or row.disposition is _REFUSE:
        return None
    return row
