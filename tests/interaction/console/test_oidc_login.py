"""Login at the console through a real OpenID provider, with a browser's cookies and redirections."""

from __future__ import annotations

import re
from collections.abc import AsyncGenerator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import httpx2
import pytest

from tests.gateway_process import GatewayProcess, free_port, gateway_process
from tests.interaction.identity.server import OAuthServer

CONFIG = """
identity: [{{kind: development}}]
console:
  login:
    issuer: {issuer}
    client_id: {client}
    client_secret: ${{CONSOLE_SECRET}}
    roles: {{viewer: [staff]}}
approvals:
  people: {{issuer: {issuer}, groups: [sre]}}
"""


@dataclass
class Person:
    """A person's browser. It follows redirections by itself, and keeps cookies for the gateway and the provider."""

    client: httpx2.AsyncClient
    gateway: GatewayProcess
    server: OAuthServer

    async def go(self, path: str) -> httpx2.Response:
        return await self.client.get(f"{self.gateway.origin}{path}")

    async def answer(self, back: str = "/console", **more: str) -> str:
        """Log in at the provider, and return the address that it sends the browser to."""
        query = "".join(f"&{name}={value}" for name, value in more.items())
        answer = await self.go(f"/console/login/start?back={back}{query}")
        while not (location := answer.headers["location"]).startswith(f"{self.gateway.origin}/console/"):
            answer = await self.client.get(httpx2.URL(self.server.issuer).join(location))
        return location.removeprefix(self.gateway.origin)

    async def log_in(self, back: str = "/console", **more: str) -> httpx2.Response:
        return await self.go(await self.answer(back, **more))


@pytest.fixture
async def person(server: OAuthServer, tmp_path: Path) -> AsyncGenerator[Person]:
    port = free_port()
    client, secret = await server.register(f"http://127.0.0.1:{port}/console/login/callback")
    text = CONFIG.format(issuer=server.issuer, client=client)
    async with (
        gateway_process(text, tmp_path, environment={"CONSOLE_SECRET": secret}, port=port) as gateway,
        httpx2.AsyncClient(trust_env=False, timeout=300) as browser,
    ):
        yield Person(browser, gateway, server)


async def test_a_person_logs_in_and_has_the_roles_of_its_groups(person: Person):
    await person.server.seat("alice", "sre")
    before = await person.go("/console")
    done = await person.log_in("/console?x=1")
    page = await person.go("/console")

    assert before.headers["location"].startswith("/console/login?back=")
    assert 'content="0;url=/console?x=1"' in done.text
    assert "SameSite=strict" in done.headers["set-cookie"]
    assert re.search(r'class="name"[^>]*>alice</span> <span class="roles">approver<', page.text)


async def test_a_person_without_a_group_gets_no_session(person: Person):
    await person.server.seat("eve", "guests")
    done = await person.log_in()

    assert (done.status_code, "console/role" in done.text) == (403, True)
    assert (await person.go("/console")).status_code == 303


async def test_an_answer_belongs_to_the_browser_that_began_and_counts_once(person: Person):
    await person.server.seat("alice", "staff")
    path = await person.answer()
    async with httpx2.AsyncClient(trust_env=False) as victim:
        planted = await victim.get(f"{person.gateway.origin}{path}")
    changed = await person.go(path.replace("state=", "state=x"))
    swapped = await person.go(re.sub(r"iss=[^&]*", "iss=https%3A%2F%2Fevil.example", path))
    done = await person.go(path)
    again = await person.go(path)

    assert [planted.status_code, changed.status_code, swapped.status_code] == [403, 403, 403]
    assert done.status_code == 200
    assert again.status_code == 403


async def test_a_code_of_another_login_is_refused(person: Person):
    """The code is good, but the nonce, the verifier and the state are of another login."""
    await person.server.seat("alice", "staff")
    first = parse_qs(urlsplit(await person.answer()).query)
    second = await person.answer()
    stolen = re.sub(r"code=[^&]*", f"code={first['code'][0]}", second)

    assert (await person.go(stolen)).status_code == 403


async def test_a_fresh_login_can_be_asked_for(person: Person):
    await person.server.seat("alice", "staff")
    answer = await person.go("/console/login/start?max_age=60")
    query = parse_qs(urlsplit(answer.headers["location"]).query)

    assert query["max_age"] == ["60"]
    assert query["code_challenge_method"] == ["S256"]
    assert (await person.log_in(max_age="60")).status_code == 200
