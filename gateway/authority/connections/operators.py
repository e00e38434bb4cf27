"""Connections for operators: `opagate connections` on the Unix socket `<state>/connections.sock`.

| request | answer |
|---|---|
| `{"do": "list"}` | `{"ok": [connection, …]}` |
| `{"do": "revoke", "chosen": {"user": …}}` (see `ConnectionSelection`) | `{"ok": {"removed": number}}` |

A refused request is answered with `{"error": {"code", "message", "remedy"}}`. `OperatorAccounts` names the operators.
"""

from __future__ import annotations

from typing import Any, Literal

from msgspec import Struct

from gateway import reasons
from gateway.authority.connections.connections import Connections
from gateway.authority.connections.model import UserConnection, describe_connection
from gateway.errors import GatewayError
from gateway.model.decision import Reason
from gateway.operators import OperatorAccounts, OperatorName, Operators


class ConnectionSelection(Struct, frozen=True, forbid_unknown_fields=True):
    """A choice of connections. All given fields must match; at least one is given."""

    id: str | None = None
    user: str | None = None
    agent: str | None = None
    broker: str | None = None
    all: bool = False

    def is_empty(self) -> bool:
        return not self.all and (self.id, self.user, self.agent, self.broker) == (None,) * 4

    def fits(self, connection: UserConnection) -> bool:
        """Return whether a connection in use has all given values."""
        owner = connection.owner
        pairs = (
            (self.id, connection.id),
            (self.user, owner.user),
            (self.agent, owner.agent),
            (self.broker, connection.broker),
        )
        return not connection.is_removed and all(wanted in (None, value) for wanted, value in pairs)


class ConnectionOperation(Struct, frozen=True, forbid_unknown_fields=True):
    """One request of an operator."""

    do: Literal["list", "revoke"]
    chosen: ConnectionSelection = ConnectionSelection()


class ConnectionOperators(Operators[ConnectionOperation]):
    """Answers to operators about users' connections."""

    def __init__(self, connections: Connections, accounts: OperatorAccounts) -> None:
        super().__init__(ConnectionOperation, "connection", accounts)
        self._connections = connections

    async def _do(self, request: ConnectionOperation, _by: OperatorName, /) -> Any:
        if request.do == "list":
            return [describe_connection(each) for each in sorted(self._connections.all(), key=lambda each: each.made)]
        if request.chosen.is_empty():
            return reasons.CONNECTION_INVALID.reason()
        chosen = [each for each in self._connections.all() if request.chosen.fits(each)]
        try:
            return {"removed": await self._connections.remove(chosen, "operator")}
        except GatewayError as error:
            return Reason(error.code, f"{error.message}; the connections are out of use until a restart", error.remedy)
