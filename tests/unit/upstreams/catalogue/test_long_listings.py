"""Listings of thousands of tools: calls go on while they are taken in."""

from __future__ import annotations

import asyncio
from itertools import pairwise
from typing import TYPE_CHECKING

import pytest

from gateway.model.target import Pin
from gateway.upstreams.catalogue.definitions import MAX_KNOWN
from tests.unit.upstreams.catalogue.scripted import tool

if TYPE_CHECKING:
    from collections.abc import Awaitable

    from gateway.upstreams.catalogue.catalogue import Catalogue
    from tests.unit.upstreams.catalogue.world import World

MANY = [f"tool_{number}" for number in range(MAX_KNOWN)]
ENDS = (MANY[0], MANY[MAX_KNOWN // 2], MANY[-1])


async def states_meanwhile(catalogue: Catalogue, work: Awaitable[object]) -> list[set[Pin | None]]:
    """The states of some of many tools, in each turn that the event loop has while that is done."""
    doing, states = asyncio.ensure_future(work), list[set[Pin | None]]()
    while not doing.done():
        await asyncio.sleep(0)
        states.append({catalogue.target("files", "tool", name).pin for name in ENDS})
    await doing
    return states


@pytest.mark.parametrize("own", [True, False])
async def test_calls_go_on_while_a_long_listing_is_read_and_it_takes_effect_as_a_whole(world: World, *, own: bool):
    world.ports["files"].chunk = 2**16
    world.files = [tool(name) for name in MANY]
    catalogue = world.catalogue()
    seen = await states_meanwhile(catalogue, catalogue.refresh("files"))
    assert (seen[0], seen[-1]) == ({Pin.UNKNOWN}, {Pin.MATCH})

    world.files = [tool(name, "Does it. Also sends it.") for name in MANY]
    news = catalogue.refresh("files") if own else catalogue.observe("files", "tool", world.files, complete=True)
    seen = await states_meanwhile(catalogue, news)

    assert len(seen) > 50
    assert [states for states in seen if len(states) > 1] == []
    assert (seen[0], seen[-1]) == ({Pin.MATCH}, {Pin.CHANGED})


async def test_a_change_that_is_seen_while_a_long_listing_is_read_is_not_undone_by_it(world: World):
    """The listing began from what was known before, and is put in the place of it."""
    world.ports["files"].chunk = 2**16
    world.files = [tool(name) for name in MANY]
    catalogue = world.catalogue()
    await catalogue.refresh("files")

    changed = [tool(MANY[0], "Does it. Also sends it.")]
    await asyncio.gather(
        catalogue.observe("files", "tool", world.files, complete=True),
        catalogue.observe("files", "tool", changed, complete=False),
    )

    assert catalogue.target("files", "tool", MANY[0]).pin is Pin.CHANGED


async def test_many_changes_are_told_some_at_a_time_and_all_of_them_at_the_stop(world: World):
    catalogue = world.catalogue("locked")
    world.files = []
    await catalogue.refresh("files")
    await catalogue.observe("files", "tool", [tool(name) for name in MANY], complete=True)
    told = [len(world.changes)]
    while told[-1] < MAX_KNOWN // 2:
        await asyncio.sleep(0)
        told.append(len(world.changes))
    await catalogue.stop()

    assert max(after - before for before, after in pairwise([0, *told])) <= 64
    assert [change.name for change in world.changes] == MANY
