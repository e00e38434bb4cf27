"""The OAuth server, and the browser, of the tests of the console."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from playwright.async_api import Browser, async_playwright

from tests.interaction.console.browsing import CHROMIUM
from tests.interaction.identity.server import OAuthServer

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Generator
    from pathlib import Path


@pytest.fixture
def server(node_path: Path, node_modules: Path, unused_tcp_port: int, tmp_path: Path) -> Generator[OAuthServer]:
    server = OAuthServer(node_path, node_modules, unused_tcp_port, tmp_path / "provider.log")
    server.start()
    yield server
    server.stop()


@pytest.fixture
async def browser() -> AsyncGenerator[Browser]:
    async with async_playwright() as playwright:
        options = ["--no-sandbox", "--disable-dev-shm-usage"]
        opened = await playwright.chromium.launch(executable_path=CHROMIUM, args=options)
        yield opened
        await opened.close()
