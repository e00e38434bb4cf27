"""The broker of kind `user_oauth`: access tokens of users' own connections, one for each lease.

The refresh token of the connection obtains it, narrowed to the scopes of the lease where the server can. Servers take a second use
of a refresh token for a theft. So one request at a time uses it, and its successor is on disk first.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from gateway.authority.brokers.issuer_client import NoAnswer
from gateway.authority.brokers.token_checks import SKEW
from gateway.authority.connections.model import owner_of
from gateway.authority.connections.server import Refused
from gateway.authority.model import BrokerRefusal, Credential, Issued, Lease, LeaseRequest, NotEnded, Proof
from gateway.background import to_the_end
from gateway.model.decision import Reason

if TYPE_CHECKING:
    from collections.abc import Callable

    from gateway.authority.brokers.issued_tokens import Mode
    from gateway.authority.brokers.oauth_client import ClientProof
    from gateway.authority.connections.connections import Connections
    from gateway.authority.connections.flow import Grant
    from gateway.authority.connections.model import Connection
    from gateway.authority.connections.server import AuthorizationServer
    from gateway.model.target import Revocable

CONNECT: Final = "credential/connect"
"""The code of a refusal that only the user can lift, by a connection."""


class UserConnectionBroker:
    """The broker of one authorization server."""

    kind = "user_oauth"
    min_ttl = 1.0

    def __init__(self, server: AuthorizationServer, connections: Connections, clock: Callable[[], float]) -> None:
        self.name = server.name
        self._server = server
        self._connections = connections
        self._clock = clock
        self._life = server.settings.max_life.total_seconds()
        self._proves = server.settings.revoke == "introspect"

    @property
    def revocable(self) -> Revocable:
        """Return `at_once` as long as the server introspects its tokens."""
        return "at_once" if self._proves else "after_ttl"

    async def prepare(self, request: LeaseRequest) -> dict[str, str] | BrokerRefusal:
        found = self._find(request)
        if isinstance(found, BrokerRefusal):
            return found
        return {"connection": found.id, "expires": repr(request.asked + self._life + 2 * SKEW)}

    async def issue(self, request: LeaseRequest, prepared: dict[str, str]) -> Issued | BrokerRefusal:
        """Obtain an access token. The refresh goes on to its end if the caller leaves, since its token may be rotated."""
        connection = self._find(request)
        if isinstance(connection, BrokerRefusal):
            return connection
        if connection.id != prepared["connection"]:
            return _CONNECT
        return await to_the_end(self._issue(connection, request))

    async def end(self, lease: Lease, credential: Credential | None) -> Proof | NotEnded:
        """Revoke the token and ask whether it is active. Without the value, or without a proof, only its expiry ends it.

        With its connection the token is revoked in any case: there is nothing more that the server could end with it.
        """
        proof = await self._server.identify()
        if isinstance(proof, Reason):
            return NotEnded(proof.message)
        mode: Mode | None = "introspect" if lease.cause == "connection-removed" else None
        return await self._server.tokens.end(lease, credential, proof, proof, mode=mode)

    async def aclose(self) -> None:
        await self._server.aclose()

    def _find(self, request: LeaseRequest) -> Connection | BrokerRefusal:
        owner = owner_of(request.principal)
        if owner is None:
            return _NO_USER
        connection = self._connections.find(owner.key, self.name)
        if connection is None:
            return _CONNECT
        missing = [name for name in request.scope.names if name not in connection.scopes]
        return _lacking(missing[0], self._server.issuer) if missing else connection

    async def _issue(self, connection: Connection, request: LeaseRequest) -> Issued | BrokerRefusal:
        proof = await self._server.identify()
        if isinstance(proof, Reason):
            return BrokerRefusal("credential/unavailable", proof.message, proof.remedy, may_retry=True)
        if proof.client_id != connection.client_id:
            # A refresh token is of one client, and the gateway is another one by now.
            await self._connections.remove([connection], "lost")
            return _CONNECT
        grant = await self._refresh(connection, request, proof)
        if isinstance(grant, BrokerRefusal):
            return grant
        problem = self._find_excess(connection, request, grant)
        if self._connections.find(connection.owner.key, self.name) is not connection:
            # It was removed while the server was asked.
            await self._server.drop(grant.access_token, proof)
            return _CONNECT
        if problem is not None or grant.expires is None:
            await self._server.drop(grant.access_token, proof)
            return _unusable(self._server.issuer, problem or "it names no usable expiry")
        return await self._accept(request, grant, grant.expires, proof)

    async def _refresh(
        self, connection: Connection, request: LeaseRequest, proof: ClientProof
    ) -> Grant | BrokerRefusal:
        narrows = self._server.settings.narrows
        scopes = request.scope.names if narrows else connection.scopes
        async with self._connections.lock(connection):
            token = await self._connections.token(connection)
            if token is None:
                return _CONNECT
            answer = await self._server.refresh(token, proof, request.upstream, scopes, narrowed=narrows)
            if isinstance(answer, Refused) and answer.is_final:
                await self._connections.remove([connection], "lost")
                return _CONNECT
            if isinstance(answer, Refused | NoAnswer):
                return _unavailable(self.name, answer.problem, is_certain=isinstance(answer, Refused))
            if answer.refresh_token is not None and answer.refresh_token != token:
                await self._connections.renew(connection, answer.refresh_token)
            return answer

    def _find_excess(self, connection: Connection, request: LeaseRequest, grant: Grant) -> str | None:
        """Return how a token is wider than permitted, `None` if it is not."""
        permitted = request.scope.names if self._server.settings.narrows else connection.scopes
        if not grant.scopes <= set(permitted):
            return "it has scopes beyond those of the call (a server that cannot narrow needs `narrows: false`)"
        if grant.expires is not None and grant.expires > self._clock() + self._life + SKEW:
            return "it lives longer than `max_life` permits"
        return None

    async def _accept(self, request: LeaseRequest, grant: Grant, expires: float, proof: ClientProof) -> Issued:
        handle = {"expires": repr(expires)}
        if self._server.settings.revoke == "introspect":
            seen = await self._server.tokens.introspect(grant.access_token, proof)
            self._proves = not isinstance(seen, NotEnded) and seen.get("active") is True
            if self._proves:
                handle["seen"] = "active"
        if not self._server.settings.narrows:
            handle["scopes"] = " ".join(sorted(grant.scopes))
        return Issued(Credential(grant.access_token), expires, request.scope.names, handle)


_CONNECT: Final = BrokerRefusal(
    CONNECT,
    "This system needs a connection of the user, and the user has made none, or it is gone.",
    "Have the user connect, then repeat the same call.",
    is_certain=True,
)
_NO_USER: Final = BrokerRefusal(
    "credential/no-user",
    "This system is used through users' own connections, and this caller acts for no user.",
    "Call with a token that names a user.",
)


def _lacking(scope: str, issuer: str) -> BrokerRefusal:
    return BrokerRefusal(
        "credential/scope",
        f"The user's connection to {issuer} does not have the scope {scope!r}, which this call needs.",
        "Have an operator remove the connection (`opagate connections revoke`), and the user connect again with all scopes.",
    )


def _unavailable(broker: str, problem: str, *, is_certain: bool) -> BrokerRefusal:
    return BrokerRefusal(
        "credential/refused" if is_certain else "credential/unavailable",
        f"broker {broker} has no token: {problem}",
        "an operator should look at the authorization server" if is_certain else "try again later",
        may_retry=not is_certain,
        is_certain=is_certain,
    )


def _unusable(issuer: str, problem: str) -> BrokerRefusal:
    return BrokerRefusal(
        "credential/wider",
        f"the token that {issuer} gave cannot be used: {problem}",
        "an operator should narrow the gateway's client at the authorization server, or the settings of the broker",
    )
