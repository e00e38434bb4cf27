"""Both engines over a place of their own for each test."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Iterator
from pathlib import Path

import pytest

from gateway.base.store.engine import Engine
from tests.unit.base.store.engines import Opened, open_store
from tests.unit.base.store.postgresql_server import PostgresServer, running_postgresql
from tests.unit.clock import Clock


@pytest.fixture
def own_server() -> Iterator[PostgresServer]:
    """Give a server that the test may kill."""
    with running_postgresql() as server:
        yield server


@pytest.fixture
def clock() -> Clock:
    return Clock(1_000.0)


@pytest.fixture(params=["sqlite", "postgresql"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Return the file or the address of the records."""
    is_file = request.param == "sqlite"
    return str(tmp_path / "records.db") if is_file else request.getfixturevalue("schema_url")


@pytest.fixture
async def open_engine(place: str, clock: Clock) -> AsyncGenerator[Opened]:
    """Give a way to open the same records again and again, as several processes do."""
    opened: list[Engine] = []

    def open_one() -> Engine:
        opened.append(open_store(place, clock))
        return opened[-1]

    yield open_one
    for engine in opened:
        engine.close()
    await asyncio.sleep(0)


@pytest.fixture
def engine(open_engine: Opened) -> Engine:
    return open_engine()
