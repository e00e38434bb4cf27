"""Two gateways over one real store, once for each engine."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING

import pytest

from tests.unit.base.store.engines import open_store
from tests.unit.clock import Clock
from tests.unit.history.shared.replicas import Replica

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator
    from pathlib import Path


@pytest.fixture
def clock() -> Clock:
    return Clock(1_000.0)


@pytest.fixture(params=["sqlite", "postgresql"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Return the file or the address of the shared logs."""
    return str(tmp_path / "records.db") if request.param == "sqlite" else request.getfixturevalue("schema_url")


@pytest.fixture
async def start(place: str, clock: Clock) -> AsyncGenerator[Callable[[str], Replica]]:
    """Give a way to start one more gateway over the same logs."""
    started: list[Replica] = []

    def start_one(name: str) -> Replica:
        started.append(Replica(name, open_store(place, clock), clock))
        return started[-1]

    yield start_one
    for replica in started:
        await replica.close()
    await asyncio.sleep(0)
