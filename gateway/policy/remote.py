"""A policy that an OPA of one's own holds: whether it is ready, which one it is, and whether its answers will do.

OPA loads and reloads by itself. So nothing here keeps a last good policy: if what OPA holds answers a fixture badly, the
gateway is not ready and says why, and each call is refused on its own answer.
"""

from __future__ import annotations

from typing import Literal

from gateway.errors import PolicyError
from gateway.policy import fixtures
from gateway.policy.embedded import Entrypoint
from gateway.policy.opa_client import OpaClient


class RemotePolicy:
    kind: Literal["embedded", "opa"] = "opa"

    def __init__(self, server: OpaClient) -> None:
        self._server = server
        self._tried: str | None = None
        self.name = ""
        self.revision = ""
        self.problem: str | None = "OPA has not been asked yet"

    @property
    def ready(self) -> bool:
        return self.problem is None

    async def open(self) -> None:
        """Ask for the first time. An OPA that is not there yet is no error: it may come."""
        await self.look()

    async def look(self) -> bool:
        """Look once; whether another policy came into force. What is wrong is told in `problem`."""
        try:
            await self._server.require_ready()
            revision = await self._server.revision()
            if self.ready and revision == self._tried:
                return False
            self.name = await fixtures.require(self._server)
        except PolicyError as error:
            self.problem = f"{error.message}; {error.remedy}"
            return False
        changed, self._tried = revision != self._tried, revision
        self.revision, self.problem = revision, None
        return changed

    async def evaluate(self, entrypoint: Entrypoint, document: bytes) -> object:
        return await self._server.evaluate(entrypoint, document)

    async def aclose(self) -> None:
        await self._server.aclose()
