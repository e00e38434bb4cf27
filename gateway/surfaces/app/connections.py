"""The issuers of credentials, made from the configuration: the brokers, and users' own connections with their office."""

from __future__ import annotations

import asyncio
import os
from contextlib import AsyncExitStack
from functools import partial
from typing import TYPE_CHECKING, Final, NamedTuple, TypeVar

import msgspec
import structlog

from gateway.authority.approvals.seal import TicketSeal
from gateway.authority.brokers.aws_sts import BotocoreSigner, RoleSessionBroker
from gateway.authority.brokers.exchange import TokenExchangeBroker
from gateway.authority.brokers.id_jag import PRESENTED, AssertionBroker, PresentedAssertions
from gateway.authority.brokers.openbao import DynamicSecretBroker, Login
from gateway.authority.brokers.subjects import CallerSubjects, ConnectedUsers, LoginSubjects
from gateway.authority.brokers.user_oauth import UserConnectionBroker
from gateway.authority.connections.browsers import LoggedInPerson
from gateway.authority.connections.connections import Connections
from gateway.authority.connections.office import ConnectionOffice
from gateway.authority.connections.operators import add_operations
from gateway.authority.connections.server import Addresses, AuthorizationServer, ServerTerms
from gateway.authority.connections.store import ConnectionStore
from gateway.authority.model import NotEnded
from gateway.authority.stops.model import Parties, refuse
from gateway.base.concurrency.background import Job
from gateway.base.keys.key_ring import derive_ring
from gateway.calls.pipeline.connecting import UserConnections
from gateway.calls.pipeline.people import CompletionNotices
from gateway.config.brokers import (
    AwsStsBroker,
    AwsStsCredential,
    BrokeredCredential,
    ExchangeBroker,
    ExchangeCredential,
    OpenBaoBroker,
    OpenBaoCredential,
    UserOAuthBroker,
    UserOAuthCredential,
)
from gateway.config.connections import callback_of, server_of
from gateway.identity.id_token import LoginFault
from gateway.identity.login import BegunLogin, LoginClient, LoginProvider
from gateway.model import reasons
from gateway.model.decision import Reason
from gateway.model.errors import GatewayError
from gateway.wire.https_client import HttpsClient
from gateway.wire.oauth_client import ClientProof, OAuthClient

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from gateway.authority.broker import Broker
    from gateway.authority.brokers.subjects import Subjects
    from gateway.authority.connections.model import ConnectionLink, UserConnection
    from gateway.authority.lending import Authority
    from gateway.authority.stops.model import StopRegister
    from gateway.base.store.engine import Claim
    from gateway.calls.pipeline.people import People
    from gateway.config import Configuration
    from gateway.config.brokers import BrokerSettings, IdJag
    from gateway.config.connections import ConnectionLogin
    from gateway.inspection.credentials.live_values import LiveValues
    from gateway.surfaces.app.people import DeskParts


Credential = TypeVar("Credential", bound=ExchangeCredential | OpenBaoCredential | AwsStsCredential)


def build_brokers(
    configuration: Configuration, clock: Callable[[], float], presented: PresentedAssertions
) -> dict[str, Broker]:
    """Return each configured broker by its name, without those of users' connections. Nothing is connected; close each with `aclose`.

    Raises `ConfigurationError` for a key or for authorities that cannot be used.
    """
    return {
        name: _build(name, settings, configuration, clock, presented=presented)
        for name, settings in configuration.brokers.items()
        if isinstance(settings, ExchangeBroker | OpenBaoBroker | AwsStsBroker) and server_of(settings) is None
    }


def build_assertion_broker(
    name: str,
    settings: ExchangeBroker,
    configuration: Configuration,
    *,
    idp: OAuthClient,
    subjects: Subjects,
    presented: PresentedAssertions,
    clock: Callable[[], float],
) -> AssertionBroker:
    """Return a broker whose tokens an identity provider's assertions obtain. `idp` is its client there."""
    client = OAuthClient(settings.issuer, _http(settings), clock)
    upstreams = _credentials(configuration, name, ExchangeCredential)
    return AssertionBroker(
        name, settings, upstreams, idp=idp, client=client, subjects=subjects, presented=presented, clock=clock
    )


