"""A call of an upstream that has not listed its tools: it is down or starting, and never without such a tool."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from gateway.model.errors import UpstreamStarting, UpstreamUnreachable
from gateway.model.wire import UpstreamReply, UpstreamRequest
from tests.requirements import requirement
from tests.unit.upstreams.catalogue.world import World


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


@requirement("fault/unlisted")
@pytest.mark.parametrize("method", ["tools/call", "prompts/get"])
async def test_an_upstream_that_is_down_is_told_as_that_and_no_longer_once_it_is_up(world: World, method: str):
    world.down = True
    catalogue = world.catalogue()
    await catalogue.ensure("files")
    with pytest.raises(UpstreamUnreachable, match="upstream files cannot be reached: refused"):
        catalogue.require_listed("files", method)
    world.down, world.now = False, world.now + 1.0
    await catalogue.ensure("files")
    catalogue.require_listed("files", method)


@requirement("fault/unlisted")
async def test_an_upstream_that_is_slow_is_starting_and_a_call_does_not_wait_for_its_listing(world: World):
    catalogue, go_on = world.catalogue(), asyncio.Event()
    catalogue._listings._patience = 0.05
    send = world.ports["files"].send

    async def held(request: UpstreamRequest) -> UpstreamReply:
        await go_on.wait()
        return await send(request)

    world.ports["files"].send = held  # type: ignore[method-assign]
    await catalogue.ensure("files")
    with pytest.raises(UpstreamStarting, match="has not listed its tools yet"):
        catalogue.require_listed("files", "tools/call")
    go_on.set()
    await catalogue.refresh("files")
    catalogue.require_listed("files", "tools/call")


async def test_a_resource_needs_no_list(world: World):
    world.down = True
    catalogue = world.catalogue()
    await catalogue.ensure("files")
    catalogue.require_listed("files", "resources/read")
