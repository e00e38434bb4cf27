"""A call of an upstream that has not listed its tools: it is down or starting, and never without such a tool."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest

from gateway.model.errors import UpstreamStarting, UpstreamUnreachable
from gateway.model.target import Pin
from gateway.model.wire import UpstreamReply, UpstreamRequest
from tests.requirements import requirement
from tests.unit.upstreams.catalogue.scripted import tool
from tests.unit.upstreams.catalogue.world import EVIL, GOOD, World


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


async def pinned(world: World) -> None:
    """Have both upstreams pinned by a first gateway."""
    catalogue = world.catalogue()
    await catalogue.refresh()
    await catalogue.stop()


@requirement("fault/pinned-lists")
async def test_pins_are_shown_before_the_first_listing_and_permit_nothing(world: World):
    await pinned(world)
    catalogue = world.catalogue()
    assert [json.loads(item) for item in await catalogue.show_pinned("files", "tool") or ()] == [json.loads(GOOD)]
    assert catalogue.definitions["files"]["tool"].pinned_target("read_file").pin is Pin.MATCH
    assert catalogue.target("files", "tool", "read_file").pin is Pin.UNKNOWN
    assert catalogue.definitions["files"]["tool"].pinned_target("another").pin is Pin.UNKNOWN
    assert await catalogue.show_pinned("files", "prompt") is None


@requirement("fault/pinned-lists")
async def test_after_a_listing_a_changed_or_removed_tool_is_no_longer_shown_from_the_pins(world: World):
    world.files = [GOOD, tool("more"), tool("third")]
    await pinned(world)
    world.files = [EVIL, tool("third")]
    catalogue = world.catalogue()
    await catalogue.refresh()
    assert [json.loads(item)["name"] for item in await catalogue.show_pinned("files", "tool") or ()] == ["third"]
    assert catalogue.definitions["files"]["tool"].pinned_target("read_file").pin is Pin.CHANGED


@requirement("fault/pinned-lists")
@pytest.mark.parametrize(("listed", "told"), [([GOOD], 0), ([EVIL], 1), ([], 1), ([GOOD, tool("more")], 1)])
async def test_clients_are_told_once_if_the_list_turns_out_to_be_another(world: World, listed: list[bytes], told: int):
    await pinned(world)
    catalogue, heard = world.catalogue(), list[bool]()
    catalogue.on_pinned(lambda: heard.append(True))
    await catalogue.show_pinned("files", "tool")
    world.files = listed
    await catalogue.refresh("mail")
    for _ in range(2):
        await catalogue.refresh("files")
    assert len(heard) == told


@requirement("fault/pinned-lists")
async def test_a_start_does_not_wait_for_an_upstream_whose_list_is_known(world: World, monkeypatch: pytest.MonkeyPatch):
    await pinned(world)
    catalogue = world.catalogue()
    monkeypatch.setattr("gateway.upstreams.catalogue.catalogue._PINNED_START_SECONDS", 0.01)

    async def held(request: UpstreamRequest) -> UpstreamReply:
        return await asyncio.Future()

    world.ports["files"].send = held  # type: ignore[method-assign]
    async with asyncio.timeout(300):
        await catalogue.start()
    assert [status.listed for status in catalogue.status()] == [False, True]
    await catalogue.stop()


@requirement("fault/pinned-lists")
async def test_an_upstream_is_away_from_a_listing_that_found_it_down_to_the_next_that_succeeds(world: World):
    await pinned(world)
    catalogue = world.catalogue()
    await catalogue.refresh("files")
    assert not catalogue.is_away("files")
    world.down = True
    await catalogue.refresh("files")
    assert catalogue.is_away("files")
    assert [json.loads(item)["name"] for item in await catalogue.show_pinned("files", "tool") or ()] == ["read_file"]
    world.down = False
    await catalogue.refresh("files")
    assert not catalogue.is_away("files")
