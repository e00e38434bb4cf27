"""Stdio upstreams, and the real servers that they run."""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from gateway.config import Limits, Upstream
from gateway.upstreams.stdio import StdioUpstream
from tests.unit.upstreams.stdio.driving import Make


@pytest.fixture
async def make() -> AsyncIterator[Make]:
    """Makes upstreams, and ends them. Their time is real, unless a test owns it."""
    made: list[StdioUpstream] = []
    ids = (f"session-{number}" for number in itertools.count(1))

    def build(
        *command: str, first_byte: str = "30s", clock: Callable[[], float] = time.monotonic, **settings: Any
    ) -> StdioUpstream:
        settings = {"command": command, "audience": "files", **settings}
        limits = Limits.model_validate({"first_byte": first_byte})
        upstream = StdioUpstream(
            "files", Upstream.model_validate(settings), limits, clock=clock, new_id=lambda: next(ids)
        )
        made.append(upstream)
        return upstream

    yield build
    await asyncio.gather(*(upstream.aclose() for upstream in made))
