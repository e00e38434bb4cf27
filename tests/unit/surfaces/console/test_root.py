"""A browser at the address of the gateway alone."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.unit.harness import Bench
from tests.unit.surfaces.console.visiting import headers_of, visited
from tests.unit.surfaces.pages.asking import ask_page

if TYPE_CHECKING:
    from pathlib import Path

BROWSER = (b"accept", b"text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8")


@pytest.mark.parametrize("method", ["GET", "HEAD"])
async def test_a_browser_at_the_root_is_led_to_the_console(tmp_path: Path, method: str):
    async with visited(tmp_path) as stranger:
        answer = await ask_page(stranger.there, method, "/", BROWSER, edge=stranger.edge)

        # The path alone: a host in it would be the one that the caller named.
        assert (answer.status, headers_of(answer, "location")) == (303, ["/console"])
        assert headers_of(answer, "vary") == ["accept"]
        assert stranger.there.entries("refused") == []


@pytest.mark.parametrize(
    ("method", "path", "accepted"),
    [
        ("GET", "/", ()),
        ("GET", "/", ((b"accept", b"application/json, text/event-stream"),)),
        ("GET", "/", ((b"accept", b"*/*"),)),
        ("POST", "/", (BROWSER,)),
        ("GET", "//", (BROWSER,)),
        ("GET", "/nothing", (BROWSER,)),
    ],
)
async def test_no_other_request_is_led_to_the_console(
    tmp_path: Path, method: str, path: str, accepted: tuple[tuple[bytes, bytes], ...]
):
    async with visited(tmp_path) as stranger:
        answer = await ask_page(stranger.there, method, path, *accepted, edge=stranger.edge)

        assert (answer.status, answer.codes, headers_of(answer, "location")) == (404, ["request/path"], [])


async def test_a_browser_at_a_gateway_without_a_console_is_refused_as_before(there: Bench):
    answer = await ask_page(there, "GET", "/", BROWSER)

    assert (answer.status, answer.codes) == (404, ["request/path"])
