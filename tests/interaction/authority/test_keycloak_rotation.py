"""Keys and secrets that are rotated at a real Keycloak while leases are open: nothing lives on, and nothing is believed too soon."""

from __future__ import annotations

import base64
import json
import time
import uuid
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import httpx2
import pytest
import yaml

from gateway.authority.brokers.exchange import TokenExchangeBroker
from gateway.authority.model import NotEnded, Proof, Scope
from gateway.config.brokers import ExchangeBroker, ExchangeCredential
from gateway.wire.https_client import HttpsClient
from gateway.wire.oauth_client import OAuthClient
from tests.e2e.left_behind import check_all_ended
from tests.e2e.running import mortal_gateway
from tests.e2e.wire import Answer, Caller, call, entries, stateless, until
from tests.gateway_process import ANYONE_ANYTHING
from tests.servers.echo import Recorder
from tests.servers.keycloak import PASSWORD, SECRETS
from tests.unit.authority.brokers.asking import UPSTREAM, issued, lease_of, lease_request, prepared, refused

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable
    from pathlib import Path

    from gateway.authority.model import BrokerRefusal, Issued, LeaseRequest
    from tests.gateway_process import GatewayProcess
    from tests.servers.keycloak import Keycloak, Person
    from tests.servers.serving import ServerProcess

pytestmark = pytest.mark.timeout(300)


@pytest.fixture
def person(keycloak: Keycloak) -> Person:
    return keycloak.new_person()


@dataclass
class OwnClient:
    """A client of the realm for one test, with the rights of `gw`, and an agent whose tokens it may exchange."""

    keycloak: Keycloak
    name: str
    secret: str
    id: str

    def rotate(self) -> str:
        """Make a new secret, and return it. The old one is void."""
        self.secret = str(self.keycloak.admin("POST", f"corp/clients/{self.id}/client-secret").json()["value"])
        return self.secret

    def token_of(self, person: Person) -> str:
        """Return an access token of a person's agent that this client may exchange."""
        form = {"grant_type": "password", "username": person.name, "password": PASSWORD}
        url = f"{self.keycloak.issuer}/protocol/openid-connect/token"
        answer = httpx2.post(url, data=form, auth=(f"agent-{self.name}", self.secret_of_agent), timeout=300)
        assert answer.status_code == 200, answer.text
        return str(answer.json()["access_token"])

    @property
    def secret_of_agent(self) -> str:
        return f"agent-{self.name}-5f1c0c7e9a2b4d68"


@pytest.fixture
def client(keycloak: Keycloak, monkeypatch: pytest.MonkeyPatch) -> OwnClient:
    name = f"gw-{uuid.uuid4().hex[:12]}"
    basic: dict[str, Any] = {"standardFlowEnabled": False, "defaultClientScopes": ["basic"]}
    audience = {
        "name": "audience",
        "protocol": "openid-connect",
        "protocolMapper": "oidc-audience-mapper",
        "config": {"included.client.audience": name, "access.token.claim": "true"},
    }
    made = keycloak.admin(
        "POST",
        "corp/clients",
        {
            **basic,
            "clientId": name,
            "secret": f"{name}-first",
            "optionalClientScopes": ["tickets.read"],
            "attributes": {"standard.token.exchange.enabled": "true"},
        },
    )
    found = OwnClient(keycloak, name, f"{name}-first", made.headers["location"].rpartition("/")[2])
    agent = {
        **basic,
        "clientId": f"agent-{name}",
        "secret": found.secret_of_agent,
        "directAccessGrantsEnabled": True,
        "protocolMappers": [audience],
    }
    keycloak.admin("POST", "corp/clients", agent)
    monkeypatch.setenv("CLIENT_SECRET", found.secret)
    monkeypatch.setenv("INTROSPECT_SECRET", SECRETS["gw-introspect"])
    return found


@pytest.fixture
async def make(
    keycloak: Keycloak, client: OwnClient, monkeypatch: pytest.MonkeyPatch
) -> AsyncGenerator[Callable[[], TokenExchangeBroker]]:
    """Make brokers with the secret that the client has now."""
    opened: list[TokenExchangeBroker] = []

    def build() -> TokenExchangeBroker:
        monkeypatch.setenv("CLIENT_SECRET", client.secret)
        parsed = ExchangeBroker.model_validate(settings(keycloak, client))
        upstream = ExchangeCredential.model_validate({"kind": "exchange", "broker": "idp", "audience": "tickets"})
        oauth = OAuthClient(keycloak.issuer, HttpsClient(seconds=20), time.time)
        opened.append(TokenExchangeBroker("idp", parsed, {UPSTREAM: upstream}, oauth, time.time))
        return opened[-1]

    yield build
    for each in opened:
        await each.aclose()


