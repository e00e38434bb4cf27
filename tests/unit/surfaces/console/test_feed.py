"""Lists of open pages: made once for all pages with the same filters, sent at different times, and never older than the last change."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator
from contextlib import ExitStack
from itertools import pairwise
from pathlib import Path

import pytest

from gateway.surfaces.console.feed import Feed, Subscription, View, find_view
from tests.unit.harness import call
from tests.unit.surfaces.console.visiting import Browser, Stream, person, visited


@pytest.fixture
async def stranger(tmp_path: Path) -> AsyncGenerator[Browser]:
    async with visited(tmp_path) as browser:
        yield browser


class Renderer:
    """A renderer that counts its texts, and can be held."""

    def __init__(self) -> None:
        self.views: list[View] = []
        self.may_go = asyncio.Event()
        self.may_go.set()

    async def __call__(self, view: View) -> str:
        self.views.append(view)
        text = f"{view.topic} {len(self.views)}"
        await self.may_go.wait()
        return text


async def test_pages_with_the_same_view_share_one_text_after_each_change():
    render = Renderer()
    feed, view, other = Feed(render), View("decisions"), View("decisions", "effect=deny")
    with feed.subscribe(view, "a"), feed.subscribe(view, "b"), feed.subscribe(other, "c"):
        first = await asyncio.gather(*(feed.event(view) for _ in range(20)))
        await feed.event(other)
        feed.tell("decisions")
        second = await feed.event(view)

    assert len(set(first)) == 1
    assert second != first[0]
    assert render.views == [view, other, view]


async def test_a_change_while_a_text_is_made_makes_another():
    render = Renderer()
    feed, view = Feed(render), View("tasks")
    with feed.subscribe(view, "a"):
        render.may_go.clear()
        early = asyncio.ensure_future(feed.event(view))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        feed.tell("tasks")
        render.may_go.set()

        assert await early == b'event: region\ndata: "tasks 1"\n\n'
        assert await feed.event(view) == b'event: region\ndata: "tasks 2"\n\n'


async def test_a_text_goes_with_its_last_page():
    render = Renderer()
    feed, view = Feed(render), View("decisions")
    for _ in range(2):
        with feed.subscribe(view, "a"):
            await feed.event(view)

    assert len(render.views) == 2
    assert feed._rendered == {}


async def test_the_turns_of_many_pages_are_spread_over_the_pause():
    feed = Feed(Renderer())
    with ExitStack() as stack:
        pages = [stack.enter_context(feed.subscribe(View("decisions"), str(number))) for number in range(100)]
        waits = sorted(page.wait(1000.0, feed.pause) for page in pages)
        gaps = [later - earlier for earlier, later in pairwise(waits)]

    assert waits[0] >= 0
    assert waits[-1] < 5.0
    assert max(gaps) < 0.15
    assert min(gaps) > 0.01


async def test_a_page_that_waits_for_its_turn_does_not_hold_up_the_end(monkeypatch: pytest.MonkeyPatch):
    def wait_an_hour(_page: Subscription, _now: float, _pause: float) -> float:
        return 3600.0

    monkeypatch.setattr(Subscription, "wait", wait_an_hour)
    feed = Feed(Renderer())
    with feed.subscribe(View("decisions"), "a") as page:
        waiting = asyncio.ensure_future(feed.wait_for_turn(page))
        await asyncio.sleep(0)
        feed.close()
        async with asyncio.timeout(300):
            await waiting

    assert feed.is_closed


def test_parts_of_a_query_that_are_no_filters_make_no_view_of_their_own():
    assert find_view("decisions", {"x": "1", "before": "1-2", "effect": "deny", "agent": ""}) == View(
        "decisions", "effect=deny"
    )
    assert find_view("approvals", {"agent": "x"}) == View("approvals")


def regions(stream: Stream) -> list[str]:
    parts = b"".join(stream.chunks).split(b"\n\n")
    return [json.loads(part.partition(b"data: ")[2]) for part in parts if part.startswith(b"event: region")]


async def test_an_open_list_gets_each_new_decision_that_fits(stranger: Browser):
    inside = stranger.visit(person("vera", "viewer"))
    await inside.log_in()
    everything = Stream(inside, "/console/events/decisions")
    refused = Stream(inside, "/console/events/decisions?effect=deny")
    tasks = Stream(inside, "/console/events/tasks")
    for stream in (everything, refused, tasks):
        await stream.until(b"event: region")
    await stranger.there.ask(call("read_file", path="a"))
    identifier = stranger.there.entries("call")[0]["id"].encode()
    await everything.until(identifier)
    await tasks.until(b"badge open")
    await stranger.there.ask(call("hidden", path="a"))
    await refused.until(stranger.there.entries("call")[1]["id"].encode())
    stranger.console.parts.feed.close()
    for stream in (everything, refused, tasks):
        await stream.until(b"event: ended")
        await stream.task

    assert all(identifier.decode() not in text for text in regions(refused))
    assert all("csrf" not in text for text in regions(everything) + regions(tasks))


@pytest.mark.parametrize("topic", ["decisions", "tasks"])
async def test_lists_are_for_viewers(stranger: Browser, topic: str):
    assert (await stranger.get(f"/console/events/{topic}")).status == 403
    assert (await stranger.visit(person("bob", "approver")).get(f"/console/events/{topic}")).status == 403
