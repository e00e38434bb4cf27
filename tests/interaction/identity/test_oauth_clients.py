"""Clients that speak OAuth, which are told nothing but the URL of an upstream: the SDK's own, with a real gateway, a real
OAuth server (`provider.mjs`) and a real MCP server."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING
from urllib.parse import parse_qs, urljoin, urlsplit

import httpx2
import pytest
from mcp.client import Client
from mcp.client.auth import OAuthClientProvider
from mcp.client.auth.extensions.client_credentials import ClientCredentialsOAuthProvider
from mcp.client.streamable_http import streamable_http_client
from mcp.shared.auth import AuthorizationCodeResult, OAuthClientInformationFull, OAuthClientMetadata, OAuthToken
from pydantic import AnyUrl

from tests.e2e.wire import entries
from tests.gateway_process import GatewayProcess, open_config, open_policy, running_gateway
from tests.interaction.identity.server import SECRET, OAuthServer
from tests.requirements import requirement
from tests.unit.identity.web import Answer, serving

if TYPE_CHECKING:
    from collections.abc import Generator
    from pathlib import Path

    from tests.servers.serving import ServerProcess

pytestmark = pytest.mark.node

CALLBACK = "http://127.0.0.1:1/callback"
"""Nobody listens there: the browser stops before it."""


class Storage:
    """What a client keeps."""

    tokens: OAuthToken | None = None
    client: OAuthClientInformationFull | None = None

    async def get_tokens(self) -> OAuthToken | None:
        return self.tokens

    async def set_tokens(self, tokens: OAuthToken) -> None:
        self.tokens = tokens

    async def get_client_info(self) -> OAuthClientInformationFull | None:
        return self.client

    async def set_client_info(self, client_info: OAuthClientInformationFull) -> None:
        self.client = client_info


class Browser:
    """Goes where it is sent until it comes back to the client."""

    back: dict[str, str]

    async def visit(self, url: str) -> None:
        async with httpx2.AsyncClient(trust_env=False, timeout=300) as http:
            while not url.startswith(CALLBACK):
                answer = await http.get(url)
                assert answer.is_redirect, answer.text
                url = urljoin(url, answer.headers["location"])
        self.back = {name: values[0] for name, values in parse_qs(urlsplit(url).query).items()}

    async def result(self) -> AuthorizationCodeResult:
        return AuthorizationCodeResult.model_validate(self.back)


@pytest.fixture
def gateway(server: OAuthServer, echo_server: ServerProcess, tmp_path: Path) -> Generator[GatewayProcess]:
    config = open_config(open_policy(tmp_path), {"echo": echo_server.mcp, "other": echo_server.mcp})
    config = config.replace(
        "{kind: anonymous}", f"{{kind: jwt, issuer: '{server.issuer}', required_scopes: ['mcp:call']}}"
    )
    with running_gateway(config, tmp_path) as found:
        yield found


async def echoed(url: str, auth: httpx2.Auth) -> object:
    async with (
        httpx2.AsyncClient(auth=auth, trust_env=False, timeout=300) as http,
        Client(streamable_http_client(url, http_client=http)) as client,
    ):
        result = await client.call_tool("echo", {"text": "hello"})
        return [block.text for block in result.content if block.type == "text"]


def person(gateway: GatewayProcess, storage: Storage, document: str | None = None) -> OAuthClientProvider:
    """A client without credentials, perhaps with a document of its own, and a person at a browser."""
    browser = Browser()
    metadata = OAuthClientMetadata(
        client_name="agent",
        redirect_uris=[AnyUrl(CALLBACK)],
        application_type="native",
        token_endpoint_auth_method="none",
    )
    return OAuthClientProvider(
        gateway.mcp("echo"), metadata, storage, browser.visit, browser.result, client_metadata_url=document
    )


@requirement("mcp/oauth-clients")
async def test_a_client_that_knows_only_the_url_finds_its_way_to_a_token(gateway: GatewayProcess, server: OAuthServer):
    """RFC 9728, 8414, 7591, 7636 and 8707: a person agrees, and the call is that person's."""
    storage = Storage()

    assert await echoed(gateway.mcp("echo"), person(gateway, storage)) == ["hello"]

    (called,) = entries(gateway.folder, "call")
    assert storage.client is not None
    assert called["principal"]["issuer"] == server.issuer
    assert (called["principal"]["user"], called["principal"]["id"]) == ("alice", storage.client.client_id)


@requirement("mcp/oauth-clients")
async def test_a_client_with_a_document_is_known_by_its_address(gateway: GatewayProcess, server: OAuthServer):
    """OAuth Client ID Metadata Document, the first choice of the revision 2025-11-25: nothing is registered."""
    address = "https://gateway.test/agent.json"
    document = {"client_id": address, "client_name": "agent", "redirect_uris": [CALLBACK], "application_type": "native"}
    async with serving() as site:
        kind = {"content-type": "application/json"}
        body = json.dumps({**document, "token_endpoint_auth_method": "none"}).encode()
        site.answers["/agent.json"] = Answer(body, headers=kind)
        await server.read_documents_at(site.url)
        storage = Storage()

        assert await echoed(gateway.mcp("echo"), person(gateway, storage, address)) == ["hello"]

    (called,) = entries(gateway.folder, "call")
    assert (called["principal"]["id"], called["principal"]["user"]) == (address, "alice")


@requirement("mcp/oauth-clients")
@pytest.mark.parametrize(("upstream", "scope"), [("echo", "mcp:list"), ("other", "mcp:call")])
async def test_a_client_whose_token_does_not_reach_gets_one_that_does(
    gateway: GatewayProcess, server: OAuthServer, upstream: str, scope: str
):
    """A scope that is missing (403) and a token for another upstream (401) are things that a client can mend by itself."""
    token = await server.token(gateway.mcp(upstream), scope=scope)
    storage = Storage()
    await storage.set_tokens(OAuthToken(access_token=token))

    assert await echoed(gateway.mcp("echo"), person(gateway, storage)) == ["hello"]

    assert [called["principal"]["user"] for called in entries(gateway.folder, "call")] == ["alice"]


@requirement("mcp/oauth-clients")
async def test_a_client_with_credentials_of_its_own_finds_its_way_to_a_token(
    gateway: GatewayProcess, server: OAuthServer
):
    auth = ClientCredentialsOAuthProvider(
        gateway.mcp("echo"), Storage(), "agent-1", SECRET, "client_secret_post", issuer=server.issuer
    )

    assert await echoed(gateway.mcp("echo"), auth) == ["hello"]

    (called,) = entries(gateway.folder, "call")
    assert (called["principal"]["id"], called["principal"].get("user")) == ("agent-1", None)
