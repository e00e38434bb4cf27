"""The broker of kind `user_oauth`: access tokens of users' own connections, one for each lease.

The refresh token of the connection obtains it, narrowed to the scopes of the lease where the server can.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from gateway.authority.brokers.subjects import CONNECT, ConnectedUsers
from gateway.authority.brokers.token_checks import SKEW, names_only
from gateway.authority.model import BrokerRefusal, Credential, Issued, Lease, LeaseRequest, NotEnded, Proof
from gateway.base.concurrency.background import to_the_end
from gateway.model import reasons
from gateway.model.decision import Reason

if TYPE_CHECKING:
    from collections.abc import Callable

    from gateway.authority.brokers.issued_tokens import Mode
    from gateway.authority.connections.connections import Connections
    from gateway.authority.connections.grants import TokenGrant
    from gateway.authority.connections.model import UserConnection
    from gateway.authority.connections.server import AuthorizationServer
    from gateway.config.brokers import UserOAuthBroker
    from gateway.model.target import Revocable
    from gateway.model.wire import JsonObject
    from gateway.wire.oauth_client import ClientProof


class UserConnectionBroker:
    """The broker of one authorization server."""

    kind = "user_oauth"
    min_ttl = 1.0

    def __init__(
        self,
        settings: UserOAuthBroker,
        server: AuthorizationServer,
        connections: Connections,
        clock: Callable[[], float],
    ) -> None:
        self.name = server.name
        self._settings = settings
        self._server = server
        self._users = ConnectedUsers(server, connections)
        self._clock = clock
        self._life = settings.max_life.total_seconds()
        self._proves = settings.revoke == "introspect"

    @property
    def revocable(self) -> Revocable:
        """Return `at_once` as long as the server introspects its tokens."""
        return "at_once" if self._proves else "after_ttl"

    async def prepare(self, request: LeaseRequest) -> dict[str, str] | BrokerRefusal:
        found = await self._users.find(request)
        if isinstance(found, BrokerRefusal):
            return found
        return {"connection": found.id, "expires": repr(request.asked + self._life + 2 * SKEW)}

    async def issue(self, request: LeaseRequest, prepared: dict[str, str]) -> Issued | BrokerRefusal:
        """Obtain an access token. The refresh goes on to its end if the caller leaves, since its token may be rotated."""
        connection = await self._users.find(request)
        if isinstance(connection, BrokerRefusal):
            return connection
        if connection.id != prepared["connection"]:
            return CONNECT
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

    async def _issue(self, connection: UserConnection, request: LeaseRequest) -> Issued | BrokerRefusal:
        proof = await self._users.identify(connection)
        if isinstance(proof, BrokerRefusal):
            return proof
        narrows = self._settings.narrows
        scopes = request.scope.names if narrows else connection.scopes
        grant = await self._users.refresh(connection, proof, request.upstream, scopes, narrowed=narrows)
        if isinstance(grant, BrokerRefusal):
            return grant
        seen = await self._introspect(grant, proof)
        problem = self._find_excess(connection, request, grant, seen)
        if not await self._users.is_in_use(connection):
            # It was removed while the server was asked.
            await self._server.drop(grant.access_token, proof)
            return CONNECT
        if problem is not None or grant.expires is None:
            await self._server.drop(grant.access_token, proof)
            return _unusable(self._server.issuer, problem or "it names no usable expiry")
        return self._accept(request, grant, grant.expires, is_seen=seen is not None)

    async def _introspect(self, grant: TokenGrant, proof: ClientProof) -> JsonObject | None:
        """Return the introspection of a token that the server calls active, `None` if it is not asked or says otherwise."""
        if self._settings.revoke != "introspect":
            return None
        seen = await self._server.tokens.introspect(grant.access_token, proof)
        found = None if isinstance(seen, NotEnded) or seen.get("active") is not True else seen
        self._proves = found is not None
        return found

    def _find_excess(
        self, connection: UserConnection, request: LeaseRequest, grant: TokenGrant, seen: JsonObject | None
    ) -> str | None:
        """Return how a token is wider than permitted, `None` if it is not."""
        permitted = request.scope.names if self._settings.narrows else connection.scopes
        if not grant.scopes <= set(permitted):
            return "it has scopes beyond those of the call (a server that cannot narrow needs `narrows: false`)"
        if grant.expires is not None and grant.expires > self._clock() + self._life + SKEW:
            return "it lives longer than `max_life` permits"
        audiences = self._server.terms.audiences.get(request.upstream)
        if audiences is not None and not names_only(grant.claims or seen or {}, audiences):
            return "its audience is not the upstream's alone (`credential.audiences` names what it may be)"
        return None

    def _accept(self, request: LeaseRequest, grant: TokenGrant, expires: float, *, is_seen: bool) -> Issued:
        handle = {"expires": repr(expires), **({"seen": "active"} if is_seen else {})}
        if not self._settings.narrows:
            handle["scopes"] = " ".join(sorted(grant.scopes))
        return Issued(Credential(grant.access_token), expires, request.scope.names, handle)


def _unusable(issuer: str, problem: str) -> BrokerRefusal:
    return BrokerRefusal(reasons.CREDENTIAL_WIDER_TOKEN.reason(issuer=issuer, problem=problem))
