"""The gateway's server and client with nothing between them: what forwarding costs when nobody decides.

`python -m benchmarks.gateway.transport PORT UPSTREAM`.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any, Final

import uvloop

from gateway import config
from gateway.wire.http.client import Client
from gateway.wire.http.delivery import Channel
from gateway.wire.http.dial import address_of_url
from gateway.wire.http.server import Server

PATIENCE: Final = 20.0
_OURS: Final = frozenset({b"host", b"content-length", b"transfer-encoding"})
"""Headers that each connection writes for itself."""


class Transport:
    """Sends each request on to one upstream, and its answer back."""

    def __init__(self, upstream: str) -> None:
        self._client = Client(address_of_url(upstream), connect=PATIENCE)

    async def __call__(self, channel: Channel) -> None:
        body = b""
        while piece := await channel.read_chunk():
            body += piece
        answer = await self._client.request(b"POST", _theirs(channel.request.headers), body, within=PATIENCE)
        pieces = [piece async for piece in answer]
        await channel.respond(answer.status, _theirs(answer.headers), b"".join(pieces))


def _theirs(headers: Any) -> list[tuple[bytes, bytes]]:
    return [(name, value) for name, value in headers if name not in _OURS]


def _do_nothing() -> None:
    """Do nothing."""


async def serve(port: int, upstream: str) -> None:
    """Serve until told to stop."""
    configuration = config.parse(f"listen: 127.0.0.1:{port}\nlimits: {{drain_delay: 0s}}\n", base=Path())
    server = Server(
        Transport(upstream), configuration, tls=None, on_ready=_do_nothing, on_stop=_do_nothing, on_drain=_do_nothing
    )
    await server.run_until_stopped()


if __name__ == "__main__":
    uvloop.run(serve(int(sys.argv[1]), sys.argv[2]))
