"""The OAuth server of `provider.mjs` as a process, and what the tests ask of it."""

from __future__ import annotations

import os
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx2
from joserfc.jwk import ECKey

from tests.unit.identity.tokens import proof

if TYPE_CHECKING:
    from collections.abc import Mapping

SCRIPT = Path(__file__).with_name("provider.mjs")
SECRET = "not a secret: a test on loopback"


@dataclass
class OAuthServer:
    """A running server. `log` is where its output goes."""

    node: Path
    modules: Path
    port: int
    log: Path
    process: subprocess.Popen[bytes] | None = None
    script: Path = SCRIPT
    path: str = ""
    """The path of the issuer."""

    @property
    def issuer(self) -> str:
        return f"http://127.0.0.1:{self.port}{self.path}"

    def start(self) -> None:
        command = [str(self.node), str(self.script), str(self.modules), str(self.port)]
        environment = {"PATH": os.environ.get("PATH", ""), "NODE_ENV": "test"}
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT, env=environment)
        deadline = time.monotonic() + 30
        while b"ready" not in self.log.read_bytes():
            if self.process.poll() is not None or time.monotonic() > deadline:
                self.stop()
                raise AssertionError(f"the OAuth server did not start:\n{self.log.read_text()}")
            time.sleep(0.02)

    def stop(self) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self.process = None

    async def rotate(self) -> str:
        """Sign with a new key from now on. Returns its id."""
        return (await _post(f"{self.issuer}/test/rotate", json={})).text

    async def seat(self, name: str, *groups: str) -> None:
        """Have a person log in from now on, with these groups in the ID token."""
        await _post(f"{self.issuer}/test/person", json={"id": name, "groups": groups})

    async def read_documents_at(self, origin: str) -> None:
        """Have the server read the documents of https://gateway.test at this address."""
        await _post(f"{self.issuer}/test/gateway", json={"origin": origin})

    async def differ(self, **changes: dict[str, Any]) -> None:
        """Have ID-JAGs differ from now on: in their `header` and `claims`, and in the `answer` around them."""
        await _post(f"{self.issuer}/test/assertion", json=changes)

    async def live(self, seconds: int) -> None:
        """Have access tokens live so long from now on."""
        await _post(f"{self.issuer}/test/life", json={"seconds": seconds})

    async def log_out(self, name: str) -> None:
        """End all that a person has agreed to."""
        await _post(f"{self.issuer}/test/logout", json={"id": name})

    async def register(self, redirect_uri: str, *grants: str) -> tuple[str, str]:
        """Register a client for logins, or with other grants (RFC 7591). Returns its id and secret."""
        body: dict[str, Any] = {"redirect_uris": [redirect_uri], "token_endpoint_auth_method": "client_secret_basic"}
        if grants:
            body["grant_types"] = list(grants)
        async with httpx2.AsyncClient(trust_env=False, timeout=300) as client:
            answer = await client.post(f"{self.issuer}/reg", json=body)
        assert answer.status_code == 201, answer.text
        return answer.json()["client_id"], answer.json()["client_secret"]

    async def sign(self, claims: Mapping[str, Any], **header: object) -> str:
        """A token of any claims, signed by the server's key."""
        body = {"claims": dict(claims), "header": {"typ": "at+jwt", **header}}
        return (await _post(f"{self.issuer}/test/sign", json=body)).text

    async def token(self, resource: str, *, scope: str = "mcp:call", key: ECKey | None = None) -> str:
        """An access token by client credentials, for a resource; bound to a DPoP key, if one is given."""
        form = {"grant_type": "client_credentials", "client_id": "agent-1", "client_secret": SECRET}
        endpoint = f"{self.issuer}/token"
        headers: dict[str, str] = {}
        if key is not None:
            headers["DPoP"] = proof(key, "", url=endpoint, iat=int(time.time()), jti=os.urandom(8).hex(), ath=None)
        answer = await _post(endpoint, data={**form, "resource": resource, "scope": scope}, headers=headers)
        body = answer.json()
        assert body["token_type"] == ("DPoP" if key else "Bearer")
        return body["access_token"]


async def _post(url: str, **more: Any) -> httpx2.Response:
    async with httpx2.AsyncClient(trust_env=False, timeout=300) as client:
        answer = await client.post(url, **more)
    assert answer.status_code == 200, answer.text
    return answer
