"""Entries of the journal about connections. Pure. No entry has a code, a state or a token.

| event | when |
|---|---|
| `asked` | an agent was given a link |
| `agreed`, `declined` | the user's answer on the page of the gateway |
| `refused` | another person opened the link, or the answer of the server was refused |
| `made` | before the connection is used for the first time |
| `removed` | from now on no call uses it |
| `ended` | the server confirmed the end of the refresh token, or cannot end it (`problem`) |
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, Literal

if TYPE_CHECKING:
    from gateway.authority.connections.model import ConnectionLink, ConnectionOwner, RemovalCause, UserConnection
    from gateway.model.wire import JsonObject

KIND: Final = "connection"
_LONGEST_NAME: Final = 256


def link_entry(
    link: ConnectionLink, event: Literal["asked", "agreed", "declined"], now: float, decision: str | None = None
) -> JsonObject:
    """Return the fields of an entry about a link. `decision` is the id of the call that needs the connection."""
    fields = {"link": link.id, "upstream": link.upstream, "decision": decision}
    return _entry(event, now, link.owner, link.broker, link.scopes, **fields)


def refused_entry(link: ConnectionLink, code: str, now: float, person: tuple[str, str] | None = None) -> JsonObject:
    """Return the fields of the entry for a refusal. `person` is issuer and id of another person who opened the link."""
    seen = None if person is None else {"issuer": person[0][:_LONGEST_NAME], "id": person[1][:_LONGEST_NAME]}
    return _entry("refused", now, link.owner, link.broker, link.scopes, link=link.id, code=code, person=seen)


def made_entry(connection: UserConnection, link: ConnectionLink, now: float) -> JsonObject:
    """Return the fields of the entry for a new connection."""
    return _entry("made", now, connection.owner, connection.broker, connection.scopes, id=connection.id, link=link.id)


def removed_entry(connection: UserConnection, cause: RemovalCause, now: float) -> JsonObject:
    """Return the fields of the entry for a connection that no call uses any more."""
    return _entry("removed", now, connection.owner, connection.broker, connection.scopes, id=connection.id, cause=cause)


def ended_entry(connection: UserConnection, problem: str, now: float) -> JsonObject:
    """Return the fields of the entry for the end of a refresh token. `problem` is empty if the server confirmed it."""
    return _entry(
        "ended",
        now,
        connection.owner,
        connection.broker,
        connection.scopes,
        id=connection.id,
        problem=problem or None,
    )


def _entry(
    event: str,
    now: float,
    owner: ConnectionOwner,
    broker: str,
    scopes: tuple[str, ...],
    **more: str | dict[str, str] | None,
) -> JsonObject:
    fields: dict[str, Any] = {
        "event": event,
        "at": now,
        "owner": owner.key,
        "user": owner.user,
        "agent": owner.agent,
        "broker": broker,
        "scopes": list(scopes),
        **more,
    }
    return {name: value for name, value in fields.items() if value is not None}
