"""Two gateways over one real store, once for each engine."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING

import pytest

from tests.unit.authority.approvals.shared.desks import Neighbours, ReplicaDesk
from tests.unit.base.store.engines import open_store
from tests.unit.clock import Clock

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator
    from pathlib import Path


@pytest.fixture
def clock() -> Clock:
    return Clock(1_000.0)


@pytest.fixture(params=["sqlite", "postgresql"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Return the file or the address of the shared records."""
    return str(tmp_path / "records.db") if request.param == "sqlite" else request.getfixturevalue("schema_url")


@pytest.fixture
def living() -> set[str]:
    """Return the gateways that have not ended."""
    return {"a", "b"}


@pytest.fixture
async def start(place: str, clock: Clock, living: set[str]) -> AsyncGenerator[Callable[[str], ReplicaDesk]]:
    """Give a way to start one more gateway on the same records."""
    started: list[ReplicaDesk] = []

    def start_one(name: str) -> ReplicaDesk:
        started.append(ReplicaDesk(open_store(place, clock), clock, Neighbours(name, living)))
        return started[-1]

    yield start_one
    for each in started:
        await each.replica.close()
    await asyncio.sleep(0)


@pytest.fixture
def both(start: Callable[[str], ReplicaDesk]) -> tuple[ReplicaDesk, ReplicaDesk]:
    return start("a"), start("b")
