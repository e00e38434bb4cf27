"""A console in this process, and its visitors."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlencode

from gateway.authority.approvals.model import Person
from gateway.surfaces.app.console import open_console
from gateway.surfaces.app.serving import build_edge
from gateway.surfaces.console.application import Console
from gateway.surfaces.console.sessions import Role, Visitor
from gateway.wire.http.edge import Edge
from gateway.wire.http.parsers import Request
from tests.unit.harness import GRANTS, READING, Answer, Bench, Upstream, bench
from tests.unit.surfaces.pages.asking import ask_page, request_of
from tests.unit.wire.http.channels import RecordedChannel

ORIGIN = (b"origin", b"http://127.0.0.1:8080")
FORM = (b"content-type", b"application/x-www-form-urlencoded")


@dataclass
class Browser:
    """A browser with its cookies, before the edge of a gateway with a console."""

    there: Bench
    console: Console
    edge: Edge
    cookies: dict[str, str] = field(default_factory=dict[str, str])
    visitor: Visitor | None = None
    """The person whose session begins with the first request."""

    async def log_in(self) -> None:
        """Begin the session of the visitor."""
        if self.visitor is not None:
            visitor, self.visitor = self.visitor, None
            self.cookies[self.console.parts.cookie] = (await self.console.parts.sessions.open(visitor))[0]

    async def get(self, path: str, *headers: tuple[bytes, bytes]) -> Answer:
        await self.log_in()
        return self._keep(await ask_page(self.there, "GET", path, *self.cookie(), *headers, edge=self.edge))

    async def post(self, path: str, *headers: tuple[bytes, bytes], **fields: str | list[str]) -> Answer:
        await self.log_in()
        body = urlencode(fields, doseq=True).encode()
        more = headers or (ORIGIN,)
        return self._keep(await ask_page(self.there, "POST", path, *self.cookie(), *more, body=body, edge=self.edge))

    async def send(self, path: str, **fields: str | list[str]) -> Answer:
        """Send a form of a page, with its CSRF token."""
        return await self.post(path, csrf=await self.csrf(), **fields)

    def request(self, method: str, path: str) -> Request:
        return request_of(method, path, *self.cookie())

    async def csrf(self) -> str:
        page = (await self.get("/console")).body.decode()
        found = re.search(r'name="csrf" value="([^"]+)"', page)
        assert found is not None
        return found[1]

    def visit(self, visitor: Visitor) -> Browser:
        """Return a browser of another person with a session."""
        return Browser(self.there, self.console, self.edge, visitor=visitor)

    def cookie(self) -> tuple[tuple[bytes, bytes], ...]:
        text = "; ".join(f"{name}={value}" for name, value in self.cookies.items())
        return ((b"cookie", text.encode()),) if text else ()

    def _keep(self, answer: Answer) -> Answer:
        for value in headers_of(answer, "set-cookie"):
            name, _, rest = value.partition("=")
            self.cookies[name] = rest.partition(";")[0]
        return answer


def headers_of(answer: Answer, name: str) -> list[str]:
    return [value.decode() for key, value in answer.headers if key.decode().lower() == name]


def person(name: str, *roles: Role, groups: tuple[str, ...] = ("sre",), logged_in: float | None = None) -> Visitor:
    """A visitor after a login at a provider."""
    who = Person(name, "https://idp.example", groups, "login", "console", logged_in)
    return Visitor(who, frozenset(roles), "oidc", logged_in or 0.0)


@asynccontextmanager
async def visited(
    folder: Path,
    more: str = "",
    upstream: Upstream | None = None,
    labels: str = READING,
    pages: str = "{}",
    *,
    grants: str = GRANTS,
    policy: str = "",
) -> AsyncGenerator[Browser]:
    """A gateway with a console, and the browser of a stranger."""
    (folder / "jwks.json").write_text('{"keys": []}', "utf-8")
    more = more.replace("approvals: {", f"approvals: {{{PEOPLE}, ")
    options = {"more": f"console: {pages}\n{more}", "labels": labels, "grants": grants, "policy": policy}
    async with bench(folder, upstream, **options) as there, AsyncExitStack() as stack:
        settings = there.configuration.console
        assert settings is not None
        console = await open_console(stack, there.configuration, settings, there.gateway)
        yield Browser(there, console, build_edge(there.configuration, there.gateway, lambda: False, console))


PEOPLE = "people: {issuer: 'https://idp.example', jwks: 'file:jwks.json', groups: [sre]}"


class Stream(RecordedChannel):
    """A stream of events that a browser reads."""

    def __init__(self, browser: Browser, path: str) -> None:
        super().__init__(browser.request("GET", path))
        self.task = asyncio.ensure_future(browser.edge(self))

    @property
    def chunks(self) -> list[bytes]:
        return [message.get("body", b"") for message in self.sent]

    async def until(self, text: bytes) -> None:
        async with asyncio.timeout(300):
            while text not in b"".join(self.chunks):
                self.begun.clear()
                await self.begun.wait()
