"""Users' connections as operations of the control interface, for operators: `opagate credentials connections`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from msgspec import Struct

from gateway.authority.connections.model import ListedConnection, UserConnection, describe_connection
from gateway.base.control.operations import NoFields, Operation
from gateway.model import reasons
from gateway.model.decision import Reason
from gateway.model.errors import GatewayError

if TYPE_CHECKING:
    from gateway.authority.connections.connections import Connections
    from gateway.base.control.operations import Control, OperatorName

_NEED: Final = "a broker of kind `user_oauth`"


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


class RemovedConnections(Struct, frozen=True):
    """The number of removed connections."""

    removed: int


LIST: Final = Operation(
    "connections/list",
    "operator",
    "List the users' connections.",
    list[ListedConnection],
    _NEED,
    route=("GET", "/api/connections"),
)
REVOKE: Final = Operation(
    "connections/revoke",
    "operator",
    "Remove the connections that fit every given field.",
    RemovedConnections,
    _NEED,
    ConnectionSelection,
    ("POST", "/api/connections/revoke"),
    is_recorded=True,
)
OPERATIONS: Final = (LIST, REVOKE)


def add_operations(control: Control, connections: Connections) -> None:
    """Add the operations of users' connections."""

    async def list_connections(_asked: NoFields, _by: OperatorName) -> list[ListedConnection]:
        return [describe_connection(each) for each in sorted(await connections.all(), key=lambda each: each.made)]

    async def revoke(asked: ConnectionSelection, _by: OperatorName) -> RemovedConnections | Reason:
        if asked.is_empty():
            return reasons.CONNECTION_INVALID.reason()
        try:
            chosen = [each for each in await connections.all() if asked.fits(each)]
            return RemovedConnections(await connections.remove(chosen, "operator"))
        except GatewayError as error:
            return Reason(error.code, f"{error.message}; the connections are out of use until a restart", error.remedy)

    control.add({LIST: list_connections, REVOKE: revoke})
