"""Sign-in at a server that clients of MCP cannot use by themselves: a real provider in the shape of Microsoft Entra ID."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, urlencode, urlsplit

import httpx2
import pytest
from mcp.client.auth import OAuthRegistrationError

from tests.e2e.wire import entries
from tests.gateway_process import GatewayProcess, open_config, open_policy, running_gateway
from tests.interaction.identity.server import OAuthServer
from tests.interaction.identity.test_oauth_clients import CALLBACK, Storage, echoed, person
from tests.requirements import requirement

if TYPE_CHECKING:
    from collections.abc import Generator

    from tests.servers.serving import ServerProcess

pytestmark = pytest.mark.node

SIGN_IN = "{client_id: agents, scopes: ['api://opagate/call', offline_access]}"
ASKED = {"client_id": "agents", "response_type": "code", "code_challenge": "x" * 43, "code_challenge_method": "S256"}


@pytest.fixture
def tenant(node_path: Path, node_modules: Path, unused_tcp_port: int, tmp_path: Path) -> Generator[OAuthServer]:
    script = Path(__file__).with_name("tenant.mjs")
    server = OAuthServer(
        node_path, node_modules, unused_tcp_port, tmp_path / "tenant.log", script=script, path="/tenant/v2.0"
    )
    server.start()
    yield server
    server.stop()


def configured(tenant: OAuthServer, echo_server: ServerProcess, folder: Path, sign_in: str) -> str:
    settings = f"kind: jwt, issuer: '{tenant.issuer}', audience: 'api://opagate', required_scopes: [call]{sign_in}"
    return open_config(open_policy(folder), {"echo": echo_server.mcp}).replace("{kind: anonymous}", f"{{{settings}}}")


@pytest.fixture
def gateway(tenant: OAuthServer, echo_server: ServerProcess, tmp_path: Path) -> Generator[GatewayProcess]:
    with running_gateway(configured(tenant, echo_server, tmp_path, f", sign_in: {SIGN_IN}"), tmp_path) as found:
        yield found


def asked(gateway: GatewayProcess, **changes: str) -> httpx2.Response:
    query = urlencode({**ASKED, "redirect_uri": CALLBACK, "state": "s", **changes})
    return httpx2.get(f"{gateway.origin}/oauth/sign-in/authorize?{query}", timeout=300)


def exchanged(gateway: GatewayProcess, **form: str) -> tuple[int, dict[str, Any]]:
    answer = httpx2.post(f"{gateway.origin}/oauth/sign-in/token", data=form, timeout=300)
    assert answer.headers["cache-control"] == "no-store"
    return answer.status_code, answer.json()


@requirement("identity/sign-in")
async def test_a_client_that_knows_only_the_url_signs_its_person_in(gateway: GatewayProcess, tenant: OAuthServer):
    storage = Storage()

    assert await echoed(gateway.mcp("echo"), person(gateway, storage)) == ["hello"]

    (called,) = entries(gateway.folder, "call")
    principal = called["principal"]
    assert (principal["issuer"], principal["id"], principal["user"]) == (tenant.issuer, "agents", "alice")
    assert storage.tokens is not None
    code, renewed = exchanged(
        gateway,
        grant_type="refresh_token",
        client_id="agents",
        refresh_token=storage.tokens.refresh_token or "",
        resource=gateway.mcp("echo"),
    )
    assert (code, renewed["token_type"]) == (200, "Bearer")
    assert renewed["access_token"] not in gateway.printed()


@requirement("identity/sign-in")
async def test_without_the_gateway_before_it_the_server_serves_no_client(
    tenant: OAuthServer, echo_server: ServerProcess, tmp_path: Path
):
    """The tests above show something: the server behaves as Entra ID does."""
    with running_gateway(configured(tenant, echo_server, tmp_path, ""), tmp_path) as gateway:
        with pytest.RaisesGroup(OAuthRegistrationError, flatten_subgroups=True, allow_unwrapped=True):
            await echoed(gateway.mcp("echo"), person(gateway, Storage()))
        query = urlencode({**ASKED, "redirect_uri": CALLBACK, "resource": gateway.mcp("echo")})
        refused = httpx2.get(f"{tenant.issuer}/auth?{query}", timeout=300)
    assert parse_qs(urlsplit(refused.headers["location"]).query)["error"] == ["invalid_target"]


@requirement("identity/sign-in")
def test_a_person_is_sent_to_the_server_alone_with_the_scopes_of_the_operator(
    gateway: GatewayProcess, tenant: OAuthServer
):
    more = {"request": "eyJhbGciOiJub25lIn0.e30.", "request_uri": "https://evil.example/r", "client_assertion": "x"}
    answer = asked(gateway, scope="api://other/admin", resource="https://evil.example", login_hint="ada", **more)
    target = urlsplit(answer.headers["location"])
    query = parse_qs(target.query)
    assert (answer.status_code, f"{target.scheme}://{target.netloc}{target.path}") == (302, f"{tenant.issuer}/auth")
    assert query["scope"] == ["api://opagate/call offline_access"]
    assert (query["login_hint"], query["state"], query["redirect_uri"]) == (["ada"], ["s"], [CALLBACK])
    assert not query.keys() & {"resource", *more}


@requirement("identity/sign-in")
@pytest.mark.parametrize(
    "changes",
    [
        {"client_id": "another"},
        {"response_type": "token"},
        {"code_challenge": ""},
        {"code_challenge_method": "plain"},
        {"state": "x" * 17_000},
    ],
)
def test_an_unsafe_request_is_sent_nowhere(gateway: GatewayProcess, changes: dict[str, str]):
    answer = asked(gateway, **changes)
    assert (answer.status_code, answer.json()) == (400, {"error": "invalid_request"})


@requirement("identity/sign-in")
def test_a_field_that_stands_twice_is_sent_nowhere(gateway: GatewayProcess):
    query = urlencode([*ASKED.items(), ("redirect_uri", CALLBACK), ("redirect_uri", "https://evil.example")])
    assert httpx2.get(f"{gateway.origin}/oauth/sign-in/authorize?{query}", timeout=300).status_code == 400


@requirement("identity/sign-in")
def test_only_codes_and_refresh_tokens_of_the_one_client_go_on(gateway: GatewayProcess):
    assert exchanged(gateway, grant_type="client_credentials") == (400, {"error": "unsupported_grant_type"})
    assert exchanged(gateway, grant_type="refresh_token", client_id="b") == (400, {"error": "invalid_request"})
    assert exchanged(gateway, grant_type="authorization_code", code="x") == (400, {"error": "invalid_request"})
    code, answer = exchanged(
        gateway, grant_type="authorization_code", code="x", redirect_uri=CALLBACK, code_verifier="y"
    )
    assert (code, answer["error"]) == (400, "invalid_grant")
    assert "invalid_grant" in gateway.printed()


@requirement("identity/sign-in")
def test_a_registration_gets_the_client_of_the_administrator(gateway: GatewayProcess):
    place = f"{gateway.origin}/oauth/sign-in/register"
    answer = httpx2.post(place, json={"redirect_uris": [CALLBACK], "client_name": "agent"}, timeout=300)
    assert answer.status_code == 201
    assert (answer.json()["client_id"], answer.json()["redirect_uris"]) == ("agents", [CALLBACK])
    assert "client_secret" not in answer.json()
    for wrong in ("{}", '{"redirect_uris": []}', json.dumps({"redirect_uris": ["x"] * 17})):
        assert httpx2.post(place, content=wrong, timeout=300).json() == {"error": "invalid_redirect_uri"}
    assert httpx2.post(place, content=b"[", timeout=300).status_code == 400


@requirement("identity/sign-in")
def test_an_address_that_asks_too_often_waits(gateway: GatewayProcess, tenant: OAuthServer):
    tenant.stop()
    codes = [exchanged(gateway, grant_type="refresh_token", refresh_token="x")[0] for _ in range(121)]
    assert (set(codes[:120]), codes[120]) == ({503}, 429)
