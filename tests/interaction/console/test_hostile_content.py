"""Hostile words of agents in Chromium: in a held call, in decisions and in tasks. A megabyte and ten thousand keys too."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any

import pytest
from playwright.async_api import Browser, Page, expect

from tests.e2e.wire import caller
from tests.gateway_process import gateway_process
from tests.interaction.console.browsing import CHROMIUM, HOSTILE, LONG, There, settings
from tests.servers.serving import ServerProcess

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="Chromium is not installed: apt-get install chromium")

MANY = {f"{HOSTILE} {number}": number for number in range(10_000)}
NAME = "<img src=x onerror=\"document.title='taken'\">\u202e\x1b[31mp\u0430ypal"


@pytest.fixture
async def there(echo_server: ServerProcess, browser: Browser, tmp_path: Path) -> AsyncGenerator[There]:
    text = settings(tmp_path, echo_server, journal={"arguments": "full"})
    async with gateway_process(text, tmp_path) as gateway:
        yield There(gateway, browser)


async def assert_harmless(page: Page) -> None:
    """See that a page shows words and runs none of them, and that nothing hidden is left in them."""
    assert await page.title() != "taken"
    assert await page.locator("main img, main script").count() == 0
    text = await page.locator("main").inner_text()
    assert "\u202e" not in text
    assert "\x1b" not in text
    overflow = await page.evaluate("() => document.documentElement.scrollWidth - window.innerWidth")
    assert overflow <= 0, f"the page is wider than the window by {overflow} px"


@pytest.mark.parametrize(
    "arguments",
    [{"text": "y" * 40_000 + HOSTILE}, {"text": "x", **dict(list(MANY.items())[:300])}],
    ids=["long", "many keys"],
)
async def test_a_held_call_of_hostile_words_can_be_read_and_denied(there: There, arguments: dict[str, Any]):
    async with there.page(viewport={"width": 390, "height": 844}) as page:
        await there.log_in(page)
        held = there.ask(**arguments)
        await page.goto(f"{there.gateway.origin}/console/approvals")
        await page.locator("#questions td a").first.click()
        await expect(page.get_by_text("CYRILLIC SMALL LETTER A").first).to_be_visible(timeout=LONG)
        await assert_harmless(page)
        await page.get_by_role("button", name="Deny", exact=True).click()

        assert "approval/denied" in (await held).codes


@pytest.mark.parametrize(
    "arguments", [{"text": HOSTILE * (2**20 // len(HOSTILE.encode()))}, MANY], ids=["a megabyte", "ten thousand keys"]
)
async def test_the_decision_about_a_huge_call_can_be_read(there: There, arguments: dict[str, Any]):
    """A call beyond the bounds of inspection is refused, so a person is asked about none."""
    refused = await there.ask(**arguments)
    async with there.page(viewport={"width": 390, "height": 844}) as page:
        await there.log_in(page)
        await page.goto(f"{there.gateway.origin}/console/decisions")
        await page.locator("#decisions td:first-child a").first.click()
        await expect(page.get_by_text("request/length").first).to_be_visible(timeout=LONG)
        await assert_harmless(page)

    assert refused.codes == ["request/length"]


async def test_hostile_words_in_lists_and_in_the_graph_do_nothing(there: There):
    calls = caller(there.gateway, "ben", "echo")
    await asyncio.to_thread(calls.call, NAME, text="x")
    await asyncio.to_thread(calls.call, "echo", text=HOSTILE)
    await asyncio.to_thread(calls.call, "echo", **{NAME: HOSTILE, "text": "y" * 2**17})
    async with there.page(viewport={"width": 390, "height": 844}) as page:
        await there.log_in(page)
        await page.goto(f"{there.gateway.origin}/console/decisions")
        decisions = [await one.get_attribute("href") for one in await page.locator("#decisions td:first-child a").all()]
        await page.goto(f"{there.gateway.origin}/console/tasks")
        task = await page.locator("#tasks td a").first.get_attribute("href")
        assert len(decisions) == 3
        for path in ("/console/decisions", "/console/tasks", "/console/policy", task, *decisions):
            await page.goto(f"{there.gateway.origin}{path}")
            await assert_harmless(page)
        await page.goto(f"{there.gateway.origin}{decisions[-1]}")
        await expect(page.get_by_role("heading", level=1)).to_contain_text("⟨U+202E RIGHT-TO-LEFT OVERRIDE⟩")
        for hostile in (
            "agent=%3Cscript%3Edocument.title%3D%27taken%27%3C%2Fscript%3E",
            "code=%E2%80%AE",
            "task=%1B%5B31m",
        ):
            await page.goto(f"{there.gateway.origin}/console/decisions?{hostile}")
            await assert_harmless(page)