def settings(keycloak: Keycloak, client: OwnClient) -> dict[str, Any]:
    return {
        "kind": "exchange",
        "issuer": keycloak.issuer,
        "client_id": client.name,
        "client_auth": {"client_secret": "${CLIENT_SECRET}"},
        "introspect_as": {"client_id": "gw-introspect", "client_auth": {"client_secret": "${INTROSPECT_SECRET}"}},
    }


async def ask(broker: TokenExchangeBroker, asked: LeaseRequest) -> Issued | BrokerRefusal:
    return await broker.issue(asked, prepared(await broker.prepare(asked)))


async def test_a_secret_that_was_rotated_ends_no_lease_until_the_gateway_has_the_new_one(
    keycloak: Keycloak, client: OwnClient, person: Person, make: Callable[[], TokenExchangeBroker]
):
    before = make()
    asked = lease_request(issuer=keycloak.issuer, subject=client.token_of(person), scope=Scope(("tickets.read",)))
    found = issued(await ask(before, asked))
    client.rotate()

    outcome = await before.end(lease_of(asked, found.handle), found.credential)

    assert isinstance(outcome, NotEnded), "the revocation was refused, and the token lives on"
    assert keycloak.is_active(found.credential.value)
    refused(await ask(before, asked), "credential/refused")
    after = make()
    assert isinstance(await after.end(lease_of(asked, found.handle), found.credential), Proof)
    assert not keycloak.is_active(found.credential.value)
    issued(await ask(after, asked))


def test_rotated_keys_of_the_realm_stop_neither_calls_nor_ends(
    keycloak: Keycloak,
    client: OwnClient,
    person: Person,
    echo_server: ServerProcess,
    tmp_path: Path,
):
    answers: list[Answer] = []
    with mortal_gateway(configured(keycloak, client, echo_server, tmp_path), tmp_path) as gateway:
        old = client.token_of(person)
        answers.append(ask_echo(gateway, old, "before-the-rotation"))
        rotate_keys(keycloak)
        new = client.token_of(person)
        assert header_of(old)["kid"] != header_of(new)["kid"]

        def is_served() -> bool:
            answers.append(ask_echo(gateway, new, "after-the-rotation"))
            return answers[-1].status == 200

        until(is_served)
        answers.append(ask_echo(gateway, old, "with-the-old-key"))
        assert [answers[0].text, answers[-1].text] == ["before-the-rotation", "with-the-old-key"]
        gateway.process.terminate()
        assert gateway.process.wait(60) == 0

    proofs = [entry["proof"]["kind"] for entry in entries(tmp_path, "lease") if entry["event"] == "revoked"]
    assert proofs
    assert set(proofs) <= {"introspection"}
    values = {value for text in ("before-the-rotation", "after-the-rotation") for value in carried(echo_server, text)}
    assert not [value for value in values if keycloak.is_active(value)]
    check_all_ended(tmp_path, {*values, old, new, client.secret}, answers)


def configured(keycloak: Keycloak, client: OwnClient, echo: ServerProcess, folder: Path) -> str:
    (folder / "grants.yaml").write_text(ANYONE_ANYTHING, "utf-8")
    scopes = {"read": ["tickets.read"]}
    upstream = {
        "url": echo.mcp,
        "audience": "https://tickets.example",
        "environment": "test",
        "tools": {"*": {"effect": "read", "egress": False, "sensitivity": "internal"}},
        "credential": {"kind": "exchange", "broker": "idp", "audience": "tickets", "scopes": scopes},
    }
    return yaml.safe_dump(
        {
            "identity": [
                {"kind": "jwt", "issuer": keycloak.issuer, "audience": client.name},
                {"kind": "development"},
            ],
            "policy": {"grants": "grants.yaml", "engine": {"kind": "embedded", "deadline": "20s"}},
            "brokers": {"idp": settings(keycloak, client)},
            "upstreams": {"tickets": upstream},
        }
    )


def ask_echo(gateway: GatewayProcess, token: str, text: str) -> Answer:
    agent = Caller(gateway, "tickets", {"authorization": f"Bearer {token}"})
    return agent.ask(call("echo", stateless, text=text))


def carried(echo: ServerProcess, text: str) -> set[str]:
    """Return the tokens that came with the requests with this text."""
    return {
        value.removeprefix("Bearer ")
        for record in Recorder(echo.origin).requests()
        if text in record["body"]
        for name, value in record["headers"]
        if name == "authorization"
    }


def rotate_keys(keycloak: Keycloak) -> None:
    """Add a key with which the realm signs from now on. Its old keys stay in its key set."""
    config = {"priority": [str(int(time.time()))], "enabled": ["true"], "active": ["true"], "algorithm": ["RS256"]}
    fields = {"name": uuid.uuid4().hex, "providerId": "rsa-generated", "providerType": "org.keycloak.keys.KeyProvider"}
    keycloak.admin("POST", "corp/components", {**fields, "config": config})


def header_of(token: str) -> dict[str, Any]:
    head = token.split(".", maxsplit=1)[0]
    return dict(json.loads(base64.urlsafe_b64decode(head + "=" * (-len(head) % 4))))
