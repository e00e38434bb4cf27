"""Users' connections, as the brokers use them: found for a call, and refreshed by one request at a time.

Servers take a second use of a refresh token for a theft. So one request at a time uses it, and its successor is on disk first.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from gateway.authority.connections.model import owner_of
from gateway.authority.connections.server import Refused
from gateway.authority.model import BrokerRefusal
from gateway.model import reasons
from gateway.model.decision import Reason
from gateway.wire.https_client import NoAnswer

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gateway.authority.connections.connections import Connections
    from gateway.authority.connections.grants import TokenGrant
    from gateway.authority.connections.model import UserConnection
    from gateway.authority.connections.server import AuthorizationServer
    from gateway.authority.model import LeaseRequest
    from gateway.wire.oauth_client import ClientProof

CONNECT: Final = BrokerRefusal(reasons.CREDENTIAL_CONNECT_ABSENT.reason(), is_certain=True)
"""The refusal that only the user can lift, by a connection."""


class ConnectedUsers:
    """The connections at the server of one broker."""

    def __init__(self, server: AuthorizationServer, connections: Connections) -> None:
        self.server = server
        self._connections = connections

    def find(self, request: LeaseRequest) -> UserConnection | BrokerRefusal:
        """Return the connection of a caller, with the scopes of its call."""
        owner = owner_of(request.principal)
        if owner is None:
            return _NO_USER
        connection = self._connections.find(owner.key, self.server.name)
        if connection is None:
            return CONNECT
        missing = [name for name in request.scope.names if name not in connection.scopes]
        return _lacking(missing[0], self.server.issuer) if missing else connection

    def is_in_use(self, connection: UserConnection) -> bool:
        """Return whether calls may use a connection still."""
        return self._connections.find(connection.owner.key, self.server.name) is connection

    async def identify(self, connection: UserConnection) -> ClientProof | BrokerRefusal:
        """Return the proof of the client that a connection belongs to."""
        proof = await self.server.identify()
        if isinstance(proof, Reason):
            text = reasons.CREDENTIAL_CONNECTION_SERVER
            return BrokerRefusal(text.reason(problem=proof.message, remedy=proof.remedy), may_retry=True)
        if proof.client_id == connection.client_id:
            return proof
        # A refresh token is of one client, and the gateway is another one by now.
        return await self.lose(connection)

    async def lose(self, connection: UserConnection) -> BrokerRefusal:
        """Remove a connection that its server does not know any more. Return the refusal of the call."""
        await self._connections.remove([connection], "lost")
        return CONNECT

    async def token(self, connection: UserConnection) -> str | None:
        """Return the refresh token of a connection in use."""
        return await self._connections.token(connection)

    async def refresh(
        self, connection: UserConnection, proof: ClientProof, upstream: str, scopes: Sequence[str], *, narrowed: bool
    ) -> TokenGrant | BrokerRefusal:
        """Return new tokens of a connection."""
        async with self._connections.lock(connection):
            token = await self._connections.token(connection)
            if token is None:
                return CONNECT
            answer = await self.server.refresh(token, proof, upstream, scopes, narrowed=narrowed)
            if isinstance(answer, Refused) and answer.is_final:
                return await self.lose(connection)
            if isinstance(answer, Refused | NoAnswer):
                return _unavailable(self.server.name, answer.problem, is_certain=isinstance(answer, Refused))
            if answer.refresh_token is not None and answer.refresh_token != token:
                await self._connections.renew(connection, answer.refresh_token)
            return answer


_NO_USER: Final = BrokerRefusal(reasons.CREDENTIAL_NO_USER.reason())


def _lacking(scope: str, issuer: str) -> BrokerRefusal:
    return BrokerRefusal(reasons.CREDENTIAL_SCOPE_OF_CONNECTION.reason(issuer=issuer, scope=scope))


def _unavailable(broker: str, problem: str, *, is_certain: bool) -> BrokerRefusal:
    text = reasons.CREDENTIAL_REFUSED if is_certain else reasons.CREDENTIAL_UNAVAILABLE
    return BrokerRefusal(text.reason(broker=broker, problem=problem), may_retry=not is_certain, is_certain=is_certain)
