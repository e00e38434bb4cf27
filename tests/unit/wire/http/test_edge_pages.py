"""Requests that the edge gives to the pages, and the refusals before."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from gateway.wire.http.edge import Edge
from tests.unit.wire.http.test_edge import HOST, JSON, Client, Recorder, client, code_of, configured, handlers, pages


@pytest.mark.parametrize(
    "path", ["/page", "/", "//mcp/files", "/mcpx", "/MCP", "/MCP/files", "/mcp%2Ffiles", "/%6dcp/files", "/tasks/t"]
)
@pytest.mark.parametrize("method", ["GET", "HEAD", "OPTIONS", "PUT"])
async def test_all_but_mcp_reaches_the_pages_under_its_raw_path(method: str, path: str):
    recorder = Recorder()
    there = client(recorder)

    assert await there.ask(method, path, HOST) == 200
    assert there.body == b"page of " + path.encode()
    assert recorder.exchanges == []


async def test_no_request_to_mcp_reaches_the_pages():
    async def fail(*_asgi: Any) -> None:
        raise AssertionError

    for path in ("/mcp", "/mcp/files", "/mcp/", "/mcp//", "/mcp/a/b"):
        assert await Client(Edge(configured(), handlers(Recorder(), fail))).ask("GET", path, HOST) == 200


async def test_a_task_is_opened_with_json_only():
    assert await client().ask("POST", "/tasks", HOST, JSON) == 200
    there = client()
    assert await there.ask("POST", "/tasks", HOST) == 415
    assert code_of(there.body) == "request/content-type"
    assert await client().ask("POST", "/tasks/task-1/complete", HOST) == 200
    assert await client().ask("POST", "/tasksx", HOST) == 200


@pytest.mark.parametrize(("path", "status"), [("/tasks", 503), ("/tasks/t", 503), ("/page", 200), ("/probe", 200)])
async def test_a_full_gateway_still_shows_pages_that_need_no_caller(path: str, status: int):
    held = asyncio.Event()

    async def hold(*asgi: Any) -> None:
        await held.wait()
        await pages(*asgi)

    edge = Edge(configured(), handlers(Recorder(), hold))
    opening = [asyncio.create_task(Client(edge).ask("POST", "/tasks", HOST, JSON)) for _ in range(2)]
    reading = [asyncio.create_task(Client(edge).ask("GET", page, HOST)) for page in ("/page", "/probe")]
    await asyncio.sleep(0)
    assert edge.in_flight == 2
    there = Client(edge)
    asking = asyncio.create_task(there.ask("GET", path, HOST))
    await asyncio.sleep(0)
    held.set()

    assert await asking == status
    assert await asyncio.gather(*opening, *reading) == [200] * 4
    assert edge.in_flight == 0


async def test_a_client_that_leaves_ends_the_work_on_a_page():
    ended = asyncio.Event()

    async def hold(*_asgi: Any) -> None:
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()

    there = Client(Edge(configured(), handlers(Recorder(), hold)))
    working = asyncio.create_task(there.send("POST", "/tasks", HOST, JSON))
    while not there.edge.in_flight:
        await asyncio.sleep(0)
    there.leave()
    await working

    assert ended.is_set()
    assert there.sent == []
    assert there.edge.in_flight == 0


@pytest.mark.parametrize("path", ["/page", "/probe", "/tasks/t"])
async def test_a_defect_in_a_page_is_told_without_what_the_caller_sent(path: str, capsys: pytest.CaptureFixture[str]):
    async def fail(*_asgi: Any) -> None:
        raise ZeroDivisionError

    there = Client(Edge(configured(), handlers(Recorder(), fail)))
    with pytest.raises(ZeroDivisionError):
        await there.ask("GET", path, HOST)

    assert "defect" in capsys.readouterr().out
    assert there.edge.in_flight == 0
