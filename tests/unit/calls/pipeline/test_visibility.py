"""What lists show, and to whom."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from gateway.model.errors import HistoryFull
from gateway.model.wire import JsonObject
from gateway.upstreams.catalogue.definitions import MAX_KNOWN
from tests.unit.harness import Bench, call, listed, message, result


async def test_a_list_shows_what_policy_shows_and_nothing_when_history_is_full(
    there: Bench, monkeypatch: pytest.MonkeyPatch
):
    there.upstream.script = lambda request: result(
        request,
        {"tools": [listed(name) for name in ("read_file", "hidden", "ask_first")]},
    )
    shown = (await there.ask(message("tools/list"))).json["result"]["tools"]
    assert [tool["name"] for tool in shown] == ["read_file", "ask_first"]

    def full(*_args: Any) -> None:
        raise HistoryFull("no room")

    there.upstream.script = lambda request: result(request, {"tools": [listed("read_file")]})
    monkeypatch.setattr(there.gateway.history.tasks, "open_implicit", full)
    assert (await there.ask(message("tools/list"))).json["result"]["tools"] == []


async def test_policy_is_asked_about_a_long_list_in_portions_between_which_calls_go_on(
    there: Bench, monkeypatch: pytest.MonkeyPatch
):
    names = [name for number in range(150) for name in (f"read_{number}", f"hidden_{number}")]
    there.upstream.script = lambda request: result(request, {"tools": [listed(name) for name in names]})
    policy, turn, asked_in = there.gateway.policy, 0, list[int]()
    visible = policy.visible

    async def counted(document: JsonObject, asked: frozenset[str]) -> frozenset[str]:
        assert len(asked) <= 64
        asked_in.append(turn)
        return await visible(document, asked)

    monkeypatch.setattr(policy, "visible", counted)
    listing = asyncio.ensure_future(there.ask(message("tools/list")))
    while not listing.done():
        await asyncio.sleep(0)
        turn += 1

    assert [tool["name"] for tool in (await listing).json["result"]["tools"]] == names[::2]
    assert len(set(asked_in)) == len(asked_in) == 5


async def test_of_a_list_that_is_too_long_to_be_compared_with_the_pins_nothing_is_shown(there: Bench):
    """Whatever stands beyond what is looked at could be another definition of what is pinned."""
    crowd = [listed(f"hidden_{number}") for number in range(MAX_KNOWN)]
    for first, shown in ((crowd[1:], ["read_file"]), (crowd, [])):
        tools = [*first, listed("read_file")]
        there.upstream.script = lambda request, tools=tools: result(request, {"tools": tools})
        found = (await there.ask(message("tools/list"))).json["result"]["tools"]
        assert [item["name"] for item in found] == shown


@pytest.mark.parametrize(
    ("method", "field", "named", "shown"),
    [
        ("tools/list", "tools", "name", ["read_file", "read_more"]),
        ("prompts/list", "prompts", "name", ["hello"]),
        ("resources/list", "resources", "uri", ["file:///a", "file:///b"]),
        ("resources/templates/list", "resourceTemplates", "uriTemplate", ["file:///a", "file:///b"]),
    ],
)
async def test_a_definition_of_several_megabytes_is_neither_pinned_nor_shown(
    there: Bench, method: str, field: str, named: str, shown: list[str]
):
    """Also where a small one of the same name stands beside it."""

    small = [listed(name) if field == "tools" else {named: name} for name in shown]
    large = {**small[0], "description": "x" * (7 * 2**20)}
    pages = iter([small, [*small, large]])
    there.upstream.script = lambda request: result(request, {field: next(pages)})
    before = (await there.ask(message(method))).json["result"][field]
    after = (await there.ask(message(method))).json["result"][field]

    assert [item[named] for item in before] == shown
    assert [item[named] for item in after] == shown[1:]
    pins = (there.folder / "catalogue.lock").read_text("utf-8")
    assert len(pins) < 2**20


async def test_a_list_of_tasks_shows_the_callers_own(there: Bench):
    there.upstream.script = lambda request: result(request, {"task": {"taskId": "mine", "status": "working"}})
    await there.ask(call())
    there.upstream.script = lambda request: result(request, {"tasks": [{"taskId": "mine"}, {"taskId": "other"}]})

    assert (await there.ask(message("tasks/list"))).json["result"]["tasks"] == [{"taskId": "mine"}]


async def test_a_list_of_resources_shows_what_policy_shows(there: Bench):
    there.upstream.script = lambda request: result(
        request, {"resources": [{"uri": "file:///a"}, {"uri": "secret:///b"}]}
    )

    assert (await there.ask(message("resources/list"))).json["result"]["resources"] == [{"uri": "file:///a"}]
