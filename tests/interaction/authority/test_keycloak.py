"""Token exchange at a real Keycloak: the answer is checked, its end is proven, and no token of an agent goes on."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import httpx2
import pytest
import yaml

from gateway.authority.brokers.exchange import TokenExchangeBroker
from gateway.authority.brokers.token_checks import read_claims
from gateway.authority.model import LeaseRequest, Proof, Scope
from gateway.config.brokers import ExchangeBroker, ExchangeCredential
from gateway.wire.https_client import HttpsClient
from gateway.wire.oauth_client import OAuthClient
from tests.e2e.left_behind import check_all_ended
from tests.e2e.running import mortal_gateway
from tests.e2e.wire import Caller, call, entries, stateless, until, verified
from tests.gateway_process import ANYONE_ANYTHING, free_port, running_gateway
from tests.servers.echo import Recorder
from tests.servers.keycloak import SECRETS
from tests.unit.authority.brokers.asking import (
    UPSTREAM,
    issued,
    lease_of,
    lease_request,
    prepared,
    refused,
    values_shown,
)

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator
    from pathlib import Path

    from gateway.authority.model import BrokerRefusal, Issued
    from tests.servers.keycloak import Keycloak, Person
    from tests.servers.serving import ServerProcess

# The start of Keycloak counts for the first test.
pytestmark = pytest.mark.timeout(300)

_OPEN: list[TokenExchangeBroker] = []


@pytest.fixture(autouse=True)
async def _closing(monkeypatch: pytest.MonkeyPatch) -> AsyncGenerator[None]:  # pyright: ignore[reportUnusedFunction] - pytest uses it
    monkeypatch.setenv("INTROSPECT_SECRET", SECRETS["gw-introspect"])
    yield
    while _OPEN:
        await _OPEN.pop().aclose()


@pytest.fixture
def person(keycloak: Keycloak) -> Person:
    return keycloak.new_person()


def settings(keycloak: Keycloak, client: str = "gw") -> dict[str, Any]:
    """Return the broker as docs/lent-credentials.md shows it."""
    return {
        "kind": "exchange",
        "issuer": keycloak.issuer,
        "client_id": client,
        "client_auth": {"client_secret": "${GATEWAY_SECRET}"},
        "introspect_as": {"client_id": "gw-introspect", "client_auth": {"client_secret": "${INTROSPECT_SECRET}"}},
    }


def broker(
    keycloak: Keycloak, monkeypatch: pytest.MonkeyPatch, client: str = "gw", secret: str | None = None
) -> TokenExchangeBroker:
    monkeypatch.setenv("GATEWAY_SECRET", secret or SECRETS[client])
    parsed = ExchangeBroker.model_validate(settings(keycloak, client))
    upstream = ExchangeCredential.model_validate({"kind": "exchange", "broker": "idp", "audience": "tickets"})
    oauth = OAuthClient(keycloak.issuer, HttpsClient(seconds=10), time.time)
    _OPEN.append(TokenExchangeBroker("idp", parsed, {UPSTREAM: upstream}, oauth, time.time))
    return _OPEN[-1]


def request(keycloak: Keycloak, token: str, *scopes: str) -> LeaseRequest:
    return lease_request(issuer=keycloak.issuer, subject=token, scope=Scope(scopes or ("tickets.read",)))


async def ask(idp: TokenExchangeBroker, asked: LeaseRequest) -> Issued | BrokerRefusal:
    return await idp.issue(asked, prepared(await idp.prepare(asked)))


def claims_of(token: str) -> dict[str, Any]:
    return dict(read_claims(token) or {})


async def test_a_token_is_exchanged_and_its_end_is_proven(
    keycloak: Keycloak, person: Person, monkeypatch: pytest.MonkeyPatch
):
    subject = keycloak.token(person)
    idp, asked = broker(keycloak, monkeypatch), request(keycloak, subject)
    found = issued(await ask(idp, asked))
    value = found.credential.value
    claims = claims_of(value)

    assert (claims["sub"], claims["azp"], claims["scope"]) == (person.id, "gw", "tickets.read")
    assert sorted(claims["aud"]) == ["gw-introspect", "tickets"]
    assert keycloak.is_active(value)
    assert idp.revocable == "at_once"

    proof = await idp.end(lease_of(asked, found.handle), found.credential)

    assert isinstance(proof, Proof), proof
    assert proof.kind == "introspection"
    assert not keycloak.is_active(value)
    assert keycloak.is_active(subject, "gw"), "the agent's own token is not the gateway's to end"
    assert values_shown([value, subject, *SECRETS.values()], proof, found, found.handle, asked, idp) == []


async def test_a_logout_ends_the_exchanged_token_and_the_end_is_provable(
    keycloak: Keycloak, person: Person, monkeypatch: pytest.MonkeyPatch
):
    idp, asked = broker(keycloak, monkeypatch), request(keycloak, keycloak.token(person))
    found = issued(await ask(idp, asked))

    keycloak.admin("POST", f"corp/users/{person.id}/logout")

    assert not keycloak.is_active(found.credential.value)
    assert isinstance(await idp.end(lease_of(asked, found.handle), found.credential), Proof)
    refused(await ask(idp, asked), "credential/refused")


async def test_a_disabled_user_gets_nothing(keycloak: Keycloak, person: Person, monkeypatch: pytest.MonkeyPatch):
    idp, asked = broker(keycloak, monkeypatch), request(keycloak, keycloak.token(person))
    found = issued(await ask(idp, asked))

    keycloak.admin("PUT", f"corp/users/{person.id}", {"enabled": False})

    refused(await ask(idp, asked), "credential/refused")
    assert isinstance(await idp.end(lease_of(asked, found.handle), found.credential), Proof)


async def test_a_wrong_secret_is_refused_and_shown_nowhere(
    keycloak: Keycloak, person: Person, monkeypatch: pytest.MonkeyPatch
):
    subject, wrong = keycloak.token(person), "wrong-8f2c61b0aa47"
    idp = broker(keycloak, monkeypatch, secret=wrong)
    found = refused(await ask(idp, request(keycloak, subject)), "credential/refused")

    assert "invalid_client" in found.reason.message or "unauthorized_client" in found.reason.message
    assert values_shown([wrong, subject], found, idp) == []


async def test_a_token_that_is_not_for_the_gateway_is_not_exchanged(
    keycloak: Keycloak, person: Person, monkeypatch: pytest.MonkeyPatch
):
    asked = request(keycloak, keycloak.token(person, "stranger"))
    refused(await ask(broker(keycloak, monkeypatch), asked), "credential/refused")


async def test_a_scope_that_the_client_does_not_have_is_refused(
    keycloak: Keycloak, person: Person, monkeypatch: pytest.MonkeyPatch
):
    asked = request(keycloak, keycloak.token(person), "everything")
    refused(await ask(broker(keycloak, monkeypatch), asked), "credential/refused")


async def test_a_wider_token_is_revoked_and_refused(
    keycloak: Keycloak, person: Person, monkeypatch: pytest.MonkeyPatch
):
    idp = broker(keycloak, monkeypatch, "gw-wide")
    found = refused(await ask(idp, request(keycloak, keycloak.token(person))), "credential/wider")

    assert "scopes that were not asked for; it was revoked" in found.reason.message


async def test_an_end_may_be_asked_for_again(keycloak: Keycloak, person: Person, monkeypatch: pytest.MonkeyPatch):
    """The answer to the first question may get lost."""
    idp, asked = broker(keycloak, monkeypatch), request(keycloak, keycloak.token(person))
    found = issued(await ask(idp, asked))
    for _ in range(2):
        assert isinstance(await idp.end(lease_of(asked, found.handle), found.credential), Proof)


def configured(keycloak: Keycloak, echo: ServerProcess, folder: Path) -> str:
    (folder / "grants.yaml").write_text(ANYONE_ANYTHING, "utf-8")
    upstream = {
        "url": echo.mcp,
        "audience": "https://tickets.example",
        "environment": "test",
        "tools": {"*": {"effect": "read", "egress": False, "sensitivity": "internal"}},
        "credential": {
            "kind": "exchange",
            "broker": "idp",
            "audience": "tickets",
            "scopes": {"read": ["tickets.read"]},
        },
    }
    return yaml.safe_dump(
        {
            "identity": [{"kind": "jwt", "issuer": keycloak.issuer, "audience": "gw"}, {"kind": "development"}],
            "policy": {"grants": "grants.yaml", "engine": {"kind": "embedded", "deadline": "20s"}},
            "brokers": {"idp": settings(keycloak)},
            "upstreams": {"tickets": upstream},
        }
    )


def test_a_task_through_a_gateway_ends_with_a_proven_end_of_its_token(
    keycloak: Keycloak, person: Person, echo_server: ServerProcess, recorder: Recorder, tmp_path: Path
):
    own = keycloak.token(person)
    environment = {"GATEWAY_SECRET": SECRETS["gw"], "INTROSPECT_SECRET": SECRETS["gw-introspect"]}
    headers = {"authorization": f"Bearer {own}"}
    with running_gateway(configured(keycloak, echo_server, tmp_path), tmp_path, environment=environment) as gateway:
        asked = {"goal": "read tickets", "expires_in": 120}
        opened = httpx2.post(f"{gateway.origin}/tasks", json=asked, headers=headers).json()
        agent = Caller(gateway, "tickets", headers)
        answer = agent.ask(call("echo", stateless, text="by-exchange"), headers={"opagate-task": opened["token"]})
        assert answer.text == "by-exchange"
        requests = Recorder(echo_server.origin).requests()
        (value,) = {
            text.removeprefix("Bearer ")
            for found in requests
            if "by-exchange" in found["body"]
            for name, text in found["headers"]
            if name == "authorization"
        }
        claims = claims_of(value)
        assert ("tickets" in claims["aud"], claims["sub"], claims["azp"]) == (True, person.id, "gw")
        assert values_shown([own], requests) == [], "the agent's own token reached the upstream"
        assert keycloak.is_active(value)

        httpx2.post(f"{gateway.origin}/tasks/{opened['id']}/complete", headers=headers).raise_for_status()

        def events() -> list[dict[str, Any]]:
            return [entry for entry in entries(tmp_path, "lease") if entry["task"] == opened["id"]]

        until(lambda: "revoked" in [entry["event"] for entry in events()])
        assert not keycloak.is_active(value)
        assert [entry["event"] for entry in events()] == ["requested", "issued", "ending", "revoked"]
        assert (events()[-2]["cause"], events()[-1]["proof"]["kind"]) == ("task-completed", "introspection")
    check_all_ended(tmp_path, [own, value, *environment.values()], [answer])


def test_a_killed_gateway_has_its_token_revoked_after_the_restart(
    keycloak: Keycloak, person: Person, echo_server: ServerProcess, tmp_path: Path
):
    config = yaml.safe_load(configured(keycloak, echo_server, tmp_path)) | {"authority": {"leases": {"keep": "sealed"}}}
    environment, port = {"GATEWAY_SECRET": SECRETS["gw"], "INTROSPECT_SECRET": SECRETS["gw-introspect"]}, free_port()
    headers = {"authorization": f"Bearer {keycloak.token(person)}"}
    with mortal_gateway(yaml.safe_dump(config), tmp_path, port=port, environment=environment) as gateway:
        answer = Caller(gateway, "tickets", headers).ask(call("echo", stateless, text="before-the-kill"))
        assert answer.text == "before-the-kill"
        gateway.process.kill()
        gateway.process.wait(30)
    (value,) = {
        text.removeprefix("Bearer ")
        for found in Recorder(echo_server.origin).requests()
        if "before-the-kill" in found["body"]
        for name, text in found["headers"]
        if name == "authorization"
    }
    assert keycloak.is_active(value)
    assert values_shown([value], *written_in(tmp_path)) == []

    with mortal_gateway(yaml.safe_dump(config), tmp_path, port=port, environment=environment) as gateway:
        until(lambda: not keycloak.is_active(value))
        until(lambda: {entry["event"] for entry in ended(tmp_path)} >= {"revoked"})
        assert {entry["cause"] for entry in ended(tmp_path) if entry["event"] == "revoked"} == {"restart"}
        gateway.process.terminate()
        gateway.process.wait(30)
    assert values_shown([value], *written_in(tmp_path)) == []
    assert verified(tmp_path).ok


def ended(folder: Path) -> list[dict[str, Any]]:
    """Return the entries about leases of calls that have begun to end."""
    found = entries(folder, "lease")
    calls = {entry["id"] for entry in found if entry["event"] == "requested" and entry.get("decision")}
    return [entry for entry in found if entry["id"] in calls and "cause" in entry]


def written_in(folder: Path) -> list[str]:
    return [path.read_bytes().decode("latin-1") for path in folder.rglob("*") if path.is_file()]