def _build(
    name: str,
    settings: ExchangeBroker | OpenBaoBroker | AwsStsBroker,
    configuration: Configuration,
    clock: Callable[[], float],
    *,
    presented: PresentedAssertions,
) -> Broker:
    if isinstance(settings, ExchangeBroker) and settings.id_jag is not None:
        return _build_of_callers(name, settings, settings.id_jag, configuration, clock, presented=presented)
    if isinstance(settings, ExchangeBroker):
        client = OAuthClient(settings.issuer, _http(settings), clock)
        upstreams = _credentials(configuration, name, ExchangeCredential)
        return TokenExchangeBroker(name, settings, upstreams, client, clock)
    if isinstance(settings, AwsStsBroker):
        sessions = _credentials(configuration, name, AwsStsCredential)
        signer = BotocoreSigner(settings.region)
        return RoleSessionBroker(name, settings, sessions, http=_http(settings), signer=signer, clock=clock)
    http = _http(settings, settings.url.removeprefix("unix://") if settings.url.startswith("unix://") else None)
    secrets = _credentials(configuration, name, OpenBaoCredential)
    return DynamicSecretBroker(name, settings, secrets, http=http, login=Login(settings, http, clock), clock=clock)


def _build_of_callers(
    name: str,
    settings: ExchangeBroker,
    given: IdJag,
    configuration: Configuration,
    clock: Callable[[], float],
    *,
    presented: PresentedAssertions,
) -> AssertionBroker:
    """Return the broker that shows an identity provider the access tokens of callers."""
    proof = ClientProof(given.client.id or "", given.client.auth, clock)
    idp, subjects = OAuthClient(given.idp, _http(settings), clock), CallerSubjects(given.idp, proof)
    return build_assertion_broker(
        name, settings, configuration, idp=idp, subjects=subjects, presented=presented, clock=clock
    )


def _http(settings: BrokerSettings, socket: str | None = None) -> HttpsClient:
    return HttpsClient(seconds=settings.timeout.total_seconds(), ca=settings.ca, socket=socket)


def _credentials(configuration: Configuration, broker: str, kind: type[Credential]) -> dict[str, Credential]:
    """Return the upstreams of a broker, with their credentials."""
    return {
        name: upstream.credential
        for name, upstream in configuration.upstreams.items()
        if isinstance(upstream.credential, kind) and upstream.credential.broker == broker
    }


log = structlog.get_logger("gateway")

_LOOK_SECONDS: Final = 5.0
"""Between two questions for the end of removed connections."""
_FOLLOW_SECONDS: Final = 0.5
"""Between two looks for links that other gateways closed."""


class ConnectionParts(NamedTuple):
    """The connections, their way for people, and the broker of each server."""

    office: ConnectionOffice
    brokers: dict[str, Broker]


