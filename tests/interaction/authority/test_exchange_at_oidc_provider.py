"""Token exchange at npm `oidc-provider`, whose signed tokens nobody can revoke, and whose opaque tokens end with a proof."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from gateway.authority.brokers.exchange import GRANT, TokenExchangeBroker
from gateway.authority.brokers.token_checks import read_claims
from gateway.authority.model import LeaseRequest, NotEnded, Proof, Scope
from gateway.config.brokers import ExchangeBroker, ExchangeCredential
from gateway.surfaces.cli.control_client import connect_to_gateway
from gateway.wire.https_client import HttpsClient
from gateway.wire.oauth_client import OAuthClient
from tests.e2e.wire import Caller, call, until, verified
from tests.gateway_process import ANYONE_ANYTHING, gateway_process
from tests.servers.echo import Recorder
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
    from tests.interaction.identity.server import OAuthServer
    from tests.servers.serving import ServerProcess

RESOURCE = "https://echo.example"


@pytest.fixture
async def settings(provider: OAuthServer, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """Return the settings of a broker whose client is registered at the server."""
    client_id, secret = await provider.register("https://gateway.example/unused", GRANT, "authorization_code")
    monkeypatch.setenv("GATEWAY_SECRET", secret)
    proof = {"client_secret": "${GATEWAY_SECRET}"}
    return {"kind": "exchange", "issuer": provider.issuer, "client_id": client_id, "client_auth": proof}


@pytest.fixture
async def brokers(provider: OAuthServer, settings: dict[str, Any]) -> AsyncGenerator[dict[str, TokenExchangeBroker]]:
    """Give the broker of a resource with signed tokens, `jwt`, and of a resource with opaque tokens, `opaque`."""
    made: dict[str, TokenExchangeBroker] = {}
    for name in ("jwt", "opaque"):
        given = {"kind": "exchange", "broker": "idp", "resource": f"{RESOURCE}/{name}"}
        upstreams = {UPSTREAM: ExchangeCredential.model_validate(given)}
        client = OAuthClient(provider.issuer, HttpsClient(seconds=30), time.time)
        made[name] = TokenExchangeBroker("idp", ExchangeBroker.model_validate(settings), upstreams, client, time.time)
    yield made
    for broker in made.values():
        await broker.aclose()


def written_in(folder: Path) -> list[str]:
    return [path.read_bytes().decode("latin-1") for path in folder.rglob("*") if path.is_file()]


async def request(provider: OAuthServer, audience: str, **claims: Any) -> LeaseRequest:
    now = int(time.time())
    given = {
        "iss": provider.issuer,
        "sub": "alice",
        "aud": audience,
        "iat": now,
        "exp": now + 600,
        "jti": "a1",
        **claims,
    }
    token = await provider.sign(given)
    return lease_request(issuer=provider.issuer, subject=token, scope=Scope(("mcp:call",)), seconds=120.0)


async def ask(broker: TokenExchangeBroker, asked: LeaseRequest) -> Issued | BrokerRefusal:
    return await broker.issue(asked, prepared(await broker.prepare(asked)))


async def test_a_signed_token_that_nobody_can_revoke_ends_after_its_time(
    provider: OAuthServer, brokers: dict[str, TokenExchangeBroker], settings: dict[str, Any]
):
    broker, asked = brokers["jwt"], await request(provider, settings["client_id"])
    found = issued(await ask(broker, asked))

    claims = read_claims(found.credential.value)
    assert claims is not None
    assert (claims["sub"], claims["aud"], claims["scope"]) == ("alice", f"{RESOURCE}/jwt", "mcp:call")
    assert (broker.revocable, found.expires <= asked.asked + 301) == ("after_ttl", True)
    left = await broker.end(lease_of(asked, found.handle), found.credential)
    assert isinstance(left, NotEnded)
    assert (left.waits, "seen" in found.handle) == (True, False)


async def test_an_opaque_token_ends_at_once_with_a_proof(
    provider: OAuthServer, brokers: dict[str, TokenExchangeBroker], settings: dict[str, Any]
):
    broker, asked = brokers["opaque"], await request(provider, settings["client_id"])
    found = issued(await ask(broker, asked))

    assert broker.revocable == "at_once"
    proof = await broker.end(lease_of(asked, found.handle), found.credential)
    assert isinstance(proof, Proof)
    assert proof.kind == "introspection"


async def test_a_token_that_nobody_can_revoke_may_not_live_longer_than_five_minutes(
    provider: OAuthServer, brokers: dict[str, TokenExchangeBroker], settings: dict[str, Any]
):
    await provider.live(900)
    asked = await request(provider, settings["client_id"])
    found = refused(await ask(brokers["jwt"], asked), "credential/wider")
    assert "lives longer than permitted" in found.reason.message


@pytest.mark.parametrize("claims", [{"aud": "another-client"}, {"exp": 1}])
async def test_a_token_of_the_caller_that_the_server_does_not_take_lends_nothing(
    provider: OAuthServer, brokers: dict[str, TokenExchangeBroker], settings: dict[str, Any], claims: dict[str, Any]
):
    asked = await request(provider, settings["client_id"], **claims)
    refused(await ask(brokers["jwt"], asked), "credential/refused")


@pytest.mark.parametrize("seconds", [300, 60])
async def test_a_lease_of_a_gateway_waits_for_the_time_of_its_token_or_refuses_a_longer_one(
    provider: OAuthServer, settings: dict[str, Any], echo_server: ServerProcess, tmp_path: Path, seconds: int
):
    (tmp_path / "grants.yaml").write_text(ANYONE_ANYTHING, "utf-8")
    credential = {"kind": "exchange", "broker": "idp", "resource": f"{RESOURCE}/jwt", "scopes": {"read": ["mcp:call"]}}
    tools = {"*": {"effect": "read", "egress": False, "sensitivity": "internal"}}
    echo = {
        "url": echo_server.mcp,
        "audience": RESOURCE,
        "environment": "test",
        "tools": tools,
        "credential": credential,
    }
    config = {
        "identity": [
            {"kind": "jwt", "issuer": provider.issuer, "audience": settings["client_id"]},
            {"kind": "development"},
        ],
        "policy": {"grants": "grants.yaml", "engine": {"kind": "embedded", "deadline": "20s"}},
        "authority": {"ttl": {"default": f"{seconds}s"}},
        "brokers": {"idp": settings},
        "upstreams": {"echo": echo},
    }
    asked = await request(provider, settings["client_id"], client_id="agent-1")
    async with gateway_process(yaml.safe_dump(config), tmp_path) as gateway:
        caller = Caller(gateway, "echo", {"authorization": f"Bearer {asked.subject_token}"})
        text = f"within-{seconds}"
        answer = await asyncio.to_thread(caller.ask, call("echo", text=text))
        if seconds < 300:
            assert answer.codes == ["credential/wider"]
            assert "lives longer than its lease" in answer.text
            return
        assert answer.text == text
        (record,) = [each for each in Recorder(echo_server.origin).requests() if text in each["body"]]
        shown = dict(record["headers"])["authorization"].removeprefix("Bearer ")
        assert shown != asked.subject_token
        with connect_to_gateway(tmp_path / "state/control.sock") as desk:
            desk.ask("leases/revoke", all=True)
            until(lambda: any(lease.get("problem") for lease in desk.ask("leases/list")))
            (lease,) = desk.ask("leases/list")
    assert (lease["state"], lease["kind"], lease["cause"]) == ("ending", "exchange", "operator")
    assert "no proof is to be had" in lease["problem"]
    assert verified(tmp_path).ok
    assert values_shown([shown], *written_in(tmp_path)) == []
