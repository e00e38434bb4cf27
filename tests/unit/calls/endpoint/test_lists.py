"""Lists of several upstreams as one: names, cursors, and answers that come late."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from gateway.base.concurrency.worker_thread import WorkerThread
from gateway.calls.endpoint import lists
from gateway.calls.endpoint.answers import WholeAnswer
from gateway.calls.endpoint.lists import LateAnswers, NoPage, Page, merge_greetings, merge_pages, read_cursor, read_page
from gateway.model.wire import Message
from gateway.wire.protocol.classify import classify

BODY = b'{"jsonrpc":"2.0","id":7,"method":"tools/list"}'


def message() -> Message:
    found = classify(BODY, {})
    assert isinstance(found, Message)
    return found


async def page(*names: str, cursor: str | None = None) -> Page:
    result: dict[str, Any] = {"tools": [{"name": name, "x": 1.50} for name in names], "ttlMs": 5}
    raw = json.dumps(
        {"jsonrpc": "2.0", "id": 7, "result": result | ({"nextCursor": cursor} if cursor else {})}
    ).encode()
    found = await read_page(WholeAnswer(200, (), raw, is_own=False), message(), WorkerThread())
    assert isinstance(found, Page)
    return found


async def test_pages_merge_in_their_order_with_one_cursor():
    pages = {"a": await page("x", "y", cursor="two"), "b": await page("x")}
    merged: Any = merge_pages(message(), pages, {"a": frozenset({"y"})})
    assert [json.loads(bytes(item))["name"] for item in merged["tools"]] == ["a__x", "b__x"]
    assert read_cursor(merged["nextCursor"], ["a", "b"]) == {"a": "two"}
    assert read_cursor(merged["nextCursor"], ["b"]) is None


async def test_a_name_that_one_upstream_lists_twice_is_left_out():
    merged: Any = merge_pages(message(), {"a": await page("x", "x", "y")}, {})
    assert [json.loads(bytes(item))["name"] for item in merged["tools"]] == ["a__y"]


async def test_an_error_of_an_upstream_is_no_page_and_a_refusal_of_the_gateway_is_nothing():
    raw = b'{"jsonrpc":"2.0","id":7,"error":{"code":-32601,"message":"m"}}'
    answers = [WholeAnswer(200, (), raw, is_own=own) for own in (False, True)]
    found = [await read_page(answer, message(), WorkerThread()) for answer in answers]
    assert [type(one) for one in found] == [NoPage, type(None)]


def test_greetings_offer_what_any_upstream_offers():
    greetings: dict[str, Any] = {
        "a": {"capabilities": {"tools": {}, "resources": {"subscribe": False}}, "instructions": "Be kind."},
        "b": {"capabilities": {"resources": {"subscribe": True}, "logging": {}}, "instructions": ""},
    }
    told: Any = merge_greetings(greetings, is_complete=True)
    assert told["capabilities"] == {
        "tools": {"listChanged": True},
        "resources": {"subscribe": True, "listChanged": True},
        "logging": {},
    }
    assert told["instructions"] == "## a\n\nBe kind."
    assert "prompts" in merge_greetings({}, is_complete=False)["capabilities"]  # type: ignore[operator]


# --- late answers ---


@pytest.fixture(autouse=True)
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lists, "DEADLINE", 0.01)


async def settle() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


async def test_a_late_answer_is_announced_and_comes_with_the_next_question():
    late, come, told, asked = LateAnswers(lambda: 0.0), asyncio.Event(), list[int](), list[int]()

    async def work() -> str:
        asked.append(1)
        await come.wait()
        return "page"

    assert await late.gather({("ada", "a"): work}, lambda: told.append(1)) == ({}, frozenset())
    assert await late.gather({("ada", "a"): work}, lambda: told.append(1)) == ({}, frozenset())
    come.set()
    await settle()
    assert (len(asked), bool(told)) == (1, True)
    found, kept = await late.gather({("ada", "a"): work}, lambda: None)
    assert (found, kept) == ({("ada", "a"): "page"}, frozenset({("ada", "a")}))
    assert (await late.gather({("ada", "a"): work}, lambda: None))[1] == frozenset()


async def test_an_answer_that_another_request_waits_for_too_is_of_an_earlier_question():
    """Two tokens of one caller may show different lists, so the second request has to judge what the first one asked for."""
    late, come = LateAnswers(lambda: 0.0), asyncio.Event()

    async def work() -> str:
        await come.wait()
        return "page"

    first = asyncio.ensure_future(late.gather({("ada", "a"): work}, lambda: None))
    second = asyncio.ensure_future(late.gather({("ada", "a"): work}, lambda: None))
    await asyncio.sleep(0)
    come.set()
    found = {("ada", "a"): "page"}
    assert await first == (found, frozenset())
    assert await second == (found, frozenset(found))


async def test_a_late_failure_is_not_announced_and_asked_again():
    late, come, told = LateAnswers(lambda: 0.0), asyncio.Event(), list[int]()

    async def fail() -> str:
        await come.wait()
        raise RuntimeError

    async def succeed() -> str:
        return "page"

    await late.gather({("ada", "a"): fail}, lambda: told.append(1))
    come.set()
    await settle()
    assert not told
    assert await late.gather({("ada", "a"): succeed}, lambda: None) == ({("ada", "a"): "page"}, frozenset())


async def test_a_caller_with_many_late_answers_loses_its_own_oldest():
    late, ended = LateAnswers(lambda: 0.0), list[str]()

    async def wait(name: str) -> str:
        try:
            await asyncio.Event().wait()
        finally:
            ended.append(name)
        return name

    await late.gather({("bob", "b"): lambda: wait("bob")}, lambda: None)
    for number in range(lists._MOST_OF_CALLER + 2):
        await late.gather({("ada", str(number)): lambda number=number: wait(str(number))}, lambda: None)
    await settle()
    assert ended == ["0"]
    late._expire([])
    for task, _ in late._open.values():
        task.cancel()
    await settle()
