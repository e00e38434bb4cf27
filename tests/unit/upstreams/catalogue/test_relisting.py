"""When an upstream is listed anew before its time: something of it was pinned, or it says that it has changed."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from gateway.model.target import Pin
from gateway.upstreams.catalogue import lockfile
from tests.unit.upstreams.catalogue.scripted import method, tool
from tests.unit.upstreams.catalogue.world import EVIL, defined

if TYPE_CHECKING:
    from collections.abc import Callable

    from gateway.model.wire import UpstreamReply, UpstreamRequest
    from tests.unit.upstreams.catalogue.world import World


def pin(world: World, raw: bytes) -> None:
    """Pin it in another process."""
    lockfile.amend(world.lock, lambda lock: lock.pinned("files", "tool", [defined(raw)], "2026-11-25T13:00:00Z"))


@pytest.fixture
def listed(world: World) -> Callable[[int], asyncio.Event]:
    """Set once the tools have been listed so many times from then on."""

    def after(times: int) -> asyncio.Event:
        send, done, first = world.ports["files"].send, asyncio.Event(), listings(world)

        async def counted(request: UpstreamRequest) -> UpstreamReply:
            reply = await send(request)
            if listings(world) - first >= times:
                done.set()
            return reply

        world.ports["files"].send = counted
        return done

    return after


def listings(world: World) -> int:
    return world.ports["files"].methods.count("tools/list")


async def test_a_pin_that_is_made_before_the_change_was_noticed_has_the_upstream_listed_anew(
    world: World, listed: Callable[[int], asyncio.Event]
):
    catalogue = world.catalogue()
    await catalogue.start()
    world.files = [EVIL]
    pin(world, EVIL)
    once = listed(1)
    await catalogue.reload()
    assert catalogue.target("files", "tool", "read_file").pin is Pin.CHANGED
    async with asyncio.timeout(300):
        await once.wait()
    await catalogue.refresh("files")
    assert catalogue.target("files", "tool", "read_file").pin is Pin.MATCH
    await catalogue.stop()


async def test_somebody_is_told_that_others_are_pinned_and_of_no_pin_of_first_use(world: World):
    told: list[str] = []
    catalogue = world.catalogue()
    catalogue.on_pinned(lambda: told.append("pinned"))
    await catalogue.refresh()
    await catalogue.reload()
    assert told == []

    pin(world, EVIL)
    await catalogue.reload()
    await catalogue.reload()
    assert told == ["pinned"]


async def test_a_listing_that_was_asked_for_before_a_pin_is_not_held_against_it(world: World):
    catalogue = world.catalogue()
    await catalogue.refresh()
    send, asked, go_on = world.ports["files"].send, asyncio.Event(), asyncio.Event()

    async def late(request: UpstreamRequest) -> UpstreamReply:
        reply = await send(request)
        if method(request) == "tools/list" and not go_on.is_set():
            asked.set()
            await go_on.wait()
        return reply

    world.ports["files"].send = late
    listing = asyncio.create_task(catalogue.refresh("files"))
    await asked.wait()
    world.files = [EVIL]
    pin(world, EVIL)
    await catalogue.reload()
    go_on.set()
    await listing

    assert catalogue.target("files", "tool", "read_file").pin is Pin.MATCH
    assert [change.kind for change in world.changes] == ["added", "added", "changed"]


async def test_an_upstream_that_says_that_it_has_changed_is_listed_at_once(world: World):
    catalogue = world.catalogue()
    await catalogue.start()
    world.files = [EVIL]
    catalogue.relist("files")
    await world.until(lambda: catalogue.target("files", "tool", "read_file").pin is Pin.CHANGED)
    await catalogue.stop()


async def test_an_upstream_that_says_so_without_end_is_listed_once(
    world: World, listed: Callable[[int], asyncio.Event]
):
    catalogue = world.catalogue()
    await catalogue.start()
    before, once = listings(world), listed(1)
    async with asyncio.timeout(300):
        while not once.is_set():
            catalogue.relist("files")
            await asyncio.sleep(0)
    for _ in range(10_000):
        catalogue.relist("files")
        await asyncio.sleep(0)

    assert listings(world) - before == 1
    await catalogue.stop()


async def test_what_an_upstream_says_soon_after_it_was_listed_is_not_forgotten(
    world: World, listed: Callable[[int], asyncio.Event], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("gateway.upstreams.catalogue.listings._PAUSE_SECONDS", 0.1)
    catalogue = world.catalogue()
    await catalogue.start()
    once, twice = listed(1), listed(2)
    catalogue.relist("files")
    async with asyncio.timeout(300):
        await once.wait()
        catalogue.relist("files")
        await twice.wait()
    await catalogue.stop()


async def test_an_upstream_that_shows_each_client_something_new_is_not_listed_for_each(
    world: World, listed: Callable[[int], asyncio.Event]
):
    catalogue = world.catalogue()
    await catalogue.start()
    before, once = listings(world), listed(1)
    for number in range(100):
        await catalogue.observe("files", "tool", [tool(f"new{number}")], complete=False)
        await asyncio.sleep(0)
    async with asyncio.timeout(300):
        await once.wait()

    assert listings(world) - before == 1
    await catalogue.stop()
