"""ID-JAG between npm `oidc-provider`, as the identity provider, and Keycloak 26.7, which takes assertions and gives none.

The exchange of the provider is registered by `provider.mjs`: neither server issues ID-JAGs of its own. Acceptance test 26.
"""

from __future__ import annotations

import asyncio
import time
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import httpx2
import pytest
import yaml

from gateway.authority.brokers.exchange import GRANT
from gateway.authority.brokers.id_jag import JWT_BEARER
from gateway.authority.brokers.token_checks import read_claims
from gateway.surfaces.cli.control_client import connect_to_gateway
from tests.e2e.left_behind import check_all_ended
from tests.e2e.wire import Answer, Caller, call, entries, stateless, until
from tests.gateway_process import ANYONE_ANYTHING, GatewayProcess, free_port, gateway_process
from tests.interaction.authority.test_user_oauth import connect
from tests.servers.echo import Recorder
from tests.servers.keycloak import SECRETS

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator
    from pathlib import Path

    from tests.interaction.identity.server import OAuthServer
    from tests.servers.keycloak import Keycloak
    from tests.servers.serving import ServerProcess

ID_JAG_TYPE = "oauth-id-jag+jwt"
# The start of Keycloak counts for the first test.
pytestmark = pytest.mark.timeout(300)


@dataclass
class Place:
    """A gateway whose users log in at `provider`. Keycloak gives tokens of the upstream for its assertions."""

    gateway: GatewayProcess
    provider: OAuthServer
    keycloak: Keycloak
    echo: ServerProcess
    client_id: str

    async def call(self, text: str) -> Answer:
        """Call in a task of its own."""
        now = int(time.time())
        claims = {"iss": self.provider.issuer, "sub": "alice", "client_id": "agent-1", "aud": "gw"}
        token = await self.provider.sign({**claims, "iat": now, "exp": now + 600, "jti": f"a-{text}"})
        headers = {"authorization": f"Bearer {token}"}
        async with httpx2.AsyncClient(trust_env=False, timeout=300) as client:
            asked = {"goal": "read tickets", "expires_in": 300}
            opened = await client.post(f"{self.gateway.origin}/tasks", json=asked, headers=headers)
        caller, task = Caller(self.gateway, "tickets", headers), {"opagate-task": opened.json()["token"]}
        return await asyncio.to_thread(caller.ask, call("echo", stateless, text=text), headers=task)

    def carried(self, text: str) -> str:
        """Return the credential of the request with this text."""
        *_, found = [each for each in Recorder(self.echo.origin).requests() if f'"{text}"' in each["body"]]
        return dict(found["headers"])["authorization"].removeprefix("Bearer ")

    def lease_events(self) -> list[dict[str, Any]]:
        """Return the entries about leases of calls."""
        found = entries(self.gateway.folder, "lease")
        calls = {each["id"] for each in found if each["event"] == "requested" and each.get("decision")}
        return [each for each in found if each["id"] in calls]

    def end_leases(self) -> None:
        with connect_to_gateway(self.gateway.folder / "state/control.sock") as desk:
            desk.ask("leases/revoke", all=True)


@asynccontextmanager
async def started(
    provider: OAuthServer, keycloak: Keycloak, echo: ServerProcess, folder: Path, subject: str
) -> AsyncGenerator[Place]:
    port = free_port()
    origin = f"http://127.0.0.1:{port}"
    login, login_secret = await provider.register(f"{origin}/oauth/login")
    grants = ("authorization_code", "refresh_token", GRANT)
    own, own_secret = await provider.register(f"{origin}/oauth/callback/keycloak", *grants)
    there = keycloak.trust(provider.issuer, f"{provider.issuer}/jwks", keycloak.new_person(), user="alice")
    await provider.differ(claims={"client_id": there})
    (folder / "grants.yaml").write_text(ANYONE_ANYTHING, "utf-8")
    broker = {
        "kind": "exchange",
        "issuer": keycloak.issuer,
        "client_id": there,
        "client_auth": {"client_secret": "${THERE_SECRET}"},
        "introspect_as": {"client_id": "gw-introspect", "client_auth": {"client_secret": "${INTROSPECT_SECRET}"}},
        "id_jag": {
            "idp": provider.issuer,
            "client": {"id": own, "auth": {"client_secret": "${OWN_SECRET}"}},
            "subject": subject,
        },
    }
    credential = {"kind": "exchange", "broker": "keycloak", "audience": "tickets", "scopes": {"read": ["tickets.read"]}}
    upstream = {
        "url": echo.mcp,
        "audience": "https://tickets.example",
        "environment": "test",
        "tools": {"*": {"effect": "read", "egress": False, "sensitivity": "internal"}},
        "credential": credential,
    }
    settings: dict[str, Any] = {
        "identity": [{"kind": "jwt", "issuer": provider.issuer, "audience": "gw"}, {"kind": "development"}],
        "policy": {"grants": "grants.yaml", "engine": {"kind": "embedded", "deadline": "20s"}},
        "connections": {"login": {"issuer": provider.issuer, "client_id": login, "client_secret": "${LOGIN_SECRET}"}},
        "brokers": {"keycloak": broker},
        "upstreams": {"tickets": upstream},
    }
    environment = {
        "LOGIN_SECRET": login_secret,
        "OWN_SECRET": own_secret,
        "THERE_SECRET": there,
        "INTROSPECT_SECRET": SECRETS["gw-introspect"],
    }
    async with gateway_process(yaml.safe_dump(settings), folder, environment=environment, port=port) as gateway:
        yield Place(gateway, provider, keycloak, echo, there)


