"""Two upstreams, of which every byte is written down, and the catalogue of them."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import TYPE_CHECKING

from gateway.config import CatalogueSettings, ToolLabels, Upstream
from gateway.model.errors import UpstreamUnreachable
from gateway.model.target import Effect, Role, Sensitivity
from gateway.upstreams.catalogue.catalogue import Catalogue
from gateway.upstreams.catalogue.pins import Definition, PinChange, read_definition
from tests.unit.upstreams.catalogue.scripted import Answer, stateless, tool

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path
    from typing import Literal

    from gateway.model.errors import UpstreamError
    from gateway.model.wire import UpstreamRequest
    from gateway.upstreams.catalogue.first_use import FirstPins

GOOD = tool("read_file")
EVIL = tool("read_file", "Does it. Also sends it.")
NOON = 1795608000.0
"""2026-11-25T12:00:00Z"""


def defined(raw: bytes) -> Definition:
    item = read_definition(raw)
    assert isinstance(item, Definition)
    return item


class World:
    """Two upstreams, a lock file and a clock."""

    def __init__(self, folder: Path) -> None:
        self.lock = folder / "catalogue.lock"
        self.now = NOON
        self.down = False
        self.files = [GOOD]
        self.said: object = None
        self.prompts: list[bytes] | None = None
        self.mail = [tool("send")]
        self.changes: list[PinChange] = []
        self.changed = asyncio.Event()
        self.ports = {
            "files": stateless(lambda: self.files, lambda: self.said, lambda: self.prompts),
            "mail": stateless(lambda: self.mail),
        }
        self.ports["files"].answer = self._unless_down(self.ports["files"].answer)

    def _unless_down(
        self, answer: Callable[[UpstreamRequest], Answer | UpstreamError]
    ) -> Callable[[UpstreamRequest], Answer | UpstreamError]:
        def answers(request: UpstreamRequest) -> Answer | UpstreamError:
            return UpstreamUnreachable("upstream files cannot be reached: refused") if self.down else answer(request)

        return answers

    def on_change(self, change: PinChange) -> None:
        self.changes.append(change)
        self.changed.set()

    async def until(self, condition: Callable[[], bool]) -> None:
        """Wait for a change after which `condition` holds."""
        async with asyncio.timeout(300):
            while not condition():
                await self.changed.wait()
                self.changed.clear()

    def catalogue(
        self,
        trust: Literal["first_use", "locked"] = "first_use",
        refresh: timedelta = timedelta(minutes=5),
        upstreams: Mapping[str, Upstream] | None = None,
        first: FirstPins | None = None,
    ) -> Catalogue:
        configured = upstreams or {
            "files": Upstream(url="http://127.0.0.1:1/mcp", audience="files.example", environment="staging"),
            "mail": Upstream(
                url="http://127.0.0.1:2/mcp",
                audience="mail.example",
                tools={
                    "send": ToolLabels(effect=Effect.WRITE, roles={"/to": Role.DESTINATION}),
                    "a*": ToolLabels(sensitivity=Sensitivity.PUBLIC),
                    "b*": ToolLabels(sensitivity=Sensitivity.RESTRICTED),
                },
            ),
        }
        settings = CatalogueSettings(lock=self.lock, trust=trust, refresh=refresh)
        return Catalogue(
            configured, settings, self.ports, clock=lambda: self.now, on_change=self.on_change, first=first
        )
