"""Records of connections. Pure: frozen values without I/O, clock or randomness. Times are seconds since the epoch."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Literal, TypedDict

from msgspec import Struct

from gateway.model.caller import Principal

RemovalCause = Literal["operator", "lost", "replaced"]
"""`lost`: the authorization server refuses the refresh token. `replaced`: the user connected again."""


class ConnectionOwner(Struct, frozen=True):
    """An agent with its user. `key` is that of the principal. `through` are the agents that passed the call on. `known_as` has
    words of the user's token for people."""

    key: str
    issuer: str
    user: str
    agent: str
    through: tuple[str, ...] = ()
    known_as: str = ""


def owner_of(principal: Principal) -> ConnectionOwner | None:
    """Return the owner of a caller's connections, `None` for an agent without a user."""
    if principal.user is None:
        return None
    through = tuple(actor.id for actor in principal.delegation if actor.id != principal.id)
    return ConnectionOwner(
        principal.key, principal.issuer, principal.user.id, principal.id, through, principal.known_as
    )


class UserConnection(Struct, frozen=True):
    """A user's consent to an agent at one authorization server, with the granted scopes.

    The refresh token is kept apart, sealed. `is_removed`: no call uses the connection, and its end is not confirmed.
    """

    id: str
    owner: ConnectionOwner
    broker: str
    issuer: str
    client_id: str
    scopes: tuple[str, ...]
    made: float
    is_removed: bool = False
    removed: float = 0.0


class ConnectionLink(Struct, frozen=True):
    """An invitation to connect. Its address is all that an agent passes on. `session` is the digest of the caller's session."""

    id: str
    owner: ConnectionOwner
    broker: str
    upstream: str
    audience: str
    scopes: tuple[str, ...]
    asked: float
    expires: float
    session: str = ""
    state: Literal["open", "made", "declined"] = "open"


class RegisteredClient(Struct, frozen=True):
    """The client that the gateway registered at an authorization server (RFC 7591)."""

    id: str
    secret: str | None
    issuer: str
    redirect_uri: str

    def __repr__(self) -> str:
        return f"RegisteredClient({self.id!r})"


class ListedConnection(TypedDict):
    """A connection as operators see it."""

    id: str
    user: str
    known_as: str
    agent: str
    issuer: str
    broker: str
    server: str
    scopes: list[str]
    made: str
    state: Literal["active", "removed"]


def describe_connection(connection: UserConnection) -> ListedConnection:
    """Return a connection as operators see it."""
    owner = connection.owner
    return {
        "id": connection.id,
        "user": owner.user,
        "known_as": owner.known_as,
        "agent": owner.agent,
        "issuer": owner.issuer,
        "broker": connection.broker,
        "server": connection.issuer,
        "scopes": list(connection.scopes),
        "made": _moment(connection.made),
        "state": "removed" if connection.is_removed else "active",
    }


def _moment(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds")[:-6] + "Z"
