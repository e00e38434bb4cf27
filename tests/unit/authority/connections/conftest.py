"""A gateway's connections, with a server and an identity provider."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.unit.authority.connections.connecting import Connecting
from tests.unit.authority.connections.server import fake_server

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator
    from pathlib import Path


@pytest.fixture
async def there(tmp_path: Path) -> AsyncGenerator[Connecting]:
    async with fake_server() as at, fake_server() as idp:
        connecting = Connecting(tmp_path, at, idp)
        yield connecting
        await connecting.aclose()
