from __future__ import annotations

from typing import TYPE_CHECKING

import pytest_asyncio

from gateway.surfaces.demo.processes import run_servers

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    import pytest


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def demo(tmp_path_factory: pytest.TempPathFactory) -> AsyncGenerator[dict[str, str]]:
    """The demo servers, running for the tests of one module: name → MCP endpoint."""
    async with run_servers(tmp_path_factory.mktemp("demo")) as urls:
        yield urls
