"""Pages in Chromium that the first tests leave out: login, link, leases, tasks and the candidate. By eye, keyboard, and without scripts."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from playwright.async_api import Browser, Page, expect

from gateway.surfaces.cli.control_client import connect_to_gateway
from tests.e2e.wire import caller
from tests.gateway_process import gateway_process
from tests.interaction.console.browsing import CHROMIUM, GRANTS, LONG, There, assert_accessible, press_to, settings
from tests.servers.serving import ServerProcess

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="Chromium is not installed: apt-get install chromium")

NEW = ("agents", "agents/one?name=ben", "users", "search?q=ben", "search?q=nobody")


@pytest.fixture
async def there(echo_server: ServerProcess, browser: Browser, tmp_path: Path) -> AsyncGenerator[There]:
    """A gateway that lends credentials, and has a candidate policy."""
    (tmp_path / "next.yaml").write_text(GRANTS.replace("agents: [ben]", "agents: [eve]"), "utf-8")
    tools = {"*": {"effect": "read", "egress": False, "sensitivity": "internal"}}
    credential = {"kind": "gateway", "bind": "task", "scopes": {"read": ["read"]}}
    echo = {"url": echo_server.mcp, "audience": "https://echo.example", "environment": "test", "tools": tools}
    client = {"id": "echo", "secret": "${ECHO_SECRET}", "audiences": ["https://echo.example"]}
    text = settings(
        tmp_path,
        echo_server,
        console={"candidate": {"grants": "next.yaml"}},
        authority={"introspection": {"clients": [client]}},
        upstreams={"echo": {**echo, "credential": credential}},
    )
    async with gateway_process(text, tmp_path, environment={"ECHO_SECRET": "s" * 40}) as gateway:
        yield There(gateway, browser)


async def call(there: There, *texts: str) -> None:
    client = caller(there.gateway, "ben", "echo")
    for text in texts:
        answer = await asyncio.to_thread(client.call, "echo", text=text)
        assert answer.text == text


async def link_of(there: There) -> str:
    with connect_to_gateway(there.gateway.folder / "state/control.sock") as socket:
        return str((await asyncio.to_thread(socket.ask, "logins/link"))["url"])


async def test_axe_finds_nothing_on_the_other_pages(there: There, node_modules: Path):
    axe = (node_modules / "axe-core/axe.min.js").read_text("utf-8")
    await call(there, "one", "two")
    link = await link_of(there)
    async with there.page(color_scheme="light") as page:
        outside = (link, f"{there.gateway.origin}/console/login", f"{there.gateway.origin}/console/login/link?token=x")
        for path in outside:
            await look(page, axe, path)
        await there.log_in(page)
        await page.goto(f"{there.gateway.origin}/console/policy")
        await page.get_by_role("button", name="Compare").click()
        await expect(page.get_by_text("2 of the last 2 recorded decisions would change")).to_be_visible(timeout=LONG)
        await call(there, "three")
        for path in ("leases", "tasks", "tasks?state=open&calls=refused", "policy", "policy/compare", "nowhere", *NEW):
            await look(page, axe, f"{there.gateway.origin}/console/{path}")
        await page.goto(f"{there.gateway.origin}/console/leases")
        assert await page.locator("table .badge").count() > 0, "a lease is on the page"
        await page.goto(f"{there.gateway.origin}/console/tasks")
        await expect(page.locator("#tasks tbody tr")).to_have_count(1)


async def look(page: Page, axe: str, url: str) -> None:
    for width in (390, 1600):
        await page.set_viewport_size({"width": width, "height": 900})
        answer = await page.goto(url)
        if answer is not None and (answer.headers.get("content-type") or "").startswith("text/html"):
            await assert_accessible(page, axe, f"{url} at {width}")


async def test_the_keyboard_alone_filters_tasks_and_opens_a_graph(there: There):
    await call(there, "one")
    async with there.page() as page:
        await there.log_in(page)
        await press_to(page, "Tasks")
        await page.wait_for_url("**/console/tasks")
        await press_to(page, "Filter")
        await page.wait_for_url("**/console/tasks?**")
        name = await page.locator("#tasks td a").first.inner_text()
        await press_to(page, name)
        await page.wait_for_url("**/console/tasks/**")
        await expect(page.get_by_role("group", name="Task")).to_be_visible()


async def test_an_open_list_gets_new_rows_and_keeps_the_keyboard_in_its_place(there: There):
    await call(there, "one")
    async with there.page() as page:
        await there.log_in(page)
        await page.goto(f"{there.gateway.origin}/console/decisions")
        await expect(page.locator("#live-state")).to_have_text("live", timeout=LONG)
        first = page.locator("#decisions td a").first
        place = await first.get_attribute("href")
        await first.focus()
        await call(there, "two")
        await expect(page.locator("#decisions tbody tr")).to_have_count(2, timeout=LONG)

        assert await page.evaluate("document.activeElement.getAttribute('href')") == place


async def test_the_new_pages_work_without_a_script(there: There):
    await call(there, "one")
    async with there.page(java_script_enabled=False) as page:
        await there.log_in(page)
        await page.goto(f"{there.gateway.origin}/console/tasks")
        await page.get_by_label("Agent").fill("nobody")
        await page.get_by_role("button", name="Filter").click()
        await expect(page.get_by_text("No task fits.")).to_be_visible()
        await page.get_by_role("link", name="all tasks").click()
        await page.get_by_role("link", name="1 calls of the task").click()
        await expect(page.locator("#decisions tbody tr")).to_have_count(1)
        await page.goto(f"{there.gateway.origin}/console/policy")
        await page.get_by_role("button", name="Compare").click()
        await expect(page.get_by_text("1 of the last 1 recorded decisions would change")).to_be_visible(timeout=LONG)


async def test_times_stand_in_the_zone_of_the_reader_and_utc_is_at_the_pointer(there: There):
    await call(there, "one")
    async with there.page(timezone_id="Asia/Kathmandu") as page:
        await there.log_in(page)
        await page.goto(f"{there.gateway.origin}/console/decisions")
        shown = page.locator("td time").first
        utc = datetime.fromisoformat(str(await shown.get_attribute("datetime"))).replace(microsecond=0)

        await expect(shown).to_have_attribute("title", f"{utc:%Y-%m-%d %H:%M:%S} UTC")
        await expect(shown).to_have_text(f"{utc + timedelta(hours=5, minutes=45):%Y-%m-%d %H:%M:%S}")
