"""Login at the console with a real Keycloak, in Chromium: its form, its cookies, and roles by the groups of its tokens."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml
from playwright.async_api import Browser, Page, expect

from tests.e2e.wire import entries
from tests.gateway_process import GatewayProcess, free_port, gateway_process
from tests.interaction.console.browsing import CHROMIUM, LONG
from tests.servers.keycloak import PASSWORD, Keycloak

# The start of Keycloak counts for the first test.
pytestmark = [
    pytest.mark.skipif(CHROMIUM is None, reason="Chromium is not installed: apt-get install chromium"),
    pytest.mark.timeout(300),
]
ROLES = {"viewer": ["console-staff"], "operator": ["console-platform"]}


@dataclass
class There:
    """A gateway whose console has its login at Keycloak, and a browser."""

    gateway: GatewayProcess
    keycloak: Keycloak
    page: Page

    def new_person(self, *groups: str) -> str:
        """Make a user in groups, and return the name."""
        person = self.keycloak.new_person()
        self.keycloak.join(person, *groups)
        return person.name

    async def open(self, path: str) -> None:
        await self.page.goto(f"{self.gateway.origin}{path}", timeout=LONG)

    async def log_in(self, name: str, password: str = PASSWORD) -> None:
        """Go through the form of Keycloak."""
        await self.open("/console")
        await self.page.get_by_role("link", name="Log in").click()
        await self.fill_in(name, password)

    async def fill_in(self, name: str, password: str = PASSWORD) -> None:
        await self.page.locator("#password").wait_for(timeout=LONG)
        if await self.page.locator("input#username:not([type=hidden])").count():
            await self.page.locator("#username").fill(name)
        await self.page.locator("#password").fill(password)
        await self.page.locator("#kc-login, [name=login]").first.click()


@pytest.fixture
async def there(keycloak: Keycloak, browser: Browser, tmp_path: Path) -> AsyncGenerator[There]:
    port = free_port()
    client, secret = keycloak.new_console(f"http://127.0.0.1:{port}/console/login/callback")
    login = {"issuer": keycloak.issuer, "client_id": client, "client_secret": "${CONSOLE_SECRET}", "roles": ROLES}
    people = {"issuer": keycloak.issuer, "groups": ["console-sre"]}
    text = yaml.safe_dump(
        {"identity": [{"kind": "development"}], "console": {"login": login}, "approvals": {"people": people}}
    )
    context = await browser.new_context()
    context.set_default_timeout(LONG)
    async with gateway_process(text, tmp_path, environment={"CONSOLE_SECRET": secret}, port=port) as gateway:
        yield There(gateway, keycloak, await context.new_page())
        await context.close()


@pytest.mark.parametrize(
    ("groups", "roles", "pages"),
    [
        (
            ("console-staff",),
            "viewer",
            ["Overview", "Decisions", "Search", "Tasks", "Agents", "Users", "Tools", "Stops", "Policy"],
        ),
        (("console-platform", "console-sre"), "approver, operator", None),
    ],
)
async def test_the_groups_of_the_token_are_the_roles(
    there: There, groups: tuple[str, ...], roles: str, pages: list[str] | None
):
    name = there.new_person(*groups)
    await there.log_in(name)
    await expect(there.page.get_by_role("heading", name="Overview")).to_be_visible(timeout=LONG)

    assert await there.page.locator(".who .roles").inner_text() == roles
    if pages is not None:
        assert await there.page.locator("nav a").all_inner_texts() == pages
    (entry,) = [one for one in entries(there.gateway.folder, "console") if one["event"] == "login"]
    assert (entry["by"]["issuer"], entry["by"]["login"]) == (there.keycloak.issuer, "oidc")


async def test_a_person_without_a_group_and_a_wrong_password_get_no_session(there: There):
    name = there.new_person("elsewhere")
    await there.log_in(name, "wrong")
    await expect(there.page.locator("#password")).to_be_visible(timeout=LONG)
    await there.fill_in(name)
    await expect(there.page.get_by_text("console/role")).to_be_visible(timeout=LONG)
    await there.open("/console/decisions")

    await expect(there.page.get_by_role("heading", name="Log in to the console")).to_be_visible()
    assert [one["event"] for one in entries(there.gateway.folder, "console")] == []


async def test_a_fresh_login_asks_for_the_password_again(there: There):
    name = there.new_person("console-staff")
    await there.log_in(name)
    await expect(there.page.get_by_role("heading", name="Overview")).to_be_visible(timeout=LONG)
    await there.page.get_by_role("button", name="Log out").click()
    await there.page.get_by_role("link", name="Log in").click()
    await expect(there.page.get_by_role("heading", name="Overview")).to_be_visible(timeout=LONG)
    await there.open("/console/login/start?max_age=0&back=/console/tasks")
    await there.fill_in(name)
    await expect(there.page.get_by_role("heading", name="Tasks")).to_be_visible(timeout=LONG)

    logins = [one for one in entries(there.gateway.folder, "console") if one["event"] == "login"]
    times = [one["by"]["logged_in"] for one in logins]
    assert len(times) == 3
    assert times[0] == times[1] < times[2], "Keycloak remembered the first login, and the last one was made anew"
