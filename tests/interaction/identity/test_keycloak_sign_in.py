"""Sign-in at a real Keycloak, set up with the commands of docs/sign-in.md: a client that knows only the URL registers itself."""

from __future__ import annotations

import re
import subprocess
import uuid
from html import unescape
from typing import TYPE_CHECKING
from urllib.parse import parse_qs, urljoin, urlsplit

import httpx2
import pytest
from mcp.client.auth import OAuthClientProvider
from mcp.shared.auth import AuthorizationCodeResult, OAuthClientMetadata
from pydantic import AnyUrl

from tests.conftest import TOOLS
from tests.e2e.wire import entries
from tests.gateway_process import free_port, open_config, open_policy, running_gateway
from tests.interaction.identity.test_oauth_clients import CALLBACK, Storage, echoed
from tests.requirements import requirement
from tests.servers.serving import ROOT

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from tests.servers.keycloak import Keycloak
    from tests.servers.serving import ServerProcess

# The start of Keycloak counts for the first test.
pytestmark = pytest.mark.timeout(600)
PASSWORD = "grace-3Wd8y-password"


def commands(changes: Mapping[str, str]) -> str:
    """The commands for Keycloak in the documentation, with other names."""
    page = (ROOT / "docs/sign-in.md").read_text("utf-8").partition("## Keycloak\n")[2].partition("\n```yaml")[0]
    found = "\n".join(line[4:] for line in page.splitlines() if line.startswith("    "))
    for before, after in changes.items():
        assert before in found, before
        found = found.replace(before, after)
    return found


class Form:
    """A person at Keycloak's pages: fills the login in, and agrees."""

    def __init__(self) -> None:
        self.back = ""
        self._cookies: dict[str, str] = {}

    async def visit(self, url: str) -> None:
        async with httpx2.AsyncClient(trust_env=False, timeout=300) as http:
            answer = await self._send(http, url)
            while True:
                if answer.is_redirect:
                    url = urljoin(url, answer.headers["location"])
                    if url.startswith(CALLBACK):
                        self.back = url
                        return
                    answer = await self._send(http, url)
                else:
                    assert answer.status_code == 200, answer.text
                    url, fields = self._filled(url, answer.text)
                    answer = await self._send(http, url, fields)

    async def _send(self, http: httpx2.AsyncClient, url: str, form: dict[str, str] | None = None) -> httpx2.Response:
        """Ask for a page as a browser does, to which this machine is as safe as TLS: it sends `Secure` cookies."""
        headers = {"cookie": "; ".join(f"{name}={value}" for name, value in self._cookies.items())}
        answer = await http.request("GET" if form is None else "POST", url, headers=headers, data=form)
        http.cookies.clear()
        for cookie in answer.headers.get_list("set-cookie"):
            name, _, value = cookie.partition(";")[0].partition("=")
            self._cookies[name] = value
        return answer

    def _filled(self, url: str, page: str) -> tuple[str, dict[str, str]]:
        action = re.search(r'<form[^>]*\saction="([^"]+)"', page)
        assert action is not None, page
        hidden = dict(re.findall(r'<input type="hidden" name="(\w+)" value="([^"]*)"', page))
        filled = {**hidden, "accept": "Yes"} if 'name="accept"' in page else {"username": "grace", "password": PASSWORD}
        return urljoin(url, unescape(action[1])), filled

    async def result(self) -> AuthorizationCodeResult:
        query = parse_qs(urlsplit(self.back).query)
        return AuthorizationCodeResult.model_validate({name: values[0] for name, values in query.items()})


def set_up(keycloak: Keycloak, realm: str, gateway: str, home: Path) -> None:
    """Make a realm with a person, and run the documented commands for it."""
    user = {"username": "grace", "enabled": True, "email": "grace@corp.example", "emailVerified": True}
    credentials = [{"type": "password", "value": PASSWORD, "temporary": False}]
    person = {**user, "firstName": "Grace", "lastName": "H", "credentials": credentials}
    keycloak.admin("POST", "", {"realm": realm, "enabled": True, "sslRequired": "none"})
    keycloak.admin("POST", f"{realm}/users", person)
    script = commands(
        {
            "https://idp.example": keycloak.origin,
            "--user admin": f"--user admin --password admin --config {home}/kcadm.config",
            "-r corp": f"-r {realm} --config {home}/kcadm.config",
            "https://gateway.example": gateway,
        }
    )
    kcadm = f'kcadm.sh() {{ sh {TOOLS}/keycloak/bin/kcadm.sh "$@"; }}'
    command = ["bash", "-euc", f"{kcadm}\n{script}"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=500, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


@requirement("identity/sign-in")
async def test_a_client_registers_itself_at_keycloak_and_signs_its_person_in(
    keycloak: Keycloak, echo_server: ServerProcess, tmp_path: Path
):
    realm, port = f"agents-{uuid.uuid4().hex[:8]}", free_port()
    issuer = f"{keycloak.origin}/realms/{realm}"
    set_up(keycloak, realm, f"http://127.0.0.1:{port}", tmp_path)
    identity = f"{{kind: jwt, issuer: '{issuer}', required_scopes: [mcp], claims: {{preset: keycloak}}}}"
    config = open_config(open_policy(tmp_path), {"echo": echo_server.mcp}).replace("{kind: anonymous}", identity)
    storage, form = Storage(), Form()
    metadata = OAuthClientMetadata(
        client_name="agent",
        redirect_uris=[AnyUrl(CALLBACK)],
        application_type="native",
        token_endpoint_auth_method="none",
    )
    with running_gateway(config, tmp_path, port=port) as gateway:
        auth = OAuthClientProvider(gateway.mcp("echo"), metadata, storage, form.visit, form.result)
        assert await echoed(gateway.mcp("echo"), auth) == ["hello"]
        (called,) = entries(tmp_path, "call")
    assert storage.client is not None
    assert (called["principal"]["issuer"], called["principal"]["id"]) == (issuer, storage.client.client_id)
    assert called["principal"]["user"]

    # The documented policy lets nobody register another address than one of this machine.
    elsewhere = {"redirect_uris": ["https://evil.example/callback"], "token_endpoint_auth_method": "none"}
    refused = httpx2.post(f"{issuer}/clients-registrations/openid-connect", json=elsewhere, timeout=300)
    assert refused.status_code == 403
