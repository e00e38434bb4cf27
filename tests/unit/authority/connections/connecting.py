"""Connections over a server and an identity provider on loopback, a journal in memory and a store on disk."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from gateway.authority.broker import Broker
from gateway.authority.brokers.user_oauth import UserConnectionBroker
from gateway.authority.connections.connections import Connections
from gateway.authority.connections.model import ConnectionLink, ConnectionOwner, UserConnection, owner_of
from gateway.authority.connections.office import ConnectionEnd, ConnectionOffice, Consent, SentAway
from gateway.authority.connections.server import Addresses, AuthorizationServer, ServerTerms
from gateway.authority.connections.store import ConnectionStore
from gateway.authority.model import LeaseRequest, Scope
from gateway.base.keys.key_ring import KeyRing
from gateway.base.store.engine import Engine
from gateway.base.store.records import SealedStore
from gateway.config.brokers import UserOAuthBroker
from gateway.config.connections import ConnectionLogin
from gateway.inspection.credentials.live_values import LiveValues
from gateway.model.caller import AuthMethod, Principal, User
from gateway.model.decision import Reason
from gateway.model.errors import JournalError
from gateway.surfaces.app.connections import OpenIdLogin
from gateway.wire.https_client import HttpsClient
from gateway.wire.oauth_client import OAuthClient
from tests.unit.authority.connections.server import FakeServer
from tests.unit.base.store.keeping import KEY, sealed_store
from tests.unit.live import live_values

BASE = "https://gateway.example"
RESOURCE = "https://crm.example/mcp"
SCOPES = ("crm.read", "crm.write")


@dataclass
class Connecting:
    """The connections of a gateway with the brokers `crm` and `other`. `idp` is where people log in, `at` the server."""

    folder: Path
    at: FakeServer
    idp: FakeServer
    settings: dict[str, Any] = field(default_factory=dict[str, Any])
    ahead: float = 0.0
    entries: list[dict[str, Any]] = field(default_factory=list[dict[str, Any]])
    is_journal_down: bool = False
    removed: list[UserConnection] = field(default_factory=list[UserConnection])
    opened: list[OAuthClient | OpenIdLogin] = field(default_factory=list["OAuthClient | OpenIdLogin"])
    live: LiveValues = field(default_factory=live_values)
    engine: Engine | None = None
    stores: list[SealedStore] = field(default_factory=list[SealedStore])

    def __post_init__(self) -> None:
        self.build()

    def build(self) -> None:
        """Build all parts, as a start of the gateway does."""
        given = {"kind": "user_oauth", "issuer": self.at.url, "client": {"id": "gw"}, "timeout": "2s"}
        given |= {"revoke": "introspect", **self.settings}
        parsed = UserOAuthBroker.model_validate(given)
        login = ConnectionLogin.model_validate({"issuer": self.idp.url, "client_id": "gw-login"})
        self.records = sealed_store(self.folder) if self.engine is None else SealedStore(self.engine, KeyRing(KEY))
        self.store = ConnectionStore(self.records, self.now)
        self.stores.append(self.records)
        self.connections = Connections(self.store, self._append, self.now, self.live)
        self.connections.watch(self.removed.append)
        self.servers = {name: self._server(name, parsed) for name in ("crm", "other")}
        self.login = OpenIdLogin(login, f"{BASE}/oauth/login", self.now)
        self.opened.append(self.login)
        self.office = ConnectionOffice(
            self.records, self.connections, self.servers, self.login, self._append, clock=self.now, link_life=600.0
        )
        self.broker: Broker = UserConnectionBroker(parsed, self.servers["crm"], self.connections, self.now)

    async def load(self, *, is_alone: bool = True) -> None:
        """Read the connections of the gateway before this one."""
        await self.connections.load({name: server.issuer for name, server in self.servers.items()}, is_alone=is_alone)

    def now(self) -> float:
        return time.time() + self.ahead

    def principal(self, user: str | None = "alice", agent: str = "agent-1") -> Principal:
        return Principal(agent, self.idp.url, AuthMethod.JWT, user=None if user is None else User(user))

    def owner(self, user: str = "alice", agent: str = "agent-1") -> ConnectionOwner:
        owner = owner_of(self.principal(user, agent))
        assert owner is not None
        return owner

    async def ask(self, user: str = "alice", broker: str = "crm", agent: str = "agent-1") -> ConnectionLink:
        """Return the link that an agent is given."""
        place = (broker, "crm", "https://crm.example")
        asked = await self.office.ask(self.owner(user, agent), place, session="", decision="d1")
        assert asked is not None
        return asked.link

    async def log_in(self, link: ConnectionLink, **changes: str | None) -> str:
        """Open a link and log in as the person at the identity provider. Returns the cookie."""
        sent = await self.office.open(link.id, None)
        assert isinstance(sent, SentAway), sent
        back = await self.office.finish_login(self.idp.authorize(sent.url, **changes), sent.cookie)
        assert isinstance(back, SentAway), back
        assert back.url == f"/connect/{link.id}"
        assert back.cookie not in {None, sent.cookie}
        return back.cookie or ""

    async def agree(self, link: ConnectionLink, cookie: str) -> str:
        """Agree on the page. Returns the address of the authorization server."""
        shown = await self.office.open(link.id, cookie)
        assert isinstance(shown, Consent), shown
        sent = await self.office.answer(link.id, cookie, shown.csrf, "allow")
        assert isinstance(sent, SentAway), sent
        return sent.url

    async def connect(self, user: str = "alice", agent: str = "agent-1") -> UserConnection:
        """Go all the way."""
        link = await self.ask(user, agent=agent)
        self.idp.person = user
        cookie = await self.log_in(link)
        told = await self.office.finish("crm", self.server().authorize(await self.agree(link, cookie)), cookie)
        assert isinstance(told, ConnectionEnd), told
        found = await self.connections.find(self.owner(user, agent).key, "crm")
        assert found is not None
        return found

    def server(self) -> FakeServer:
        """Return the server that users connect to."""
        return self.at

    def request(self, number: int = 1, *, scope: tuple[str, ...] = ("crm.read",), **who: Any) -> LeaseRequest:
        now = self.now()
        return LeaseRequest(
            id=f"lease-{number}",
            task=f"task-{number}",
            principal=self.principal(**who),
            upstream="crm",
            audience="https://crm.example",
            scope=Scope(scope),
            asked=now,
            expires=now + 60,
        )

    def events(self) -> list[str]:
        return [entry["event"] for entry in self.entries]

    async def aclose(self) -> None:
        for client in self.opened:
            await client.aclose()
        for store in self.stores:
            store.close()

    async def _append(self, kind: str, fields: Any) -> None:
        if self.is_journal_down:
            raise JournalError("the disk is full", "make room")
        assert not fields.keys() & {"kind", "seq", "time"}
        self.entries.append({"kind": kind, **fields})

    def client(self, issuer: str) -> OAuthClient:
        client = OAuthClient(issuer, HttpsClient(seconds=5), self.now)
        self.opened.append(client)
        return client

    def _server(self, name: str, settings: UserOAuthBroker) -> AuthorizationServer:
        addresses = Addresses(f"{BASE}/oauth/callback/{name}", f"{BASE}/.well-known/oauth-client/{name}")
        client = self.client(self.at.url)
        audiences = {"crm": (RESOURCE,)} if settings.names_audience else {}
        terms = ServerTerms(settings.issuer, settings.client, SCOPES, settings.revoke, {"crm": RESOURCE}, audiences)
        return AuthorizationServer(name, terms, client, self.store, addresses=addresses, clock=self.now, live=self.live)


def refused(outcome: object, code: str) -> Reason:
    assert isinstance(outcome, Reason), outcome
    assert outcome.code == code, outcome
    assert outcome.remedy
    return outcome
