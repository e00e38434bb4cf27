"""Stdio upstreams that are ended when the test is over."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator
from typing import Any

import pytest

from gateway.config import Limits, Upstream
from gateway.upstream.stdio import StdioUpstream
from tests.unit.clock import Clock
from tests.unit.upstream.stdio.driving import PUPPET, Make


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
async def make(clock: Clock) -> AsyncIterator[Make]:
    """Makes upstreams, and ends them."""
    made: list[StdioUpstream] = []
    ids = (f"session-{number}" for number in itertools.count(1))

    def build(*command: str, first_byte: str = "20s", **settings: Any) -> StdioUpstream:
        upstream = StdioUpstream(
            "files",
            Upstream.model_validate({"command": command or PUPPET, "audience": "files", **settings}),
            Limits.model_validate({"first_byte": first_byte}),
            clock=clock,
            new_id=lambda: next(ids),
        )
        made.append(upstream)
        return upstream

    yield build
    await asyncio.gather(*(upstream.aclose() for upstream in made))
