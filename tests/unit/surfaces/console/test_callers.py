"""The pages of agents and users, the search, and the ranges of time."""

from __future__ import annotations

import re
from collections.abc import AsyncGenerator
from pathlib import Path

import pytest

from tests.unit.harness import call
from tests.unit.surfaces.console.test_tasks import cells
from tests.unit.surfaces.console.visiting import Browser, person, visited


@pytest.fixture
async def viewer(tmp_path: Path) -> AsyncGenerator[Browser]:
    """A person before a gateway with three calls of one agent, one of them refused."""
    async with visited(tmp_path) as stranger:
        for tool in ("read_file", "hidden", "ask_first"):
            await stranger.there.ask(call(tool, path="a"))
        yield stranger.visit(person("vera", "viewer"))


async def page(browser: Browser, path: str, status: int = 200) -> str:
    answer = await browser.get(path)
    assert answer.status == status, answer.body.decode()
    return answer.body.decode()


async def test_an_agent_has_its_calls_systems_and_refusals_over_all_tasks(viewer: Browser):
    text = await page(viewer, "/console/agents")
    one = await page(viewer, "/console/agents/one?name=dev")

    assert [cells(text, name) for name in ("agent", "passed", "asked", "refused")] == [["dev"], ["1"], ["1"], ["1"]]
    assert 'href="/console/agents/one?name=dev&amp;range=24+hours"' in text
    assert cells(one, "upstream") == ["files"]
    assert one.count('href="/console/decisions/') == 1
    assert "Stop its calls" not in one
    assert "No call was made for a user" in await page(viewer, "/console/users")


async def test_an_unknown_or_hostile_name_is_an_empty_page(viewer: Browser):
    for name in ("nobody", "%3Cscript%3Ealert(1)%3C/script%3E", "%00", "%F0%28", ""):
        text = await page(viewer, f"/console/agents/one?name={name}&range=9+years")
        assert "None in this time." in text
        assert "<script>alert" not in text


async def test_an_operator_stops_an_agent_from_its_page(viewer: Browser):
    inside = viewer.visit(person("olga", "operator", logged_in=viewer.console.parts.gateway.clock()))
    assert "Stop its calls" in await page(inside, "/console/agents/one?name=dev")
    done = await inside.send("/console/stops/stop", scope="agent", name="dev", reason="it mails strangers")

    assert done.status == 303
    assert (await viewer.there.ask(call("read_file", path="a"))).codes == ["stop/in-force"]


FILTERED = {
    "tool=files/read_file": 1,
    "tool=files/none": 0,
    "user=nobody": 0,
    "since=2020-01-01": 3,
    "since=2020-01-01T10:00&until=2999-01-01T10:00": 3,
    "until=2020-01-01": 0,
    "since=2999-01-01T00:00&agent=dev": 0,
    "since=yesterday": 3,
    "arguments=0": 0,
}


async def test_decisions_can_be_filtered_by_tool_user_time_and_digest(viewer: Browser):
    found = {query: len(cells(await page(viewer, f"/console/decisions?{query}"), "call")) for query in FILTERED}

    assert found == FILTERED


async def test_the_search_finds_an_id_a_name_and_a_digest(viewer: Browser):
    entry = viewer.there.entries("call")[0]
    digest = entry["arguments"]["digest"]
    for text, title in (
        (entry["id"], "Decision"),
        (entry["task"]["id"], "Task"),
        ("dev", "Agent"),
        ("files", "Upstream"),
    ):
        assert f"<h2>{title}" in await page(viewer, f"/console/search?q={text}")
    found = await page(viewer, f"/console/search?q={digest}")

    assert re.search(rf"<h2>Digest of arguments .*{digest}", found)
    assert found.count('href="/console/decisions/') == 3
    assert "as a whole name" in await page(viewer, "/console/search?q=nothing")
    assert "&lt;b&gt;" in await page(viewer, "/console/search?q=%3Cb%3E")


async def test_the_pages_are_for_viewers(viewer: Browser):
    for path in ("agents", "users", "agents/one?name=dev", "search?q=dev", "leases/lease-1"):
        assert (await viewer.visit(person("bob", "approver")).get(f"/console/{path}")).status == 403


async def test_a_task_has_its_caller_and_state_and_an_operator_may_stop_it(viewer: Browser):
    task = viewer.there.entries("call")[0]["task"]["id"]
    seen = await page(viewer, f"/console/tasks/{task}")
    inside = await page(viewer.visit(person("olga", "operator")), f"/console/tasks/{task}")

    assert 'href="/console/agents/one?name=dev"' in seen
    assert "Stop the task" not in seen
    assert "Stop the task" in inside


async def test_an_unknown_lease_is_no_page(viewer: Browser):
    assert (await viewer.get("/console/leases/lease-x")).status == 404