async def open_connections(
    stack: AsyncExitStack, parts: DeskParts, live: LiveValues, stops: StopRegister
) -> ConnectionParts | None:
    """Return the connections until the stack ends, `None` without a broker that users connect to.

    Raises `ConfigurationError` and `StoreError`.
    """
    configuration, settings = parts.configuration, parts.configuration.connections
    given = {
        name: each
        for name, each in configuration.brokers.items()
        if isinstance(each, UserOAuthBroker | ExchangeBroker) and server_of(each) is not None
    }
    if settings is None or not given:
        return None
    store = ConnectionStore(parts.store, parts.clock)
    connections = Connections(store, parts.journal.append, parts.clock, live)
    clients = {name: _client(each, parts.clock) for name, each in given.items()}
    servers = {
        name: AuthorizationServer(
            name,
            _terms(name, each, configuration),
            clients[name],
            store,
            addresses=_addresses(configuration.base_url, name),
            clock=parts.clock,
            live=live,
        )
        for name, each in given.items()
    }
    is_alone = partial(_is_alone, parts.store.claim)
    await connections.load({name: server.issuer for name, server in servers.items()}, is_alone=await is_alone())
    login = OpenIdLogin(settings.login, f"{configuration.base_url}/oauth/login", parts.clock)
    stack.push_async_callback(login.aclose)
    office = ConnectionOffice(
        parts.store,
        connections,
        servers,
        login,
        parts.journal.append,
        clock=parts.clock,
        link_life=settings.link.total_seconds(),
        find_stop=partial(_find_stop, stops),
    )
    await office.load()
    if parts.store.claim is not None:
        _follow_links(stack, office)
    _end_removed(stack, connections, servers, is_alone)
    add_operations(parts.control, connections)
    brokers: dict[str, Broker] = {}
    for name, each in given.items():
        brokers[name] = _broker(each, servers[name], clients[name], connections, parts)
    return ConnectionParts(office, brokers)


def _find_stop(stops: StopRegister, link: ConnectionLink) -> Reason | None:
    """Return the reason against a connection for an agent or a user that an operator has stopped."""
    owner = link.owner
    agents = tuple((name, owner.issuer) for name in (owner.agent, *owner.through))
    stop = stops.find_for(Parties(agents, (owner.user, owner.issuer)), link.upstream)
    return None if stop is None else refuse(stop).reason


def build_user_connections(
    parts: DeskParts, authority: Authority | None, people: People | None
) -> UserConnections | None:
    """Return the way of calls to users without a connection, `None` without users' connections."""
    office, settings = None if authority is None else authority.office, parts.configuration.connections
    if office is None or settings is None:
        return None
    # A call may wait for people and for its user, with one ticket and one stream of notices.
    notices = CompletionNotices(None) if people is None else people.notices
    office.watch(notices.note_link)
    tickets = (
        TicketSeal(derive_ring(parts.keys.sessions, "approvals"), os.urandom) if people is None else people.tickets
    )
    page_url, hold = f"{parts.configuration.base_url}/connect", settings.hold.total_seconds()
    return UserConnections(office, tickets, page_url, hold, notices)


def _client(settings: UserOAuthBroker | ExchangeBroker, clock: Callable[[], float]) -> OAuthClient:
    server = server_of(settings)
    http = HttpsClient(seconds=settings.timeout.total_seconds(), ca=settings.ca)
    return OAuthClient(settings.issuer if server is None else server.issuer, http, clock)


def _addresses(base: str, name: str) -> Addresses:
    return Addresses(callback_of(base, name), f"{base}/.well-known/oauth-client/{name}")


def _terms(name: str, settings: UserOAuthBroker | ExchangeBroker, configuration: Configuration) -> ServerTerms:
    """Return the terms of the server that users of a broker connect to."""
    resources: dict[str, str] = {}
    audiences: dict[str, tuple[str, ...]] = {}
    scopes = [] if isinstance(settings, ExchangeBroker) else list(settings.scopes)
    for upstream, each in configuration.upstreams.items():
        credential = each.credential
        if not isinstance(credential, BrokeredCredential) or credential.broker != name:
            continue
        scopes += [scope for names in credential.scopes.values() for scope in names]
        if isinstance(credential, UserOAuthCredential):
            resources[upstream] = credential.resource or each.url or each.audience
            audiences[upstream] = credential.audiences or (resources[upstream],)
    named = tuple(dict.fromkeys(scopes))
    if isinstance(settings, UserOAuthBroker):
        checked = audiences if settings.names_audience else {}
        return ServerTerms(settings.issuer, settings.client, named, settings.revoke, resources, checked)
    given = settings.id_jag
    assert given is not None  # noqa: S101 - brokers without it have no server that users connect to
    return ServerTerms(given.idp, given.client, named, login=given.scopes)


