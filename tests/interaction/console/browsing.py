"""A gateway with a console, a browser, and a person's ways in, for the tests in Chromium."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import yaml
from playwright.async_api import Browser, BrowserContext, Page, expect

from gateway.surfaces.cli.control_client import connect_to_gateway
from tests.e2e.wire import caller
from tests.gateway_process import GatewayProcess
from tests.interaction.identity.server import OAuthServer
from tests.servers.serving import ServerProcess

GRANTS = """
upstreams:
  echo:
    - {id: all, agents: [ann], issuers: ["*"], tools: [echo], effects: [read, write, destructive], approval: true}
    - {id: rest, agents: [ben], issuers: ["*"], tools: [echo], effects: [read, write, destructive]}
"""
HOSTILE = "</pre><script>document.title='taken'</script><img src=x onerror=\"document.title='taken'\"> a\u202egpj \x1b[31m p\u0430ypal"
CHROMIUM = shutil.which("chromium")
LONG = 60_000
"""Milliseconds for what needs the gateway, on a loaded machine."""


@dataclass
class There:
    """A gateway with a console, a browser, and perhaps an identity provider."""

    gateway: GatewayProcess
    browser: Browser
    server: OAuthServer | None = None

    def ask(self, agent: str = "ann", **arguments: Any) -> asyncio.Task[Any]:
        """Make a call that a person has to approve. It is held meanwhile."""
        client = caller(self.gateway, agent, "echo")
        return asyncio.ensure_future(asyncio.to_thread(lambda: client.call("echo", **arguments)))

    @asynccontextmanager
    async def page(self, **options: Any) -> AsyncGenerator[Page]:
        """Give a page in a window of its own, which fails the test if the page breaks its own security policy."""
        context: BrowserContext = await self.browser.new_context(**options)
        context.set_default_timeout(LONG)
        page = await context.new_page()
        complaints: list[str] = []
        page.on("console", lambda message: complaints.append(message.text) if message.type == "error" else None)
        page.on("pageerror", lambda error: complaints.append(str(error)))
        try:
            yield page
            assert [one for one in complaints if "status of 4" not in one] == []
        finally:
            await context.close()

    async def log_in(self, page: Page, name: str = "", *groups: str) -> None:
        if self.server is None:
            with connect_to_gateway(self.gateway.folder / "state/control.sock") as socket:
                link = await asyncio.to_thread(socket.ask, "logins/link")
            await page.goto(link["url"])
            await page.get_by_role("button").click()
        else:
            await self.server.seat(name, *groups)
            await page.goto(f"{self.gateway.origin}/console")
            await page.get_by_role("link", name="Log in").click()
        await expect(page.get_by_role("heading", name="Overview")).to_be_visible(timeout=LONG)

    async def open_question(self, page: Page) -> None:
        await page.goto(f"{self.gateway.origin}/console/approvals")
        await page.locator("#questions td a").first.click()


def settings(folder: Path, echo: ServerProcess, **more: Any) -> str:
    (folder / "grants.yaml").write_text(GRANTS, "utf-8")
    tools = {"*": {"effect": "read", "egress": False, "sensitivity": "internal"}}
    document = {
        "identity": [{"kind": "development"}],
        "policy": {"grants": "grants.yaml", "engine": {"kind": "embedded", "deadline": "20s"}},
        "approvals": {"hold": "120s"},
        "console": {},
        "upstreams": {"echo": {"url": echo.mcp, "audience": "echo", "environment": "test", "tools": tools}},
    }
    return yaml.safe_dump(document | more)


async def press_to(page: Page, text: str) -> None:
    """Move the focus with the Tab key to the element with this text, see that the focus is drawn, and press Enter."""
    for _ in range(40):
        await page.keyboard.press("Tab")
        focused = await page.evaluate(
            "() => { const e = document.activeElement; const s = getComputedStyle(e);"
            " return [e.innerText, s.outlineStyle !== 'none' && parseFloat(s.outlineWidth) >= 2]; }"
        )
        if focused[0] and focused[0].strip() == text:
            assert focused[1], f"the focus on {text} cannot be seen"
            await page.keyboard.press("Enter")
            return
    raise AssertionError(f"the keyboard does not reach {text!r}")


_EACH_RULE: Final = {
    "type": "tag",
    "values": ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"],
}
_COLOURS: Final = {"type": "rule", "values": ["color-contrast", "link-in-text-block"]}
"""The rules whose answer depends on the colours."""


async def assert_accessible(page: Page, axe: str, where: str) -> None:
    """Run axe-core in the page, and its rules about colours in the dark too."""
    # The debugger puts the code there, so the page's own policy does not forbid it.
    await page.evaluate(axe)
    await _assert_no_violation(page, _EACH_RULE, where)
    await page.emulate_media(color_scheme="dark")
    await _assert_no_violation(page, _COLOURS, f"{where}, dark,")
    await page.emulate_media(color_scheme="light")
    overflow = await page.evaluate("() => document.documentElement.scrollWidth - window.innerWidth")
    assert overflow <= 0, f"{where} is wider than the window by {overflow} px"


async def _assert_no_violation(page: Page, rules: Mapping[str, Any], where: str) -> None:
    found = await page.evaluate("rules => axe.run({runOnly: rules})", rules)
    violations = [(one["id"], [node["html"] for node in one["nodes"]][:3]) for one in found["violations"]]
    assert violations == [], f"{where} {violations}"
