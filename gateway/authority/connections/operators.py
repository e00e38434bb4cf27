"""Connections for operators: `opagate connections` on the Unix socket `<state>/connections.sock`.

| request | answer |
|---|---|
| `{"do": "list"}` | `{"ok": [connection, …]}` |
| `{"do": "revoke", "chosen": {"user": …}}` (see `Chosen`) | `{"ok": {"removed": number}}` |

A refused request is answered with `{"error": {"code", "message", "remedy"}}`. The gateway's own account and root are operators.
"""

from __future__ import annotations

from typing import Any, Final, Literal

import msgspec
from msgspec import Struct

from gateway.authority.connections.connections import Connections
from gateway.authority.connections.model import Connection, describe_connection
from gateway.errors import GatewayError
from gateway.line_socket import Peer, describe_refusal
from gateway.model.decision import Reason

ROOT: Final = 0


class Chosen(Struct, frozen=True, forbid_unknown_fields=True):
    """A choice of connections. All given fields must match; at least one is given."""

    id: str | None = None
    user: str | None = None
    agent: str | None = None
    broker: str | None = None
    all: bool = False

    def is_empty(self) -> bool:
        return not self.all and (self.id, self.user, self.agent, self.broker) == (None,) * 4

    def fits(self, connection: Connection) -> bool:
        """Return whether a connection in use has all given values."""
        owner = connection.owner
        pairs = (
            (self.id, connection.id),
            (self.user, owner.user),
            (self.agent, owner.agent),
            (self.broker, connection.broker),
        )
        return not connection.is_removed and all(wanted in (None, value) for wanted, value in pairs)


class Request(Struct, frozen=True, forbid_unknown_fields=True):
    """One request of an operator."""

    do: Literal["list", "revoke"]
    chosen: Chosen = Chosen()


class ConnectionOperators:
    """Answers to operators. `own` is the number of the gateway's account."""

    def __init__(self, connections: Connections, own: int) -> None:
        self._connections = connections
        self._own = own

    async def serve(self, line: bytes, peer: Peer) -> bool:
        """Answer a line, and return whether the peer may send another."""
        document, may_go_on = await self.answer(line, peer.uid)
        await peer.send(document)
        return may_go_on

    async def answer(self, line: bytes, uid: int) -> tuple[dict[str, Any], bool]:
        """Return the answer to a line, and whether the peer may send another."""
        if uid not in {self._own, ROOT}:
            return describe_refusal(_STRANGER), False
        try:
            request = msgspec.json.decode(line, type=Request)
        except msgspec.MsgspecError as error:
            reason = Reason("connection/invalid", f"The request cannot be read: {error}.", "Correct it.")
            return describe_refusal(reason), True
        try:
            found = await self._do(request)
        except GatewayError as error:
            found = Reason(error.code, f"{error.message}; the connections are out of use until a restart", error.remedy)
        return (describe_refusal(found) if isinstance(found, Reason) else {"ok": found}), True

    async def _do(self, request: Request) -> Any:
        if request.do == "list":
            return [describe_connection(each) for each in sorted(self._connections.all(), key=lambda each: each.made)]
        if request.chosen.is_empty():
            return _NOTHING_CHOSEN
        chosen = [each for each in self._connections.all() if request.chosen.fits(each)]
        return {"removed": await self._connections.remove(chosen, "operator")}


_STRANGER: Final = Reason(
    "connection/account", "This account is no operator of the gateway.", "Use the gateway's own account, or root."
)
_NOTHING_CHOSEN: Final = Reason(
    "connection/invalid", "The request chooses no connection.", "Give an id, --user, --agent, --broker or --all."
)