def _broker(
    settings: UserOAuthBroker | ExchangeBroker,
    server: AuthorizationServer,
    client: OAuthClient,
    connections: Connections,
    parts: DeskParts,
) -> Broker:
    if isinstance(settings, UserOAuthBroker):
        return UserConnectionBroker(settings, server, connections, parts.clock)
    shows = "refresh_token" if settings.id_jag and settings.id_jag.subject == "refresh_token" else "id_token"
    subjects = LoginSubjects(ConnectedUsers(server, connections), parts.clock, shows=shows)
    presented = PresentedAssertions(parts.store.of(PRESENTED))
    return build_assertion_broker(
        server.name,
        settings,
        parts.configuration,
        idp=client,
        subjects=subjects,
        presented=presented,
        clock=parts.clock,
    )


class OpenIdLogin:
    """The login of people at the provider of the callers' tokens. Only the person counts: no token of the login is kept."""

    def __init__(self, settings: ConnectionLogin, redirect_uri: str, clock: Callable[[], float]) -> None:
        secret = None if settings.client_secret is None else settings.client_secret.get_secret_value()
        client = LoginClient(settings.issuer, settings.client_id, secret, redirect_uri)
        self.issuer = settings.issuer
        self._provider = LoginProvider(client, clock=clock)

    async def begin(self) -> tuple[str, str]:
        """Return the address for the browser, and the begun login as text. Raises `IdentityUnavailable`."""
        url, begun = await self._provider.begin()
        return url, msgspec.json.encode(begun).decode()

    async def finish(self, begun: str, query: str) -> LoggedInPerson | Reason:
        """Return the person proven by the provider's answer. Raises `IdentityUnavailable`."""
        found = await self._provider.finish(msgspec.json.decode(begun, type=BegunLogin), query)
        if isinstance(found, LoginFault):
            return reasons.CONNECTION_LOGIN.reason(problem=found.detail)
        return LoggedInPerson(found.issuer, found.subject)

    async def aclose(self) -> None:
        await self._provider.aclose()


async def _is_alone(claim: Claim | None) -> bool:
    """Return whether no other gateway uses the records. Raises `StoreError`."""
    return claim is None or await claim.list_living() <= {claim.id}


def _follow_links(stack: AsyncExitStack, office: ConnectionOffice) -> None:
    """Hear of links that other gateways close, again and again until the stack ends."""

    async def look() -> None:
        try:
            await office.look()
        except GatewayError as error:
            log.warning("connection.unfollowed", problem=error.message)
        await asyncio.sleep(_FOLLOW_SECONDS)

    stack.push_async_callback(Job.begin_repeating(look, "links of other gateways").stop)


def _end_removed(
    stack: AsyncExitStack,
    connections: Connections,
    servers: dict[str, AuthorizationServer],
    is_alone: Callable[[], Awaitable[bool]],
) -> None:
    """End the refresh tokens of removed connections at their servers, again and again until confirmed."""

    async def give_up(problem: str) -> NotEnded | str:
        """Leave a token that only an earlier configuration could end to other gateways, if there are any."""
        return problem if await is_alone() else NotEnded(problem)

    async def revoke(connection: UserConnection, token: str) -> NotEnded | str | None:
        server = servers.get(connection.broker)
        if server is None or server.issuer != connection.issuer:
            return await give_up("its broker is configured no more")
        proof = await server.identify()
        if isinstance(proof, Reason):
            return NotEnded(proof.message)
        if proof.client_id != connection.client_id:
            return await give_up("the gateway is another client of the server by now")
        return await server.tokens.revoke(token, proof, "refresh_token")

    async def look() -> None:
        try:
            await connections.end_removed(revoke)
        except GatewayError as error:
            log.warning("connection.unended", problem=error.message)
        await asyncio.sleep(_LOOK_SECONDS)

    stack.push_async_callback(Job.begin_repeating(look, "connections").stop)
