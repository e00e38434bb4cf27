"""The console in Chromium: logins, answers, news, hostile words, the keyboard, and axe-core, on a gateway of its own."""

from __future__ import annotations

import asyncio
import re
import shutil
from collections.abc import AsyncGenerator
from pathlib import Path

import pytest
from playwright.async_api import Browser, expect

from gateway.surfaces.cli.control_client import connect_to_gateway
from tests.e2e.wire import entries
from tests.gateway_process import free_port, gateway_process
from tests.interaction.console.browsing import CHROMIUM, HOSTILE, LONG, There, assert_accessible, press_to, settings
from tests.interaction.identity.server import OAuthServer
from tests.servers.serving import ROOT, ServerProcess

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="Chromium is not installed: apt-get install chromium")


@pytest.fixture
async def there(echo_server: ServerProcess, browser: Browser, tmp_path: Path) -> AsyncGenerator[There]:
    async with gateway_process(settings(tmp_path, echo_server), tmp_path) as gateway:
        yield There(gateway, browser)


async def test_a_person_logs_in_hears_of_a_call_and_approves_it(there: There):
    async with there.page() as page:
        await there.log_in(page)
        await page.goto(f"{there.gateway.origin}/console/approvals")
        await expect(page.locator("#live-state")).to_have_text("live", timeout=LONG)
        held = there.ask(text="hello")
        await page.locator("#questions td a").first.click(timeout=LONG)
        await expect(page.get_by_label("said by the agent")).to_contain_text("hello")
        await page.get_by_role("button", name="Approve").click()

        assert (await held).text == "hello"
        await expect(page.get_by_role("status").last).to_contain_text("The call has passed", timeout=LONG)


async def test_a_no_reaches_the_agent_and_ends_the_wait(there: There):
    async with there.page() as page:
        await there.log_in(page)
        held = there.ask(text="no")
        await page.goto(f"{there.gateway.origin}/console/approvals")
        await page.locator("#questions td a").first.click()
        await page.get_by_role("button", name="Deny", exact=True).click()

        assert (await held).codes == ["approval/grant", "approval/denied"]


async def test_an_open_page_sees_that_nobody_answered_in_time(
    echo_server: ServerProcess, browser: Browser, tmp_path: Path
):
    text = settings(tmp_path, echo_server, approvals={"hold": "60s", "pending": "8s"})
    async with gateway_process(text, tmp_path) as gateway:
        there = There(gateway, browser)
        async with there.page() as page:
            await there.log_in(page)
            await page.goto(f"{gateway.origin}/console/approvals")
            held = there.ask(text="late")
            await page.locator("#questions td a").first.click()

            assert (await held).codes == ["approval/grant", "approval/expired"]
            await expect(page.get_by_text("Nobody answered in time.")).to_be_visible(timeout=LONG)
            assert await page.get_by_role("button", name="Approve").count() == 0


async def test_hostile_words_are_read_and_do_nothing(there: There):
    async with there.page() as page:
        await there.log_in(page)
        held = there.ask(text=HOSTILE)
        await page.goto(f"{there.gateway.origin}/console/approvals")
        await page.locator("#questions td a").first.click()
        shown = await page.get_by_label("said by the agent").inner_text()

        assert "<script>" in shown
        assert "⟨U+202E RIGHT-TO-LEFT OVERRIDE⟩" in shown
        assert "taken" not in await page.title()
        assert await page.locator("img").count() == 0
        await expect(page.get_by_text("CYRILLIC SMALL LETTER A")).to_be_visible()
        await page.get_by_role("button", name="Deny", exact=True).click()
        await held


async def test_the_keyboard_alone_logs_in_and_approves(there: There):
    async with there.page() as page:
        with connect_to_gateway(there.gateway.folder / "state/control.sock") as socket:
            link = await asyncio.to_thread(socket.ask, "logins/link")
        await page.goto(link["url"])
        await press_to(page, "Continue as developer")
        await page.wait_for_url("**/console")
        held = there.ask(text="keys")
        await press_to(page, "Approvals")
        await page.wait_for_url("**/console/approvals")
        await page.locator("#questions td a").first.wait_for()
        await press_to(page, "The agent ann wants to call echo/echo.")
        await page.get_by_role("heading", name="Your answer").wait_for()
        await press_to(page, "Approve")

        assert (await held).text == "keys"


