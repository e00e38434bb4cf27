"""The user behind a call at another system: a connection, or a token of the user."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Literal, Protocol

from msgspec import Struct

from gateway.authority.brokers.token_checks import read_subject
from gateway.authority.connections.grants import proves_user
from gateway.authority.connections.model import owner_of
from gateway.authority.connections.server import Refused
from gateway.authority.model import BrokerRefusal
from gateway.model import reasons
from gateway.model.decision import Reason
from gateway.wire.https_client import NoAnswer

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from gateway.authority.connections.connections import Connections
    from gateway.authority.connections.grants import TokenGrant
    from gateway.authority.connections.model import UserConnection
    from gateway.authority.connections.server import AuthorizationServer
    from gateway.authority.model import LeaseRequest
    from gateway.wire.oauth_client import ClientProof


class SubjectProof(Struct, frozen=True):
    """A proof of a user for the issuer of its `token`. The token belongs to the client of `proof`."""

    token: str
    kind: Literal["id_token", "refresh_token", "access_token"]
    user: str
    proof: ClientProof
    connection: UserConnection | None = None

    def __repr__(self) -> str:
        return f"Subject({self.kind!r})"


class Subjects(Protocol):
    """A source of such proofs."""

    async def prepare(self, request: LeaseRequest) -> dict[str, str] | BrokerRefusal:
        """Return the part of a lease's handle that names the source."""
        ...

    async def obtain(self, request: LeaseRequest, prepared: dict[str, str]) -> SubjectProof | BrokerRefusal: ...

    async def look_again(self, subject: SubjectProof) -> BrokerRefusal | None:
        """Note the provider's `invalid_grant`. Return the refusal of the call, `None` if another cause is likelier."""
        ...


class CallerSubjects:
    """The access tokens of callers. Each goes to the token endpoint of its own issuer, and to no other place."""

    def __init__(self, issuer: str, proof: ClientProof) -> None:
        self._issuer = issuer
        self._proof = proof

    async def prepare(self, request: LeaseRequest) -> dict[str, str] | BrokerRefusal:
        return {} if self._find(request) else self._refuse()

    async def obtain(self, request: LeaseRequest, prepared: dict[str, str]) -> SubjectProof | BrokerRefusal:  # noqa: ARG002 - of the protocol
        token = self._find(request)
        if token is None:
            return self._refuse()
        principal = request.principal
        user = read_subject(token) or (principal.user.id if principal.user else principal.id)
        return SubjectProof(token, "access_token", user, self._proof)

    async def look_again(self, subject: SubjectProof) -> BrokerRefusal | None:  # noqa: ARG002 - of the protocol
        return None

    def _find(self, request: LeaseRequest) -> str | None:
        return request.subject_token if request.principal.issuer == self._issuer else None

    def _refuse(self) -> BrokerRefusal:
        return BrokerRefusal(reasons.CREDENTIAL_SUBJECT_ABSENT.reason(issuer=self._issuer), is_certain=True)


class LoginSubjects:
    """The connections of users to the identity provider. `shows`: the refresh token itself is the proof."""

    def __init__(
        self, users: ConnectedUsers, clock: Callable[[], float], *, shows: Literal["id_token", "refresh_token"]
    ) -> None:
        self._users = users
        self._clock = clock
        self._shows = shows

    async def prepare(self, request: LeaseRequest) -> dict[str, str] | BrokerRefusal:
        found = await self._users.find(request)
        return found if isinstance(found, BrokerRefusal) else {"connection": found.id}

    async def obtain(self, request: LeaseRequest, prepared: dict[str, str]) -> SubjectProof | BrokerRefusal:
        connection = await self._users.find(request)
        if isinstance(connection, BrokerRefusal):
            return connection
        if connection.id != prepared["connection"]:
            return CONNECT
        proof = await self._users.identify(connection)
        if isinstance(proof, BrokerRefusal):
            return proof
        if self._shows == "id_token":
            return await self._refresh(connection, proof, request)
        token = await self._users.token(connection)
        return (
            CONNECT if token is None else SubjectProof(token, "refresh_token", connection.owner.user, proof, connection)
        )

    async def look_again(self, subject: SubjectProof) -> BrokerRefusal | None:
        """Refresh the connection whose refresh token was shown. Providers deny a system with the same error as a dead token.

        An ID token is fresh, so its refusal has another reason.
        """
        if subject.kind != "refresh_token" or subject.connection is None:
            return None
        login = self._users.server.terms.login
        found = await self._users.refresh(subject.connection, subject.proof, "", login, narrowed=False)
        return found if isinstance(found, BrokerRefusal) else None

    async def _refresh(
        self, connection: UserConnection, proof: ClientProof, request: LeaseRequest
    ) -> SubjectProof | BrokerRefusal:
        server, user = self._users.server, connection.owner.user
        grant = await self._users.refresh(connection, proof, request.upstream, server.terms.login, narrowed=False)
        if isinstance(grant, BrokerRefusal):
            return grant
        if grant.id_token is None:
            return _NO_ID_TOKEN
        known = {"issuer": server.issuer, "client_id": proof.client_id, "user": user}
        if not proves_user(grant.id_token, **known, now=self._clock()):
            return _OTHER_USER
        return SubjectProof(grant.id_token, "id_token", user, proof, connection)


_NO_ID_TOKEN: Final = BrokerRefusal(reasons.CREDENTIAL_SUBJECT_UNPROVEN.reason(), is_certain=True)
_OTHER_USER: Final = BrokerRefusal(reasons.CREDENTIAL_SUBJECT_OTHER.reason(), is_certain=True)


CONNECT: Final = BrokerRefusal(reasons.CREDENTIAL_CONNECT_ABSENT.reason(), is_certain=True)
"""The refusal that only the user can lift, by a connection."""


class ConnectedUsers:
    """The connections at the server of one broker."""

    def __init__(self, server: AuthorizationServer, connections: Connections) -> None:
        self.server = server
        self._connections = connections

    async def find(self, request: LeaseRequest) -> UserConnection | BrokerRefusal:
        """Return the connection of a caller, with the scopes of its call. Raises `StoreError`."""
        owner = owner_of(request.principal)
        if owner is None:
            return _NO_USER
        connection = await self._connections.find(owner.key, self.server.name)
        if connection is None:
            return CONNECT
        missing = [name for name in request.scope.names if name not in connection.scopes]
        return _lacking(missing[0], self.server.issuer) if missing else connection

    async def is_in_use(self, connection: UserConnection) -> bool:
        """Return whether calls may use a connection still. Raises `StoreError`."""
        present = await self._connections.find(connection.owner.key, self.server.name)
        return present is not None and present.id == connection.id

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
        async with self._connections.refreshing(connection):
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
