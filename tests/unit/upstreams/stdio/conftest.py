"""Stdio upstreams that are ended when the test is over."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator
from typing import Any

import pytest

from gateway.config import Limits, Upstream
from gateway.upstreams.stdio import StdioUpstream, replies
from tests.unit.clock import Clock
from tests.unit.upstreams.stdio.driving import PUPPET, Make


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture(autouse=True)
def _patient(monkeypatch: pytest.MonkeyPatch) -> None:  # pyright: ignore[reportUnusedFunction] - pytest uses it
    """Have the form of an answer depend on what a server says, and on no machine that is slow."""
    monkeypatch.setattr(replies, "GRACE", 300.0)


@pytest.fixture
async def make(clock: Clock) -> AsyncIterator[Make]:
    """Makes upstreams, and ends them."""
    made: list[StdioUpstream] = []
    ids = (f"session-{number}" for number in itertools.count(1))

    def build(*command: str, first_byte: str = "300s", **settings: Any) -> StdioUpstream:
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