@pytest.fixture
async def place(
    provider: OAuthServer,
    keycloak: Keycloak,
    echo_server: ServerProcess,
    tmp_path: Path,
    request: pytest.FixtureRequest,
) -> AsyncGenerator[Place]:
    subject = getattr(request, "param", "id_token")
    async with started(provider, keycloak, echo_server, tmp_path, subject) as running:
        yield running


@pytest.mark.parametrize("place", ["id_token", "refresh_token"], indirect=True)
async def test_a_user_connects_once_and_each_task_gets_a_token_of_keycloak(place: Place, tmp_path: Path):
    refused = await place.call("first")
    assert refused.codes == ["credential/connect"]
    assert "Connected" in (await connect(refused)).text

    values: list[str] = []
    for text in ("asserted", "asserted-again"):
        assert (await place.call(text)).text == text
        values.append(place.carried(text))
        claims = read_claims(values[-1])
        assert claims is not None
        assert ("tickets" in str(claims["aud"]), claims["iss"]) == (True, place.keycloak.issuer)
        assert place.keycloak.is_active(values[-1])
        place.end_leases()
        until(lambda: [each["event"] for each in place.lease_events()].count("revoked") == len(values))
        assert not place.keycloak.is_active(values[-1])
    assert len(set(values)) == 2
    assert {each["proof"]["kind"] for each in place.lease_events() if each["event"] == "revoked"} == {"introspection"}
    check_all_ended(tmp_path, values, [refused])


async def test_each_fault_of_an_assertion_is_refused_with_its_code(place: Place):
    await connect(await place.call("first"))
    right = {"client_id": place.client_id}
    faults: list[tuple[str, dict[str, Any]]] = [
        ("type", {"claims": right, "header": {"typ": "JWT"}}),
        ("client", {"claims": {"client_id": "tickets"}}),
        ("audience", {"claims": {**right, "aud": place.keycloak.origin}}),
        ("user", {"claims": {**right, "sub": "mallory"}}),
        ("scope", {"claims": {**right, "scope": "tickets.read tickets.write"}}),
    ]
    for name, changes in faults:
        await place.provider.differ(**changes)
        assert (await place.call(f"fault-{name}")).codes == [f"credential/assertion-{name}"]
    await place.provider.differ(claims={**right, "jti": "once"})
    assert (await place.call("presented")).text == "presented"
    assert (await place.call("presented-again")).codes == ["credential/assertion-replayed"]


async def test_keycloak_itself_takes_an_assertion_once_and_none_that_is_for_others(
    provider: OAuthServer, keycloak: Keycloak
):
    there = keycloak.trust(provider.issuer, f"{provider.issuer}/jwks", keycloak.new_person(), user="alice")
    now = int(time.time())
    right = {
        "iss": provider.issuer,
        "sub": "alice",
        "aud": keycloak.issuer,
        "client_id": there,
        "iat": now,
        "exp": now + 60,
    }

    async def present(typ: str = ID_JAG_TYPE, **changes: Any) -> int:
        assertion = await provider.sign({**right, "jti": "j1", **changes}, typ=typ)
        form = {"grant_type": JWT_BEARER, "assertion": assertion, "scope": "tickets.read"}
        async with httpx2.AsyncClient(trust_env=False, timeout=300) as client:
            url = f"{keycloak.issuer}/protocol/openid-connect/token"
            return (await client.post(url, data=form, auth=(there, there))).status_code

    assert [await present(), await present()] == [200, 400], "a second presentation of the same jti"
    assert await present(jti="j2", client_id="tickets") == 400
    assert await present(jti="j3", aud="https://other.example") == 400
    assert await present(jti="j4", sub="mallory") == 400
    assert await present(jti="j5") == 200


@pytest.mark.parametrize("place", ["refresh_token"], indirect=True)
async def test_a_logout_at_the_provider_ends_the_connection_and_its_leases(place: Place):
    await connect(await place.call("first"))
    assert (await place.call("before-the-logout")).text == "before-the-logout"
    value = place.carried("before-the-logout")
    await place.provider.log_out("alice")

    assert (await place.call("after-the-logout")).codes == ["credential/connect"]
    until(lambda: not place.keycloak.is_active(value))
    until(lambda: "revoked" in [each["event"] for each in place.lease_events()])
    assert {each["cause"] for each in place.lease_events() if each["event"] == "ending"} == {"connection-removed"}


async def test_a_revoked_connection_ends_its_leases_at_once_and_its_login_at_the_provider(place: Place):
    await connect(await place.call("first"))
    assert (await place.call("connected")).text == "connected"
    value = place.carried("connected")
    with connect_to_gateway(place.gateway.folder / "state/control.sock") as desk:
        (listed,) = desk.ask("connections/list")
        assert (listed["broker"], listed["server"]) == ("keycloak", place.provider.issuer)
        assert listed["scopes"] == ["tickets.read"]
        assert desk.ask("connections/revoke", user="alice") == {"removed": 1}

    assert (await place.call("removed")).codes == ["credential/connect"]
    until(lambda: not place.keycloak.is_active(value))
    until(lambda: "ended" in [each["event"] for each in entries(place.gateway.folder, "connection")])
    (ended,) = [each for each in entries(place.gateway.folder, "connection") if each["event"] == "ended"]
    assert "problem" not in ended
