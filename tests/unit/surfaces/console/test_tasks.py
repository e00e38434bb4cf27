"""The list of tasks: the latest first, with their counts and states, filtered and paged."""

from __future__ import annotations

import re
from collections.abc import AsyncGenerator
from pathlib import Path

import pytest

from tests.unit.harness import call
from tests.unit.surfaces.console.visiting import Browser, person, visited

QUICK = "policy: {engine: {kind: embedded, deadline: 20s}}"


@pytest.fixture
async def stranger(tmp_path: Path) -> AsyncGenerator[Browser]:
    async with visited(tmp_path) as browser:
        yield browser


def viewer(browser: Browser) -> Browser:
    return browser.visit(person("vera", "viewer"))


async def page(browser: Browser, path: str) -> str:
    answer = await browser.get(path)
    assert answer.status == 200, answer.body.decode()
    return answer.body.decode()


def cells(text: str, label: str) -> list[str]:
    """Return the texts of a column."""
    found = re.findall(rf'<td data-label="{label}"[^>]*>(.*?)</td>', text, re.DOTALL)
    return [re.sub(r"<[^>]*>", "", cell).strip() for cell in found]


async def test_a_task_has_its_calls_and_leads_to_them(stranger: Browser):
    for tool in ("read_file", "hidden", "ask_first", "read_more"):
        await stranger.there.ask(call(tool, path="a"))
    task = stranger.there.entries("call")[0]["task"]["id"]
    text = await page(viewer(stranger), "/console/tasks")

    assert [cells(text, name) for name in ("agent", "calls", "asked", "refused", "open leases")] == [
        ["dev"],
        ["4"],
        ["1"],
        ["1"],
        ["–"],
    ]
    assert '<span class="badge open">open' in text
    assert 'aria-current="page">Tasks' in text
    decisions = await page(viewer(stranger), f"/console/decisions?task={task}&effect=deny")
    assert decisions.count('class="badge deny"') == 1
    graph = re.search(rf'href="(/console/tasks/{task}\?at=[^"]+)"', text)
    assert graph is not None
    assert "<svg" in await page(viewer(stranger), graph[1])


@pytest.mark.parametrize(
    ("query", "count"),
    [
        ("", 1),
        ("agent=dev", 1),
        ("agent=de", 0),
        ("user=nobody", 0),
        ("state=open", 1),
        ("state=forgotten", 0),
        ("state=none", 0),
        ("calls=refused", 1),
        ("calls=asked", 0),
        ("agent=%3Cscript%3E", 0),
        ("agent=%00&user=%F0%28", 0),
    ],
)
async def test_tasks_can_be_filtered(stranger: Browser, query: str, count: int):
    await stranger.there.ask(call("hidden", path="a"))

    assert len(cells(await page(viewer(stranger), f"/console/tasks?{query}"), "calls")) == count


@pytest.mark.parametrize("before", ["x", "1", "0-0", "1-0", "99999999-999999999999999", "99999999-1", "-1--1", "1-1"])
async def test_no_token_of_a_page_is_a_defect(stranger: Browser, before: str):
    await stranger.there.ask(call("read_file", path="a"))

    assert (await viewer(stranger).get(f"/console/tasks?before={before}")).status == 200
    assert (await viewer(stranger).get(f"/console/decisions?agent=dev&before={before}")).status == 200


async def test_the_list_is_for_viewers_and_operators(stranger: Browser):
    assert (await stranger.get("/console/tasks")).status == 303
    assert (await stranger.visit(person("bob", "approver")).get("/console/tasks")).status == 403
    assert (await stranger.visit(person("oda", "operator")).get("/console/tasks")).status == 200
    assert "No task fits." in await page(viewer(stranger), "/console/tasks")