async def test_axe_finds_nothing_on_any_page_at_either_width_and_in_the_dark(there: There, node_modules: Path):
    axe = (node_modules / "axe-core/axe.min.js").read_text("utf-8")
    async with there.page(color_scheme="light") as page:
        await there.log_in(page)
        held = there.ask(text="x")
        await page.goto(f"{there.gateway.origin}/console/approvals")
        question = await page.locator("#questions td a").first.get_attribute("href")
        there.ask("ben", text="y" * 3)
        there.ask("eve", text="z")
        await page.goto(f"{there.gateway.origin}/console/decisions")
        await page.locator("#decisions .badge.deny").first.wait_for()
        decision = await page.locator("#decisions td a").first.get_attribute("href")
        task = await page.locator("#decisions td a[aria-label]").first.get_attribute("href")
        others = ["/console", "/console/approvals", "/console/decisions", "/console/tools", "/console/policy"]
        for width in (390, 1600):
            await page.set_viewport_size({"width": width, "height": 900})
            for path in (question, decision, task, *others):
                await page.goto(f"{there.gateway.origin}{path}")
                await assert_accessible(page, axe, f"{path} at {width}")
        await page.goto(f"{there.gateway.origin}{question}")
        await page.get_by_role("button", name="Deny", exact=True).click()
        await held


async def test_pages_work_without_a_script(there: There):
    async with there.page(java_script_enabled=False) as page:
        await there.log_in(page)
        held = there.ask(text="plain")
        for _ in range(100):
            await page.goto(f"{there.gateway.origin}/console/approvals")
            if await page.locator("#questions td a").count():
                break
            await asyncio.sleep(0.1)
        await page.locator("#questions td a").first.click()
        await page.get_by_role("button", name="Approve").click()

        assert (await held).text == "plain"


@pytest.fixture
async def with_provider(
    echo_server: ServerProcess, browser: Browser, server: OAuthServer, tmp_path: Path
) -> AsyncGenerator[There]:
    port = free_port()
    client, secret = await server.register(f"http://127.0.0.1:{port}/console/login/callback")
    roles = {"viewer": ["staff"], "operator": ["platform"]}
    login = {"issuer": server.issuer, "client_id": client, "client_secret": "${CONSOLE_SECRET}", "roles": roles}
    policy = tmp_path / "policy"
    shutil.copytree(ROOT / "rego", policy, ignore=shutil.ignore_patterns("*_test.rego"))
    data = policy / "gateway/settings/data.yaml"
    data.write_text(data.read_text("utf-8").replace("every: {count: 1,", "every: {count: 2,"), "utf-8")
    text = settings(
        tmp_path,
        echo_server,
        console={"login": login},
        approvals={"people": {"issuer": server.issuer, "groups": ["sre"]}},
        policy={"path": "policy", "grants": "grants.yaml", "engine": {"kind": "embedded", "deadline": "20s"}},
    )
    environment = {"CONSOLE_SECRET": secret}
    async with gateway_process(text, tmp_path, environment=environment, port=port) as gateway:
        yield There(gateway, browser, server)


async def test_two_persons_of_a_provider_approve_together(with_provider: There):
    there = with_provider
    async with there.page() as first, there.page() as second:
        await there.log_in(first, "carol", "sre")
        await there.log_in(second, "dave", "sre", "staff")
        assert await first.get_by_role("link", name="Decisions").count() == 0
        held = there.ask(text="both")
        await first.goto(f"{there.gateway.origin}/console/approvals")
        await first.locator("#questions td a").first.click()
        await first.get_by_role("button", name="Approve").click()
        await expect(first.get_by_text("Another person has to answer too.")).to_be_visible()
        await second.goto(first.url)
        await expect(second.get_by_text("1 of 2 persons")).to_be_visible()
        await second.get_by_role("button", name="Approve").click()

        assert (await held).text == "both"
        await expect(first.get_by_text("The call has passed")).to_be_visible(timeout=LONG)
        votes = [
            entry["vote"]["person"]["id"] for entry in entries(there.gateway.folder, "approval") if "vote" in entry
        ]
        assert votes == ["carol", "dave"]


async def test_a_page_that_stays_open_survives_a_new_gateway(
    echo_server: ServerProcess, browser: Browser, tmp_path: Path
):
    port = free_port()
    text = settings(tmp_path, echo_server)
    async with gateway_process(text, tmp_path, port=port) as gateway:
        there = There(gateway, browser)
        context = await browser.new_context()
        page = await context.new_page()
        await there.log_in(page)
        await page.goto(f"{gateway.origin}/console/approvals")
        await expect(page.locator("#live-state")).to_have_text("live", timeout=LONG)
    # The gateway told the page of its end, and stopped at once in spite of the open stream.
    async with gateway_process(text, tmp_path, port=port) as gateway:
        await page.goto(f"{gateway.origin}/console/approvals")
        await expect(page.get_by_role("heading", name="Log in to the console")).to_be_visible(timeout=LONG)
        assert re.search(r"/console/login\?back=/console/approvals$", page.url)
        await context.close()
