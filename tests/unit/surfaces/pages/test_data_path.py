"""A call runs no code of the packages that docs/dependencies.md keeps off the data path, nor of pages and jobs."""

from __future__ import annotations

import re
import sys
from collections.abc import Awaitable, Callable
from importlib.metadata import packages_distributions
from pathlib import Path
from types import FrameType
from typing import Any

from gateway.surfaces.app.serving import build_edge
from gateway.wire.http.edge import Edge
from tests.unit.harness import JSON, Bench, call
from tests.unit.surfaces.pages.asking import HOST, ask_page
from tests.unit.wire.http.channels import RecordedChannel, request

PAGE = (Path(__file__).parents[4] / "docs/dependencies.md").read_text("utf-8")
OFF_THE_PATH = set(re.findall(r"^\| ([a-z0-9-]+) \| \d\S* \| [^|]+ \| [^|]+ \| no \|", PAGE, re.MULTILINE))


async def trace_modules(work: Callable[[], Awaitable[Any]]) -> set[str]:
    """Return the modules of which work runs functions, in Python or in C."""
    found: set[str] = set()

    def note(frame: FrameType, event: str, function: Any) -> None:
        found.add(frame.f_globals.get("__name__") or "")
        if event == "c_call":
            found.add(getattr(function, "__module__", None) or "")

    sys.setprofile(note)
    try:
        await work()
    finally:
        sys.setprofile(None)
    return found


def packages_of(modules: set[str]) -> set[str]:
    """Return the packages of other projects that modules belong to, named as in the lock."""
    known = packages_distributions()
    found = {package for module in modules for package in known.get(module.partition(".")[0], [])}
    return {re.sub(r"[-_.]+", "-", package).lower() for package in found}


async def ask_upstream(edge: Edge) -> None:
    """Have the edge carry an allowed call."""
    channel = RecordedChannel(request("POST", "/mcp/files", (HOST, *JSON), call(path="a")))
    await edge(channel)
    assert channel.sent[0]["status"] == 200, channel.sent


async def test_a_call_runs_no_code_that_is_off_the_data_path(there: Bench):
    edge = build_edge(there.configuration, there.gateway, lambda: False)
    await ask_upstream(edge)
    modules = await trace_modules(lambda: ask_upstream(edge))

    assert {"anyio", "starlette"} < OFF_THE_PATH
    assert packages_of(modules) & OFF_THE_PATH == set()
    assert packages_of(modules) >= {"google-re2", "msgspec"}
    assert {
        name for name in modules if name.startswith(("gateway.surfaces.pages", "gateway.base.concurrency.background"))
    } == set()
    assert len(there.upstream.sent) == 2


async def test_a_page_runs_starlette(there: Bench):
    modules = await trace_modules(lambda: ask_page(there, "GET", "/healthz"))

    assert "starlette" in packages_of(modules)
    assert "gateway.surfaces.pages.probes" in modules
